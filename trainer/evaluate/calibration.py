"""Are probabilities true? Said against observed, over all rows and in each segment of them.

A segment is off when what was observed there is further from what was said than chance would have it: its level (a z test of the
sum of the residuals), its slope (of the residuals along the log-odds: too bold or too timid), or its shape (the residuals in bins
of the probability, Hosmer and Lemeshow 1980). Many segments are looked at, so p-values are made larger by Holm's method: among
all of a model's segments together a false alarm has a chance of 5 %.

This module must not know any model.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats
from scipy.special import logit

from contracts.base import Record
from contracts.bundle import Evaluation, Metric
from trainer.evaluate.intervals import holm, wider, wilson
from trainer.evaluate.log import Flags, Floats, Places
from trainer.evaluate.segments import DIMENSIONS, segments
from trainer.fit.evaluation import BINS, evaluate, interval, part_of, rounds

LEAST_ROWS: Final = 100
"""Rows below which a segment is not looked at."""

LEAST_EXPECTED: Final = 5.0
"""Expected successes, and failures, below which a normal test says nothing: of a segment and of each of its bins."""

LEVEL: Final = 0.05
_EDGE: Final = 1e-9


class Bin(Record, frozen=True, kw_only=True):
    """One bin of a reliability curve: the mean probability said, and the rate observed with its 95 % interval."""

    said: float
    observed: Metric
    rows: int


class Group(Record, frozen=True, kw_only=True):
    """All rows of a model, or a segment of them.

    Attributes
    ----------
    dimension, value
        Which.
    rows, payments
        How many.
    said, observed
        The mean probability, and the rate.
    gap
        `observed` less `said`, with its 95 % interval over payments.
    ece, ece_by_chance
        Expected calibration error over bins of equal weight, and what perfect probabilities would show on these rows.
    brier
        Mean squared error.
    chance
        p-value of the hypothesis that all probabilities here are true, after Holm over all segments; None: too few rows.
    is_off
        Whether that is below 0.05.
    curve
        Said and observed by bin of the probability.
    """

    dimension: str
    value: str
    rows: int
    payments: int
    said: float
    observed: float
    gap: Metric
    ece: Metric
    ece_by_chance: float
    brier: Metric
    chance: float | None
    is_off: bool
    curve: tuple[Bin, ...]


class Calibrated(Record, frozen=True, kw_only=True):
    """How true a model's probabilities are.

    `whole` is over all rows, `groups` the segments. `figures` are those of the model card, None when all rows ended alike.
    """

    model: str
    whole: Group
    groups: tuple[Group, ...]
    figures: Evaluation | None
    reading: str


def calibrated(model: str, frame: pl.DataFrame, labels: Flags, p: Floats, seed: int = 0) -> Calibrated:
    """Return how true a model's probabilities are.

    Parameters
    ----------
    model
        Its name.
    frame
        Columns of the canonical history, n rows.
    labels, p
        Truth and probability, shape (n,).
    seed
        Draws the bootstrap over payments.
    """
    payment = frame["payment_id"].rank("dense").to_numpy().astype(np.int64)
    named = segments(frame)
    slices: list[tuple[str, str, Places]] = [("all", "all", np.arange(len(p)))]
    for dimension in DIMENSIONS:
        slices += _slices(named[dimension], dimension)
    found = [_Slice(place, labels, p, payment) for _, _, place in slices]
    chances = [each.chance() for each in found]
    tested = [place for place, chance in enumerate(chances) if place and chance is not None]
    adjusted = dict(zip(tested, holm([chances[place] or 0.0 for place in tested]), strict=True))
    if chances[0] is not None:
        adjusted[0] = chances[0]
    kept, scale = part_of(payment, np.random.default_rng(seed))
    for weights in rounds(payment, np.random.default_rng(seed + 1)):
        times = weights * kept
        for each in found:
            each.redraw(times)
    groups = [
        each.group(dimension, value, adjusted.get(place), scale)
        for place, (each, (dimension, value, _)) in enumerate(zip(found, slices, strict=True))
    ]
    mixed = labels.any() and not labels.all()
    return Calibrated(
        model=model,
        whole=groups[0],
        groups=tuple(groups[1:]),
        figures=evaluate(labels, p, payment, seed) if mixed else None,
        reading=_reading(groups[1:]),
    )


def _slices(column: pl.Series, dimension: str) -> list[tuple[str, str, Places]]:
    """Return the rows of each value that is common enough to be looked at; a dimension of one value is all rows again."""
    values = column.drop_nulls().unique().sort().to_list()
    if len(values) < 2:
        return []
    codes = column.replace_strict(
        {value: place for place, value in enumerate(values)}, default=-1, return_dtype=pl.Int64
    )
    places = codes.to_numpy()
    rows = [(dimension, value, np.flatnonzero(places == place)) for place, value in enumerate(values)]
    return [each for each in rows if len(each[2]) >= LEAST_ROWS]


class _Slice:
    """Rows of one segment in bins of their probability, and what a bootstrap draws of them."""

    def __init__(self, place: Places, labels: Flags, p: Floats, payment: Places) -> None:
        self._place = place
        self._p, self._labels = p[place], labels[place].astype(np.float64)
        _, self._payment = np.unique(payment[place], return_inverse=True)
        # Rows of one probability lie in one bin, where the middle of them falls.
        middle = stats.rankdata(self._p, method="average") - 0.5
        self._bin = np.minimum((middle / len(place) * BINS).astype(np.int64), BINS - 1)
        self._square = (self._p - self._labels) ** 2
        self._drawn: list[tuple[npt.NDArray[np.float64], float, float, float]] = []

    def redraw(self, weights: Floats) -> None:
        """Take one round of the bootstrap: `weights` of all rows of the model."""
        mine = weights[self._place]
        if mine.sum() > 0:
            self._drawn.append(self._figures(mine))

    def _figures(self, weights: Floats) -> tuple[npt.NDArray[np.float64], float, float, float]:
        """Return the rate observed in each bin, the gap, the calibration error and the Brier score."""
        total = float(weights.sum())
        count = np.bincount(self._bin, weights, BINS)
        hits = np.bincount(self._bin, weights * self._labels, BINS)
        said = np.bincount(self._bin, weights * self._p, BINS)
        observed = np.divide(hits, count, out=np.full(BINS, np.nan), where=count > 0)
        gap = float(hits.sum() - said.sum()) / total
        return observed, gap, float(np.abs(hits - said).sum()) / total, float(weights @ self._square) / total

    def chance(self) -> float | None:
        """Return the p-value of the hypothesis that these probabilities are true; None when there are too few rows.

        Level, slope and shape are three tests; the smallest p-value counts three times.
        """
        whole = np.zeros(len(self._p), dtype=np.int64)
        level = self._standardised(whole, np.ones(len(self._p)))
        if not len(level):
            return None
        odds = logit(np.clip(self._p, _EDGE, 1 - _EDGE))
        spread = self._p * (1 - self._p)
        slope = self._standardised(whole, odds - float(spread @ odds) / float(spread.sum()))
        shape = self._standardised(self._bin, np.ones(len(self._p)))
        chances = [float(stats.chi2.sf((z**2).sum(), len(z))) for z in (level, slope, shape) if len(z)]
        return min(1.0, len(chances) * min(chances))

    def _standardised(self, cell: Places, lever: Floats) -> Floats:
        """Return each cell's sum of residuals times `lever` in standard deviations, where it is large enough to be normal.

        The variance is that of independent rows, or what payments of several rows show, whichever is the larger.
        """
        count = int(cell.max()) + 1
        residual = (self._labels - self._p) * lever
        expected, missed = np.bincount(cell, self._p, count), np.bincount(cell, 1 - self._p, count)
        pairs, place = np.unique(self._payment * count + cell, return_inverse=True)
        seen = np.bincount(pairs % count, np.bincount(place, residual) ** 2, count)
        variance = np.maximum(np.bincount(cell, self._p * (1 - self._p) * lever**2, count), seen)
        large = (np.minimum(expected, missed) >= LEAST_EXPECTED) & (variance > _EDGE)
        z: Floats = np.bincount(cell, residual, count)[large] / np.sqrt(variance[large])
        return z

    def group(self, dimension: str, value: str, chance: float | None, scale: float) -> Group:
        """Return the record."""
        ones = np.ones(len(self._p))
        observed, gap, error, brier = self._figures(ones)
        spread = np.bincount(self._bin, self._p * (1 - self._p), BINS)
        return Group(
            dimension=dimension,
            value=value,
            rows=len(self._p),
            payments=int(self._payment.max()) + 1,
            said=float(self._p.mean()),
            observed=float(self._labels.mean()),
            gap=interval(gap, [draw[1] for draw in self._drawn], scale, least=-1.0),
            ece=interval(error, [draw[2] for draw in self._drawn], scale),
            # The mean absolute value of a normal deviate is sqrt(2 / pi) of its standard deviation.
            ece_by_chance=float(np.sqrt(2 / np.pi * spread).sum()) / len(self._p),
            brier=interval(brier, [draw[3] for draw in self._drawn], scale),
            chance=chance,
            is_off=chance is not None and chance < LEVEL,
            curve=tuple(self._curve(observed, scale)),
        )

    def _curve(self, observed: Floats, scale: float) -> list[Bin]:
        count = np.bincount(self._bin, minlength=BINS)
        said = np.bincount(self._bin, self._p, BINS)
        bins = []
        for place in np.flatnonzero(count):
            rate, rows = float(observed[place]), int(count[place])
            drawn = [float(draw[0][place]) for draw in self._drawn if np.isfinite(draw[0][place])]
            seen = wider(interval(rate, drawn, scale), wilson(rate, rows))
            kept = Metric(value=rate, low=max(0.0, seen.low), high=min(1.0, seen.high))
            bins.append(Bin(said=float(said[place]) / rows, observed=kept, rows=rows))
        return bins


def _reading(groups: list[Group]) -> str:
    tested = sum(group.chance is not None for group in groups)
    off = sorted((group for group in groups if group.is_off), key=lambda group: (group.chance, -abs(group.gap.value)))
    if not tested:
        return "too few rows to look at segments apart"
    if not off:
        return f"none of {tested} segments is off beyond chance (Holm, 5 % over all of them)"
    named = ", ".join(
        f"{group.dimension} {group.value} (said {group.said:.3f}, observed {group.observed:.3f}, ece {group.ece.value:.3f} where "
        f"chance gives {group.ece_by_chance:.3f})"
        for group in off[:8]
    )
    rest = f" and {len(off) - 8} more" if len(off) > 8 else ""
    return f"{len(off)} of {tested} segments are off beyond chance (Holm, 5 % over all of them): {named}{rest}"
