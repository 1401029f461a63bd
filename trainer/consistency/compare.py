"""Logged vectors beside recomputed ones: what is equal, what is not, and what may rightly be otherwise.

This module must not know where either comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.base import Record
from features.entity import KINDS
from features.spec import FeatureSpec
from trainer.consistency.frames import APPLIED
from trainer.consistency.late import MOST_UNDER_WAY, cuts, suspects
from trainer.consistency.past import Asked
from trainer.consistency.recompute import COLUMN, SPECS, Flags, Floats, Table, asked_of, specs_of, worlds

DECAYED_TOLERANCE: Final = 1e-6
"""Decayed sums are added up in another order, and a store forgets an entity that was silent for its longest window: 20 or
more half-lives, after which all it remembered would weigh less than this (`features.layout.HALF_LIVES`)."""


class Difference(Record, frozen=True, kw_only=True):
    """One value that is not what the history gives."""

    decision_id: str
    processor: str | None
    logged: float
    expected: float


class Feature(Record, frozen=True, kw_only=True):
    """One feature over all that was compared.

    `equal`, `mismatch`, `missing` (logged as the default where the history has a value), `extra` (the other way round) and
    `late` (not equal, but the store had another past than the moment says) sum to `compared`. `worst` is the greatest
    difference that is not late.
    """

    name: str
    compared: int
    equal: int
    mismatch: int
    missing: int
    extra: int
    late: int
    worst: Difference | None = None

    @property
    def share(self) -> float:
        """Share of the values that are wrong."""
        return (self.mismatch + self.missing + self.extra) / self.compared if self.compared else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both tables, value by value; shape (rows, WIDTH)."""

    logged: Floats
    expected: Floats
    known: Flags
    differs: Flags
    late: Flags


def compare(asked: Sequence[Asked], questions: pl.DataFrame, history: pl.DataFrame, table: Table) -> Comparison:
    """Hold logged vectors to recomputed ones.

    Parameters
    ----------
    asked, questions
        The questions, and their frame.
    history
        What the recomputed values were computed from.
    table
        The recomputed values.
    """
    logged = np.concatenate([one.rows for one in asked])
    differs = table.known & unequal(logged, table.values)
    late = np.zeros_like(differs)
    for kind in KINDS:
        columns = np.array([COLUMN[spec.name] for spec in specs_of(kind)], dtype=np.intp)
        rows = asked_of(questions, kind)
        places = rows["row"].to_numpy().astype(np.intp)
        wrong = differs[np.ix_(places, columns)].any(axis=1)
        if not wrong.any():
            continue
        is_late, is_ahead = suspects(rows, history, kind)
        # What was there already and happened after cannot be computed by windows that end with the question.
        late[np.ix_(places[is_ahead], columns)] = True
        doubtful = rows.filter(pl.Series(wrong & is_late & ~is_ahead))
        moments = cuts(doubtful, history, kind)
        own = doubtful["row"].to_numpy().astype(np.intp)
        many = np.array([len(found) > MOST_UNDER_WAY for found in moments], dtype=np.bool_)
        late[np.ix_(own[many], columns)] = True
        for number in range(MOST_UNDER_WAY):
            cells = np.ix_(own, columns)
            is_open = np.flatnonzero((differs[cells] & ~late[cells]).any(axis=1))
            until: list[int | None] = [None] * len(moments)
            for place in is_open:
                if number < len(moments[place]):
                    until[place] = moments[place][number]
            told = doubtful.with_columns(pl.Series("read", until, dtype=pl.Int64)).drop_nulls("read")
            late |= _explained(told, history, kind, logged)
    return Comparison(logged, table.values, table.known, differs, late & differs)


def unequal(left: Floats, right: Floats) -> Flags:
    """Tell which values differ, bit by bit; decayed rates within `DECAYED_TOLERANCE`."""
    differs: Flags = np.ascontiguousarray(left).view(np.uint32) != np.ascontiguousarray(right).view(np.uint32)
    decayed = [column for column, spec in enumerate(SPECS) if spec.operation == "decayed"]
    differs[:, decayed] &= ~np.isclose(
        left[:, decayed], right[:, decayed], rtol=DECAYED_TOLERANCE, atol=DECAYED_TOLERANCE
    )
    return differs


def _explained(questions: pl.DataFrame, history: pl.DataFrame, kind: str, logged: Floats) -> Flags:
    """Tell which logged values are right for a store that had been told of nothing after a question's `read`."""
    table = Table(len(logged))
    there = pl.col(APPLIED).is_null() | (pl.col(APPLIED) <= pl.col("read"))
    for found in worlds(questions, history, kind, there):
        table.take(found, specs_of(kind))
    explained: Flags = table.known & ~unequal(logged, table.values)
    return explained


def features(found: Comparison, asked: Sequence[Asked], questions: pl.DataFrame) -> list[Feature]:
    """Return what there is to say of each feature, in catalog order."""
    return [_feature(spec, column, found, asked, questions) for column, spec in enumerate(SPECS)]


def _feature(
    spec: FeatureSpec, column: int, found: Comparison, asked: Sequence[Asked], questions: pl.DataFrame
) -> Feature:
    logged, expected = found.logged[:, column], found.expected[:, column]
    wrong = found.differs[:, column] & ~found.late[:, column]
    default = np.float32(spec.default)
    missing = wrong & (logged == default)
    extra = wrong & ~missing & (expected == default)
    compared = int(found.known[:, column].sum())
    worst = None
    if wrong.any():
        apart: npt.NDArray[np.float64] = np.abs(logged.astype(np.float64) - expected)
        # A value that is no number at all is the worst there is.
        apart = np.where(wrong, np.nan_to_num(apart, nan=np.inf), -1.0)
        row = questions.row(int(apart.argmax()), named=True)
        worst = Difference(
            decision_id=asked[row["asked"]].decision_id,
            processor=row["processor"] if spec.scope == "candidate" else None,
            logged=float(logged[row["row"]]),
            expected=float(expected[row["row"]]),
        )
    return Feature(
        name=spec.name,
        compared=compared,
        equal=compared - int(found.differs[:, column].sum()),
        mismatch=int((wrong & ~missing & ~extra).sum()),
        missing=int(missing.sum()),
        extra=int(extra.sum()),
        late=int(found.late[:, column].sum()),
        worst=worst,
    )
