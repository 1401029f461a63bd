"""Calibration: true probabilities are left alone, false ones are found, and looking at many segments raises no false alarm."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from trainer.evaluate.calibration import Calibrated, Group, calibrated

NETWORKS = ("amex", "mastercard", "visa")


def shop(count: int, seed: int, *, attempts: int = 1) -> tuple[pl.DataFrame, np.ndarray, np.random.Generator]:
    """Return attempts, the probability that is said of each, and chance."""
    chance = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "payment_id": [f"p{number // attempts}" for number in range(count)],
            "card_network": chance.choice(NETWORKS, count),
            "processor": chance.choice(["north", "atlas"], count),
            "issuer_country": chance.choice(["DE", "FR", "ES", "IT"], count),
            "merchant_id": chance.choice([f"m{number}" for number in range(8)], count),
            "amount_minor": chance.integers(100, 200_000, count),
            "currency": ["EUR"] * count,
            "is_network_token": chance.choice([True, False], count),
            "initiator": chance.choice(["customer", "merchant"], count),
        }
    )
    return frame, chance.beta(3, 1.5, count), chance


def group(found: Calibrated, dimension: str, value: str) -> Group:
    return next(each for each in found.groups if (each.dimension, each.value) == (dimension, value))


def named(found: Calibrated) -> set[str]:
    return {f"{each.dimension} {each.value}" for each in found.groups if each.is_off}


def test_true_probabilities_are_called_true_however_many_segments_are_looked_at() -> None:
    alarms = 0
    for seed in range(24):
        frame, p, chance = shop(3_000, seed)
        found = calibrated("approval", frame, chance.random(3_000) < p, p, seed)
        alarms += bool(named(found))
        assert len(found.groups) > 20
    # With a chance of 5 % each, more than 5 of 24 come one time in a thousand.
    assert alarms <= 5


def test_a_segment_whose_level_is_off_is_named_and_no_other() -> None:
    frame, p, chance = shop(20_000, 1)
    truth = np.where(frame["card_network"] == "visa", p - 0.08, p)
    found = calibrated("approval", frame, chance.random(20_000) < truth, p)
    visa = group(found, "network", "visa")
    assert visa.is_off
    assert visa.gap.low <= -0.08 <= visa.gap.high
    assert visa.gap.high < 0
    # Every other segment has its share of visa; the other networks have none.
    assert not group(found, "network", "amex").is_off
    assert not group(found, "network", "mastercard").is_off
    assert "network visa (said" in found.reading


@pytest.mark.parametrize("power", [0.6, 1.6])
def test_a_segment_that_is_too_bold_or_too_timid_is_named_though_its_level_is_right(power: float) -> None:
    frame, p, chance = shop(20_000, 2)
    odds = np.log(p / (1 - p))
    middle = float(np.median(odds))
    bent = 1 / (1 + np.exp(-(middle + power * (odds - middle))))
    bent = np.clip(bent + (p.mean() - bent.mean()), 0.001, 0.999)
    truth = np.where(frame["processor"] == "atlas", bent, p)
    found = calibrated("approval", frame, chance.random(20_000) < truth, p)
    atlas = group(found, "processor", "atlas")
    assert abs(atlas.gap.value) < 0.02
    assert atlas.is_off
    assert not group(found, "processor", "north").is_off


def test_tries_of_one_payment_that_end_alike_are_no_evidence_of_their_own() -> None:
    """Were each row counted as an observation, four equal ones would make chance look like a fault."""
    alarms = {"as they are": 0, "as if apart": 0}
    for seed in range(16):
        frame, p, chance = shop(4_000, seed, attempts=4)
        p = np.repeat(p[::4], 4)
        labels = np.repeat(chance.random(1_000) < p[::4], 4)
        apart = frame.with_columns(payment_id=pl.int_range(pl.len()).cast(pl.String))
        alarms["as they are"] += calibrated("approval", frame, labels, p, seed).whole.is_off
        alarms["as if apart"] += calibrated("approval", apart, labels, p, seed).whole.is_off
    assert alarms["as if apart"] >= 6
    assert alarms["as they are"] <= 3


def test_the_calibration_error_equals_a_computation_by_hand() -> None:
    p = np.repeat([0.1, 0.3, 0.6, 0.9], 300)
    labels = np.zeros(1_200, dtype=bool)
    labels[:60] = True  # 60 of 300 where 30 were expected
    labels[300:390] = True  # as said
    labels[600:750] = True  # 150 where 180 were expected
    labels[900:1_170] = True  # as said
    frame, _, _ = shop(1_200, 3)
    found = calibrated("approval", frame, labels, p).whole
    assert found.ece.value == pytest.approx((30 + 30) / 1_200)
    assert found.gap.value == pytest.approx(0.0)
    assert found.brier.value == pytest.approx(float(((p - labels) ** 2).mean()))
    assert [each.rows for each in found.curve] == [300] * 4
    assert [each.said for each in found.curve] == pytest.approx([0.1, 0.3, 0.6, 0.9])
    assert [each.observed.value for each in found.curve] == pytest.approx([0.2, 0.3, 0.5, 0.9])
    assert found.is_off


def test_intervals_of_the_gap_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(50):
        frame, p, chance = shop(600, seed)
        found = calibrated("approval", frame, chance.random(600) < p - 0.05 * (p > 0.1), p, seed).whole
        held += found.gap.low <= -0.05 * float((p > 0.1).mean()) <= found.gap.high
    assert held >= 42


def test_observed_rates_of_a_bin_without_a_success_have_an_interval_all_the_same() -> None:
    frame, _, chance = shop(3_000, 4)
    p = chance.random(3_000) * 0.002
    found = calibrated("risk", frame, np.zeros(3_000, dtype=bool), p)
    assert found.figures is None
    assert all(each.observed.high > 0.01 for each in found.whole.curve)
    assert found.whole.chance is None


def test_few_rows_are_not_judged() -> None:
    frame, p, chance = shop(90, 5)
    found = calibrated("approval", frame, chance.random(90) < p, p)
    assert found.groups == ()
    assert found.reading == "too few rows to look at segments apart"


def test_one_seed_gives_one_report() -> None:
    frame, p, chance = shop(2_000, 6)
    labels = chance.random(2_000) < p
    told: list[Any] = [calibrated("approval", frame, labels, p, 3) for _ in range(2)]
    assert told[0] == told[1]


def test_a_fault_of_the_level_alone_or_of_the_slope_alone_is_not_lost_among_bins() -> None:
    """Spread over fifteen bins three and a half standard errors are hardly seen."""
    frame, p, chance = shop(6_000, 3)
    draw = chance.random(6_000)
    variance = p * (1 - p)
    low = draw < p - 4.0 * float(variance.sum()) ** 0.5 / 6_000
    level = stats.chi2.sf(float((low - p).sum()) ** 2 / float(variance.sum()), 1)
    odds = np.log(p / (1 - p))
    lever = odds - float(variance @ odds) / float(variance.sum())
    bold = draw < np.clip(p - 0.014 * lever, 0, 1)
    slope = stats.chi2.sf(float((bold - p) @ lever) ** 2 / float(variance @ lever**2), 1)
    for labels, known in ((low, level), (bold, slope)):
        assert 1e-5 < known < 1e-3
        # Three tests were made, and what was observed spreads a little wider than what was said.
        assert 3 * known <= calibrated("approval", frame, labels, p).whole.chance <= 12 * known
