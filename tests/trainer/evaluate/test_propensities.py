"""Propensities: wrong ones are doubted, missing ones estimated, and nobody says anything of itself."""

import msgspec
import numpy as np
import polars as pl
import pytest

from tests.trainer.evaluate.bandits import APPROVAL, LOGGING, WANTED, Shop, truth
from trainer.evaluate.direct import expected, folds
from trainer.evaluate.log import Log, Target
from trainer.evaluate.off_policy import estimate
from trainer.evaluate.propensities import STRENGTH, doubts, estimated


def cells(shop: Shop) -> list[np.ndarray]:
    return [shop.segment // 2, shop.segment]


def guessed(shop: Shop, seed: int = 0) -> Log:
    """The log of a shop that kept no propensities."""
    fold = folds(np.arange(len(shop.taken)), seed)
    every = np.ones((len(shop.taken), 3), dtype=bool)
    return shop.log(propensity=estimated(cells(shop), shop.taken, every, fold)[np.arange(len(shop.taken)), shop.taken])


def test_right_propensities_are_not_doubted() -> None:
    assert [found for seed in range(30) for found in doubts(Shop.open(3_000, seed).log())] == []


def test_an_action_that_was_offered_less_often_than_thought_is_not_doubted() -> None:
    shop = Shop.open(5_000, 0)
    # As if harbor had been offered in every segment, though half of the questions never had it.
    never = shop.segment >= 2
    taken = np.where(never & (shop.taken == 2), 0, shop.taken)
    odds = np.where(
        never & (taken == 0), LOGGING[shop.segment, 0] + LOGGING[shop.segment, 2], LOGGING[shop.segment, taken]
    )
    every = np.ones((5_000, 3), dtype=bool)
    assert doubts(Log(("a", "b", "c"), taken, odds, shop.approved.astype(float), np.arange(5_000), every)) == []


def test_a_router_that_hardly_explores_is_not_doubted_before_it_was_seen_to() -> None:
    """Of 200 questions with odds of 994 in 1000 all may have been answered alike: their weights are all a little over one."""
    odds = np.array([[0.994, 0.003, 0.003]] * 4)
    quiet = Log(
        ("a", "b", "c"),
        np.zeros(200, dtype=np.int64),
        np.full(200, 0.994),
        np.ones(200),
        np.arange(200),
        np.ones((200, 3), dtype=bool),
    )
    assert doubts(quiet) == []
    found = estimate(quiet, Target("always the first", np.tile([1.0, 0.0, 0.0], (200, 1))), reward="approval")
    assert found.conclusive, found.reading
    alarms = 0
    for seed in range(20):
        shop = Shop.open(2_000, seed, odds)
        log = shop.log(propensity=odds[shop.segment, shop.taken])
        alarms += bool(doubts(log))
    assert alarms == 0


@pytest.mark.parametrize("value", [0.0, -0.2, 1.5, float("nan")])
def test_what_is_no_probability_is_doubted(value: float) -> None:
    shop = Shop.open(100, 1)
    propensity = LOGGING[shop.segment, shop.taken].copy()
    propensity[3] = value
    (found,) = doubts(shop.log(propensity=propensity))
    assert found == "1 of 100 propensities are no probability above 0 and up to 1"


def test_propensities_that_are_too_low_for_an_action_are_doubted_by_its_name() -> None:
    shop = Shop.open(5_000, 2)
    propensity = LOGGING[shop.segment, shop.taken]
    (found,) = doubts(shop.log(propensity=np.where(shop.taken == 1, propensity / 1.5, propensity)))
    assert found.startswith("one over the propensities of atlas averages 1.4")


def test_the_propensities_of_another_action_are_doubted() -> None:
    shop = Shop.open(8_000, 3)
    swapped = LOGGING[:, [2, 1, 0]][shop.segment, shop.taken]
    assert any("north" in found or "harbor" in found for found in doubts(shop.log(propensity=swapped)))


def test_shares_of_a_large_cell_are_its_propensities() -> None:
    shop = Shop.open(40_000, 4)
    fold = folds(np.arange(40_000), 0)
    found = estimated(cells(shop), shop.taken, np.ones((40_000, 3), dtype=bool), fold)
    assert found.sum(axis=1) == pytest.approx(np.ones(40_000))
    for segment in range(4):
        assert found[shop.segment == segment].mean(axis=0) == pytest.approx(LOGGING[segment], abs=0.015)


def test_estimates_equal_a_computation_by_hand_and_leave_their_own_fold_out() -> None:
    taken = np.array([0, 0, 1, 0, 1, 1])
    fold = np.array([0, 0, 0, 1, 1, 1])
    cell = np.array([7, 7, 7, 7, 7, 9])
    found = estimated([cell], taken, np.ones((6, 2), dtype=bool), fold)
    # The first fold learns from the second: one of three overall took 0, and one of two in cell 7.
    overall = (1 + 1) / (3 + 2)
    assert found[0, 0] == pytest.approx((1 + STRENGTH * overall) / (2 + STRENGTH))
    # Cell 9 is not in the first fold: what is above it answers.
    assert found[5, 0] == pytest.approx((2 + 1) / (3 + 2))


def test_what_is_not_offered_has_no_probability() -> None:
    shop = Shop.open(2_000, 5)
    offered = np.ones((2_000, 3), dtype=bool)
    offered[shop.taken != 2, 2] = False
    found = estimated(cells(shop), shop.taken, offered, folds(np.arange(2_000), 0))
    assert (found[~offered] == 0).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(2_000))


def test_with_estimated_propensities_the_truth_is_found_where_the_router_looked_at_the_segment_alone() -> None:
    held = 0
    for seed in range(40):
        shop = Shop.open(3_000, seed)
        found = estimate(guessed(shop, seed), shop.target(), reward="approval", seed=seed)
        assert found.conclusive, found.reading
        held += found.snips.low <= truth() <= found.snips.high
    assert held >= 34


def test_a_router_that_knew_more_makes_them_wrong_and_no_interval_shows_it() -> None:
    """What the report says so loudly: estimated propensities cannot know what the router saw."""
    chance = np.random.default_rng(0)
    shop = Shop.open(20_000, 6)
    healthy = chance.random(20_000) < 0.5
    taken = np.where(healthy, 1, 0)
    approved = chance.random(20_000) < np.where(healthy, 0.9, 0.5)
    seen = shop._replace(taken=taken, approved=approved)
    found = estimate(guessed(seen), seen.target(np.tile([0.0, 1.0, 0.0], (4, 1))), reward="approval")
    # Through atlas half of the payments would fail; it was only used while all went well.
    assert found.snips.low > 0.85


def test_questions_of_one_payment_lie_in_one_fold() -> None:
    payment = np.repeat(np.arange(500), 3)
    fold = folds(payment, 1)
    assert (fold.reshape(500, 3) == fold.reshape(500, 3)[:, :1]).all()
    assert 0.4 < fold.mean() < 0.6


def test_the_model_of_the_rewards_learns_what_each_action_comes_to() -> None:
    shop = Shop.open(12_000, 7)
    context = pl.DataFrame({"segment": [f"s{number}" for number in shop.segment], "amount": shop.amount})
    every = np.ones((12_000, 3), dtype=bool)
    found = expected(context, shop.taken, shop.approved, every, folds(np.arange(12_000), 0))
    for segment in range(4):
        assert found[shop.segment == segment].mean(axis=0) == pytest.approx(APPROVAL[segment], abs=0.05)


def test_the_model_of_the_rewards_says_nothing_of_what_it_learnt_from() -> None:
    chance = np.random.default_rng(8)
    context = pl.DataFrame({"x": chance.random(4_000)})
    won = chance.random(4_000) < 0.5
    every = np.ones((4_000, 2), dtype=bool)
    taken = chance.integers(0, 2, 4_000)
    found = expected(context, taken, won, every, folds(np.arange(4_000), 0))
    own = found[np.arange(4_000), taken]
    assert abs(float(np.corrcoef(own, won)[0, 1])) < 0.05


def test_without_both_outcomes_the_rate_is_all_there_is_to_learn() -> None:
    context = pl.DataFrame({"x": [None] * 50 + ["a"] * 50}, schema={"x": pl.String})
    every = np.ones((100, 2), dtype=bool)
    every[:10, 1] = False
    found = expected(context, np.zeros(100, dtype=np.int64), np.ones(100, dtype=bool), every, folds(np.arange(100), 0))
    assert (found[every] == 1.0).all()
    assert (found[~every] == 0.0).all()


def test_wanted_is_a_policy() -> None:
    """The tests' own policy sums to 1, or every expectation above would be of something else."""
    assert WANTED.sum(axis=1) == pytest.approx(np.ones(4))
    assert LOGGING.sum(axis=1) == pytest.approx(np.ones(4))
    assert msgspec.json.encode(estimate(Shop.open(300, 0).log(), Shop.open(300, 0).target(), reward="approval"))
