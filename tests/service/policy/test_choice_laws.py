"""What holds of every choice, whatever is asked."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.inputs import Standing
from contracts.terms import Capability, FeeSchedule, MerchantTerms, Volume
from features.clock import micros
from service.ledger import APPROVED, FAILED, RESERVED, Entry, attempt_id, used
from service.policy.defaults import default_parameters
from tests.service.policy.conftest import NOW

NAMES = ("a", "b", "c", "d", "e")
COUNTRIES = st.sampled_from(["US", "DE", "FR", "GB"])
share = st.floats(0, 1)
margins = st.sampled_from([0.0, 0.02, 0.3])
fees = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        FeeSchedule,
        approved_fixed_minor=st.integers(0, 500),
        approved_share=st.floats(0, 0.05),
        failed_fixed_minor=st.integers(0, 100),
        three_ds_minor=st.integers(0, 30),
    ),
)
abilities = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Capability,
        networks=st.sampled_from([None, ("visa",), ("amex",)]),
        issuer_countries=st.sampled_from([None, ("US", "DE")]),
        network_token=st.booleans(),
        three_ds=st.booleans(),
    ),
)
standing = st.builds(
    Standing,
    health=st.sampled_from(["up", "up", "up", "half_open", "down"]),
    excess=st.floats(0, 0.99),
    slowdown=st.floats(0.2, 10),
    shift=st.floats(-3, 3),
    doubt=st.floats(0, 2),
    month_minor=st.floats(0, 1e7),
)
volumes = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Volume,
        commit_minor=st.integers(0, 10_000_000),
        shortfall_share=st.floats(0, 0.05),
        cap_minor=st.one_of(st.none(), st.integers(0, 10_000_000)),
    ),
)
requests = st.fixed_dictionaries(
    {
        "payment_id": st.text("abc123", min_size=1, max_size=8),
        "amount_minor": st.integers(0, 100_000),
        "initiator": st.sampled_from([None, "customer", "merchant"]),
        "issuer_country": COUNTRIES,
        "merchant_country": st.one_of(st.none(), COUNTRIES),
        "currency": st.sampled_from(["EUR", "GBP", "USD"]),
        "uses_3ds": st.sampled_from([None, False, True]),
        "is_network_token": st.sampled_from([None, False, True]),
        "credentials": st.sampled_from([(), ("network_token", "card_number"), ("card_number",)]),
    }
)
terms = st.builds(
    MerchantTerms,
    margin_share=st.one_of(st.none(), margins),
    challenge_from=st.one_of(st.none(), share),
    review_from=st.one_of(st.none(), share),
    decline_from=st.one_of(st.none(), share),
    minimum_approval=st.one_of(st.none(), share),
    tier_medium=st.one_of(st.none(), st.floats(0, 0.7)),
)


class Case(msgspec.Struct):
    """One question, and everything else that its answer depends on."""

    processors: tuple[str, ...]
    rows: list[list[float]]
    standings: tuple[Standing, ...]
    risk: float
    kind: str
    request: dict
    parameters: dict
    degraded: tuple[str, ...] = ()
    ledger: tuple[Entry, ...] = ()

    def ask(self, compiled, payment, **changes):
        case = msgspec.structs.replace(self, **changes)
        policy = compiled(**case.parameters)
        request = payment(**case.request)
        variants = policy.variants(request, case.kind)
        return policy.choose(
            request,
            case.processors,
            case.rows[: len(variants)],
            case.risk,
            kind=case.kind,
            now=NOW,
            degraded=case.degraded,
            variants=variants,
            standings=case.standings,
            ledger=case.ledger,
        )


@st.composite
def cases(draw, least=0):
    count = draw(st.integers(least, 5))
    row = st.lists(share, min_size=count, max_size=count)
    return Case(
        processors=NAMES[:count],
        rows=draw(st.lists(row, min_size=4, max_size=4)),
        standings=draw(st.one_of(st.just(()), st.tuples(*[standing] * count))),
        risk=draw(share),
        kind=draw(st.sampled_from(["auth", "routing"])),
        request=draw(requests),
        parameters={
            "exploration": draw(share),
            "exploration_floor": draw(st.floats(0, 0.1)),
            "probe_share": draw(st.floats(0, 0.1)),
            "margin_share": draw(margins),
            "fees": draw(fees),
            "capabilities": draw(abilities),
            "merchants": {"m_1": MerchantTerms(volumes=draw(volumes))},
        },
        degraded=draw(st.sampled_from([(), ("features:store_timeout",)])),
    )


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_a_choice_is_one_of_the_candidates_and_its_odds_are_right(compiled, payment, case):
    choice = case.ask(compiled, payment)

    assert choice == case.ask(compiled, payment)
    assert sorted(one.processor for one in choice.ranking) == list(case.processors)
    odds = [one.propensity for one in choice.ranking]
    assert all(0.0 <= one <= 1.0 for one in odds)
    usable = any(odds)
    assert sum(odds) == (1.0 if usable else 0.0)
    if choice.index is not None:
        assert case.processors[choice.index] == choice.processor
        chosen = next(one for one in choice.ranking if one.processor == choice.processor)
        assert chosen.propensity > 0.0
        assert choice.approval_probability == chosen.approval_probability
    else:
        assert choice.action == "decline" or not usable
    assert (choice.liability is None) == (choice.processor is None)
    if choice.action == "challenge":
        assert (choice.three_ds, choice.liability, choice.exemption) == ("challenge", "issuer", None)
    if case.kind == "routing":
        assert (choice.action, choice.three_ds) == ("approve", "none")
    assert len(choice.reasons) <= 5


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_an_ineligible_candidate_is_never_chosen_while_there_is_an_eligible_one(compiled, payment, case):
    choice = case.ask(compiled, payment)
    eligible = {one.processor for one in choice.ranking if one.eligible}
    if eligible:
        assert choice.processor in eligible | {None}
        assert all(one.propensity == 0.0 and one.reasons for one in choice.ranking if not one.eligible)


@settings(max_examples=200, deadline=None)
@given(case=cases(least=2), data=st.data(), rise=st.floats(0.001, 1))
def test_more_approval_is_never_worse_for_a_candidate(compiled, payment, case, data, rise):
    variant = data.draw(st.integers(0, 3))
    place = data.draw(st.integers(0, len(case.processors) - 1))
    raised = [list(row) for row in case.rows]
    raised[variant][place] = min(1.0, raised[variant][place] + rise)
    name = case.processors[place]

    def rank(choice):
        return [one.processor for one in choice.ranking].index(name)

    assert rank(case.ask(compiled, payment, rows=raised)) <= rank(case.ask(compiled, payment))


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_without_standings_a_choice_is_as_with_neutral_ones(compiled, payment, case):
    neutral = (Standing(),) * len(case.processors)
    assert case.ask(compiled, payment, standings=()) == case.ask(compiled, payment, standings=neutral)


@settings(max_examples=100, deadline=None)
@given(case=cases(), own=terms)
def test_a_merchants_terms_do_what_the_same_parameters_would(compiled, payment, case, own):
    volumes = case.parameters["merchants"]["m_1"].volumes
    written = {
        name: value
        for name, value in msgspec.structs.asdict(own).items()
        if value is not None and name not in ("volumes", "acquirer_fraud_basis_points")
    }
    as_terms = {**case.parameters, "merchants": {"m_1": msgspec.structs.replace(own, volumes=volumes)}}
    as_parameters = {**case.parameters, **written}
    assert case.ask(compiled, payment, parameters=as_terms) == case.ask(compiled, payment, parameters=as_parameters)


@settings(max_examples=200, deadline=None)
@given(case=cases(least=1))
def test_within_the_law_a_customers_payment_is_authenticated_or_exempt(compiled, payment, case):
    """The law: both ends where it is one, a customer, not authenticated yet."""
    case.request = {**case.request, "uses_3ds": False, "initiator": "customer", "issuer_country": "DE"}
    case.request["merchant_country"] = "FR"
    case.kind = "auth"
    choice = case.ask(compiled, payment)
    if choice.processor is None or choice.exemption is not None:
        return
    able = case.parameters["capabilities"].get(choice.processor, Capability())
    assert choice.three_ds == "challenge" or not able.three_ds
    if not able.three_ds:
        assert not any(one.eligible for one in choice.ranking)


entries = st.lists(
    st.builds(
        Entry,
        at=st.integers(micros(NOW) - 40 * 86_400_000_000, micros(NOW)),
        attempt=st.sampled_from([attempt_id("pay_1", 1), *range(2, 40)]),
        amount_minor=st.sampled_from([100, 10_000]),
        status=st.sampled_from([RESERVED, FAILED, FAILED, FAILED, APPROVED]),
    ),
    max_size=60,
    unique_by=lambda entry: entry.attempt,
)


@settings(max_examples=150, deadline=None)
@given(ledger=entries, network=st.sampled_from(["visa", "MasterCard", "amex", "jcb"]))
def test_nothing_is_sent_beyond_a_limit(compiled, payment, ledger, network):
    ledger = tuple(sorted(ledger))
    policy, request = compiled(), payment(card_network=network)
    choice = policy.choose(request, ("a",), [[0.9]], 0.01, kind="auth", now=NOW, ledger=ledger)
    limits = policy.attempt_limits(request, NOW)
    own = attempt_id("pay_1", 1)
    spent = any(used(ledger, limit, micros(NOW), own) >= limit.most for limit in limits)
    assert (choice.action == "decline") == spent
    assert choice.reservation == (None if spent or not limits else limits)


def test_the_defaults_explore_within_what_they_say(compiled, payment):
    """The shipped parameters, and five candidates of which nobody knows much."""
    shipped = default_parameters()
    policy = compiled(exploration=shipped.exploration)
    doubtful = (Standing(doubt=0.5),) * 5
    choice = policy.choose(payment(), NAMES, [[0.8] * 5], 0.01, kind="auth", now=NOW, standings=doubtful)
    assert choice.ranking[0].propensity == pytest.approx(1.0 - shipped.exploration)
