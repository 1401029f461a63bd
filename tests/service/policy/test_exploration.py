from collections import Counter
from math import erfc, inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.inputs import Standing
from service.policy.exploration import draw_of, on_trial, pick, shares

P = ("a", "b", "c")
IDS = 100_000
DOUBTFUL = (Standing(doubt=0.2),) * 3


def test_a_draw_depends_on_the_question_alone():
    assert draw_of("pay_1", 1) == draw_of("pay_1", 1)
    assert draw_of("pay_1", 1) != draw_of("pay_1", 2)


def test_draws_are_spread_evenly():
    counts = Counter(int(10 * draw_of(f"pay_{number}", 1)) for number in range(20_000))
    assert set(counts) == set(range(10))
    assert all(1_800 < count < 2_200 for count in counts.values())


def test_a_candidate_is_drawn_as_often_as_it_may_be_the_better_one():
    odds = shares([0.0, 3.0], [1.2, 1.6], bound=0.0, floor=0.0, total=1.0)
    assert odds[1] == pytest.approx(0.5 * erfc(3.0 / 2.0 / sqrt(2.0)), abs=1e-9)


def test_without_doubt_only_near_equals_are_drawn_at_their_floor():
    assert shares([0.0, 4.0, 6.0], [0.0] * 3, bound=5.0, floor=0.01, total=0.1) == pytest.approx([0.99, 0.01, 0.0])


def test_all_but_the_best_share_no_more_than_the_total_and_keep_their_floors():
    odds = shares([0.0, 0.0, 0.0, 50.0], [1.0, 1.0, 1.0, 0.0], bound=60.0, floor=0.01, total=0.1)
    assert 1.0 - odds[0] == pytest.approx(0.1)
    assert odds[3] == pytest.approx(0.01)
    assert odds[1] == odds[2] == pytest.approx(0.045)
    crowd = shares([0.0] * 11, [0.0] * 11, bound=1.0, floor=0.05, total=0.1)
    assert crowd[1:] == pytest.approx([0.01] * 10)
    # Equal parts may add up to a little more than the whole.
    assert shares([0.0] * 4, [0.0] * 4, bound=1.0, floor=0.0625, total=0.0075)[1:] == pytest.approx([0.0025] * 3)


def test_nothing_is_drawn_where_the_total_is_nothing():
    assert shares([0.0, 0.0], [1.0, 1.0], bound=1.0, floor=0.1, total=0.0) == [1.0, 0.0]
    assert shares([0.0], [1.0], bound=1.0, floor=0.1, total=0.5) == [1.0]
    assert shares([], [], bound=1.0, floor=0.1, total=0.5) == []


def test_candidates_on_trial_have_their_share_within_the_total():
    assert on_trial([0.95, 0.05], 1, 0.02, 0.1) == pytest.approx([0.93, 0.05, 0.02])
    assert on_trial([0.90, 0.10], 1, 0.02, 0.1) == pytest.approx([0.90, 0.08, 0.02])
    assert on_trial([1.0, 0.0], 2, 0.02, 0.0) == pytest.approx([0.96, 0.0, 0.02, 0.02])
    assert on_trial([1.0], 3, 0.3, 0.1) == pytest.approx([0.5, *[0.5 / 3] * 3])


cases = st.integers(1, 16).flatmap(
    lambda count: st.tuples(
        st.lists(st.one_of(st.floats(0, 1e6), st.just(inf)), min_size=count, max_size=count),
        st.lists(st.floats(0, 1e6), min_size=count, max_size=count),
    )
)


@given(case=cases, floor=st.floats(0, 1), total=st.floats(0, 1), trials=st.integers(0, 15), share=st.floats(0, 1))
def test_odds_sum_to_one_exactly_in_any_order(case, floor, total, trials, share):
    losses, doubts = case
    odds = shares([0.0, *losses[1:]], doubts, bound=100.0, floor=floor, total=total)
    assert 1.0 - odds[0] <= total + 1e-9
    if trials:
        odds = on_trial(odds, trials, share, total)
        assert 1.0 - odds[0] <= max(total, min(share * trials, 0.5)) + 1e-9
    assert sum(odds) == sum(reversed(odds)) == 1.0
    assert all(0.0 <= one <= 1.0 for one in odds)


@given(draw=st.floats(0, 1, exclude_max=True), others=st.lists(st.floats(0, 0.1), max_size=8))
def test_what_is_never_to_be_drawn_never_is(draw, others):
    odds = [1.0 - sum(others), *others]
    assert odds[pick(draw, odds)] > 0.0


@pytest.fixture(scope="module")
def ask(compiled, payment, now):
    def choose(
        number=1,
        approval=(0.8, 0.85, 0.84),
        risk=0.01,
        degraded=(),
        policy=None,
        standings=DOUBTFUL,
        **parameters,
    ):
        policy = policy or compiled(**{"exploration": 0.3, "exploration_floor": 0.002, **parameters})
        request = payment(payment_id=f"pay_{number}")
        return policy.choose(request, P, [approval], risk, kind="auth", now=now, degraded=degraded, standings=standings)

    return choose


def odds_of(choice):
    return {one.processor: one.propensity for one in choice.ranking}


def test_choices_come_as_often_as_their_propensities_say(ask, compiled):
    policy = compiled(exploration=0.3)
    trying = (Standing(doubt=0.2), Standing(doubt=0.1), Standing(doubt=0.3, health="half_open"))
    odds = odds_of(ask(policy=policy, standings=trying))
    assert odds["c"] == pytest.approx(0.04)
    assert 0.02 < odds["a"] < 0.3
    # Nothing but the id changes, and a choice follows its draw (below): this is a hundred thousand choices.
    ranked = [one.processor for one in ask(policy=policy, standings=trying).ranking]
    listed = [odds[name] for name in ranked]
    counts = Counter(ranked[pick(draw_of(f"pay_{number}", 1), listed)] for number in range(IDS))
    for processor, propensity in odds.items():
        deviation = sqrt(propensity * (1.0 - propensity) / IDS)
        assert abs(counts[processor] / IDS - propensity) < 4.0 * deviation
    for number in range(2_000):
        choice = ask(number, policy=policy, standings=trying)
        assert choice.processor == ranked[pick(draw_of(f"pay_{number}", 1), listed)]


def test_an_explored_choice_says_so_and_is_not_first_in_the_ranking(ask):
    explored = next(choice for choice in map(ask, range(100)) if choice.processor != "b")
    assert explored.ranking[0].processor == "b"
    assert P[explored.index] == explored.processor
    assert "explored" in [reason.code for reason in explored.reasons]


def test_the_more_doubt_the_more_it_is_drawn(ask):
    def share(doubt):
        return odds_of(ask(approval=(0.7, 0.85, 0.2), standings=(Standing(doubt=doubt), Standing(), Standing())))["a"]

    assert share(0.0) == 0.0
    assert 0.0 < share(0.3) < share(0.6) < share(1.0) < 0.3


@pytest.mark.parametrize("margin", [0.1, 0.0])
def test_a_far_worse_candidate_is_never_drawn_where_nothing_is_in_doubt(ask, margin):
    odds = odds_of(ask(approval=(0.5, 0.85, 0.84), standings=(), margin_share=margin))
    assert odds == pytest.approx({"a": 0.0, "b": 0.998, "c": 0.002}, abs=1e-9)


@pytest.mark.parametrize("change", [{"degraded": ("features:redis_timeout",)}, {"risk": 0.99}, {"exploration": 0.0}])
def test_nothing_is_compared_when_degraded_declined_or_switched_off(ask, change):
    for number in range(100):
        choice = ask(number, **change)
        assert [one.propensity for one in choice.ranking] == [1.0, 0.0, 0.0]
        assert choice.processor in ("b", None)


def test_one_that_was_down_gets_its_probe_share_however_good_it_looks(ask):
    trying = (Standing(), Standing(health="half_open"), Standing())
    choice = ask(approval=(0.8, 0.95, 0.3), standings=trying, probe_share=0.05)
    assert [one.processor for one in choice.ranking] == ["a", "c", "b"]
    assert odds_of(choice)["b"] == pytest.approx(0.05)
    probed = next(choice for choice in (ask(number, standings=trying) for number in range(1000)) if choice.index == 1)
    assert "probed" in [reason.code for reason in probed.reasons]


def test_a_probe_goes_out_even_when_degraded_for_nothing_else_would_end_the_trial(ask):
    trying = (Standing(), Standing(health="half_open"), Standing())
    odds = odds_of(ask(standings=trying, degraded=("model:risk_failed",), probe_share=0.02))
    assert odds == pytest.approx({"a": 0.0, "b": 0.02, "c": 0.98})


def test_where_all_were_down_the_best_of_them_is_no_probe(ask):
    choice = ask(standings=(Standing(health="half_open"),) * 3)
    assert choice.ranking[0].processor == "b"
    assert odds_of(choice)["b"] > 0.9
