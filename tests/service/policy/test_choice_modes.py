"""Ways of sending: with or without an authentication, as a token or a number, each at its own worth."""

import pytest

from contracts.inputs import Standing, Variant
from contracts.terms import Capability, FeeSchedule

BOTH = (Variant(), Variant("three_ds"))
TOKEN = (Variant(), Variant("none", "network_token"))


def codes(choice):
    return [reason.code for reason in choice.reasons]


@pytest.fixture(scope="module")
def choose(compiled, payment, now):
    def ask(rows, risk=0.01, processors=("a",), variants=BOTH, kind="auth", policy=None, standings=(), **changes):
        return (policy or compiled()).choose(
            payment(**changes), processors, rows, risk, kind=kind, now=now, variants=variants, standings=standings
        )

    return ask


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({}, "auth", [("none", None), ("three_ds", None)]),
        ({"initiator": "customer"}, "auth", [("none", None), ("three_ds", None)]),
        ({}, "routing", [("none", None)]),
        ({"initiator": "merchant"}, "auth", [("none", None)]),
        ({"uses_3ds": True}, "auth", [("three_ds", None)]),
        ({"uses_3ds": True}, "routing", [("three_ds", None)]),
        (
            {"credentials": ("network_token", "card_number"), "is_network_token": True},
            "auth",
            [("none", None), ("none", "card_number"), ("three_ds", None), ("three_ds", "card_number")],
        ),
        (
            {"credentials": ("network_token", "card_number")},
            "routing",
            [("none", None), ("none", "network_token")],
        ),
        ({"credentials": ("card_number",)}, "routing", [("none", None)]),
        ({"credentials": ("network_token",)}, "routing", [("none", "network_token")]),
    ],
)
def test_the_ways_worth_an_estimate(compiled, payment, changes, kind, expected):
    assert list(compiled().variants(payment(**changes), kind)) == [Variant(*pair) for pair in expected]


def test_every_way_is_weighed_by_the_formula(choose, compiled):
    fees = {"a": FeeSchedule(approved_fixed_minor=10, approved_share=0.01, failed_fixed_minor=4, three_ds_minor=7)}
    policy = compiled(
        fees=fees,
        margin_share=0.1,
        chargeback_fee_minor=1500,
        challenge_abandonment=0.1,
        challenge_fraud_stopped=0.75,
    )
    (one,) = choose([[0.8], [0.85]], risk=0.02, policy=policy).ranking
    by_way = {mode.authentication: mode for mode in one.modes}
    bare = 0.8 * (1000 - 110 - 0.02 * 11_500) - 0.2 * 4
    back = 0.98 * 0.9 + 0.02 * 0.25
    secure = back * (0.85 * (1000 - 110) - 0.15 * 4) - 7
    assert by_way["none"].expected_value_minor == pytest.approx(bare)
    assert by_way["three_ds"].expected_value_minor == pytest.approx(secure)
    assert (by_way["none"].approval_probability, by_way["three_ds"].approval_probability) == (0.8, 0.85)
    assert one.expected_value_minor == pytest.approx(max(bare, secure))
    assert one.modes[0].expected_value_minor == one.expected_value_minor


def test_a_challenge_is_made_where_it_is_worth_more(choose):
    choice = choose([[0.8], [0.85]], risk=0.03)
    assert (choice.action, choice.three_ds, choice.liability) == ("challenge", "challenge", "issuer")
    assert choice.approval_probability == 0.85
    assert "challenge_pays" in codes(choice)


@pytest.mark.parametrize(
    ("rows", "risk"),
    [
        ([[0.8], [0.85]], 0.001),
        ([[0.8], [0.5]], 0.03),
    ],
)
def test_no_challenge_is_made_where_friction_or_declines_cost_more(choose, rows, risk):
    choice = choose(rows, risk=risk)
    assert (choice.action, choice.three_ds, choice.liability) == ("approve", "none", "merchant")


def test_a_challenge_that_customers_run_from_is_not_made(choose, compiled):
    assert choose([[0.8], [0.85]], risk=0.03, policy=compiled(challenge_abandonment=0.5)).action == "approve"


def test_what_an_authentication_costs_may_tip_it(choose, compiled):
    def policy(fee):
        return compiled(fees={"a": FeeSchedule(three_ds_minor=fee)})

    assert choose([[0.8], [0.85]], risk=0.03, policy=policy(20)).action == "challenge"
    assert choose([[0.8], [0.85]], risk=0.03, policy=policy(400)).action == "approve"


def test_an_authentication_rescues_what_would_leave_nothing(choose):
    choice = choose([[0.8], [0.85]], risk=0.4)
    assert choice.action == "challenge"
    assert choice.ranking[0].expected_value_minor > 0.0
    assert "negative_expected_value" not in codes(choice)


def test_where_nothing_is_left_anyway_the_likelier_approval_counts_and_risk_alone_challenges(choose, compiled):
    policy = compiled(margin_share=0.0)
    assert choose([[0.8], [0.85]], risk=0.3, policy=policy).action == "approve"
    assert choose([[0.5], [0.95]], risk=0.3, policy=policy).action == "challenge"
    assert choose([[0.8], [0.85]], risk=0.5, policy=policy).action == "challenge"


def test_from_the_risk_threshold_on_only_a_challenge_will_do(choose, compiled):
    policy = compiled(margin_share=5.0)
    assert choose([[0.9], [0.3]], risk=0.49, policy=policy).action == "approve"
    choice = choose([[0.9], [0.3]], risk=0.5, policy=policy)
    assert (choice.action, choice.approval_probability) == ("challenge", 0.3)
    assert codes(choice)[1] == "risk_challenge"


def test_a_challenge_that_no_processor_can_make_is_a_review(choose, compiled):
    policy = compiled(capabilities={"a": Capability(three_ds=False)})
    choice = choose([[0.9], [0.9]], risk=0.6, policy=policy)
    assert (choice.action, choice.three_ds, choice.processor) == ("review", "none", "a")
    assert codes(choice)[1] == "three_ds_unsupported"


def test_a_processor_without_3ds_is_weighed_without(choose, compiled):
    policy = compiled(capabilities={"a": Capability(three_ds=False)})
    choice = choose([[0.8, 0.8], [0.85, 0.85]], risk=0.03, processors=("a", "b"), policy=policy)
    assert (choice.processor, choice.action) == ("b", "challenge")
    bare = next(one for one in choice.ranking if one.processor == "a")
    assert (bare.eligible, bare.modes) == (True, ())


def test_an_authenticated_payment_is_out_where_3ds_is_unknown(choose, compiled):
    policy = compiled(capabilities={"a": Capability(three_ds=False)})
    choice = choose([[0.9, 0.8]], processors=("a", "b"), policy=policy, variants=(Variant("three_ds"),), uses_3ds=True)
    assert choice.processor == "b"
    assert choice.ranking[-1].reasons == ("three_ds_unsupported",)


def test_the_better_credential_is_named(choose):
    choice = choose([[0.8], [0.9]], variants=TOKEN)
    assert (choice.credential, choice.approval_probability) == ("network_token", 0.9)
    assert choose([[0.9], [0.8]], variants=TOKEN).credential is None


def test_a_token_is_not_sent_where_tokens_are_not_known(choose, compiled):
    policy = compiled(capabilities={"a": Capability(network_token=False)})
    assert choose([[0.8], [0.9]], variants=TOKEN, policy=policy).credential is None
    choice = choose([[0.9, 0.5]], variants=(Variant(),), processors=("a", "b"), policy=policy, is_network_token=True)
    assert choice.processor == "b"
    assert choice.ranking[-1].reasons == ("token_unsupported",)


def test_a_way_without_an_estimate_is_left_out(choose):
    choice = choose([[float("nan")], [0.8]], risk=0.2)
    assert (choice.action, choice.ranking[0].modes) == ("challenge", ())


def test_recent_outcomes_move_the_estimate_and_faults_cut_it(choose):
    (one,) = choose([[0.8], [0.8]], standings=(Standing(excess=0.25, shift=-1.0),)).ranking
    odds = 4.0 * 2.718281828459045**-1.0
    assert one.approval_probability == pytest.approx(0.75 * odds / (1.0 + odds))


def test_a_slow_processor_loses_a_tie_and_nothing_else(choose):
    slow = (Standing(slowdown=3.1), Standing(slowdown=3.0))
    assert choose([[0.8, 0.8]], processors=("a", "b"), variants=BOTH[:1], standings=slow).processor == "b"
    assert choose([[0.81, 0.8]], processors=("a", "b"), variants=BOTH[:1], standings=slow).processor == "a"


def test_a_processor_in_trouble_does_not_make_a_payment_hopeless(choose):
    choice = choose([[0.9], [0.9]], standings=(Standing(excess=0.99),))
    assert choice.action != "decline"
    assert choice.approval_probability < 0.02


def test_a_challenge_that_promises_next_to_nothing_is_not_asked_for(choose) -> None:
    # Worth a little more with an authentication than without: less than the least gain, for risk is an estimate.
    small, large = choose([[0.9], [0.9]], risk=0.009), choose([[0.9], [0.9]], risk=0.2)
    assert (small.action, large.action) == ("approve", "challenge")
