from datetime import timedelta

import pytest

from contracts.payment import PreviousAttempt
from contracts.terms import FeeSchedule

P = ("a", "b", "c")


def codes(answer):
    return [reason.code for reason in answer.reasons]


def ids(answer):
    return [rule.id for rule in answer.rules]


@pytest.fixture(scope="module")
def attempts(now):
    def failed(count, every=timedelta(hours=1), status="declined"):
        return tuple(
            PreviousAttempt(processor="a", status=status, occurred_at=now - every * (number + 1))
            for number in range(count)
        )

    return failed


@pytest.fixture(scope="module")
def retry(compiled, now):
    """Permit, score every wait alike, and plan."""

    def ask(request, probability=0.4, processors=P, policy=None):
        policy = policy or compiled()
        permit = policy.permit(request, now)
        waits = policy.waits(permit)
        row = [probability] * len(processors) if isinstance(probability, float) else probability
        return policy.plan(request, permit, processors, waits, [row] * len(waits), now)

    return ask


@pytest.mark.parametrize(
    ("network", "code", "customer", "merchant"),
    [
        ("visa", "41", "stop", "stop"),
        ("visa", "R1", "stop", "stop"),
        ("visa", "54", "fix_data", "stop"),
        ("visa", "N7", "fix_data", "stop"),
        ("visa", "1A", "authenticate", "stop"),
        ("visa", "51", "retry_later", "retry_later"),
        ("visa", "05", "retry_later", "retry_later"),
        ("visa", "91", "retry_now", "retry_now"),
        ("discover", "06", "retry_now", "retry_now"),
        ("mastercard", "68", "verify_first", "verify_first"),
    ],
)
def test_a_decline_gets_the_verdict_of_its_class_and_initiator(declined, retry, network, code, customer, merchant):
    assert retry(declined(code, card_network=network, initiator="customer")).verdict == customer
    assert retry(declined(code, card_network=network, initiator="merchant")).verdict == merchant


def test_a_decline_without_an_initiator_is_a_customers(declined, retry):
    assert retry(declined("54")).verdict == "fix_data"


@pytest.mark.parametrize("code", ["41", "54"])
def test_a_settled_verdict_sends_nothing(declined, retry, compiled, now, code):
    answer = retry(declined(code))
    assert not answer.should_retry
    assert (answer.retry_at, answer.wait_seconds, answer.processor, answer.success_probability) == (
        None,
        None,
        None,
        0.0,
    )
    assert answer.rules
    policy = compiled()
    assert policy.waits(policy.permit(declined(code), now)) == ()


@pytest.mark.parametrize(
    ("code", "reason"), [(None, "timeout"), ("91", "timeout"), (None, "error"), (None, "connection")]
)
def test_an_unknown_outcome_is_verified_and_never_cascaded(declined, retry, compiled, now, code, reason):
    request = declined(code, reason=reason)
    permit = compiled().permit(request, now)
    assert (permit.verdict, permit.cascade, permit.same_processor) == ("verify_first", False, False)
    assert retry(request).verdict == "verify_first"


def test_a_decline_that_states_nothing_is_retried_later_and_says_so(declined, retry):
    answer = retry(declined())
    assert answer.verdict == "retry_later"
    assert "decline_unstated" in codes(answer)


def test_a_technical_decline_cascades_at_once(declined, retry):
    answer = retry(declined("91"))
    assert (answer.verdict, answer.wait_seconds, answer.processor) == ("retry_now", 0, "b")
    assert answer.retry_at is not None


def test_a_technical_decline_with_one_processor_waits_for_it(declined, retry):
    answer = retry(declined("91"), processors=("a",))
    assert (answer.verdict, answer.wait_seconds, answer.processor) == ("retry_later", 300, "a")


def test_a_customer_is_not_asked_to_wait_for_days_after_a_technical_decline(declined, compiled, now):
    policy = compiled()
    assert policy.waits(policy.permit(declined("91", initiator="customer"), now)) == (0, 300)
    assert policy.waits(policy.permit(declined("91", initiator="merchant"), now)) == (0, 300, 3600, 21600, 43200, 86400)


def test_an_issuers_decline_is_not_helped_by_another_processor_now(declined, compiled, now):
    permit = compiled().permit(declined("05"), now)
    assert (permit.cascade, permit.earliest_seconds, permit.blame) == (False, 3600, "issuer")


def test_a_processors_own_mistake_is_cascaded_and_not_sent_there_again(declined, retry, compiled, now):
    request = declined("03")
    permit = compiled().permit(request, now)
    assert (permit.cascade, permit.same_processor, permit.earliest_seconds) == (True, False, 0)
    assert retry(request).processor == "b"
    answer = retry(request, processors=("a",))
    assert (answer.verdict, codes(answer)[-1]) == ("stop", "no_candidate")


def test_an_advised_wait_counts_from_the_decline(declined, compiled, now):
    policy = compiled()

    def earliest(at):
        return policy.permit(declined("51", "25", card_network="mastercard", at=at), now).earliest_seconds

    assert earliest(now) == 86_400
    assert earliest(None) == 86_400
    assert earliest(now - timedelta(hours=20)) == 4 * 3600
    assert earliest(now - timedelta(days=2)) == 0
    assert earliest(now + timedelta(hours=1)) == 86_400


def test_an_advised_wait_is_named_with_its_rule(declined, retry):
    answer = retry(declined("51", "26", card_network="mastercard"))
    assert answer.wait_seconds == 172_800
    assert "mastercard.mac_2_days.26" in ids(answer)
    assert "rule_wait" in codes(answer)


def test_waits_are_those_of_the_grid_after_the_earliest_and_the_earliest(declined, compiled, now):
    policy = compiled(retry={"waits_seconds": (0, 60, 7200, 100_000), "horizon_seconds": 50_000})
    assert policy.waits(policy.permit(declined("51"), now)) == (3600, 7200)


@pytest.mark.parametrize(("used_before", "verdict"), [(18, "retry_later"), (19, "stop"), (25, "stop")])
def test_the_visa_quota_stops_at_20_in_30_days(declined, retry, attempts, used_before, verdict):
    answer = retry(declined("51", previous_attempts=attempts(used_before)))
    assert answer.verdict == verdict
    assert answer.quota is not None
    assert (answer.quota.used, answer.quota.limit, answer.quota.window_seconds) == (used_before + 1, 20, 2_592_000)
    assert "visa.reattempts_20" in ids(answer)
    assert ("quota_exhausted" in codes(answer)) == (verdict == "stop")


def test_the_visa_quota_was_15_in_april_2025(declined, compiled, now):
    then = now.replace(year=2025, month=4)
    previous = tuple(
        PreviousAttempt(processor="a", status="declined", occurred_at=then - timedelta(hours=number + 1))
        for number in range(14)
    )
    request = declined("51", at=then, previous_attempts=previous)
    permit = compiled().permit(request, then)
    assert (permit.verdict, permit.quota.limit, ids(permit)[-1]) == ("stop", 15, "visa.reattempts_15")
    later = then.replace(month=6)
    assert compiled().permit(declined("51", at=later), later).quota.limit == 20


def test_attempts_before_the_window_do_not_count(declined, compiled, attempts, now):
    permit = compiled().permit(declined("51", previous_attempts=attempts(25, every=timedelta(days=31))), now)
    assert permit.quota.used == 1


def test_an_approval_resets_the_visa_count(declined, compiled, attempts, now):
    approved = PreviousAttempt(processor="a", status="approved", occurred_at=now - timedelta(minutes=150))
    permit = compiled().permit(declined("51", previous_attempts=(*attempts(19), approved)), now)
    assert permit.quota.used == 3


def test_errors_and_timeouts_count_since_they_may_have_reached_the_network(declined, compiled, attempts, now):
    permit = compiled().permit(declined("51", previous_attempts=attempts(5, status="timeout")), now)
    assert permit.quota.used == 6


def test_the_mastercard_limit_with_fewest_attempts_left_binds(declined, compiled, attempts, now):
    policy = compiled()
    daily = policy.permit(declined("51", card_network="mastercard", previous_attempts=attempts(9)), now)
    assert (daily.quota.used, daily.quota.limit, ids(daily)[-1]) == (10, 10, "mastercard.declines_10_a_day")
    spread = attempts(34, every=timedelta(hours=20))
    monthly = policy.permit(declined("51", card_network="mastercard", previous_attempts=spread), now)
    assert (monthly.verdict, monthly.quota.limit) == ("stop", 35)


def test_a_network_without_a_limit_has_no_quota(declined, retry):
    assert retry(declined("51", card_network="jcb")).quota is None


def test_a_used_up_quota_stops_even_what_asks_for_better_data(declined, retry, attempts):
    assert retry(declined("54", previous_attempts=attempts(19))).verdict == "stop"


def test_the_likeliest_processor_and_wait_win_when_fees_are_equal(declined, compiled, now):
    policy = compiled()
    request = declined("51")
    permit = policy.permit(request, now)
    waits = policy.waits(permit)
    table = [[0.2, 0.3, 0.1] for _ in waits]
    table[3][2] = 0.6
    answer = policy.plan(request, permit, P, waits, table, now)
    assert (answer.processor, answer.wait_seconds, answer.success_probability) == ("c", waits[3], 0.6)
    assert answer.expected_value_minor == pytest.approx(600.0)
    assert answer.retry_at == now + timedelta(seconds=waits[3])
    assert codes(answer)[-1] == "best_expected_value"


def test_equals_go_sooner_and_in_static_order(declined, retry):
    answer = retry(declined("51"))
    assert (answer.wait_seconds, answer.processor) == (3600, "a")


def test_fees_may_turn_the_choice(declined, retry, compiled):
    fees = {
        "a": FeeSchedule(approved_fixed_minor=900, failed_fixed_minor=50),
        "b": FeeSchedule(approved_fixed_minor=10, failed_fixed_minor=5),
        "c": FeeSchedule(approved_fixed_minor=900, failed_fixed_minor=50),
    }
    answer = retry(declined("51"), probability=[0.5, 0.45, 0.5], policy=compiled(fees=fees))
    assert answer.processor == "b"
    assert answer.expected_value_minor == pytest.approx(0.45 * (1000 - 10) - 0.55 * 5)


def test_an_unlikely_retry_is_not_made(declined, retry):
    answer = retry(declined("51"), probability=0.04)
    assert (answer.verdict, answer.should_retry, answer.success_probability) == ("stop", False, 0.04)
    assert codes(answer)[-1] == "below_minimum_probability"
    assert "0.04" in answer.reasons[-1].detail


def test_a_worthless_retry_is_not_made(declined, retry, compiled):
    answer = retry(declined("51"), policy=compiled(retry={"minimum_value_minor": 500.0}))
    assert (answer.verdict, answer.expected_value_minor) == ("stop", pytest.approx(400.0))
    assert codes(answer)[-1] == "below_minimum_value"


def test_no_processor_means_stop(declined, retry):
    answer = retry(declined("51"), processors=(), probability=[])
    assert (answer.verdict, codes(answer)[-1]) == ("stop", "no_candidate")


def test_a_retry_past_the_horizon_is_not_made(declined, retry, attempts):
    answer = retry(
        declined("51", "30", card_network="mastercard", previous_attempts=attempts(1, every=timedelta(days=25)))
    )
    assert (answer.verdict, codes(answer)[1]) == ("stop", "beyond_horizon")


def test_estimates_that_are_none_are_passed_over(declined, retry):
    nan = float("nan")
    assert retry(declined("51"), probability=[nan, 0.3, nan]).processor == "b"
    assert retry(declined("51"), probability=[nan, nan, nan]).verdict == "stop"


def test_a_table_of_another_size_is_a_fault_of_the_caller(declined, compiled, now):
    policy = compiled()
    request = declined("51")
    with pytest.raises(ValueError, match="each of 2 waits and 1 ways of sending, got 1"):
        policy.plan(request, policy.permit(request, now), P, (3600, 7200), [[0.5] * 3], now)


def test_a_day_before_any_rule_stops(declined, compiled, now):
    permit = compiled().permit(declined("51"), now.replace(year=1980))
    assert (permit.verdict, codes(permit)) == ("stop", ["no_rule"])
