"""Calibration: it undoes a known distortion, leaves alone what it cannot judge, and never turns an order round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from contracts.bundle import Calibration
from tests.trainer.fit.conftest import random_rows, rows_of
from trainer.fit import calibration, estimators
from trainer.fit.estimators import Algorithm
from trainer.fit.evaluation import Scored


def truth(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    p = expit(chance.normal(-1.0, 1.2, count))
    return p, chance.random(count) < p


@pytest.mark.parametrize("method", ["beta", "platt"])
def test_a_logistic_distortion_is_undone(method: str) -> None:
    p, labels = truth(60_000)
    distorted = expit((logit(p) - 0.7) / 1.8)
    found = calibration.calibrate(distorted, labels, method)  # type: ignore[arg-type]
    assert found.slope == pytest.approx(1.8, abs=0.08)
    if method == "platt":
        assert found.slope_high == found.slope
        assert found.offset == pytest.approx(0.7, abs=0.1)
    assert np.abs(calibration.apply(found, distorted) - p).max() < 0.02


def test_beta_undoes_what_bends_the_ends_unlike_and_platt_cannot() -> None:
    p, labels = truth(60_000)
    # The inverse of a beta calibration with slopes 2.0 and 0.7, by bisection.
    low, high = np.full(len(p), 1e-9), np.full(len(p), 1 - 1e-9)
    for _ in range(60):
        middle = (low + high) / 2
        below = expit(2.0 * np.log(middle) - 0.7 * np.log1p(-middle) + 0.4) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    errors = {
        method: np.abs(calibration.apply(calibration.calibrate(low, labels, method), low) - p).mean()
        for method in ("beta", "platt")
    }
    assert errors["beta"] < 0.005
    assert errors["platt"] > 2 * errors["beta"]


@pytest.mark.parametrize(("positives", "rows"), [(29, 1000), (971, 1000), (0, 500), (500, 500)])
def test_with_fewer_than_thirty_of_a_class_nothing_is_scaled(positives: int, rows: int) -> None:
    raw = np.linspace(0.01, 0.99, rows)
    found = calibration.calibrate(raw, np.arange(rows) < positives)
    assert found == Calibration(method="none", rows=rows)
    assert calibration.apply(found, raw) is raw


def test_an_order_is_never_turned_round_even_by_labels_that_ask_for_it() -> None:
    chance = np.random.default_rng(1)
    raw = np.sort(chance.random(2_000))
    for method in ("beta", "platt"):
        found = calibration.calibrate(raw, chance.random(2_000) < 1 - raw, method)
        assert (np.diff(calibration.apply(found, raw)) > 0).all()


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(-20, 20), st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_calibrated_is_a_probability_in_the_same_order(a: float, b: float, c: float, raw: list[float]) -> None:
    found = calibration.apply(Calibration(method="beta", slope=a, slope_high=b, offset=c), np.sort(raw))
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("algorithm", ["forest", "regression", "boosted"])
def test_it_is_fitted_on_answers_to_rows_that_were_not_learnt(algorithm: Algorithm) -> None:
    # Labels without any pattern: whoever learnt a row knows its label, whoever did not answers the base rate.
    rows = random_rows("risk", 1_500)
    noise = np.random.default_rng(5).random(1_500) < 0.3
    rows = rows_of(rows.features, noise)
    estimator = estimators.fit(algorithm, rows.features, rows.labels, rows.weights, 0)
    learnt = Scored(noise, estimator.predict_proba(rows.features)[:, 1]).metrics(np.ones(1_500))["auc"]
    raw, labels, _ = calibration.held_out(algorithm, estimator, rows, 0)
    unseen = Scored(labels, raw).metrics(np.ones(len(raw)))["auc"]
    assert learnt > 0.6
    assert 0.4 < unseen < 0.6


def test_rows_of_one_payment_are_left_out_together() -> None:
    # Each payment has two rows alike in everything, label included: a mate left in would give the label away.
    chance = np.random.default_rng(2)
    half = random_rows("retry", 800).features
    labels = np.tile(chance.random(800) < 0.4, 2)
    rows = rows_of(np.vstack([half, half]), labels)
    frame = rows.frame.with_columns(payment_id=np.tile([f"p{number}" for number in range(800)], 2))
    rows = type(rows)(features=rows.features, labels=labels, weights=rows.weights, frame=frame)
    raw, known, _ = calibration.held_out("boosted", None, rows, 0)
    assert 0.4 < Scored(known, raw).metrics(np.ones(len(raw)))["auc"] < 0.6


def test_a_weighted_forest_answers_for_its_heavy_rows_too() -> None:
    rows = random_rows("routing", 1_200)
    weights = np.where(np.arange(1_200) % 20 == 0, 10.0, 0.5)
    weights /= weights.mean()
    rows = rows_of(rows.features, rows.labels, weights)
    estimator = estimators.fit("forest", rows.features, rows.labels, weights, 0)
    raw, labels, _ = calibration.held_out("forest", estimator, rows, 0)
    assert len(raw) == len(labels) == 1_200
