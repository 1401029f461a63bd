"""Who is out, by what code, and what happens when all are."""

from datetime import timedelta

import pytest

from contracts.inputs import Standing
from contracts.terms import Capability, MerchantTerms, Outage, Volume
from features.clock import micros
from service.ledger import APPROVED, FAILED, Entry, attempt_id
from service.policy.constraints import HARD, SEVERITY
from tests.service.policy.conftest import NOW

HOUR = timedelta(hours=1)


def codes(choice):
    return [reason.code for reason in choice.reasons]


@pytest.fixture(scope="module")
def choose(compiled, payment, now):
    def ask(
        approval=(0.9, 0.8),
        processors=("a", "b"),
        risk=0.01,
        policy=None,
        kind="auth",
        standings=(),
        ledger=(),
        can=None,
        **changes,
    ):
        policy = policy or compiled(capabilities={"a": can} if can else {})
        return policy.choose(
            payment(**changes), processors, [approval], risk, kind=kind, now=now, standings=standings, ledger=ledger
        )

    return ask


@pytest.mark.parametrize(
    ("can", "change", "code"),
    [
        (Capability(networks=("mastercard",)), {}, "network_unsupported"),
        (Capability(networks=()), {}, "network_unsupported"),
        (Capability(currencies=("EUR",)), {}, "currency_unsupported"),
        (Capability(merchant_countries=("DE",)), {"merchant_country": "US"}, "country_unsupported"),
        (Capability(issuer_countries=("DE",)), {}, "issuer_unsupported"),
        (Capability(outages=(Outage(begins=NOW, ends=NOW + HOUR),)), {}, "scheduled_outage"),
    ],
)
def test_what_a_processor_cannot_do_takes_it_out(choose, can, change, code):
    choice = choose(can=can, **change)
    assert choice.processor == "b"
    last = choice.ranking[-1]
    assert (last.processor, last.eligible, last.reasons, last.propensity) == ("a", False, (code,), 0.0)


@pytest.mark.parametrize(
    ("can", "change"),
    [
        (Capability(), {}),
        (Capability(networks=("Visa",), currencies=("USD",)), {}),
        (Capability(networks=("mc",)), {"card_network": "MasterCard"}),
        (Capability(merchant_countries=("DE",)), {}),
        (Capability(outages=(Outage(begins=NOW - HOUR, ends=NOW),)), {}),
        (Capability(outages=(Outage(begins=NOW + timedelta(seconds=1), ends=NOW + HOUR),)), {}),
    ],
)
def test_what_it_can_does_not(choose, can, change):
    assert choose(can=can, **change).processor == "a"


def test_a_processor_that_is_down_is_out(choose):
    choice = choose(standings=(Standing(health="down"), Standing()))
    assert choice.processor == "b"
    assert choice.ranking[-1].reasons == ("down",)


def test_every_reason_against_a_candidate_is_named(choose):
    can = Capability(currencies=(), issuer_countries=())
    choice = choose(can=can, standings=(Standing(health="down"), Standing()))
    assert set(choice.ranking[-1].reasons) == {"currency_unsupported", "issuer_unsupported", "down"}


def test_when_all_are_down_the_payment_is_sent_all_the_same(choose):
    down = Standing(health="down", excess=0.95)
    choice = choose(standings=(down, down))
    assert (choice.action, choice.processor) == ("approve", "a")
    assert "all_ineligible" in codes(choice)
    assert [(one.eligible, one.reasons, one.propensity) for one in choice.ranking] == [
        (False, ("down",), 1.0),
        (False, ("down",), 0.0),
    ]


def test_of_ineligible_candidates_the_least_bad_is_used(choose):
    choice = choose(can=Capability(issuer_countries=()), standings=(Standing(), Standing(health="down")))
    assert choice.processor == "b"
    assert choice.ranking[0].processor == "b"


def test_a_hard_fact_is_not_overcome(choose):
    can = Capability(networks=())
    choice = choose((0.9,), ("a",), can=can)
    assert (choice.action, choice.processor, choice.index) == ("approve", None, None)
    assert choice.reservation is None
    assert "no_candidate" in codes(choice)
    assert choose(can=can, standings=(Standing(), Standing(health="down"))).processor == "b"


def test_every_code_is_either_hard_or_has_a_severity():
    assert not HARD & set(SEVERITY)
    assert len(set(SEVERITY.values())) == len(SEVERITY)


def volumes(**by_processor):
    return {"m_1": MerchantTerms(volumes=by_processor)}


def test_a_cap_that_is_reached_takes_a_processor_out(choose, compiled):
    policy = compiled(merchants=volumes(a=Volume(cap_minor=50_000)))

    def month(spent):
        return choose(policy=policy, standings=(Standing(month_minor=spent), Standing()))

    assert month(49_999.0).processor == "a"
    assert month(50_000.0).processor == "b"
    assert month(50_000.0).ranking[-1].reasons == ("cap_reached",)
    assert choose(policy=policy).processor == "a"
    assert choose(policy=compiled(merchants=volumes(a=Volume(cap_minor=0)))).processor == "b"


def test_below_a_promise_an_approval_saves_its_share(choose, compiled):
    policy = compiled(merchants=volumes(b=Volume(commit_minor=1_000_000, shortfall_share=0.05)))

    def value(spent, processor="b"):
        choice = choose(policy=policy, standings=(Standing(), Standing(month_minor=spent)))
        return next(one for one in choice.ranking if one.processor == processor).expected_value_minor

    plain = choose().ranking[1].expected_value_minor
    assert value(0.0) == pytest.approx(plain + 0.8 * 0.05 * 10_000)
    assert value(996_000.0) == pytest.approx(plain + 0.8 * 0.05 * 4_000)
    assert value(1_000_000.0) == pytest.approx(plain)
    assert choose(policy=policy).processor == "b"
    assert choose(policy=policy, merchant_id="m_2").processor == "a"


def attempts(count, now=NOW, **changes):
    return tuple(
        Entry(micros(now) - place * 1_000_000, place + 1, 10_000, FAILED)._replace(**changes) for place in range(count)
    )


@pytest.mark.parametrize("kind", ["auth", "routing"])
def test_a_used_up_limit_declines_whatever_the_question(choose, kind):
    choice = choose(kind=kind, ledger=attempts(20))
    assert (choice.action, choice.processor, choice.index, choice.reservation) == ("decline", None, None, None)
    detail = next(reason.detail for reason in choice.reasons if reason.code == "attempt_limit")
    assert "20 of 20 attempts" in detail
    assert "visa.reattempts_20" in detail
    assert codes(choice)[1] == "attempt_limit"


def test_with_one_attempt_left_it_is_sent_and_its_reservation_asked_for(choose, compiled, payment, now):
    choice = choose(ledger=attempts(19))
    assert choice.action == "approve"
    assert choice.reservation == compiled().attempt_limits(payment(), now)
    assert [limit.most for limit in choice.reservation] == [20]


def test_the_attempt_itself_is_not_counted(choose):
    own = Entry(micros(NOW), attempt_id("pay_1", 1), 10_000, FAILED)
    assert choose(ledger=(*attempts(19), own)).action == "approve"


def test_an_approval_resets_the_limit_where_the_network_says_so(choose):
    approved = attempts(1, status=APPROVED)
    assert choose(ledger=(*attempts(20, NOW - HOUR), *approved)).action == "approve"
    twenty = {"card_network": "mastercard", "ledger": (*attempts(10, NOW - HOUR), *approved)}
    assert choose(**twenty).action == "decline"


def test_a_network_without_a_limit_reserves_nothing(choose):
    choice = choose(card_network="jcb", ledger=attempts(100))
    assert (choice.action, choice.reservation) == ("approve", None)


def test_a_declined_payment_reserves_nothing(choose):
    assert choose(risk=0.99).reservation is None


def test_limits_of_the_same_amount_carry_the_amount(compiled, payment, now, override):
    policy = compiled(
        with_rules=override("""
[[limit]]
id = "own.same_amount"
network = "jcb"
limit = 3
window_seconds = 3600
same_amount = true
initiator = "merchant"
effective_from = 2020-01-01
source = "test"
confidence = "S"
""")
    )
    assert policy.attempt_limits(payment(card_network="jcb"), now) == ()
    (limit,) = policy.attempt_limits(payment(card_network="jcb", initiator="merchant", amount_minor=77), now)
    assert (limit.most, limit.amount_minor, limit.resets) == (3, 77, False)
