"""How good a probability is: AUC, average precision, log loss, Brier and calibration error, each with an interval.

Intervals are 95 % percentile intervals of a Poisson bootstrap over payments, so that the tries of one payment count as one
observation. A round only changes the weights of the rows, so the rows are put in order once and every metric of a round
is a running sum. This module must not know any model.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.bundle import Evaluation, Metric

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.int64]

BINS: Final = 15
ROUNDS: Final = 200
MOST_ROWS: Final = 200_000
METRICS: Final = ("auc", "average_precision", "log_loss", "brier", "ece", "ece_by_chance")
"""`ece_by_chance` is the calibration error that perfect probabilities would show on so many rows: what of `ece` is noise."""

_EDGE: Final = 1e-12
_LOW, _HIGH = 0.025, 0.975


class Scored:
    """Labels and probabilities in the order of the probability, ready to be weighed again and again."""

    def __init__(self, labels: Labels, p: Floats) -> None:
        self.order = np.argsort(p, kind="stable")
        self._p = p[self.order]
        self._labels = labels[self.order].astype(np.float64)
        clipped = np.clip(self._p, _EDGE, 1 - _EDGE)
        self._loss = -np.where(self._labels == 1.0, np.log(clipped), np.log1p(-clipped))
        self._square = (self._p - self._labels) ** 2
        # Rows of one probability are one point of every curve and lie in one bin.
        self._starts = np.flatnonzero(np.r_[True, self._p[1:] != self._p[:-1]])

    def metrics(self, weights: Floats) -> dict[str, float]:
        """Return every metric with `weights` (n,) given in the order of the rows; both classes must weigh something."""
        heavy = weights[self.order]
        positive = np.add.reduceat(heavy * self._labels, self._starts)
        weight = np.add.reduceat(heavy, self._starts)
        negative = weight - positive
        total, positives, negatives = weight.sum(), positive.sum(), negative.sum()
        below = np.cumsum(negative) - negative
        # At the threshold of a point all rows from it upwards are called positive.
        true = positives - np.cumsum(positive) + positive
        called = total - np.cumsum(weight) + weight
        precision = np.divide(true, called, out=np.zeros_like(true), where=positive > 0)
        bins = np.minimum(((np.cumsum(weight) - weight / 2) / total * BINS).astype(np.int64), BINS - 1)
        gaps = np.bincount(bins, np.add.reduceat(heavy * (self._p - self._labels), self._starts), BINS)
        spread = np.bincount(bins, np.add.reduceat(heavy**2 * self._p * (1 - self._p), self._starts), BINS)
        return {
            "auc": float((positive * (below + negative / 2)).sum() / (positives * negatives)),
            "average_precision": float((positive * precision).sum() / positives),
            "log_loss": float((heavy * self._loss).sum() / total),
            "brier": float((heavy * self._square).sum() / total),
            # Expected calibration error (Naeini et al. 2015), with bins of equal weight.
            "ece": float(np.abs(gaps).sum() / total),
            # The mean absolute value of a normal deviate is sqrt(2 / pi) of its standard deviation.
            "ece_by_chance": float(np.sqrt(2 / np.pi * np.maximum(spread, 0)).sum() / total),
        }


def evaluate(labels: Labels, p: Floats, groups: Groups, seed: int = 0) -> Evaluation:
    """Return every metric with its interval.

    Parameters
    ----------
    labels, p
        Truth and probability, shape (n,). Both classes must be there.
    groups
        The payment of each row as a number: rows of one group are drawn together.
    seed
        Draws the bootstrap, and the payments it is drawn from when there are more than 200,000 rows.
    """
    chance = np.random.default_rng(seed)
    scored = Scored(labels, p)
    values = scored.metrics(np.ones(len(labels)))
    kept, scale = part_of(groups, chance)
    if scale < 1.0:
        scored = Scored(labels[kept], p[kept])
    truth = labels[kept]
    draws = [
        scored.metrics(weights)
        for weights in rounds(groups[kept], chance)
        if min(weights[truth].sum(), weights[~truth].sum()) > 0
    ]
    return Evaluation(
        rows=len(labels),
        positives=int(labels.sum()),
        metrics={name: interval(values[name], [draw[name] for draw in draws], scale) for name in METRICS},
    )


def part_of(groups: Groups, chance: np.random.Generator) -> tuple[npt.NDArray[np.bool_], float]:
    """Return which rows a bootstrap is drawn from, whole groups of them, and by how much its intervals are too wide.

    The width of an interval goes with one over the root of the number of observations, so a bootstrap over a part of the
    groups is as much too wide as the root of that part says.
    """
    if len(groups) <= MOST_ROWS:
        return np.ones(len(groups), dtype=np.bool_), 1.0
    _, number = np.unique(groups, return_inverse=True)
    share = MOST_ROWS / len(groups)
    chosen = chance.random(number.max() + 1) < share
    return chosen[number], float(chosen.mean() ** 0.5)


def rounds(groups: Groups, chance: np.random.Generator) -> Iterator[Floats]:
    """Yield the weights of each row in each round of a Poisson bootstrap over groups."""
    _, number = np.unique(groups, return_inverse=True)
    most = int(number.max()) + 1
    for _ in range(ROUNDS):
        yield chance.poisson(1.0, most)[number].astype(np.float64)


def interval(value: float, draws: Sequence[float], scale: float = 1.0, least: float = 0.0) -> Metric:
    """Return the percentile interval of `draws`, moved so that its middle is `value` and narrowed by `scale`.

    Moved, because some metrics (calibration error) are larger on every redrawn set than on the rows themselves. The low end is
    not below `least`, the smallest value there is.
    """
    if not draws:
        return Metric(value=value, low=value, high=value)
    low, middle, high = np.quantile(draws, [_LOW, 0.5, _HIGH])
    return Metric(
        value=value, low=float(max(least, value + (low - middle) * scale)), high=float(value + (high - middle) * scale)
    )
