"""A model's raw probability made true, by a curve fitted on answers to rows that the model did not learn from.

Why this form and these rows: docs/adr/0007-calibration.md.
"""

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier

from contracts.bundle import Calibration
from trainer.fit import estimators
from trainer.fit.dataset import Rows
from trainer.fit.estimators import Algorithm

EDGE = 1e-6
"""Raw probabilities are kept this far from 0 and 1, here and in the exported graph."""

LEAST_POSITIVES = 30

FOLDS: Final = 3
FOLDS_OF_MANY: Final = 2
MANY_ROWS: Final = 50_000
"""Above so many rows half of them teach nearly what all do, and two fits are enough."""

Floats = npt.NDArray[np.float64]


METHOD: Final[dict[Algorithm, Literal["beta", "platt"]]] = {
    "forest": "beta",
    "regression": "platt",
    "boosted": "platt",
}
"""A forest averages shares, which bends its two ends unlike: beta calibration. The others are logits already: Platt scaling."""


def calibrate(raw: Floats, labels: npt.NDArray[np.bool_], method: Literal["beta", "platt"] = "beta") -> Calibration:
    """Return the scaling p = sigmoid(a ln(raw) - b ln(1 - raw) + c) that minimises log loss.

    Method "beta" leaves a and b free (Kull, Silva Filho and Flach 2017), "platt" holds them equal (Platt 1999). Neither is
    ever below 0.05, so the order of probabilities stays. With fewer than 30 rows of either class the raw probability stays as
    it is.
    """
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < LEAST_POSITIVES:
        return Calibration(method="none", rows=len(labels))
    low, high = _ends(raw)

    def loss(parameters: Floats) -> float:
        z = parameters[0] * low + parameters[-2] * high + parameters[-1]
        # A light pull towards "no change" keeps small calibration sets from bending the curve.
        return float(np.mean(np.logaddexp(0, z) - labels * z)) + 1e-4 * float(((parameters[:-1] - 1) ** 2).sum())

    slopes = 2 if method == "beta" else 1
    start, bounds = np.array([1.0] * slopes + [0.0]), [(0.05, 20.0)] * slopes + [(-20.0, 20.0)]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return Calibration(
        method=method, slope=float(found[0]), slope_high=float(found[-2]), offset=float(found[-1]), rows=len(labels)
    )


def apply(calibration: Calibration, raw: Floats) -> Floats:
    """Return calibrated probabilities."""
    if calibration.method == "none":
        return raw
    low, high = _ends(raw)
    return np.asarray(expit(calibration.slope * low + slope_high(calibration) * high + calibration.offset))


def slope_high(calibration: Calibration) -> float:
    """Return the slope of -ln(1 - raw); Platt scaling has one slope for both ends."""
    return calibration.slope if calibration.method == "platt" else calibration.slope_high


def _ends(raw: Floats) -> tuple[Floats, Floats]:
    """Return ln(raw) and -ln(1 - raw)."""
    kept = np.clip(raw, EDGE, 1 - EDGE)
    return np.log(kept), -np.log1p(-kept)


def held_out(
    algorithm: Algorithm, estimator: Any, rows: Rows, seed: int
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return raw probabilities of training rows by estimators that did not learn from them, those rows' labels, and which rows.

    A forest of rows that weigh alike answers for the rows each of its trees did not draw (out of bag), so what is calibrated
    is the very forest that is shipped. Others are fitted again without a share of the payments and asked about them. So is a
    weighted forest: its trees draw heavy rows so often that few trees, or none, are left to answer for them.

    Parameters
    ----------
    algorithm, estimator
        The fitted model; a forest of equal weights must have been fitted with its out-of-bag answers.
    rows
        What it was fitted on.
    seed
        Draws the shares.
    """
    if isinstance(estimator, RandomForestClassifier) and estimator.oob_score:
        raw: Floats = estimator.oob_decision_function_[:, 1]
    else:
        raw = _crossed(algorithm, rows, seed)
    answered = np.isfinite(raw)
    return raw[answered], rows.labels[answered], answered


def _crossed(algorithm: Algorithm, rows: Rows, seed: int) -> Floats:
    """Return each row's raw probability by an estimator fitted without its payment; NaN where none could be fitted."""
    folds = FOLDS if len(rows.labels) <= MANY_ROWS else FOLDS_OF_MANY
    payment = rows.frame["payment_id"].rank("dense").to_numpy().astype(np.int64) - 1
    fold = np.random.default_rng(seed).integers(0, folds, payment.max() + 1)[payment]
    raw = np.full(len(rows.labels), np.nan)
    for number in range(folds):
        asked = fold == number
        learnt = rows.labels[~asked]
        if asked.any() and learnt.any() and not learnt.all():
            fitted = estimators.fit(algorithm, rows.features[~asked], learnt, rows.weights[~asked], seed, smaller=True)
            raw[asked] = fitted.predict_proba(rows.features[asked])[:, 1]
    return raw
