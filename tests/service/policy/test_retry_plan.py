"""Which permitted retry is worth most, over waits, processors and ways of sending."""

import random
from datetime import UTC, datetime, timedelta
from math import exp
from typing import Any

import pytest

from contracts.inputs import Standing, Variant
from contracts.terms import Capability, FeeLine, FeeSchedule, MerchantTerms, Outage, Volume
from features.clock import HOUR, micros
from service.ledger import FAILED, Entry
from service.policy.grid import IMPATIENCE, Block, Column, best_of, likeliest_of
from service.policy.outlook import fades

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = micros(NOW)
P = ("a", "b", "c")
UP = Standing()
DOWN = Standing(health="down", excess=1.0)


def codes(answer: Any) -> list[str]:
    return [reason.code for reason in answer.reasons]


@pytest.fixture(scope="module")
def retry(compiled):
    """Permit, score every wait alike (or row by row), and plan."""

    def ask(request, row=(0.4, 0.4, 0.4), processors=P, policy=None, ledger=(), rows=None, **keywords):
        policy = policy or compiled()
        permit = policy.permit(request, NOW, ledger)
        waits = policy.waits(permit)
        table = rows or [list(row)] * (len(waits) * max(1, len(keywords.get("modes", ()))))
        return policy.plan(request, permit, processors, waits, table, NOW, **keywords)

    return ask


def test_a_customer_is_stepped_up_to_3ds_now_with_the_processor_that_is_worth_most(declined, retry):
    answer = retry(declined("1A", initiator="customer"), (0.5, 0.8, 0.6))
    assert (answer.should_retry, answer.verdict, answer.authentication) == (True, "authenticate", "three_ds")
    assert (answer.processor, answer.wait_seconds, answer.retry_at) == ("b", 0, NOW)
    assert answer.reservation[0] == AT
    assert answer.expected_value_minor == pytest.approx(0.93 * 0.8 * 1000)


def test_an_authentication_that_nobody_scored_is_asked_for_all_the_same(declined, compiled):
    policy = compiled()
    request = declined("1A", initiator="customer")
    permit = policy.permit(request, NOW)
    answer = policy.plan(request, permit, P, (), [], NOW, standings=(DOWN, UP, UP))
    assert (answer.verdict, answer.processor, answer.authentication) == ("authenticate", "b", "three_ds")
    assert codes(answer)[-1] == "static_order"
    nobody = policy.plan(request, permit, P, (), [], NOW, standings=(DOWN,) * 3)
    assert (nobody.verdict, nobody.should_retry) == ("stop", False)


def test_an_authentication_that_would_hardly_succeed_is_not_asked_for(declined, retry):
    assert retry(declined("1A", initiator="customer"), (0.01, 0.02, 0.03)).verdict == "stop"


def test_a_merchants_charge_that_needs_its_customer_stops_and_says_whom_to_tell(declined, retry):
    answer = retry(declined("1A", initiator="merchant"))
    assert (answer.verdict, answer.reservation) == ("stop", None)
    assert "notify_customer" in codes(answer)


def test_an_authentication_that_was_made_is_not_asked_for_again(declined, retry):
    answer = retry(declined("1A", initiator="customer", uses_3ds=True))
    assert (answer.verdict, answer.should_retry) == ("stop", False)
    assert "already_authenticated" in codes(answer)


@pytest.mark.parametrize(
    ("code", "initiator", "told"),
    [
        ("41", "customer", "offer_another_method"),
        ("54", "customer", "correct_data"),
        ("54", "merchant", "update_account"),
    ],
)
def test_a_settled_verdict_says_what_else_there_is_to_do(declined, retry, code, initiator, told):
    assert told in codes(retry(declined(code, initiator=initiator)))


def test_a_token_refused_as_such_is_sent_as_the_card_number_at_once(declined, retry):
    changes = {"is_network_token": True, "credentials": ("network_token", "card_number"), "card_network": "mastercard"}
    for request in (declined("05", "04", **changes), declined("05", reason="invalid_cryptogram", **changes)):
        answer = retry(request)
        assert (answer.verdict, answer.credential, answer.processor) == ("retry_now", "card_number", "a")
        assert "send_as" in codes(answer)


@pytest.mark.parametrize(
    "changes", [{}, {"is_network_token": False, "credentials": ("card_number",)}, {"credentials": ("network_token",)}]
)
def test_a_token_that_may_not_go_otherwise_is_to_be_corrected(declined, retry, changes):
    answer = retry(declined("05", "04", card_network="mastercard", initiator="customer", **changes))
    assert (answer.verdict, answer.credential) == ("fix_data", None)


def test_a_customer_still_there_may_be_asked_to_authenticate_after_an_issuers_decline(
    declined, retry, override, compiled
):
    own = override("""
[[treatment]]
id = "treatment.later.customer"
class = "later"
initiator = "customer"
verdict = "schedule"
wait_seconds = 0
cascade = false
effective_from = 1987-01-01
source = "our customers wait"
confidence = "S"
""")
    policy = compiled(with_rules=own, fees={"a": FeeSchedule(three_ds_minor=20)})
    request = declined("05", initiator="customer")
    permit = policy.permit(request, NOW)
    modes = policy.modes(request, permit)
    assert modes == (Variant("none", None), Variant("three_ds", None))
    waits = policy.waits(permit)
    table = [[0.3]] * len(waits) + [[0.6]] * len(waits)
    answer = policy.plan(request, permit, ("a",), waits, table, NOW, modes=modes)
    assert (answer.verdict, answer.authentication, answer.wait_seconds) == ("retry_now", "three_ds", 0)
    assert answer.expected_value_minor == pytest.approx(0.93 * 0.6 * 1000 - 20)
    plain = policy.plan(request, permit, ("a",), waits, [[0.6]] * (2 * len(waits)), NOW, modes=modes)
    assert plain.authentication == "none"
    later = [[0.3]] * len(waits) + [[0.1]] * 2 + [[0.9]] * (len(waits) - 2)
    # In an hour nobody is there any more to authenticate.
    assert policy.plan(request, permit, ("a",), waits, later, NOW, modes=modes).authentication == "none"


def test_by_default_a_customers_decline_is_scored_as_it_was_sent(declined, compiled):
    policy = compiled()
    for request, expected in (
        (declined("05"), "none"),
        (declined("05", uses_3ds=True), "three_ds"),
        (declined("91", initiator="merchant"), "none"),
    ):
        assert policy.modes(request, policy.permit(request, NOW)) == (Variant(expected, None),)


def test_the_sooner_of_near_equals_is_made_and_the_answer_says_so(declined, retry, compiled):
    request = declined("51", initiator="merchant")
    waits = len(compiled().waits(compiled().permit(request, NOW)))
    answer = retry(request, rows=[[0.4]] * (waits - 1) + [[0.401]], processors=("a",))
    assert answer.wait_seconds == 3600
    assert answer.reasons[-1].detail.endswith("next a in 21600 s: 400.0, but later")
    answer = retry(request, rows=[[0.4]] * (waits - 1) + [[0.405]], processors=("a",))
    assert (answer.wait_seconds, answer.expected_value_minor) == (864_000, pytest.approx(405.0))


def test_a_retry_is_never_made_because_it_is_free(declined, retry, compiled):
    free = compiled(margin_share=0.0)
    answer = retry(declined("51"), (0.9, 0.9, 0.9), policy=free)
    assert (answer.verdict, codes(answer)[-1]) == ("stop", "below_minimum_value")
    nothing = retry(declined("51", amount_minor=0), (0.9, 0.9, 0.9))
    assert nothing.verdict == "stop"
    assert retry(declined("51"), (0.049, 0.049, 0.049)).verdict == "stop"


def test_the_last_attempt_of_a_quota_costs_what_it_is_worth_and_the_first_little(declined, retry, compiled):
    policy = compiled(quota_value_minor=100.0)
    request = declined("51", card_network="mastercard", initiator="merchant", at=NOW - timedelta(days=2))

    def choose(count, waits):
        ledger = tuple(Entry(AT - number * HOUR, number, 10_000, FAILED) for number in range(count, 0, -1))
        permit = policy.permit(request, NOW, ledger)
        return policy.plan(request, permit, ("a",), waits, [[0.4]] * len(waits), NOW)

    assert choose(0, (0,)).expected_value_minor == pytest.approx(400.0 - 0.6 * 100 / 10)
    assert choose(4, (0,)).expected_value_minor == pytest.approx(400.0 - 0.6 * 100 / 6)
    assert choose(9, (0,)).expected_value_minor == pytest.approx(400.0 - 0.6 * 100)
    # With one left it is better to wait until there are more, with ten it is not.
    assert choose(9, (0, 86_400)).wait_seconds == 86_400
    assert choose(0, (0, 86_400)).wait_seconds == 0


def test_a_processor_that_is_down_is_no_candidate_for_an_hour(declined, retry):
    request = declined("91", initiator="merchant")
    answer = retry(request, (0.1, 0.9, 0.1), standings=(UP, DOWN, UP))
    assert answer.wait_seconds >= 3600
    assert answer.processor == "b"
    assert "processor_away" in codes(answer)
    customer = retry(declined("91", initiator="customer"), (0.1, 0.9, 0.2), standings=(UP, DOWN, UP))
    assert (customer.processor, customer.wait_seconds) == ("c", 0)
    nobody = retry(declined("91", initiator="customer"), standings=(DOWN,) * 3)
    assert (nobody.verdict, nobody.should_retry) == ("stop", False)


def test_a_processor_that_is_being_tried_again_is_no_candidate_for_five_minutes(declined, retry):
    trial = Standing(health="half_open")
    answer = retry(declined("91", processor="c", initiator="merchant"), (0.3, 0.9, 0.3), standings=(UP, trial, UP))
    assert (answer.processor, answer.wait_seconds) == ("b", 300)


def test_a_scheduled_outage_lasts_until_its_end_and_one_to_come_counts(declined, retry, compiled):
    outages = (
        Outage(begins=NOW - timedelta(hours=1), ends=NOW + timedelta(minutes=2)),
        Outage(begins=NOW + timedelta(minutes=1), ends=NOW + timedelta(hours=20)),
    )
    policy = compiled(capabilities={"b": Capability(outages=outages)})
    request = declined("91", initiator="merchant")
    answer = retry(request, (0.2, 0.9, 0.2), policy=policy, standings=(UP, DOWN, UP))
    assert (answer.processor, answer.wait_seconds) == ("b", 86_400)
    short = compiled(capabilities={"b": Capability(outages=outages[:1])})
    answer = retry(request, (0.2, 0.9, 0.2), policy=short, standings=(UP, DOWN, UP))
    # It is down because it was said to be: it is back when it was said to be.
    assert (answer.processor, answer.wait_seconds) == ("b", 300)


@pytest.mark.parametrize(
    "capability",
    [
        Capability(networks=("mastercard",)),
        Capability(currencies=("EUR",)),
        Capability(issuer_countries=("DE",)),
        Capability(network_token=False),
    ],
)
def test_a_processor_that_cannot_do_what_is_asked_is_no_candidate(declined, retry, compiled, capability):
    policy = compiled(capabilities={"b": capability})
    request = declined("91", is_network_token=True, initiator="customer")
    assert retry(request, (0.2, 0.9, 0.3), policy=policy).processor == "c"
    alone = retry(request, (0.9,), processors=("b",), policy=policy)
    assert (alone.verdict, codes(alone)[-1]) == ("stop", "no_candidate")


def test_a_processor_without_3ds_is_not_stepped_up_at(declined, retry, compiled):
    policy = compiled(capabilities={"b": Capability(three_ds=False)})
    assert retry(declined("1A"), (0.2, 0.9, 0.3), policy=policy).processor == "c"


def test_what_recent_outcomes_say_fades_with_the_wait(declined, retry):
    request = declined("51", initiator="merchant", at=NOW - timedelta(hours=2))
    shifted = Standing(shift=1.0)
    answer = retry(request, (0.4,), processors=("a",), standings=(shifted,))
    assert answer.wait_seconds == 0
    odds = 0.4 / 0.6 * exp(1.0)
    assert answer.success_probability == pytest.approx(odds / (1.0 + odds))
    worse = retry(request, (0.4,), processors=("a",), standings=(Standing(shift=-1.0, excess=0.3),))
    # After a day nothing of it is left that matters.
    assert (worse.wait_seconds, worse.success_probability) == (86_400, 0.4)
    assert fades(0) == (1.0, 1.0)
    assert fades(6 * 3600) == pytest.approx((2.0**-6, 0.5))


def test_an_excess_of_faults_is_taken_off(declined, retry):
    request = declined("91", processor="b", initiator="customer")
    answer = retry(request, (0.6, 0.4, 0.5), standings=(Standing(excess=0.3), UP, UP))
    assert (answer.processor, answer.success_probability) == ("c", 0.5)
    only = retry(request, (0.6,), processors=("a",), standings=(Standing(excess=0.3),))
    assert only.success_probability == pytest.approx(0.6 * (1.0 - 0.3 * 2.0 ** (-300 / 3600)))
    assert only.wait_seconds == 300


def test_a_merchants_own_margin_fees_by_network_and_a_promised_volume_are_in_the_value(declined, retry, compiled):
    fees = {
        "a": FeeSchedule(approved_fixed_minor=10, failed_fixed_minor=2),
        "b": FeeSchedule(
            approved_fixed_minor=10,
            failed_fixed_minor=2,
            lines=(FeeLine(network="visa", approved_fixed_minor=100, failed_fixed_minor=20),),
        ),
    }
    terms = MerchantTerms(margin_share=0.2, volumes={"a": Volume(commit_minor=50_000, shortfall_share=0.01)})
    policy = compiled(fees=fees, merchants={"m_1": terms})
    request = declined("91", processor="c", initiator="customer")
    b = retry(request, (0.5,), processors=("b",), policy=policy)
    assert b.expected_value_minor == pytest.approx(0.5 * (2000 - 100) - 0.5 * 20)
    a = retry(request, (0.5,), processors=("a",), policy=policy, standings=(Standing(month_minor=45_000),))
    assert a.expected_value_minor == pytest.approx(0.5 * (2000 - 10 + 50) - 0.5 * 2)


def test_a_cap_that_is_reached_holds_until_the_month_is_over(declined, retry, compiled):
    policy = compiled(merchants={"m_1": MerchantTerms(volumes={"a": Volume(cap_minor=1000)})})
    full = Standing(month_minor=1000)
    at_end = NOW.replace(day=30)
    request = declined("51", at=at_end, initiator="merchant")
    permit = policy.permit(request, at_end)
    waits = policy.waits(permit)
    answer = policy.plan(request, permit, ("a",), waits, [[0.4]] * len(waits), at_end, standings=(full,))
    assert answer.wait_seconds == 172_800
    assert retry(declined("51"), (0.4,), processors=("a",), policy=policy).wait_seconds == 3600


def test_standings_that_do_not_fit_are_a_fault_of_the_caller(declined, retry):
    with pytest.raises(ValueError, match="a standing for each of 3 processors or none, got 1"):
        retry(declined("51"), standings=(UP,))


def naive(blocks: list[Block], least: float) -> tuple[float, float] | None:
    """The best score and its probability, cell by cell."""
    best: tuple[float, float] | None = None
    for _, reached, columns, rows in blocks:
        for wait, burnt, likely in rows:
            for place, soonest, gain, failed, excess, shift, away in columns:
                p = likely[place]
                if not 0.0 <= p <= 1.0 or wait < soonest or any(low <= wait < high for low, high in away):
                    continue
                if wait < 86_400:
                    faults, shifts = fades(wait)
                    if 0.0 < p < 1.0:
                        odds = exp(shift * shifts) * p / (1.0 - p)
                        p = odds / (1.0 + odds)
                    p *= 1.0 - excess * faults
                value = reached * (p * gain - failed - (1.0 - p) * burnt)
                score = value * (1.0 - wait * IMPATIENCE) if value > 0.0 else value
                if p >= least and (best is None or score > best[0]):
                    best = (score, p)
    return best


def grids_of(seed: int) -> list[Block]:
    """One or two ways of sending, up to five candidates each with gaps, waits that rise, and estimates that may be none."""
    draw = random.Random(seed)
    blocks = []
    for _ in range(draw.choice((1, 1, 2))):
        width = draw.randint(1, 5)
        columns = [
            Column(
                place=place,
                soonest=draw.choice((0, 0, 0, 300, 3600)),
                gain=draw.choice((1000.0, draw.uniform(-50, 2000))),
                failed=draw.choice((0.0, draw.uniform(0, 100))),
                excess=draw.choice((0.0, 0.0, 0.5, 1.0)),
                shift=draw.choice((0.0, 0.0, -1.5, 2.0)),
                away=draw.choice(((), (), (), ((0, 3600),), ((300, 4000), (80_000, 90_000)))),
            )
            for place in sorted(draw.sample(range(6), width))
        ]
        waits = sorted(draw.sample((0, 300, 3600, 21_600, 86_400, 172_800, 864_000), draw.randint(0, 7)))
        strange = (float("nan"), -0.5, 1.5, 0.0, 1.0, 0.4)
        rows = [
            (
                wait,
                draw.choice((0.0, 0.0, 5.0, 20.0)),
                [draw.choice(strange) if draw.random() < 0.2 else draw.random() for _ in range(6)],
            )
            for wait in waits
        ]
        blocks.append(Block(Variant(), draw.choice((1.0, 0.93)), columns, rows))
    return blocks


@pytest.mark.parametrize("least", [0.0, 0.05, 0.5])
def test_the_best_is_the_best_of_every_cell(least):
    found = 0
    for seed in range(1000):
        blocks = grids_of(seed)
        best, second = best_of(blocks, least)
        expected = naive(blocks, least)
        if expected is None:
            assert (best, second) == (None, None)
            continue
        found += 1
        assert best is not None
        assert best.score == pytest.approx(expected[0], abs=1e-9)
        assert least <= best.p <= 1.0
        if second is not None:
            assert second.score <= best.score
        most, _ = likeliest_of(blocks)
        assert most >= best.p - 1e-12
    assert found > 500


def test_of_what_is_too_unlikely_the_likeliest_is_named():
    scored = 0
    for seed in range(500):
        blocks = grids_of(seed)
        assert best_of(blocks, 1.1) == (None, None)
        chances = [
            likely[column.place]
            for _, _, columns, rows in blocks
            for wait, _, likely in rows
            for column in columns
            if wait >= column.soonest
            and not any(low <= wait < high for low, high in column.away)
            and 0.0 <= likely[column.place] <= 1.0
        ]
        most, _ = likeliest_of(blocks)
        assert (most == -1.0) == (not chances)
        scored += bool(chances)
    assert scored > 300


def test_of_equals_the_likelier_then_the_sooner_then_the_first_is_best():
    equal = [Column(place, 0, 100.0, 0.0, 0.0, 0.0, ()) for place in range(3)]
    rows = [(wait, 0.0, [0.5, 0.5, 0.5]) for wait in (0, 300)]
    best, second = best_of([Block(Variant(), 1.0, equal, rows)], 0.05)
    assert (best.place, best.wait, second.wait) == (0, 0, 300)
    dearer = equal[1]._replace(gain=200.0, failed=50.0)
    best, _ = best_of([Block(Variant(), 1.0, [equal[0], dearer], rows[:1])], 0.05)
    assert (best.place, best.value) == (0, 50.0)
    best, _ = best_of([Block(Variant(), 1.0, [equal[0], dearer], [(0, 0.0, [0.3, 0.4])])], 0.05)
    assert (best.place, best.value, best.p) == (1, 30.0, 0.4)
