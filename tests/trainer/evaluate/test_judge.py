"""Off policy: what another routing would have been worth is found where it can be, and refused where it cannot."""

import numpy as np
import pytest

from trainer.evaluate.off_policy import judge

SHARES = np.array([0.1, 0.2, 0.7])
RATES = np.array([0.9, 0.6, 0.5])


def logged(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return approvals, processors and propensities of a router that mostly sends to the worst of three."""
    chance = np.random.default_rng(seed)
    sent = chance.choice(3, count, p=SHARES)
    return chance.random(count) < RATES[sent], sent, SHARES[sent]


def test_the_value_of_a_policy_never_followed_as_a_whole_is_found() -> None:
    approved, sent, propensity = logged(20_000, 0)
    found = judge("the best", approved, sent == 0, propensity)
    assert found.value.value == pytest.approx(0.9, abs=0.02)
    assert found.logged.value == pytest.approx(float(SHARES @ RATES), abs=0.02)
    assert found.gain.value == pytest.approx(found.value.value - found.logged.value)
    assert found.conclusive
    assert found.reading == "the best would have approved more than whoever decided"
    assert found.matched == int((sent == 0).sum())
    # Equal weights: the effective size is the number of matched attempts.
    assert found.effective == pytest.approx(found.matched)


def test_the_estimate_equals_a_computation_by_hand() -> None:
    approved = np.array([True, False, True, True])
    matched = np.array([True, True, False, True])
    found = judge("any", approved, matched, np.array([0.5, 0.25, 0.5, 0.2]))
    assert found.value.value == pytest.approx((2 + 5) / (2 + 4 + 5))
    assert found.effective == pytest.approx(11**2 / (4 + 16 + 25))


def test_its_interval_covers_the_truth() -> None:
    covered = 0
    for seed in range(40):
        approved, sent, propensity = logged(1_500, 100 + seed)
        found = judge("the best", approved, sent == 0, propensity, seed)
        covered += found.value.low <= 0.9 <= found.value.high
    assert covered >= 33


def test_its_interval_covers_the_truth_when_a_few_heavy_attempts_decide() -> None:
    covered = 0
    rates = np.array([0.95, 0.9, 0.85, 0.8, 0.93])
    shares = np.array([0.7, 0.12, 0.08, 0.06, 0.04])
    for seed in range(60):
        chance = np.random.default_rng(500 + seed)
        # The policy prefers each processor equally often, the router its first by far.
        best, sent = chance.integers(0, 5, 1_100), chance.choice(5, 1_100, p=shares)
        approved = chance.random(1_100) < rates[sent]
        found = judge("any", approved, best == sent, shares[sent], seed)
        covered += found.value.low <= rates.mean() <= found.value.high
    assert covered >= 53


def test_a_worse_policy_is_called_worse_and_an_equal_one_equal() -> None:
    approved, sent, propensity = logged(20_000, 1)
    assert judge("the worst", approved, sent == 2, propensity).reading.endswith("less than whoever decided")
    everyone = np.ones(20_000)
    same = judge("as it was", approved, np.ones(20_000, dtype=bool), everyone)
    assert same.reading == "no difference from whoever decided can be told"
    assert same.gain.value == pytest.approx(0.0)


def test_under_an_effective_size_of_a_hundred_it_refuses_to_conclude() -> None:
    approved, sent, propensity = logged(800, 2)
    found = judge("the best", approved, sent == 0, propensity)
    assert found.effective < 100
    assert not found.conclusive
    assert found.reading.startswith("no conclusion: the effective sample size is")


def test_nothing_matched_is_no_conclusion_and_no_crash() -> None:
    found = judge("never", np.array([True, False] * 50), np.zeros(100, dtype=bool), np.full(100, 0.5))
    assert (found.effective, found.matched, found.conclusive) == (0.0, 0, False)
    assert (found.value.low, found.value.high) == (0.0, 1.0)
    assert found.gain.low < 0 < found.gain.high


def test_propensities_that_cannot_be_right_are_doubted() -> None:
    approved, sent, propensity = logged(20_000, 3)
    found = judge("the best", approved, sent == 0, np.minimum(propensity * 3, 1.0))
    assert not found.conclusive
    assert "the weights average 0.3" in found.reading


def test_weights_are_clipped_and_it_is_said_how_many() -> None:
    chance = np.random.default_rng(4)
    propensity = np.where(np.arange(4_000) % 40 == 0, 0.004, 0.5)
    found = judge("any", chance.random(4_000) < 0.5, chance.random(4_000) < propensity, propensity)
    assert 4_000**0.5 <= found.clip <= 250
    # Of a hundred attempts drawn one time in 250, hardly any matched.
    assert found.clipped <= 5
    everywhere = judge("all", np.ones(4_000, dtype=bool), np.ones(4_000, dtype=bool), propensity)
    assert everywhere.clipped == 100
    assert everywhere.effective < 4_000
