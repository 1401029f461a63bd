"""Evaluation: the figures are scikit-learn's, the intervals cover, and the tries of one payment count as one."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from trainer.fit import evaluation
from trainer.fit.evaluation import METRICS, Scored, evaluate, interval


def drawn(count: int, seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    p = expit(chance.normal(-1.0, 1.0, count))
    labels = chance.random(count) < p
    return labels, (np.round(p, 1) if ties else p)


@pytest.mark.parametrize("ties", [False, True])
def test_every_metric_equals_scikit_learns_with_and_without_weights(ties: bool) -> None:
    labels, p = drawn(3_000, 1, ties)
    p = np.clip(p, 0.01, 0.99)
    for weights in (np.ones(3_000), np.random.default_rng(2).poisson(1.0, 3_000).astype(float)):
        found = Scored(labels, p).metrics(weights)
        assert found["auc"] == pytest.approx(roc_auc_score(labels, p, sample_weight=weights), abs=1e-12)
        expected = average_precision_score(labels, p, sample_weight=weights)
        assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
        assert found["log_loss"] == pytest.approx(log_loss(labels, p, sample_weight=weights), abs=1e-12)
        assert found["brier"] == pytest.approx(brier_score_loss(labels, p, sample_weight=weights), abs=1e-12)


def test_calibration_error_equals_a_computation_by_hand() -> None:
    # 15 bins of two rows each: said 0.1, was 0 / said 0.9, was half.
    p = np.concatenate([np.linspace(0.095, 0.105, 14), np.linspace(0.895, 0.905, 16)])
    labels = np.concatenate([np.zeros(14, dtype=bool), np.tile([True, False], 8)])
    gaps = [abs(p[start : start + 2].mean() - labels[start : start + 2].mean()) for start in range(0, 30, 2)]
    assert Scored(labels, p).metrics(np.ones(30))["ece"] == pytest.approx(np.mean(gaps), abs=1e-12)


def test_one_probability_for_all_is_one_bin_however_the_rows_are_ordered() -> None:
    labels = np.arange(900) < 300
    found = Scored(labels, np.full(900, 0.4)).metrics(np.ones(900))
    assert found["ece"] == pytest.approx(0.4 - 1 / 3, abs=1e-12)
    assert found["auc"] == pytest.approx(0.5)
    assert found["average_precision"] == pytest.approx(1 / 3)


def test_perfect_probabilities_show_the_calibration_error_that_chance_is_said_to_give() -> None:
    found = [Scored(*drawn(4_000, seed)).metrics(np.ones(4_000)) for seed in range(40)]
    mean = np.mean([each["ece"] for each in found])
    assert mean == pytest.approx(np.mean([each["ece_by_chance"] for each in found]), rel=0.15)


def test_a_row_drawn_twice_counts_like_two_rows() -> None:
    labels, p = drawn(500, 3, ties=True)
    weights = np.random.default_rng(4).poisson(1.0, 500)
    twice = np.repeat(np.arange(500), weights)
    there, again = (
        Scored(labels, p).metrics(weights.astype(float)),
        Scored(labels[twice], p[twice]).metrics(np.ones(len(twice))),
    )
    for name in set(METRICS) - {"ece_by_chance"}:
        assert there[name] == pytest.approx(again[name], abs=1e-12), name


def test_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "ROUNDS", 60)
    labels, p = drawn(400_000, 0)
    truth = Scored(labels, p).metrics(np.ones(len(labels)))
    covered = dict.fromkeys(("auc", "average_precision", "log_loss", "brier"), 0)
    repeats = 80
    for seed in range(repeats):
        some, said = drawn(600, 1000 + seed)
        found = evaluate(some, said, np.arange(600), seed).metrics
        for name in covered:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    # 95 % of 80 is 76; four standard errors are 8.
    assert all(count >= 67 for count in covered.values()), covered


def test_tries_of_one_payment_make_intervals_wider_than_as_many_payments_would() -> None:
    labels, p = drawn(400, 6)
    labels, p = np.repeat(labels, 6), np.repeat(p, 6)
    by_payment = evaluate(labels, p, np.repeat(np.arange(400), 6)).metrics
    by_row = evaluate(labels, p, np.arange(2_400)).metrics
    for name in ("auc", "log_loss", "brier", "average_precision"):
        wide, narrow = (found[name].high - found[name].low for found in (by_payment, by_row))
        assert by_payment[name].value == pytest.approx(by_row[name].value)
        # Six rows alike hold the news of one: the root of six is 2.4.
        assert 1.8 < wide / narrow < 3.2, name


def test_a_bootstrap_over_a_part_of_the_payments_is_as_wide_as_one_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, p = drawn(6_000, 7)
    groups = np.repeat(np.arange(2_000), 3)
    whole = evaluate(labels, p, groups).metrics["auc"]
    monkeypatch.setattr(evaluation, "MOST_ROWS", 2_000)
    part = evaluate(labels, p, groups).metrics["auc"]
    assert part.value == whole.value
    assert (part.high - part.low) == pytest.approx(whole.high - whole.low, rel=0.35)


def test_a_round_that_draws_one_class_only_is_left_out() -> None:
    labels = np.array([True] + [False] * 50)
    p = np.linspace(0.9, 0.1, 51)
    found = evaluate(labels, p, np.arange(51))
    assert found.positives == 1
    assert found.metrics["auc"].value == 1.0
    assert all(np.isfinite([metric.low, metric.high]).all() for metric in found.metrics.values())


def test_the_interval_holds_the_value_and_ends_at_the_least_there_is() -> None:
    found = interval(0.01, list(np.linspace(0.02, 0.08, 50)))
    assert found.low == 0.0
    assert found.low <= found.value <= found.high
    assert interval(-0.2, list(np.linspace(-0.4, 0.0, 50)), least=-1.0).low < -0.2


def test_the_same_seed_gives_the_same_intervals() -> None:
    labels, p = drawn(800, 8)
    assert evaluate(labels, p, np.arange(800), 5) == evaluate(labels, p, np.arange(800), 5)
    assert evaluate(labels, p, np.arange(800), 5) != evaluate(labels, p, np.arange(800), 6)
