"""A history put in order without ever holding more of it than one range: files of rows that follow each other in time.

This module must not know what a feature is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from trainer.features.selection import ORDER
from trainer.features.spill import COMPRESSION, divide

SLOTS: Final = 65_536
"""Into so many slots keys are hashed; whole slots are dealt out to partitions, so that these come out even."""

Counts = npt.NDArray[np.int64]

_TIME_SLOTS: Final = 65_536
_RANGE: Final = "_range"


class Range(NamedTuple):
    """Rows `first` to ``first + rows``, in the file `path`."""

    path: Path
    first: int
    rows: int


def slot(kind: str) -> str:
    """Return the column with the slot of a row's key of this kind; null where it has no such entity."""
    return f"_slot_{kind}"


def arrange(
    history: pl.LazyFrame, fields: Mapping[str, Sequence[str]], folder: Path, size: int
) -> tuple[list[Range], dict[str, Counts]]:
    """Write `history` in the order of `ORDER` as ranges of about `size` rows.

    Attempts of one moment are never torn apart, so a range is larger where more than `size` share a moment (or a
    65,536th of the history's time).

    Parameters
    ----------
    history
        Columns of the canonical history.
    fields
        By kind of entity, the fields that make its key.
    folder
        Where to write; it is there and empty.
    size
        Rows that fit in memory several times over.

    Returns
    -------
    tuple
        The ranges in order, each with `row` (Int64, counted from 0) and a `slot` per kind added to its columns; and by
        kind, how many rows each slot has, shape (SLOTS,).
    """
    at = pl.col("occurred_at").dt.timestamp("us")
    first, last = history.select(at.min(), at.max().alias("last")).collect(engine="streaming").row(0)
    width = (last - first) // _TIME_SLOTS + 1
    counts = history.group_by(((at - first) // width).alias("_time")).agg(pl.len()).collect(engine="streaming")
    ranges = counts.sort("_time").select("_time", ((pl.col("len").cum_sum() - 1) // size).alias(_RANGE))
    if ranges[_RANGE].n_unique() == 1:
        pieces = [history]
    else:
        dealt = history.with_columns(((at - first) // width).alias("_time")).join(ranges.lazy(), on="_time")
        files = divide(dealt.drop("_time"), folder / "unsorted", _RANGE)
        pieces = [pl.scan_parquet(of_range) for of_range in files.values()]
    found: list[Range] = []
    rows_of = {kind: np.zeros(SLOTS, dtype=np.int64) for kind in fields}
    begin = 0
    for number, piece in enumerate(pieces):
        frame = piece.sort(ORDER).with_columns(_slot(kind, names) for kind, names in fields.items()).collect()
        frame = frame.with_columns(pl.int_range(begin, begin + len(frame), dtype=pl.Int64).alias("row"))
        for kind in fields:
            rows_of[kind] += np.bincount(frame[slot(kind)].drop_nulls().to_numpy(), minlength=SLOTS)
        path = folder / f"range-{number:05}.parquet"
        frame.write_parquet(path, compression=COMPRESSION, statistics=False)
        found.append(Range(path, begin, len(frame)))
        begin += len(frame)
    return found, rows_of


def _slot(kind: str, names: Sequence[str]) -> pl.Expr:
    """Return the slot of a key. Each field has a seed of its own: a pair and the same pair turned round differ."""
    mixed = pl.col(names[0]).hash(seed=0)
    for seed, name in enumerate(names[1:], start=1):
        mixed = mixed ^ pl.col(name).hash(seed=seed)
    there = pl.all_horizontal(pl.col(name).is_not_null() for name in names)
    return pl.when(there).then(mixed % SLOTS).cast(pl.UInt16).alias(slot(kind))
