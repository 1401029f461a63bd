"""Parts cut by time: which slice answers a question, and which attempts it has to be given for that.

The slice [s, e) of a part answers the questions whose moment lies in it. It is given every attempt of the part that has an
event (decided, settled, charged back) in [s - reach, e), with all of its events. That this gives what the whole part gives:

- Counts, rates, means and amounts are differences of two running sums, as of the question at t and as of the start of its
  window. Every event between the two is there, for the longest window of a question at s starts after s - horizon - hop.
  Events before the start are in both sums, events from t on in neither, so whichever else is there does no harm.
- What was last (when, how much, with which result) is asked for only when its event is in the longest window; there it is.
- A streak is the declines since the last approval, or since the longest window began. An approval that is not there
  came before that.
- A distinct count takes an attempt for the first of its member when no attempt of the member since the start of the window
  comes before it. Those since then are there; one further back, seen or not, is before the start either way.

The decayed sums alone look back without end. The last result they are taken as of may be as old as the longest window, so
a slice reaches further back where a kind has such features: 20 + log2(n) half-lives, for n attempts. Each result that is not
there would weigh below 2^-20 / n of the last, all of them together below 2^-20: a rate, which is 0 to 1, differs from that of the
whole part by less than 1e-6 (and by what the order of adding changes in a float64), whatever the history.

Cuts lie at midnight UTC. This module must not know where the attempts are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from features.clock import DAY
from features.layout import CLOCKS, HALF_LIVES, LAYOUTS
from features.spec import FeatureSpec

SLICE_ROWS: Final = 5_000_000
"""A part of no more attempts is not cut unless told otherwise: about 6.5 GiB. Results of small histories are those of whole
parts bit for bit, decayed sums too."""

PART: Final = "_part"
TASK: Final = "_task"
ASKED: Final = "_asked"

Ints = npt.NDArray[np.int64]

_DAYS: Final = 1 << 24
_COLUMNS: Final = {"settled_at": "settled_at", "chargeback_at": "chargeback_at"}


class Slicing(NamedTuple):
    """What was asked for.

    Attributes
    ----------
    rows
        Parts of more attempts are cut, into slices of about so many unless `days` says how long; None is `SLICE_ROWS`.
    days
        Length of every slice; with it and without `rows`, every part is cut.
    """

    rows: int | None = None
    days: int | None = None


class Span(NamedTuple):
    """First and last day of a history, counted from 1970-01-01."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Slices:
    """The parts of one kind, some of them cut by time. A whole part or a slice is a task; tasks are numbered by part, then time.

    Attributes
    ----------
    kind
        Kind of entity.
    reach
        How long before its first moment a slice is given attempts, microseconds.
    cuts
        Part * 2^24 + day for each place where a slice ends and the next begins, ascending.
    """

    kind: str
    reach: int
    cuts: Ints

    @property
    def parts(self) -> int:
        """How many parts are cut."""
        return len(np.unique(self.cuts // _DAYS))

    @property
    def slices(self) -> int:
        """How many slices they are cut into, all together."""
        return len(self.cuts) + self.parts

    def spread(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return attempts once for each task that has to be given them.

        Parameters
        ----------
        rows
            With `PART`, and the columns of the kind's events.

        Returns
        -------
        In place of `PART` the number of the task, `TASK` (Int64), and `ASKED`, which is true in the one task that answers for the
        attempt.
        """
        layout = LAYOUTS[self.kind]
        clocks = {CLOCKS[name] for name in layout.measures}
        decided = pl.col("occurred_at").dt.timestamp("us")
        events = [decided]
        # An event that never was is given the moment of the attempt, which adds no task.
        events += [
            pl.col(name).dt.timestamp("us").fill_null(decided) for clock, name in _COLUMNS.items() if clock in clocks
        ]
        tasks = [pl.int_ranges(self._task(at), self._task(at + self.reach) + 1) for at in events]
        return (
            rows.with_columns(self._task(decided).alias("_own"), pl.concat_list(tasks).list.unique().alias(TASK))
            .explode(TASK)
            .with_columns((pl.col(TASK) == pl.col("_own")).alias(ASKED))
            .drop(PART, "_own")
        )

    def _task(self, at: pl.Expr) -> pl.Expr:
        """Return the task of a part that answers for a moment: the parts before, and all cuts up to that moment."""
        part = pl.col(PART).cast(pl.Int64)
        code = part * _DAYS + (at // DAY).clip(0, _DAYS - 1)
        cuts = self.cuts
        passed = code.map_batches(
            lambda codes: pl.Series(np.searchsorted(cuts, codes.to_numpy(), side="right").astype(np.int64)),
            return_dtype=pl.Int64,
            is_elementwise=True,
        )
        return part + passed


def reach(kind: str, specs: Sequence[FeatureSpec], attempts: int) -> int:
    """Return how far before a question its features look, in microseconds, where a kind has so many attempts: see the module."""
    layout = LAYOUTS[kind]
    is_decayed = any(spec.operation == "decayed" for spec in specs)
    half_lives = HALF_LIVES + attempts.bit_length() if is_decayed else 0
    return layout.horizon + max(layout.hops) + half_lives * layout.half_life


def cut(
    kind: str,
    specs: Sequence[FeatureSpec],
    slicing: Slicing,
    sizes: Ints,
    span: Span,
    rows_by_day: Callable[[list[int]], pl.DataFrame],
) -> Slices | None:
    """Return how the parts of a kind are cut, None when all of them stay whole.

    Parameters
    ----------
    kind, specs
        Kind of entity, and its window features.
    slicing
        What was asked for.
    sizes
        Attempts of each part, shape (parts,).
    span
        Days of the whole history.
    rows_by_day
        Counts the attempts of some parts by day of `occurred_at`: columns `PART`, `day` (since 1970-01-01) and `rows`.
    """
    # Of all parts, so that what comes out does not depend on their number.
    back = reach(kind, specs, int(sizes.sum()))
    rows = SLICE_ROWS if slicing.rows is None else slicing.rows
    least = 0 if slicing.days is not None and slicing.rows is None else rows
    large = np.flatnonzero(sizes > least).tolist()
    if not large:
        return None
    cuts = by_rows(rows_by_day(large), rows, back) if slicing.days is None else by_days(large, span, slicing.days)
    return Slices(kind, back, cuts) if len(cuts) else None


def by_days(parts: Sequence[int], span: Span, days: int) -> Ints:
    """Return cuts every so many days, the same in each of some parts (ascending)."""
    each = np.arange(span.first + days, span.last + 1, days, dtype=np.int64)
    return (np.array(parts, dtype=np.int64)[:, None] * _DAYS + each).ravel()


def by_rows(days: pl.DataFrame, rows: int, back: int) -> Ints:
    """Return cuts between slices of about equal rows, `rows` at the most, but none of them shorter than their reach.

    A slice reads its own time and its reach, so that one as long as its reach reads twice what it answers: shorter ones would
    hold less at a time and read more in sum.

    Parameters
    ----------
    days
        Columns `PART`, `day` and `rows`.
    rows
        Attempts of a slice.
    back
        Reach of a slice, microseconds.
    """
    least = -(-back // DAY)
    cuts: list[int] = []
    for found in days.sort(PART, "day").partition_by(PART, maintain_order=True):
        part, begin = found.select(PART, "day").row(0)
        total, taken = int(found["rows"].sum()), 0
        share = total / -(-total // rows)
        for day, count in found.select("day", "rows").iter_rows():
            if taken >= share and day - begin >= least:
                cuts.append(part * _DAYS + day)
                begin, taken = day, 0
            taken += count
    return np.array(cuts, dtype=np.int64)
