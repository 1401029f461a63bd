"""How good a probability is: AUC, average precision, log loss, Brier and calibration error, each with an interval.

Intervals are 95 % percentile intervals of a Poisson bootstrap over payments, so that the tries of one payment count as one
observation. This module must not know any model.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from contracts.bundle import Evaluation, Metric

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

BINS: Final = 15
ROUNDS: Final = 100
MOST_ROWS: Final = 50_000
_EDGE: Final = 1e-12


def log_loss(labels: Labels, p: Floats, weights: Floats) -> float:
    """Return the mean negative log likelihood in nats."""
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return float(np.average(-np.where(labels, np.log(clipped), np.log1p(-clipped)), weights=weights))


def brier(labels: Labels, p: Floats, weights: Floats) -> float:
    """Return the mean squared error of the probability."""
    return float(np.average((p - labels) ** 2, weights=weights))


def calibration_error(labels: Labels, p: Floats, weights: Floats) -> float:
    """Return the expected calibration error over 15 bins of equal weight (Naeini et al. 2015, with equal-mass bins)."""
    order = np.argsort(p, kind="stable")
    heavy = weights[order]
    edges = np.searchsorted(np.cumsum(heavy), np.linspace(0, heavy.sum(), BINS + 1)[1:-1])
    total = heavy.sum()
    gaps = 0.0
    for rows in np.split(order, edges):
        weight = weights[rows]
        if len(rows) and weight.sum() > 0:
            gaps += (
                weight.sum()
                / total
                * abs(np.average(p[rows], weights=weight) - np.average(labels[rows], weights=weight))
            )
    return float(gaps)


METRICS: Final[dict[str, Callable[[Labels, Floats, Floats], float]]] = {
    "auc": lambda labels, p, weights: float(roc_auc_score(labels, p, sample_weight=weights)),
    "average_precision": lambda labels, p, weights: float(average_precision_score(labels, p, sample_weight=weights)),
    "log_loss": log_loss,
    "brier": brier,
    "ece": calibration_error,
}


def evaluate(labels: Labels, p: Floats, groups: npt.NDArray[np.int64], seed: int = 0) -> Evaluation:
    """Return every metric with its interval.

    Parameters
    ----------
    labels, p
        Truth and probability, shape (n,). Both classes must be there.
    groups
        The payment of each row as a number: rows of one group are drawn together.
    seed
        Draws the bootstrap, and the rows when there are more than 50,000.
    """
    chance = np.random.default_rng(seed)
    ones = np.ones(len(labels))
    values = {name: metric(labels, p, ones) for name, metric in METRICS.items()}
    if len(labels) > MOST_ROWS:
        keep = np.sort(chance.choice(len(labels), MOST_ROWS, replace=False))
        scale = (MOST_ROWS / len(labels)) ** 0.5
        labels_b, p_b, groups_b = labels[keep], p[keep], groups[keep]
    else:
        scale, labels_b, p_b, groups_b = 1.0, labels, p, groups
    _, group = np.unique(groups_b, return_inverse=True)
    draws: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(ROUNDS):
        weights = chance.poisson(1.0, group.max() + 1)[group].astype(np.float64)
        drawn = weights[labels_b].sum(), weights[~labels_b].sum()
        if min(drawn) == 0:
            continue
        kept = weights > 0
        for name, metric in METRICS.items():
            draws[name].append(metric(labels_b[kept], p_b[kept], weights[kept]))
    return Evaluation(
        rows=len(labels),
        positives=int(labels.sum()),
        metrics={name: _interval(values[name], draws[name], scale) for name in METRICS},
    )


def _interval(value: float, draws: list[float], scale: float) -> Metric:
    """Return the percentile interval around `value`, narrowed where the bootstrap saw a part of the rows."""
    if not draws:
        return Metric(value=value, low=value, high=value)
    middle = float(np.median(draws))
    low, high = (value + (float(np.quantile(draws, q)) - middle) * scale for q in (0.025, 0.975))
    return Metric(value=value, low=low, high=high)
