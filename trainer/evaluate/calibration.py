"""Are probabilities true? Said against observed, over all rows and in each segment of them.

A segment is off when what was observed there is further from what was said than chance would have it: its level (a z test of the
sum of the residuals), its slope (of the residuals along the log-odds: too bold or too timid), or its shape (the residuals in bins
of the probability, Hosmer and Lemeshow 1980). Many segments are looked at, so p-values are made larger by Holm's method: among
all of a model's segments together a false alarm has a chance of 5 %.

This module must not know any model.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
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
    drawn, scale = _redrawn(found, len(p), payment, seed)
    groups = [
        each.group(dimension, value, adjusted.get(place), drawn.of(place), scale)
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


class _Drawn(NamedTuple):
    """What a bootstrap drew of each bin: weight, successes, probabilities said and squared errors, shape (rounds, bins)."""

    weight: Floats
    hits: Floats
    said: Floats
    square: Floats

    def of(self, place: int) -> "_Drawn":
        """Return what was drawn of one segment."""
        mine = slice(place * BINS, (place + 1) * BINS)
        return _Drawn(*(each[:, mine] for each in self))

    @property
    def total(self) -> Floats:
        """The weight of each round that has any, as are the following."""
        total: Floats = self.weight.sum(axis=1)
        return total

    @property
    def gap(self) -> Floats:
        """Observed less said."""
        return _share((self.hits - self.said).sum(axis=1), self.total)

    @property
    def error(self) -> Floats:
        """The expected calibration error (Naeini et al. 2015)."""
        return _share(np.abs(self.hits - self.said).sum(axis=1), self.total)

    @property
    def brier(self) -> Floats:
        """The mean squared error."""
        return _share(self.square.sum(axis=1), self.total)


def _share(sums: Floats, total: Floats) -> Floats:
    share: Floats = sums[total > 0] / total[total > 0]
    return share


def _redrawn(slices: Sequence["_Slice"], rows: int, payment: Places, seed: int) -> tuple[_Drawn, float]:
    """Draw payments again and again; the scale is that of `trainer.fit.evaluation.part_of`."""
    chance = np.random.default_rng(seed)
    kept, scale = part_of(payment, chance)
    place = np.concatenate([each.place for each in slices])
    cell = np.concatenate([each.bin + number * BINS for number, each in enumerate(slices)])
    labels = np.concatenate([each.labels for each in slices])
    said = np.concatenate([each.p for each in slices])
    square = (said - labels) ** 2
    sums = []
    for weights in rounds(payment, chance):
        mine = (weights * kept)[place]
        sums.append([np.bincount(cell, mine * value, len(slices) * BINS) for value in (1.0, labels, said, square)])
    return _Drawn(*np.asarray(sums).transpose(1, 0, 2)), scale


class _Slice:
    """Rows of one segment in bins of their probability."""

    def __init__(self, place: Places, labels: Flags, p: Floats, payment: Places) -> None:
        self.place = place
        self.p, self.labels = p[place], labels[place].astype(np.float64)
        _, self._payment = np.unique(payment[place], return_inverse=True)
        # Rows of one probability lie in one bin, where the middle of them falls.
        middle = stats.rankdata(self.p, method="average") - 0.5
        self.bin = np.minimum((middle / len(place) * BINS).astype(np.int64), BINS - 1)

    def as_it_is(self) -> _Drawn:
        """Return what each bin holds, as one round."""
        values = (np.ones(len(self.p)), self.labels, self.p, (self.p - self.labels) ** 2)
        return _Drawn(*(np.bincount(self.bin, value, BINS)[None, :].astype(np.float64) for value in values))

    def chance(self) -> float | None:
        """Return the p-value of the hypothesis that these probabilities are true; None when there are too few rows.

        Level, slope and shape are three tests; the smallest p-value counts three times.
        """
        whole = np.zeros(len(self.p), dtype=np.int64)
        level = self._standardised(whole, np.ones(len(self.p)))
        if not len(level):
            return None
        odds = logit(np.clip(self.p, _EDGE, 1 - _EDGE))
        spread = self.p * (1 - self.p)
        slope = self._standardised(whole, odds - float(spread @ odds) / float(spread.sum()))
        shape = self._standardised(self.bin, np.ones(len(self.p)))
        chances = [float(stats.chi2.sf((z**2).sum(), len(z))) for z in (level, slope, shape) if len(z)]
        return min(1.0, len(chances) * min(chances))

    def _standardised(self, cell: Places, lever: Floats) -> Floats:
        """Return each cell's sum of residuals times `lever` in standard deviations, where it is large enough to be normal.

        The variance is that of independent rows, or what payments of several rows show, whichever is the larger.
        """
        count = int(cell.max()) + 1
        residual = (self.labels - self.p) * lever
        expected, missed = np.bincount(cell, self.p, count), np.bincount(cell, 1 - self.p, count)
        pairs, place = np.unique(self._payment * count + cell, return_inverse=True)
        seen = np.bincount(pairs % count, np.bincount(place, residual) ** 2, count)
        variance = np.maximum(np.bincount(cell, self.p * (1 - self.p) * lever**2, count), seen)
        large = (np.minimum(expected, missed) >= LEAST_EXPECTED) & (variance > _EDGE)
        z: Floats = np.bincount(cell, residual, count)[large] / np.sqrt(variance[large])
        return z

    def group(self, dimension: str, value: str, chance: float | None, drawn: _Drawn, scale: float) -> Group:
        """Return the record."""
        own = self.as_it_is()
        spread = np.bincount(self.bin, self.p * (1 - self.p), BINS)
        return Group(
            dimension=dimension,
            value=value,
            rows=len(self.p),
            payments=int(self._payment.max()) + 1,
            said=float(self.p.mean()),
            observed=float(self.labels.mean()),
            gap=interval(float(own.gap[0]), drawn.gap.tolist(), scale, least=-1.0),
            ece=interval(float(own.error[0]), drawn.error.tolist(), scale),
            # The mean absolute value of a normal deviate is sqrt(2 / pi) of its standard deviation.
            ece_by_chance=float(np.sqrt(2 / np.pi * spread).sum()) / len(self.p),
            brier=interval(float(own.brier[0]), drawn.brier.tolist(), scale),
            chance=chance,
            is_off=chance is not None and chance < LEVEL,
            curve=tuple(_curve(own, drawn, scale)),
        )


def _curve(own: _Drawn, drawn: _Drawn, scale: float) -> list[Bin]:
    bins = []
    for place in np.flatnonzero(own.weight[0]):
        rows = int(own.weight[0, place])
        rate = float(own.hits[0, place]) / rows
        seen = _share(drawn.hits[:, place], drawn.weight[:, place])
        found = wider(interval(rate, seen.tolist(), scale), wilson(rate, rows))
        kept = Metric(value=rate, low=max(0.0, found.low), high=min(1.0, found.high))
        bins.append(Bin(said=float(own.said[0, place]) / rows, observed=kept, rows=rows))
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
