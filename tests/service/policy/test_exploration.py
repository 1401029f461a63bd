from collections import Counter

import pytest

from service.policy.exploration import draw_of, pick, propensities

P = ("a", "b", "c")


def test_a_draw_depends_on_the_question_alone():
    assert draw_of("pay_1", 1) == draw_of("pay_1", 1)
    assert draw_of("pay_1", 1) != draw_of("pay_1", 2)


def test_draws_are_spread_evenly():
    counts = Counter(int(10 * draw_of(f"pay_{number}", 1)) for number in range(20_000))
    assert set(counts) == set(range(10))
    assert all(1_800 < count < 2_200 for count in counts.values())


def test_propensities_give_every_near_equal_its_share():
    assert propensities(3, [0, 2], 0.1) == pytest.approx([0.95, 0.0, 0.05])
    assert propensities(0, [], 0.1) == []


def test_a_draw_below_the_share_is_uniform_over_near_equals():
    assert [pick(draw, [0, 2], 0.1) for draw in (0.04, 0.06, 0.0999999, 0.1)] == [0, 2, 2, 0]


@pytest.fixture(scope="module")
def ask(compiled, payment, now):
    def choose(number=1, approval=(0.8, 0.85, 0.84), risk=0.01, degraded=(), exploration=0.3, **parameters):
        return compiled(exploration=exploration, **parameters).choose(
            payment(payment_id=f"pay_{number}"), P, approval, risk, kind="auth", now=now, degraded=degraded
        )

    return choose


def test_choices_come_as_often_as_their_propensities_say(ask):
    choices = [ask(number) for number in range(3_000)]
    odds = {one.processor: one.propensity for one in choices[0].ranking}
    assert odds == pytest.approx({"a": 0.1, "b": 0.8, "c": 0.1})
    counts = Counter(choice.processor for choice in choices)
    for processor, propensity in odds.items():
        assert counts[processor] / 3_000 == pytest.approx(propensity, abs=0.025)


def test_an_explored_choice_says_so_and_is_not_first_in_the_ranking(ask):
    explored = next(choice for choice in map(ask, range(100)) if choice.processor != "b")
    assert explored.ranking[0].processor == "b"
    assert P[explored.index] == explored.processor
    assert "explored" in [reason.code for reason in explored.reasons]


def test_a_far_worse_candidate_is_never_drawn(ask):
    choices = [ask(number, approval=(0.5, 0.85, 0.84)) for number in range(300)]
    assert {choice.processor for choice in choices} == {"b", "c"}
    assert choices[0].ranking[-1].propensity == 0.0


def test_a_far_worse_candidate_is_never_drawn_where_approval_ranks(ask):
    choices = [ask(number, approval=(0.5, 0.85, 0.84), margin_share=0.0) for number in range(300)]
    assert {choice.processor for choice in choices} == {"b", "c"}


@pytest.mark.parametrize("change", [{"degraded": ("features:redis_timeout",)}, {"risk": 0.99}, {"exploration": 0.0}])
def test_nothing_is_explored_when_degraded_declined_or_switched_off(ask, change):
    for number in range(100):
        choice = ask(number, **change)
        assert [one.propensity for one in choice.ranking] == [1.0, 0.0, 0.0]
        assert choice.processor in ("b", None)
