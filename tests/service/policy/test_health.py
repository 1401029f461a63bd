"""Health from sums: what is concluded of a level, of levels together, and of latencies."""

from itertools import accumulate
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.policy.health import (
    DOWN_FROM,
    FEWEST,
    LEAST_PATIENCE,
    MOST,
    PATIENCE,
    SCREEN_EXCESS,
    SCREEN_SHARE,
    SPANS,
    USUAL,
    Level,
    Trouble,
    narrowed,
    slowdown,
    trouble,
    usual_of,
)

GAPS = st.lists(st.tuples(st.floats(0.001, 3000.0), st.booleans()), min_size=1, max_size=60)


def steady(rate: float, faults: float) -> Level:
    """A level that has had so many results a second for days."""
    sums = [part for span in SPANS for part in (rate * span, rate * span * faults)]
    return Level(*sums)


def after(level: Level, results: list[bool], gap: float) -> Level:
    """The level after more results (True for a fault), one every `gap` seconds."""
    sums = list(level[:8])
    for fault in results:
        for scale, span in enumerate(SPANS):
            keep = 2.0 ** (-gap / (span * log(2.0)))
            sums[2 * scale] = sums[2 * scale] * keep + 1.0
            sums[2 * scale + 1] = sums[2 * scale + 1] * keep + fault
    return Level(*sums)


def silent(level: Level, seconds: float) -> Level:
    return level._replace(silence=seconds)


def usual(level: Level) -> float:
    return usual_of(level.n2, level.f2, level.n3, level.f3)


def judged(level: Level) -> Trouble | None:
    return trouble(level, usual(level))


@pytest.mark.parametrize("rate", [20.0, 1.0, 0.1, 1 / 60])
@pytest.mark.parametrize("faults", [0.0, 0.002, 0.02, 0.08])
def test_the_usual_is_no_trouble(rate: float, faults: float) -> None:
    assert judged(steady(rate, faults)) is None


def test_nothing_known_is_no_trouble() -> None:
    assert trouble(Level(*[0.0] * 8), USUAL) is None
    assert usual_of(0.0, 0.0, 0.0, 0.0) == USUAL


@pytest.mark.parametrize(("rate", "most"), [(20.0, 100), (1.0, 15), (0.1, 10), (1 / 60, 15)])
def test_an_outage_is_seen_after_so_many_faults(rate: float, most: int) -> None:
    level, count = steady(rate, 0.02), 0
    while judged(level) is None:
        level, count = after(level, [True], 1.0 / rate), count + 1
    assert count <= most


def test_what_fails_entirely_is_down() -> None:
    found = judged(after(steady(20.0, 0.02), [True] * 400, 0.05))
    assert found is not None
    assert found.state == "down"
    assert found.excess > 0.7
    assert found.scale == 0


def test_a_part_that_is_lost_is_an_excess_and_no_outage() -> None:
    level = after(steady(20.0, 0.02), [number % 5 == 0 for number in range(6000)], 0.05)
    found = judged(level)
    assert found is not None
    assert found.state == "up"
    assert found.excess == pytest.approx((0.2 - 0.02) / 0.98, abs=0.03)


def test_a_steady_loss_is_not_judged_by_its_last_two_results() -> None:
    # One in six at six a minute: the freshest scale holds two results, and now and then one of them is a fault.
    level = after(steady(0.1, 0.002), [number % 6 == 0 for number in range(240)], 10.0)
    states = set()
    for number in range(24):
        level = after(level, [number % 6 == 0], 10.0)
        found = judged(level)
        assert found is not None
        states.add(found.state)
        assert found.excess < 0.35
    assert states == {"up"}


def test_after_a_silence_it_is_tried_again() -> None:
    down = after(steady(20.0, 0.02), [True] * 400, 0.05)
    assert judged(down) is not None
    found = judged(silent(down, 30.0))
    assert found is not None
    assert found.state == "half_open"


def test_attempts_that_succeed_bring_it_up_and_a_failing_one_does_not() -> None:
    down = after(steady(20.0, 0.02), [True] * 400, 0.05)
    tried = after(down, [True], 40.0)
    found = judged(tried)
    assert found is not None
    assert found.state == "half_open"
    tried = after(tried, [False] * 16, 2.5)
    found = judged(tried)
    assert found is None or found.state == "up"


def test_all_its_traffic_back_is_up_within_a_minute() -> None:
    level = after(steady(20.0, 0.02), [True] * 12_000, 0.05)
    level = after(level, [False] * 600, 0.05)
    found = judged(level)
    assert found is not None
    assert found.state == "up"
    level = after(level, [False] * 600, 0.05)
    found = judged(level)
    assert found is None or found.excess < 0.02


@pytest.mark.parametrize("rate", [20.0, 1.0, 1 / 60])
def test_what_was_long_ago_does_not_count(rate: float) -> None:
    level = after(steady(rate, 0.02), [True] * 60, 1.0 / rate)
    patience = max(LEAST_PATIENCE, PATIENCE / rate)
    # Its own hours of traffic are a little less than the rate says: a tenth more than the patience is past it.
    assert judged(silent(level, 1.1 * patience)) is None
    assert judged(silent(level, 0.5 * patience)) is not None


def test_an_outage_does_not_become_the_usual() -> None:
    begun = after(steady(20.0, 0.01), [True] * 6000, 0.05)
    plain = begun.f3 / begun.n3
    # Five minutes of an outage nearly double what the six hours alone would say.
    assert plain > 0.019
    assert usual(begun) < 0.0125
    hours = after(steady(1.0, 0.01), [True] * 20_000, 1.0)
    assert usual(hours) == MOST
    found = judged(hours)
    assert found is not None
    assert found.state == "down"


def test_the_least_alternative_is_well_above_the_usual() -> None:
    # A rise from 8 to 11 in a hundred is not reported, however sure it is; one to 30 is.
    assert trouble(steady(20.0, 0.11), 0.08) is None
    assert trouble(steady(20.0, 0.30), 0.08) is not None


VISA_DOWN = Trouble("down", 0.6, 0.6, 0)


def test_another_networks_outage_is_refuted_by_ones_own_results() -> None:
    mine = after(steady(5.0, 0.01), [False] * 100, 0.2)
    assert narrowed(VISA_DOWN, judged(mine), mine, usual(mine)) is None


def test_results_from_before_an_outage_do_not_refute_it() -> None:
    mine = silent(after(steady(5.0, 0.01), [False] * 100, 0.2), 90.0)
    assert narrowed(VISA_DOWN, judged(mine), mine, usual(mine)) is VISA_DOWN


def test_an_outage_of_all_networks_holds_for_one_without_results() -> None:
    nothing = Level(*[0.0] * 8)
    assert narrowed(VISA_DOWN, None, nothing, USUAL) is VISA_DOWN


def test_a_networks_own_outage_counts_though_the_processor_is_well() -> None:
    mine = after(steady(0.4, 0.01), [True] * 40, 2.5)
    own = judged(mine)
    assert own is not None
    assert own.state == "down"
    assert narrowed(None, own, mine, usual(mine)) is own


def test_of_two_partial_losses_the_larger_counts() -> None:
    less, more = Trouble("up", 0.1, 0.1, 0), Trouble("up", 0.3, 0.3, 0)
    nothing = Level(*[0.0] * 8)
    assert narrowed(less, more, nothing, USUAL) is more
    assert narrowed(more, less, nothing, USUAL) is more


def levels(events: list[tuple[float, bool]]) -> Level:
    level = Level(*[0.0] * 8)
    for gap, fault in events:
        level = after(level, [fault], gap)
    return level


@settings(max_examples=200, deadline=None)
@given(events=GAPS, silence=st.floats(0.0, 1e5), rate=st.floats(0.0, 1.0))
def test_what_is_concluded_is_in_its_bounds(events: list[tuple[float, bool]], silence: float, rate: float) -> None:
    found = trouble(silent(levels(events), silence), rate)
    if found is not None:
        assert 0.0 <= found.excess <= 1.0
        assert 0.0 < found.rate < 1.0
        assert found.state != "down" or found.excess >= (DOWN_FROM - MOST) / (1.0 - MOST)


@settings(max_examples=400, deadline=None)
@given(
    results=st.lists(st.floats(0.0, 5000.0), min_size=3, max_size=3),
    shares=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3),
    rate=st.floats(0.0, MOST),
)
def test_the_screen_hides_no_trouble(results: list[float], shares: list[float], rate: float) -> None:
    # A scale holds all that a faster one holds, and more.
    n = list(accumulate(results))
    f = list(accumulate([one * share for one, share in zip(results, shares, strict=True)]))
    level = Level(n[0], f[0], n[1], f[1], n[2], f[2], n[2] + 1e5, f[2] + 1e5 * rate)
    share = SCREEN_SHARE[0] + SCREEN_SHARE[1] * rate
    passed = f[2] >= FEWEST and max(f[k] - share * n[k] for k in range(3)) > SCREEN_EXCESS
    assert passed or trouble(level, rate) is None


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 5000), rate=st.sampled_from([20.0, 1.0, 0.1]))
def test_results_without_a_fault_are_never_trouble(count: int, rate: float) -> None:
    level = steady(rate, 0.0)
    assert judged(after(level, [False] * min(count, 200), 1.0 / rate)) is None
    assert trouble(Level(count, 0.0, count, 0.0, count, 0.0, count, 0.0), USUAL) is None


def slow(fast: float, minutes: float, hours: float, *, rate: float = 1.0, silence: float = 0.0) -> float:
    """Slowdown of a processor with these mean log latencies on the four scales (the ten minutes are the minute's)."""
    sums = [
        part
        for span, mean in zip(SPANS, (fast, minutes, minutes, hours), strict=True)
        for part in (span * rate, span * rate * mean)
    ]
    # What the hours hold beside the last minutes has the mean of the hours.
    sums[7] = sums[5] + (sums[6] - sums[4]) * hours
    return slowdown(*sums, silence)


def test_as_usual_is_one() -> None:
    assert slow(6.0, 6.0, 6.0) == 1.0
    assert slow(5.0, 6.0, 6.0) == 1.0
    assert slowdown(*[0.0] * 8, 0.0) == 1.0


@pytest.mark.parametrize("times", [2.0, 3.0, 10.0])
def test_slow_answers_show(times: float) -> None:
    found = slow(6.0 + log(times), 6.0, 6.0, rate=20.0)
    assert found == pytest.approx(times, rel=0.1)
    # Few answers are held back by the usual ones beside them.
    assert 1.0 <= slow(6.0 + log(times), 6.0, 6.0, rate=0.5) < found


def test_a_usual_latency_must_be_known() -> None:
    assert slow(9.0, 9.0, 6.0, rate=0.0005) == 1.0


def test_where_few_answer_the_minute_counts() -> None:
    assert slow(9.0, 6.0, 6.0, rate=0.2) == 1.0
    assert slow(9.0, 7.5, 6.0, rate=0.2) > 1.5


def test_slowness_fades_in_silence() -> None:
    times = [slow(7.5, 6.0, 6.0, silence=seconds) for seconds in (0.0, 10.0, 20.0, 300.0)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 2.0
    assert times[-1] == 1.0
