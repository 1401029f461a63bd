"""What counts towards a limit: the ledger and the question together, no attempt twice, and when there is room again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.payment import Decline, PreviousAttempt, RetryRequest
from features.clock import DAY, HOUR, MINUTE, SECOND, micros
from service.ledger import APPROVED, FAILED, RESERVED, Entry, Limit, attempt_id, pack, reserve, used
from service.policy.limits import attempt_limits, attempts_of, period_at, periods
from service.policy.rulebook import GRACE_US

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = micros(NOW)
DECLINED, FOLLOWING = attempt_id("pay_1", 1), attempt_id("pay_1", 2)


def other(number: int, ago: int, status: int = FAILED, amount: int = 10_000) -> Entry:
    return Entry(AT - ago, attempt_id(f"other_{number}", 1), amount, status)


def previous(ago: int, status: str = "declined") -> PreviousAttempt:
    return PreviousAttempt(processor="a", status=status, occurred_at=NOW - timedelta(microseconds=ago))


def moments(request: RetryRequest, ledger: tuple[Entry, ...] = ()) -> list[int]:
    """How long ago each counted attempt was, microseconds, oldest first."""
    attempts, _ = attempts_of(request, DECLINED, FOLLOWING, ledger, AT)
    return [AT - entry.at for entry in attempts]


def codes(answer: Any) -> list[str]:
    return [reason.code for reason in answer.reasons]


def test_the_declined_attempt_is_known_by_its_id_and_counts_once_from_the_later_moment(declined):
    request = declined("51", at=NOW - timedelta(hours=2))
    assert moments(request) == [2 * HOUR]
    earlier = Entry(AT - 3 * HOUR, DECLINED, 10_000, RESERVED)
    assert moments(request, (earlier,)) == [2 * HOUR]
    assert moments(request, (earlier._replace(at=AT - HOUR),)) == [HOUR]


def test_the_retrys_own_reservation_is_not_counted(declined):
    assert moments(declined("51"), (Entry(AT + HOUR, FOLLOWING, 10_000),)) == [0]


def test_an_attempt_of_the_question_is_the_ledgers_within_seconds_and_one_more_otherwise(declined):
    ledger = (other(1, 3 * HOUR), other(2, 2 * HOUR))
    same = declined("51", previous_attempts=(previous(3 * HOUR + 4 * SECOND), previous(2 * HOUR - 5 * SECOND)))
    assert moments(same, ledger) == [3 * HOUR, 2 * HOUR, 0]
    more = declined("51", previous_attempts=(previous(3 * HOUR + 6 * SECOND),))
    assert moments(more, ledger) == [3 * HOUR + 6 * SECOND, 3 * HOUR, 2 * HOUR, 0]


def test_two_attempts_of_the_question_are_not_one_of_the_ledgers(declined):
    request = declined("51", previous_attempts=(previous(HOUR), previous(HOUR + SECOND)))
    assert len(moments(request, (other(1, HOUR),))) == 3


def test_an_approval_that_only_the_question_names_resets_where_the_ledger_knows_nothing(declined, compiled):
    policy = compiled()
    named = (previous(3 * HOUR), previous(2 * HOUR, "approved"))
    assert policy.permit(declined("51", previous_attempts=named), NOW).quota.used == 1
    assert policy.permit(declined("51", previous_attempts=named), NOW, (other(1, DAY),)).quota.used == 3


def test_a_failed_attempt_is_not_matched_with_an_approval(declined):
    assert len(moments(declined("51", previous_attempts=(previous(HOUR),)), (other(1, HOUR, APPROVED),))) == 3


def test_what_others_have_used_counts(declined, compiled):
    ledger = tuple(other(number, number * HOUR) for number in range(1, 8))
    permit = compiled().permit(declined("51", card_network="mastercard"), NOW, ledger)
    assert (permit.quota.used, permit.quota.limit) == (8, 10)
    assert permit.outside == 1


def test_the_month_of_mastercard_counts_one_amount(declined, compiled):
    ledger = tuple(other(number, number * 20 * HOUR, amount=500) for number in range(2, 36))
    permit = compiled().permit(declined("51", card_network="mastercard"), NOW, ledger)
    assert (permit.quota.used, permit.quota.limit) == (1, 10)
    same = tuple(entry._replace(amount_minor=10_000) for entry in ledger)
    permit = compiled().permit(declined("51", card_network="mastercard"), NOW, same)
    assert (permit.quota.used, permit.quota.limit) == (35, 35)


def test_brazil_stops_at_seven(declined, compiled):
    ledger = tuple(other(number, number * 25 * HOUR) for number in range(1, 7))
    asked = {"card_network": "mastercard", "initiator": "merchant"}
    abroad = compiled().permit(declined("51", **asked), NOW, ledger)
    at_home = compiled().permit(declined("51", issuer_country="BR", **asked), NOW, ledger)
    assert (abroad.quota.limit, at_home.quota.limit, at_home.quota.used) == (10, 7, 7)
    assert at_home.rules[-1].id == "mastercard.attempts_7_a_month_in_brazil"
    assert codes(at_home) == ["quota_exhausted", "class_later"]


def test_a_used_up_quota_is_waited_for_and_the_answer_says_so(declined, compiled):
    ledger = tuple(other(number, 20 * HOUR + number * MINUTE) for number in range(9, 0, -1))
    request = declined("51", card_network="mastercard", initiator="merchant")
    policy = compiled()
    permit = policy.permit(request, NOW, ledger)
    room = (4 * HOUR - 9 * MINUTE + GRACE_US) // SECOND
    assert (permit.verdict, permit.earliest_seconds, permit.same_processor_seconds) == (None, room, room)
    assert (permit.quota.used, permit.quota.limit) == (10, 10)
    assert codes(permit) == ["class_later", "quota_wait"]
    assert policy.waits(permit)[:2] == (room, 21_600)
    choice = policy.plan(request, permit, ("a",), policy.waits(permit), [[0.5]] * len(policy.waits(permit)), NOW)
    assert choice.wait_seconds == room
    assert (choice.quota.used, choice.quota.limit) == (9, 10)
    at, limits = choice.reservation
    assert at == AT + room * SECOND
    known = pack(ledger)
    assert reserve(known, Entry(at - SECOND, FOLLOWING, 10_000), limits) is None
    assert reserve(known, Entry(at, FOLLOWING, 10_000), limits) is not None


def test_a_customer_is_not_kept_waiting_for_room(declined, compiled):
    ledger = tuple(other(number, 20 * HOUR + number * MINUTE) for number in range(9, 0, -1))
    for code in ("91", "54"):
        permit = compiled().permit(declined(code, card_network="mastercard", initiator="customer"), NOW, ledger)
        assert (permit.verdict, codes(permit)[0]) == ("stop", "quota_exhausted")


def test_nobody_waits_longer_for_room_than_the_longest_wait_that_is_weighed(declined, compiled):
    ledger = tuple(other(number, 15 * DAY + number * MINUTE) for number in range(19, 0, -1))
    request = declined("51", initiator="merchant")
    assert compiled().permit(request, NOW, ledger).verdict == "stop"
    longer = compiled(retry={"waits_seconds": (0, 16 * 86_400)})
    assert longer.permit(request, NOW, ledger).verdict is None


def test_doubt_about_an_outcome_is_verified_even_when_the_quota_is_used_up(declined, compiled):
    ledger = tuple(other(number, number * HOUR) for number in range(19, 0, -1))
    assert compiled().permit(declined(reason="timeout"), NOW, ledger).verdict == "verify_first"


@pytest.mark.parametrize(
    ("entry", "verdict", "code"),
    [
        (Entry(AT - HOUR, DECLINED, 10_000, APPROVED), "verify_first", "approved_already"),
        (Entry(AT - HOUR, FOLLOWING, 10_000, APPROVED), "verify_first", "approved_already"),
        (Entry(AT - HOUR, FOLLOWING, 10_000, FAILED), "stop", "superseded"),
        (Entry(AT - HOUR, FOLLOWING, 10_000, RESERVED), "verify_first", "retry_unresolved"),
    ],
)
def test_what_the_ledger_knows_of_this_payment_comes_first(declined, compiled, entry, verdict, code):
    permit = compiled().permit(declined("51"), NOW, (entry,))
    assert (permit.verdict, codes(permit)[0]) == (verdict, code)
    assert not permit.cascade


def test_a_plan_that_there_is_stands_and_is_reserved_where_it_was(declined, compiled):
    policy = compiled()
    request = declined("51", initiator="merchant", at=NOW - timedelta(days=2))
    planned = Entry(AT + 30 * HOUR, FOLLOWING, 10_000, RESERVED)
    ledger = (*[other(number, number * HOUR) for number in range(18, 0, -1)], planned)
    permit = policy.permit(request, NOW, ledger)
    assert policy.waits(permit) == (108_000,)
    choice = policy.plan(request, permit, ("a", "b"), (108_000,), [[0.4, 0.5]], NOW)
    assert (choice.verdict, choice.processor, choice.reservation[0]) == ("retry_later", "b", planned.at)
    assert "retry_planned" in codes(choice)
    assert reserve(pack(ledger), planned, choice.reservation[1]) == pack(ledger)


def test_a_plan_that_is_sooner_than_an_advised_wait_is_put_off(declined, compiled):
    planned = Entry(AT + HOUR, FOLLOWING, 10_000, RESERVED)
    permit = compiled().permit(declined("51", "25", card_network="mastercard", initiator="merchant"), NOW, (planned,))
    assert (permit.verdict, permit.earliest_seconds, permit.latest_seconds) == (None, 86_400, 86_400)


def test_a_planned_retry_does_not_change_what_a_decline_forbids(declined, compiled):
    planned = Entry(AT + HOUR, FOLLOWING, 10_000, RESERVED)
    assert codes(compiled().permit(declined("41"), NOW, (planned,)))[0] == "class_never"


def test_the_horizon_counts_from_the_first_attempt_that_the_ledger_knows(declined, compiled):
    first = Entry(AT - 28 * DAY, attempt_id("pay_1", 1), 10_000, FAILED)
    request = declined("51", attempt=4)
    permit = compiled().permit(request, NOW, (first,))
    assert permit.latest_seconds == 2 * 86_400 - 600
    gone = compiled().permit(request, NOW, (first._replace(at=AT - 30 * DAY),))
    assert (gone.verdict, codes(gone)[1]) == ("stop", "beyond_horizon")


def test_a_limit_that_changes_before_the_retry_is_that_of_the_retrys_day(compiled, declined, override):
    own = override("""
[[limit]]
id = "own.three_from_the_third"
network = "visa"
limit = 3
window_seconds = 1036800
effective_from = 2026-03-03
source = "test"
confidence = "S"
""")
    policy = compiled(with_rules=own)
    request = declined("51", initiator="merchant")
    permit = policy.permit(request, NOW, (other(1, HOUR), other(2, 2 * HOUR)))
    waits = policy.waits(permit)
    rising = [[0.1 + 0.05 * place] for place in range(len(waits))]
    choice = policy.plan(request, permit, ("a",), waits, rising, NOW)
    # Twelve days and the grace must pass before the new limit has room: of the waits under it none has.
    assert choice.wait_seconds == 86_400
    late = policy.plan(request, permit, ("a",), (*waits[:2], 1_031_000), [[0.1], [0.1], [0.9]], NOW)
    assert (late.wait_seconds, late.rules[-1].id) == (1_031_000, "own.three_from_the_third")
    assert [limit.most for limit in late.reservation[1]] == [19, 2]


def test_limits_to_reserve_under_are_lower_by_what_only_the_question_knows(declined, compiled):
    policy = compiled()
    request = declined("51", initiator="merchant", previous_attempts=(previous(5 * HOUR), previous(4 * HOUR)))
    ledger = (other(1, HOUR), other(2, 2 * HOUR))
    permit = policy.permit(request, NOW, ledger)
    choice = policy.plan(request, permit, ("a",), (3600,), [[0.5]], NOW)
    assert (choice.quota.used, choice.quota.limit) == (5, 20)
    (limit,) = choice.reservation[1]
    # The ledger counts two, the policy five.
    assert limit.most == 17
    full = tuple(other(number, number * HOUR) for number in range(1, 18))
    entry = Entry(choice.reservation[0], FOLLOWING, 10_000)
    assert reserve(pack(full), entry, (limit,)) is None
    assert reserve(pack(full[:16]), entry, (limit,)) is not None


def test_a_changed_ledger_is_counted_anew_by_the_plan(declined, compiled):
    policy = compiled()
    request = declined("91", initiator="customer", card_network="mastercard")
    permit = policy.permit(request, NOW)
    taken = tuple(other(number, number * MINUTE) for number in range(9, 0, -1))
    assert policy.plan(request, permit, ("b",), (0,), [[0.5]], NOW).should_retry
    choice = policy.plan(request, permit, ("b",), (0,), [[0.5]], NOW, ledger=taken)
    assert (choice.verdict, codes(choice)[0]) == ("stop", "quota_exhausted")


def test_attempt_limits_are_those_in_force_with_the_payments_amount(payment, rules, compiled):
    request = payment(card_network="MC", issuer_country="BR", amount_minor=700)
    limits = attempt_limits(rules, request, NOW)
    day = Limit(DAY + GRACE_US, 10)
    assert limits == (day, Limit(30 * DAY + GRACE_US, 35, 700), Limit(30 * DAY + GRACE_US, 7, 700))
    assert compiled().attempt_limits(request, NOW) == limits
    assert attempt_limits(rules, payment(card_network="jcb"), NOW) == ()
    assert attempt_limits(rules, payment(), NOW - timedelta(days=365))[0].most == 15


entries_of = st.lists(
    st.builds(
        Entry,
        st.integers(AT - 40 * DAY, AT + 5 * DAY),
        st.integers(1, 1000),
        st.sampled_from([10_000, 500]),
        st.sampled_from([RESERVED, FAILED, APPROVED]),
    ),
    max_size=60,
    unique_by=lambda entry: entry.attempt,
)


@settings(max_examples=200, deadline=None)
@given(network=st.sampled_from(["visa", "mastercard"]), country=st.sampled_from(["US", "BR"]), known=entries_of,
       wait=st.integers(0, 40 * 86_400))  # fmt: skip
def test_what_is_left_is_never_more_than_the_ledger_says_and_room_comes_when_it_is_said_to(
    rules, network, country, known, wait
):
    request = RetryRequest(
        payment_id="pay_1",
        merchant_id="m",
        amount_minor=10_000,
        currency="USD",
        card_token="t",
        card_network=network,
        issuer_country=country,
        decline=Decline(processor="a"),
    )
    attempts = tuple(sorted(known))
    (period,) = periods((), rules.at(NOW.date()), request, attempts, AT)
    moment = AT + wait * SECOND
    approvals_to_come = any(entry.status == APPROVED and entry.at > AT for entry in attempts)
    for budget in period.budgets:
        assert budget.left(AT) == budget.limit.most - used(attempts, budget.limit, AT)
        left = budget.limit.most - used(attempts, budget.limit, moment)
        assert budget.left(moment) <= left
        if not approvals_to_come:
            assert budget.left(moment) == left
        room = budget.room_at()
        assert budget.left(max(AT, room)) > 0
        if room > AT:
            assert budget.left(room - 1) <= 0
    assert period_at((period,), moment) is period
    tightest = period.tightest(moment)
    assert tightest.left(moment) == min(budget.left(moment) for budget in period.budgets)
    assert tightest.quota(moment).used == tightest.limit.most - tightest.left(moment)
