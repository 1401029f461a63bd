import math

import pytest

from contracts.inputs import Standing
from contracts.terms import FeeSchedule, MerchantTerms

P = ("a", "b", "c")


def codes(choice):
    return [reason.code for reason in choice.reasons]


@pytest.fixture(scope="module")
def choose(compiled, payment, now):
    def ask(approval=(0.8, 0.9, 0.7), risk=0.01, processors=P, kind="auth", degraded=(), policy=None, **changes):
        return (policy or compiled()).choose(
            payment(**changes), processors, [approval], risk, kind=kind, now=now, degraded=degraded
        )

    return ask


def test_the_highest_expected_value_is_chosen(choose):
    choice = choose()
    assert (choice.action, choice.index, choice.processor, choice.approval_probability) == ("approve", 1, "b", 0.9)
    assert [one.processor for one in choice.ranking] == ["b", "a", "c"]
    assert "best_expected_value" in codes(choice)


def test_a_cheaper_processor_wins_over_a_slightly_likelier_one(choose, compiled):
    fees = {"a": FeeSchedule(approved_fixed_minor=5), "b": FeeSchedule(approved_fixed_minor=500)}
    choice = choose((0.80, 0.82), processors=("a", "b"), policy=compiled(fees=fees))
    assert choice.processor == "a"


def test_expected_value_and_cost_follow_the_formula(choose, compiled):
    fees = {"a": FeeSchedule(approved_fixed_minor=10, approved_share=0.01, failed_fixed_minor=4)}
    policy = compiled(fees=fees, margin_share=0.1, chargeback_fee_minor=1500)
    (one,) = choose((0.8,), risk=0.02, processors=("a",), policy=policy).ranking
    expected = 0.8 * (10_000 * 0.1 - 110) - 0.2 * 4 - 0.8 * 0.02 * (10_000 + 1500)
    assert one.expected_value_minor == pytest.approx(expected)
    assert one.cost_minor == round(0.8 * 110 + 0.2 * 4)


def test_equals_keep_the_static_order(choose):
    choice = choose((0.8, 0.8, 0.8))
    assert [one.processor for one in choice.ranking] == ["a", "b", "c"]
    assert "static_order" in codes(choice)


def test_equals_keep_the_static_order_when_margins_are_zero(choose, compiled):
    choice = choose((0.8, 0.8, 0.8), policy=compiled(margin_share=0.0))
    assert [one.processor for one in choice.ranking] == ["a", "b", "c"]


@pytest.mark.parametrize(("margin", "risk"), [(0.0, 0.01), (0.1, 0.4)])
def test_where_an_approval_leaves_nothing_the_likelier_approval_wins(choose, compiled, margin, risk):
    choice = choose(risk=risk, policy=compiled(margin_share=margin))
    assert [one.processor for one in choice.ranking] == ["b", "a", "c"]
    assert choice.action == "approve"
    assert {"highest_approval", "negative_expected_value"} <= set(codes(choice))


def test_a_processor_without_fees_is_not_taken_for_free(choose, compiled):
    fees = {"a": FeeSchedule(approved_fixed_minor=100), "b": FeeSchedule(approved_fixed_minor=50)}
    choice = choose((0.8, 0.8, 0.8), policy=compiled(fees=fees))
    assert [one.processor for one in choice.ranking] == ["b", "a", "c"]
    choice = choose((0.1, 0.1, 0.8), policy=compiled(fees=fees))
    assert "fees_unknown" in codes(choice)


@pytest.mark.parametrize(
    ("risk", "tier"), [(0.0, "LOW"), (0.29, "LOW"), (0.3, "MEDIUM"), (0.69, "MEDIUM"), (0.7, "HIGH"), (1.0, "HIGH")]
)
def test_the_tier_comes_from_the_bundles_thresholds(choose, risk, tier):
    choice = choose(risk=risk)
    assert choice.risk_tier == tier
    assert codes(choice)[0] == "risk_tier"


@pytest.mark.parametrize(
    ("risk", "action", "code"),
    [(0.5, "challenge", "risk_challenge"), (0.8, "review", "risk_review"), (0.95, "decline", "risk_decline")],
)
def test_the_action_follows_risk(choose, risk, action, code):
    choice = choose(risk=risk, initiator="customer")
    assert choice.action == action
    assert code in codes(choice)
    assert choice.three_ds == ("challenge" if action == "challenge" else "none")


def test_an_absent_customer_is_reviewed_and_not_challenged(choose):
    choice = choose(risk=0.6, initiator="merchant")
    assert (choice.action, choice.three_ds) == ("review", "none")
    assert "customer_absent" in codes(choice)


def test_an_authenticated_customer_is_not_challenged_twice(choose):
    choice = choose(risk=0.6, uses_3ds=True)
    assert (choice.action, choice.three_ds) == ("approve", "none")
    assert "already_authenticated" in codes(choice)


def test_a_hopeless_payment_is_declined(choose):
    choice = choose((0.01, 0.015, 0.0))
    assert (choice.action, choice.index, choice.processor) == ("decline", None, None)
    assert "low_approval" in codes(choice)
    assert choice.approval_probability == 0.015


def test_a_declined_payment_still_shows_its_ranking(choose):
    choice = choose(risk=0.99)
    assert len(choice.ranking) == 3
    assert choice.index is None


def test_a_merchants_own_terms_are_kept_to(choose, compiled):
    own = MerchantTerms(
        tier_medium=0.05, tier_high=0.1, challenge_from=0.02, review_from=0.2, decline_from=0.3, minimum_approval=0.95
    )
    policy = compiled(merchants={"m_2": own})
    assert choose(risk=0.15, policy=policy).risk_tier == "LOW"
    assert choose(risk=0.15, policy=policy, merchant_id="m_2").risk_tier == "HIGH"
    assert choose(risk=0.25, policy=policy).action == "approve"
    for risk, approval, action, code in (
        (0.01, 0.96, "approve", "best_expected_value"),
        (0.03, 0.96, "challenge", "risk_challenge"),
        (0.25, 0.96, "review", "risk_review"),
        (0.35, 0.96, "decline", "risk_decline"),
        (0.01, 0.94, "decline", "low_approval"),
    ):
        choice = choose((approval,), risk, ("a",), policy=policy, merchant_id="m_2")
        assert choice.action == action
        assert code in codes(choice)


def test_a_merchants_margin_decides_what_a_fee_is_worth(choose, compiled):
    fees = {"a": FeeSchedule(approved_fixed_minor=5), "b": FeeSchedule(approved_fixed_minor=500)}
    policy = compiled(fees=fees, merchants={"m_2": MerchantTerms(margin_share=0.9)})
    asked = {"approval": (0.80, 0.90), "processors": ("a", "b"), "policy": policy}
    assert choose(**asked).processor == "a"
    assert choose(**asked, merchant_id="m_2").processor == "b"


def test_routing_never_declines_but_still_tells_the_risk(choose):
    choice = choose((0.001, 0.002, 0.0), risk=0.99, kind="routing")
    assert (choice.action, choice.processor, choice.risk_tier, choice.three_ds) == ("approve", "b", "HIGH", "none")


@pytest.mark.parametrize(
    ("kind", "risk", "action"), [("auth", 0.01, "approve"), ("routing", 0.9, "approve"), ("auth", 0.99, "decline")]
)
def test_without_candidates_the_question_is_still_answered(choose, kind, risk, action):
    choice = choose((), processors=(), kind=kind, risk=risk)
    assert (choice.action, choice.index, choice.processor, choice.ranking) == (action, None, None, ())
    assert choice.approval_probability is None
    assert "no_candidate" in codes(choice)


def test_a_candidate_without_an_estimate_or_named_twice_is_not_eligible(choose):
    choice = choose((math.nan, 0.5, 0.9), processors=("a", "b", "b"))
    assert choice.processor == "b"
    assert [(one.processor, one.eligible, one.reasons) for one in choice.ranking] == [
        ("b", True, ()),
        ("a", False, ("no_estimate",)),
        ("b", False, ("repeated",)),
    ]


def test_a_fault_of_the_caller_is_not_answered(choose, compiled, payment, now):
    with pytest.raises(ValueError, match="probability for each of 3 processors, got 1"):
        choose((0.5,))
    with pytest.raises(ValueError, match="each of 1 variants, got 2"):
        compiled().choose(payment(), ("a",), [[0.5], [0.5]], 0.1, kind="auth", now=now)
    with pytest.raises(ValueError, match="a standing for each of 1 processors or none, got 2"):
        compiled().choose(payment(), ("a",), [[0.5]], 0.1, kind="auth", now=now, standings=(Standing(),) * 2)
    with pytest.raises(ValueError, match="risk of 0 to 1, got nan"):
        choose(risk=math.nan)


def test_there_are_five_reasons_at_most(choose, compiled):
    policy = compiled(margin_share=0.0, fees={"z": FeeSchedule(approved_fixed_minor=1)})
    choice = choose(risk=0.6, policy=policy, currency="EUR", issuer_country="DE", uses_3ds=True)
    assert codes(choice) == [
        "risk_tier",
        "already_authenticated",
        "highest_approval",
        "negative_expected_value",
        "fees_unknown",
    ]
    assert all(reason.detail for reason in choice.reasons)


def test_the_policy_version_names_parameters_and_rules(compiled, rules):
    assert compiled(version="shop-3").policy_version == f"shop-3+{rules.fingerprint}"
