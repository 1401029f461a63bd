"""Off policy: known truths are found, intervals hold them, and what cannot be known is refused."""

import numpy as np
import pytest

from tests.trainer.evaluate.bandits import ACTIONS, APPROVAL, LOGGING, WANTED, Shop, truth
from trainer.evaluate.intervals import wilson
from trainer.evaluate.log import Log, Target
from trainer.evaluate.off_policy import Estimate, default_clip, estimate

GOOD = APPROVAL + np.array([[0.03], [-0.02], [0.02], [-0.03]])
BAD = np.full((4, 3), 0.2)


def judged(count: int, seed: int, reward: str = "approval", model: np.ndarray = GOOD) -> Estimate:
    shop = Shop.open(count, seed)
    expected = shop.expected(reward, model)
    return estimate(shop.log(reward), shop.target(), reward=reward, expected=expected, seed=seed)


def by_hand(
    reward: list[float], chosen: list[list[float]], taken: list[int], propensity: list[float]
) -> tuple[Log, Target]:
    rows = len(reward)
    offered = np.ones((rows, len(chosen[0])), dtype=bool)
    log = Log(
        ACTIONS[: len(chosen[0])], np.array(taken), np.array(propensity), np.array(reward), np.arange(rows), offered
    )
    return log, Target("p", np.array(chosen))


def test_the_estimators_equal_a_computation_by_hand() -> None:
    log, target = by_hand(
        [1.0, 0.0, 3.0, -2.0], [[0.8, 0.2], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], [0, 1, 1, 0], [0.4, 0.5, 0.1, 0.8]
    )
    # Weights 2, 2, 5, 1.25.
    found = estimate(log, target, reward="margin", expected=np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 2.0], [-1.0, 5.0]]))
    worth = 2 * 1 + 2 * 0 + 5 * 3 - 1.25 * 2
    assert found.ips.value == pytest.approx(worth / 4)
    assert found.snips.value == pytest.approx(worth / 10.25)
    direct = (0.8 + 0.4) + 1.0 + (0.0 + 1.0) - 1.0
    residual = 2 * (1 - 1) + 2 * (0 - 1) + 5 * (3 - 2) + 1.25 * (-2 + 1)
    assert found.direct is not None
    assert found.direct.value == pytest.approx(direct / 4)
    assert found.doubly_robust is not None
    assert found.doubly_robust.value == pytest.approx((direct + residual) / 4)
    assert found.logged.value == pytest.approx(0.5)
    assert found.gain.value == pytest.approx(found.snips.value - 0.5)
    assert found.effective == pytest.approx(10.25**2 / (4 + 4 + 25 + 1.25**2))
    assert (found.rows, found.payments, found.matched) == (4, 4, 4)


def test_what_weighs_more_than_the_clip_weighs_the_clip_and_it_is_said_how_much_that_took() -> None:
    log, target = by_hand([1.0, 0.0, 1.0], [[1.0, 0.0]] * 3, [0, 0, 1], [0.01, 0.5, 0.9])
    found = estimate(log, target, reward="approval", clip=10.0)
    assert found.snips.value == pytest.approx(10 / 12)
    assert found.clipped == pytest.approx(1 / 3)
    assert found.cut == pytest.approx(90 / 102)
    # What is known does not grow by cutting.
    assert found.effective == pytest.approx(102**2 / (100**2 + 2**2))
    assert found.matched == 2


def test_the_clip_takes_a_hundredth_of_the_weight_at_the_most() -> None:
    assert default_clip(np.ones(100)) == 50.0
    assert default_clip(np.ones(1_000_000)) == 1_000.0
    # Of 3,000 a hundredth is 30: the heaviest may weigh 970, or two of them 985.
    assert default_clip(np.r_[np.full(1_000, 2.0), 1_000.0]) == pytest.approx(970.0)
    assert default_clip(np.r_[np.full(1_000, 1.0), 1_000.0, 1_000.0]) == pytest.approx(985.0)
    assert default_clip(np.zeros(100)) == 50.0
    chance = np.random.default_rng(0)
    for _ in range(50):
        weights = chance.pareto(1.1, 500) * 10
        clip = default_clip(weights)
        taken = 1 - np.minimum(weights, clip).sum() / weights.sum()
        assert taken <= 0.01 + 1e-12
        assert taken == pytest.approx(0.01) or clip in (50.0, 500**0.5)


@pytest.mark.parametrize("reward", ["approval", "margin"])
def test_the_truth_is_found(reward: str) -> None:
    found = judged(60_000, 1, reward)
    known = truth(reward)
    tolerance = 0.01 if reward == "approval" else 7.0
    assert found.doubly_robust is not None
    for metric in (found.snips, found.ips, found.doubly_robust):
        assert metric.value == pytest.approx(known, abs=tolerance)
        assert metric.low <= known <= metric.high
    assert found.logged.value == pytest.approx(truth(reward, LOGGING), abs=tolerance)
    assert found.conclusive
    verb = "approved" if reward == "approval" else "earned"
    assert found.reading == f"the other would have {verb} more than whoever decided"


@pytest.mark.parametrize("reward", ["approval", "margin"])
def test_intervals_hold_the_truth_as_often_as_they_say(reward: str) -> None:
    seeds, known, difference = 120, truth(reward), truth(reward) - truth(reward, LOGGING)
    held = dict.fromkeys(("snips", "ips", "good", "bad", "gain"), 0)
    for seed in range(seeds):
        found, misled = judged(500, seed, reward), judged(500, seed, reward, BAD)
        assert found.doubly_robust is not None
        assert misled.doubly_robust is not None
        held["snips"] += found.snips.low <= known <= found.snips.high
        held["ips"] += found.ips.low <= known <= found.ips.high
        held["good"] += found.doubly_robust.low <= known <= found.doubly_robust.high
        held["bad"] += misled.doubly_robust.low <= known <= misled.doubly_robust.high
        held["gain"] += found.gain.low <= difference <= found.gain.high
    # Of 120 intervals that hold the truth 95 times in 100 fewer than 107 do one time in a thousand.
    assert all(count >= 107 for count in held.values()), held


def test_intervals_are_no_wider_than_they_must_be() -> None:
    """An interval of everything would hold the truth too: its width is that of the errors that are made."""
    found = [judged(1_000, seed) for seed in range(40)]
    errors = np.array([each.snips.value for each in found]) - truth()
    width = np.mean([each.snips.high - each.snips.low for each in found])
    assert width < 1.6 * 2 * 1.96 * errors.std()


def test_intervals_hold_the_truth_where_one_payment_in_a_hundred_explores() -> None:
    logging = np.array(
        [[0.985, 0.0075, 0.0075], [0.0075, 0.985, 0.0075], [0.0075, 0.0075, 0.985], [0.985, 0.0075, 0.0075]]
    )
    wanted = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    seeds, held = 60, 0
    for seed in range(seeds):
        shop = Shop.open(20_000, seed, logging)
        log = shop.log(propensity=logging[shop.segment, shop.taken])
        found = estimate(log, shop.target(wanted), reward="approval", seed=seed)
        assert found.conclusive
        held += found.snips.low <= truth(wanted=wanted) <= found.snips.high
    assert held >= 53


def test_doubly_robust_is_no_worse_than_ips_with_a_good_model_and_holds_with_a_bad_one() -> None:
    errors = dict.fromkeys(("ips", "good", "bad"), 0.0)
    for seed in range(60):
        found, misled = judged(800, seed), judged(800, seed, model=BAD)
        assert found.doubly_robust is not None
        assert misled.doubly_robust is not None
        errors["ips"] += (found.ips.value - truth()) ** 2
        errors["good"] += (found.doubly_robust.value - truth()) ** 2
        errors["bad"] += (misled.doubly_robust.value - truth()) ** 2
    assert errors["good"] < 0.5 * errors["ips"]
    # Centred on the truth all the same: the mean of 60 errors is small beside one of them.
    assert errors["bad"] < 1.2 * errors["ips"]


def test_attempts_of_one_payment_are_one_observation() -> None:
    shop = Shop.open(1_000, 5)
    once = shop.log()
    again = Log(
        once.actions,
        np.repeat(once.taken, 4),
        np.repeat(once.propensity, 4),
        np.repeat(once.reward, 4),
        np.repeat(once.payment, 4),
        np.repeat(once.offered, 4, axis=0),
    )
    wanted = WANTED[shop.segment]
    alone = estimate(once, Target("p", wanted), reward="margin")
    together = estimate(again, Target("p", np.repeat(wanted, 4, axis=0)), reward="margin")
    assert together.payments == 1_000
    assert together.rows == 4_000
    assert together.logged.high - together.logged.low == pytest.approx(alone.logged.high - alone.logged.low)


def test_whoever_decided_is_worth_what_came_of_it() -> None:
    shop = Shop.open(3_000, 2)
    found = estimate(shop.log(), Target("logged", None), reward="approval", expected=shop.expected())
    assert found.snips == found.logged
    assert found.snips.value == found.ips.value == pytest.approx(shop.approved.mean())
    assert found.doubly_robust is not None
    assert found.doubly_robust.value == pytest.approx(shop.approved.mean())
    assert (found.gain.low, found.gain.value, found.gain.high) == (0.0, 0.0, 0.0)
    assert found.effective == pytest.approx(3_000)
    assert found.reading == "what was done, and so known"


def test_a_policy_that_is_nearly_the_logged_one_is_told_from_it_far_more_finely_than_it_is_known() -> None:
    shop = Shop.open(20_000, 3)
    near = 0.9 * LOGGING + 0.1 * WANTED
    found = estimate(shop.log(), shop.target(near), reward="approval")
    assert found.gain.high - found.gain.low < 0.5 * (found.snips.high - found.snips.low)
    assert found.gain.low <= truth(wanted=near) - truth(wanted=LOGGING) <= found.gain.high


def test_doing_nothing_is_known_to_be_worth_nothing() -> None:
    """The policy declines the second segment and does the rest as wanted."""
    shop = Shop.open(40_000, 4)
    wanted = WANTED.copy()
    wanted[1] = 0.0
    nothing = (shop.segment == 1).astype(float)
    target = Target("strict", wanted[shop.segment], nothing=nothing)
    found = estimate(shop.log(), target, reward="approval", expected=shop.expected())
    assert found.nothing == pytest.approx(0.25, abs=0.01)
    assert found.conclusive
    for metric in (found.snips, found.ips, found.doubly_robust):
        assert metric is not None
        assert metric.value == pytest.approx(truth(wanted=wanted), abs=0.015)
        assert metric.low <= truth(wanted=wanted) <= metric.high


def test_what_was_never_tried_is_left_out_and_too_much_of_it_is_no_conclusion() -> None:
    shop = Shop.open(8_000, 6)
    chosen = WANTED[shop.segment].copy()
    lost = (shop.segment == 2).astype(float)
    chosen[shop.segment == 2] = 0.0
    found = estimate(shop.log(), Target("p", chosen, lost=lost), reward="approval")
    assert not found.conclusive
    assert "% of what the policy would do was never tried, more than 5%" in found.reading
    assert found.lost == pytest.approx(0.25, abs=0.02)
    # The difference is from what was done about the other questions, not about all.
    done = float(shop.approved[shop.segment != 2].mean())
    assert found.gain.value == pytest.approx(found.snips.value - done)
    assert abs(done - found.logged.value) > 0.02
    known = (WANTED * APPROVAL).sum(axis=1)[[0, 1, 3]].mean()
    assert found.snips.low <= known <= found.snips.high
    assert found.ips.value == pytest.approx(known, abs=0.05)


def test_under_an_effective_size_of_a_hundred_nothing_is_concluded() -> None:
    found = judged(250, 0)
    assert found.effective < 100
    assert not found.conclusive
    assert found.reading.startswith("no conclusion: the effective sample size is")


def test_nothing_matched_is_no_conclusion_and_no_crash() -> None:
    log, target = by_hand([1.0, -2.0] * 50, [[0.0, 1.0]] * 100, [0] * 100, [0.5] * 100)
    found = estimate(log, target, reward="margin")
    assert (found.effective, found.matched, found.conclusive) == (0.0, 0, False)
    assert (found.snips.low, found.snips.high) == (-2.0, 1.0)
    assert found.gain.low < 0 < found.gain.high


def test_weights_that_do_not_add_up_are_doubted() -> None:
    shop = Shop.open(8_000, 7)
    log = shop.log(propensity=np.minimum(LOGGING[shop.segment, shop.taken] * 2, 1.0))
    found = estimate(log, shop.target(), reward="approval")
    assert not found.conclusive
    assert "where right propensities that reach every candidate give 1.00" in found.reading


def test_a_clip_that_takes_much_is_no_conclusion() -> None:
    shop = Shop.open(8_000, 8)
    found = estimate(shop.log(), shop.target(), reward="approval", clip=2.0)
    assert not found.conclusive
    assert "without the weights above 2 the estimate would leave out" in found.reading


def test_what_is_doubted_beforehand_is_no_conclusion() -> None:
    shop = Shop.open(8_000, 9)
    found = estimate(shop.log(), shop.target(), reward="approval", doubts=["the clock was wrong"])
    assert found.reading == "no conclusion: the clock was wrong"


def test_every_weight_is_in_the_histogram() -> None:
    found = judged(2_000, 10)
    assert sum(found.histogram) == found.matched
    log, target = by_hand([1.0] * 3, [[1.0, 0.0]] * 3, [0, 0, 0], [1.0, 0.5, 0.001])
    # Weights 1, 2 and 1000: bars from 1 to 2, from 2 to 4, and from 128 on.
    assert estimate(log, target, reward="approval").histogram == (0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1)


def alike(reward: float, others: tuple[float, float]) -> tuple[Log, Target]:
    """A thousand questions of which 200, drawn one time in five, are what the policy would do; all of these ended alike."""
    taken = np.repeat([0, 1], [200, 800])
    propensity = np.repeat([0.2, 0.8], [200, 800])
    rewards = np.concatenate([np.full(200, reward), np.tile(others, 400)])
    log = Log(("a", "b"), taken, propensity, rewards, np.arange(1_000), np.ones((1_000, 2), dtype=bool))
    return log, Target("always a", np.tile([1.0, 0.0], (1_000, 1)))


def test_where_all_that_counts_ended_alike_intervals_are_those_of_so_many_questions() -> None:
    """A bootstrap redraws two hundred approvals and finds two hundred approvals."""
    log, target = alike(1.0, (0.0, 1.0))
    model = np.full((1_000, 2), 0.4)
    found = estimate(log, target, reward="approval", expected=model)
    assert found.effective == pytest.approx(200)
    low, high = wilson(1.0, 200)
    assert found.snips.low == pytest.approx(low)
    assert found.snips.high == pytest.approx(high)
    spread = max(0.0, float(log.reward.var()))
    # IPS: the second moment over the effective size, less what all questions have in common.
    half = 1.96 * ((1.0 + spread) / 200 - 1.0 / 1_000) ** 0.5
    assert found.ips.low <= 1 - half * 0.999
    assert found.ips.high >= 1 + half * 0.999
    assert found.doubly_robust is not None
    left = float((log.reward - 0.4).var())
    half = 1.96 * ((0.6**2 + left) / 200 - 0.6**2 / 1_000) ** 0.5
    assert found.doubly_robust.low <= 1 - half * 0.999
    assert found.doubly_robust.high >= 1 + half * 0.999
    # And the difference: only what is done otherwise is uncertain.
    half = 1.96 * (spread * (1 / 200 - 1 / 1_000)) ** 0.5
    assert found.gain.low <= found.gain.value - half * 0.999
    assert found.gain.high - found.gain.low < 2.6 * half


def test_the_interval_of_a_margin_is_no_narrower_than_the_spread_of_all_questions_says() -> None:
    log, target = alike(50.0, (-10.0, 90.0))
    found = estimate(log, target, reward="margin")
    half = 1.96 * (float(log.reward.var()) / 200) ** 0.5
    assert half > 5
    assert found.snips.low == pytest.approx(50 - half, rel=1e-3)
    assert found.snips.high == pytest.approx(50 + half, rel=1e-3)


def test_of_what_is_declined_half_the_time_the_interval_is_half_as_high() -> None:
    log, _ = alike(1.0, (0.0, 1.0))
    target = Target("half", np.tile([0.5, 0.0], (1_000, 1)), nothing=np.full(1_000, 0.5))
    found = estimate(log, target, reward="approval")
    low, high = wilson(1.0, 200)
    assert found.snips.value == pytest.approx(0.5)
    assert found.snips.low == pytest.approx(0.5 * low)
    assert found.snips.high == pytest.approx(0.5 * high)


def test_a_difference_whose_interval_holds_nothing_is_told_as_none() -> None:
    log, target = alike(50.0, (-10.0, 110.0))
    found = estimate(log, target, reward="margin")
    assert found.conclusive
    assert found.gain.low < 0 < found.gain.high
    assert found.reading == "no difference from whoever decided can be told"
