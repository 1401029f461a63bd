"""Who must authenticate, what exempts from it, and who is liable then. The cases are those of the sources in rules/sca.toml."""

from datetime import UTC, datetime

import pytest

from contracts.inputs import Variant
from contracts.terms import Capability, MerchantTerms
from features.clock import micros
from service.ledger import APPROVED, FAILED, RESERVED, Entry, attempt_id

BOTH = (Variant(), Variant("three_ds"))
EURO = {"currency": "EUR", "issuer_country": "DE", "merchant_country": "FR", "amount_minor": 2_999}
LARGE = {**EURO, "amount_minor": 20_000}


def codes(choice):
    return [reason.code for reason in choice.reasons]


def said(choice, code):
    return next(reason.detail for reason in choice.reasons if reason.code == code)


@pytest.fixture(scope="module")
def choose(compiled, payment, now):
    def ask(bare=0.9, secure=0.9, risk=0.001, kind="auth", policy=None, ledger=(), at=now, **changes):
        request = payment(**changes)
        policy = policy or compiled()
        variants = policy.variants(request, kind)
        rows = [[bare] if variant.authentication == "none" else [secure] for variant in variants]
        return policy.choose(request, ("a",), rows, risk, kind=kind, now=at, variants=variants, ledger=ledger)

    return ask


@pytest.fixture(scope="module")
def low_fraud(compiled):
    """A policy for a merchant whose acquirer has a fraud rate of so many basis points."""
    return lambda rate: compiled(merchants={"m_1": MerchantTerms(acquirer_fraud_basis_points=rate)})


GB = {"currency": "GBP", "issuer_country": "GB", "merchant_country": "GB"}


@pytest.mark.parametrize(
    ("change", "action", "exemption", "rule"),
    [
        # EU RTS 2018/389, article 16: up to 30 EUR, kept strictly below; UK-RTS: 25 GBP.
        ({"amount_minor": 2_999}, "approve", "low_value", "sca.low_value_eur"),
        ({"amount_minor": 3_000}, "challenge", None, "sca.required"),
        ({**GB, "amount_minor": 2_499}, "approve", "low_value", "sca.low_value_gbp"),
        ({**GB, "amount_minor": 2_500}, "challenge", None, "sca.required"),
        # No threshold is stated in other currencies.
        ({"currency": "SEK", "issuer_country": "SE", "amount_minor": 100}, "challenge", None, "sca.required"),
        # EBA Q&A 2018_4233: one leg out.
        ({"issuer_country": "US", "amount_minor": 20_000}, "approve", "one_leg_out", "sca.one_leg_out"),
        ({"merchant_country": "US", "amount_minor": 20_000}, "approve", "one_leg_out", "sca.one_leg_out"),
        ({"merchant_country": "US", "initiator": "merchant"}, "approve", "one_leg_out", "sca.one_leg_out"),
        # EBA Q&A 2018_4031: merchant initiated.
        ({"initiator": "merchant", "amount_minor": 20_000}, "approve", "merchant_initiated", "sca.merchant_initiated"),
        # A merchant's country that is not known is taken to be in scope.
        ({"merchant_country": None, "amount_minor": 20_000}, "challenge", None, "sca.required"),
        ({"merchant_country": None, "amount_minor": 2_999}, "approve", "low_value", "sca.low_value_eur"),
    ],
)
def test_what_the_law_asks(choose, change, action, exemption, rule):
    choice = choose(**{**EURO, **change})
    assert (choice.action, choice.exemption) == (action, exemption)
    assert choice.three_ds == ("challenge" if action == "challenge" else "none")
    assert choice.liability == ("issuer" if action == "challenge" else "merchant")
    assert any(rule in reason.detail for reason in choice.reasons)


@pytest.mark.parametrize(
    "change",
    [
        {"issuer_country": "US", "merchant_country": "US", "currency": "USD"},
        {"issuer_country": "US", "merchant_country": None},
        {"issuer_country": "US", "merchant_country": "US", "initiator": "merchant"},
    ],
)
def test_where_authentication_is_no_law_nothing_is_exempt_from_it(choose, change):
    choice = choose(**{**LARGE, **change})
    assert (choice.action, choice.exemption, choice.liability) == ("approve", None, "merchant")


def test_before_the_law_there_was_no_duty(choose):
    assert choose(**LARGE, at=datetime(2019, 9, 13, 23, tzinfo=UTC)).action == "approve"
    assert choose(**LARGE, at=datetime(2019, 9, 14, 1, tzinfo=UTC)).action == "challenge"


def test_an_authenticated_payment_needs_no_exemption_and_is_the_issuers_risk(choose):
    choice = choose(**LARGE, uses_3ds=True)
    assert (choice.action, choice.three_ds, choice.exemption, choice.liability) == ("approve", "none", None, "issuer")


@pytest.mark.parametrize(
    ("currency", "country", "rate", "amount", "exempt"),
    [
        # EU RTS 2018/389, annex: 13, 6 and 1 basis points for up to 100, 250 and 500 EUR.
        ("EUR", "FR", 13.0, 10_000, True),
        ("EUR", "FR", 13.0, 10_001, False),
        ("EUR", "FR", 13.1, 10_000, False),
        ("EUR", "FR", 6.0, 25_000, True),
        ("EUR", "FR", 6.0, 25_001, False),
        ("EUR", "FR", 6.1, 25_000, False),
        ("EUR", "FR", 1.0, 50_000, True),
        ("EUR", "FR", 1.0, 50_001, False),
        ("EUR", "FR", 1.1, 50_000, False),
        # FCA Handbook SUP 15 Annex 12D: 85, 220 and 440 GBP.
        ("GBP", "GB", 13.0, 8_500, True),
        ("GBP", "GB", 13.0, 8_501, False),
        ("GBP", "GB", 6.0, 22_000, True),
        ("GBP", "GB", 6.0, 22_001, False),
        ("GBP", "GB", 1.0, 44_000, True),
        ("GBP", "GB", 0.5, 44_001, False),
        # No band is stated in other currencies.
        ("SEK", "SE", 0.5, 100, False),
    ],
)
def test_transaction_risk_analysis_by_fraud_rate_and_amount(choose, low_fraud, currency, country, rate, amount, exempt):
    choice = choose(
        policy=low_fraud(rate), currency=currency, issuer_country=country, merchant_country=country, amount_minor=amount
    )
    assert choice.exemption == ("transaction_risk_analysis" if exempt else None)
    assert choice.action == ("approve" if exempt else "challenge")
    if exempt:
        assert "sca.risk_analysis" in said(choice, "transaction_risk_analysis")


def test_risk_analysis_needs_a_known_rate_and_a_payment_of_low_risk(choose, compiled, low_fraud):
    assert choose(**LARGE).exemption is None
    # A large margin, so that the exemption would be worth taking.
    rich = MerchantTerms(acquirer_fraud_basis_points=1.0, margin_share=5.0)
    policy = compiled(merchants={"m_1": rich})
    assert choose(policy=policy, risk=0.29, **LARGE).exemption == "transaction_risk_analysis"
    assert choose(policy=policy, risk=0.31, **LARGE).exemption is None
    assert choose(policy=low_fraud(1.0), merchant_id="m_2", **LARGE).exemption is None


def test_an_exemption_that_is_worth_less_than_an_authentication_is_not_used(choose, low_fraud):
    choice = choose(policy=low_fraud(1.0), risk=0.2, **LARGE)
    assert (choice.action, choice.exemption, choice.liability) == ("challenge", None, "issuer")
    assert "challenge_pays" in codes(choice)


def entries(now, *amounts, status=APPROVED):
    return tuple(
        Entry(micros(now) - (len(amounts) - place) * 1_000_000, 100 + place, amount, status)
        for place, amount in enumerate(amounts)
    )


@pytest.mark.parametrize(
    ("before", "exempt"),
    [
        # EU RTS 2018/389, article 16(b) and (c): 100 EUR in sum, or five payments, since the last authentication.
        ((1_000,) * 4, True),
        ((1_000,) * 5, False),
        ((2_500, 2_500, 2_001), True),
        ((2_500, 2_500, 2_002), False),
        # One that was not of low value was authenticated, or exempt by its own right.
        ((1_000, 1_000, 1_000, 5_000, 1_000, 1_000), True),
    ],
)
def test_low_value_is_not_claimed_when_the_counters_are_known_to_be_used_up(choose, now, before, exempt):
    choice = choose(ledger=entries(now, *before), **EURO)
    assert choice.exemption == ("low_value" if exempt else None)
    if not exempt:
        assert choice.action == "challenge"
        assert "sca.low_value_counter_eur" in said(choice, "low_value_used_up")


def test_the_counters_in_pounds(choose, now):
    pounds = {**GB, "amount_minor": 2_000}
    assert choose(ledger=entries(now, 2_400, 2_000, 2_100), **pounds).exemption == "low_value"
    assert choose(ledger=entries(now, 2_400, 2_000, 2_101), **pounds).exemption is None


def test_failed_attempts_do_not_count_and_open_ones_do(choose, now):
    assert choose(ledger=entries(now, *[1_000] * 6, status=FAILED), **EURO).exemption == "low_value"
    assert choose(ledger=entries(now, *[1_000] * 6, status=RESERVED), **EURO).exemption is None


def test_the_attempt_itself_does_not_count(choose, now):
    own = Entry(micros(now), attempt_id("pay_1", 1), 1_000, RESERVED)
    assert choose(ledger=(*entries(now, *[1_000] * 4), own), **EURO).exemption == "low_value"


def test_with_the_counters_used_up_risk_analysis_may_still_exempt(choose, low_fraud, now):
    choice = choose(policy=low_fraud(5.0), ledger=entries(now, *[1_000] * 6), **EURO)
    assert choice.exemption == "transaction_risk_analysis"


def test_the_bundle_may_lower_the_low_value_threshold_but_not_raise_it(choose, compiled):
    assert choose(policy=compiled(low_value_minor={"EUR": 1_000}), **EURO).exemption is None
    assert choose(policy=compiled(low_value_minor={"EUR": 0}), **EURO).exemption is None
    large = {**EURO, "amount_minor": 4_000}
    assert choose(policy=compiled(low_value_minor={"EUR": 9_000}), **large).exemption is None
    assert choose(policy=compiled(low_value_minor={}), **EURO).exemption == "low_value"


def test_the_bundle_may_state_a_threshold_where_the_rules_have_none(choose, compiled):
    policy = compiled(low_value_minor={"SEK": 30_000})
    crowns = {**EURO, "currency": "SEK", "issuer_country": "SE"}
    choice = choose(policy=policy, **crowns)
    assert choice.exemption == "low_value"
    assert "policy parameters" in said(choice, "low_value_exemption")
    assert choose(policy=policy, **{**crowns, "issuer_country": "US", "merchant_country": "US"}).exemption is None


@pytest.mark.parametrize(
    ("switched_off", "change", "action"),
    [
        ("sca.required", {}, "approve"),
        ("sca.one_leg_out", {"merchant_country": "US"}, "challenge"),
        ("sca.merchant_initiated", {"initiator": "merchant"}, "approve"),
    ],
)
def test_a_shop_reads_the_law_otherwise_by_a_rule(choose, compiled, override, switched_off, change, action):
    rules = override(f"""
[[authentication]]
id = "{switched_off}"
ruling = "{switched_off.removeprefix("sca.")}"
region = "sca"
effective_from = 2019-09-14
source = "the shop's own reading"
confidence = "S"
enabled = false
""")
    choice = choose(policy=compiled(with_rules=rules), **{**LARGE, **change})
    assert (choice.action, choice.exemption) == (action, None)


def test_where_authentication_is_due_a_missing_estimate_does_not_lift_the_duty(compiled, payment, now):
    choice = compiled().choose(payment(**LARGE), ("a",), [[0.8]], 0.01, kind="auth", now=now)
    assert (choice.action, choice.three_ds, choice.approval_probability) == ("challenge", "challenge", 0.8)


def test_a_processor_without_3ds_is_out_where_authentication_is_due(compiled, payment, now):
    policy = compiled(capabilities={"a": Capability(three_ds=False)})
    rows = [[0.95, 0.6], [0.95, 0.6]]
    choice = policy.choose(payment(**LARGE), ("a", "b"), rows, 0.01, kind="auth", now=now, variants=BOTH)
    assert (choice.action, choice.processor) == ("challenge", "b")
    assert [(one.processor, one.eligible, one.reasons) for one in choice.ranking] == [
        ("b", True, ()),
        ("a", False, ("three_ds_unsupported",)),
    ]


def test_where_no_processor_can_authenticate_the_payment_is_sent_as_asked_and_says_so(choose, compiled):
    policy = compiled(capabilities={"a": Capability(three_ds=False)})
    choice = choose(policy=policy, **LARGE)
    assert (choice.action, choice.processor, choice.three_ds, choice.liability) == ("approve", "a", "none", "merchant")
    assert {"all_ineligible", "sca_required", "sent_as_asked"} <= set(codes(choice))


def test_routing_sends_as_asked_and_says_what_the_law_asks(choose):
    choice = choose(kind="routing", **LARGE)
    assert (choice.action, choice.three_ds, choice.exemption) == ("approve", "none", None)
    assert {"sca_required", "sent_as_asked"} <= set(codes(choice))
    assert choose(kind="routing", **EURO).exemption == "low_value"


def test_a_payment_of_high_risk_is_reviewed_and_goes_with_an_authentication_where_one_is_due(choose):
    choice = choose(risk=0.85, **LARGE)
    assert (choice.action, choice.three_ds, choice.liability) == ("review", "challenge", "issuer")


def test_nothing_is_liable_for_what_is_not_sent(choose):
    choice = choose(risk=0.99, **LARGE)
    assert (choice.action, choice.liability, choice.exemption, choice.three_ds) == ("decline", None, None, "none")
