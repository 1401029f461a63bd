"""The features of a history on one machine, in bounded memory: order, partition, compute, merge.

A window feature of an entity depends on the attempts of the same entity alone. So the rows of each kind of entity are
divided by a hash of the key, a part that is too large is cut by time, each part or slice is computed by itself, and what
comes out is put back in the order of time, range by range. Nothing is ever held but one of them. Every step is linear in rows.
"""

import heapq
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from features.clock import DAY
from features.entity import FIELDS
from features.offline.plan import request_features
from features.spec import FeatureSpec
from trainer.features.partition import window_features
from trainer.features.ranges import SLOTS, Counts, Range, arrange, slot
from trainer.features.selection import IDENTITY, Selection, event_columns, feature_columns
from trainer.features.slices import PART, TASK, Slices, Slicing, Span, cut
from trainer.features.spill import Sliced, divide
from trainer.progress import step

ROWS: Final = 1_000_000
"""Rows of a range; with the whole catalog, below 1 GiB."""

PART_ROWS: Final = 250_000
"""Rows of a part that are aimed at. A million in parts of 125,000 took 32 s of processor, in one part 46 s: what a part sorts and
joins stays closer to the processor's caches."""

_ROW_GROUP: Final = 131_072


class Done(NamedTuple):
    """What was computed.

    Attributes
    ----------
    rows, partitions
        Attempts, and the parts of each kind.
    cut, slices
        Of all kinds' parts, how many were cut by time, and into how many slices.
    largest, largest_kind
        Rows of the largest part or slice (with what it is given as history), and its kind.
    """

    rows: int
    partitions: int
    cut: int
    slices: int
    largest: int
    largest_kind: str


def compute(
    history: pl.LazyFrame,
    selection: Selection,
    work: Path,
    out: Path,
    *,
    rows: int,
    partitions: int | None,
    slicing: Slicing,
) -> Done:
    """Write the features of every attempt of `history` to `out`, as ``part-*.parquet`` in the order of time.

    Parameters
    ----------
    history
        The canonical history (``trainer.history.scan``).
    selection
        Which features.
    work
        An empty folder for what does not fit in memory: about 400 bytes an attempt.
    out
        An empty folder for the result.
    rows
        How many rows the history has.
    partitions
        Into how many parts the rows of a kind of entity are divided; None takes one for every `PART_ROWS`.
    slicing
        Which parts are cut by time.
    """
    parts = partitions or -(-rows // PART_ROWS)
    kinds = selection.kinds
    with step(f"order {rows:,} attempts in time"):
        ranges, rows_of = arrange(
            history.select(selection.columns), {kind: FIELDS[kind] for kind in kinds}, _folder(work / "ranges"), ROWS
        )
    bounds = [*(each.first for each in ranges), rows]
    spilled: dict[str, Sliced] = {}
    largest, were_cut, slices = (0, ""), 0, 0
    span = _span(ranges)
    for kind, specs in kinds.items():
        dealt = deal(rows_of[kind], parts)
        spilled[kind] = Sliced(work / f"{kind}-features", bounds)
        counts = np.bincount(dealt, weights=rows_of[kind], minlength=parts).astype(np.int64)
        attempts = _dealt(ranges, kind, dealt)
        sliced = cut(kind, specs, slicing, counts, span, partial(_rows_by_day, attempts))
        words = f"{kind}: {len(specs)} features in {np.count_nonzero(counts)} parts of up to {counts.max():,} attempts"
        if sliced is not None:
            were_cut, slices = were_cut + sliced.parts, slices + sliced.slices
            words += f", {sliced.parts} cut into {sliced.slices} slices"
        with step(words):
            largest = max(largest, (_windows(attempts, kind, specs, sliced, work / kind, spilled[kind]), kind))
    with step(f"write {len(ranges)} files"):
        for number, each in enumerate(ranges):
            frame = _merge(each, selection, {kind: sliced.read(number) for kind, sliced in spilled.items()})
            frame.write_parquet(out / f"part-{number:05}.parquet", row_group_size=_ROW_GROUP)
    return Done(rows, parts, were_cut, slices, *largest)


def deal(rows_of: Counts, parts: int) -> Counts:
    """Return the part of each slot, shape (SLOTS,): the fullest slot first, each to the part that has least so far.

    Longest processing time first (Graham 1969): no part has more than 4/3 of the least possible, unless one slot, that is
    one key, has it alone.
    """
    part_of = np.zeros(SLOTS, dtype=np.int64)
    loads = [(0, part) for part in range(parts)]
    for number in np.argsort(-rows_of, kind="stable"):
        load, part = loads[0]
        part_of[number] = part
        heapq.heapreplace(loads, (load + int(rows_of[number]), part))
    return part_of


def _span(ranges: list[Range]) -> Span:
    at = pl.col("occurred_at").dt.timestamp("us") // DAY
    days = pl.scan_parquet([ranges[0].path, ranges[-1].path]).select(first=at.min(), last=at.max()).collect()
    return Span(*days.row(0))


def _dealt(ranges: list[Range], kind: str, part_of: Counts) -> pl.LazyFrame:
    """Return what the features of one kind are made of, each row with its part; rows without such an entity are left out.

    They match nothing, for their slot is null, and take the default in the end.
    """
    parts = pl.LazyFrame({"_slot": np.arange(SLOTS, dtype=np.uint16), PART: part_of})
    rows = pl.scan_parquet([each.path for each in ranges]).select(
        "row", *event_columns(kind), pl.col(slot(kind)).alias("_slot")
    )
    return rows.join(parts, on="_slot").drop("_slot")


def _rows_by_day(attempts: pl.LazyFrame, parts: list[int]) -> pl.DataFrame:
    day = (pl.col("occurred_at").dt.timestamp("us") // DAY).alias("day")
    of_parts = attempts.filter(pl.col(PART).is_in(parts))
    return of_parts.group_by(PART, day).agg(pl.len().alias("rows")).collect(engine="streaming")


def _windows(
    attempts: pl.LazyFrame,
    kind: str,
    specs: tuple[FeatureSpec, ...],
    slices: Slices | None,
    folder: Path,
    spilled: Sliced,
) -> int:
    """Divide the rows of one kind, compute and spill the features of each part or slice; return the rows of the largest."""
    tasks = attempts.rename({PART: TASK}) if slices is None else slices.spread(attempts)
    largest = 0
    for of_task in divide(tasks, folder, TASK).values():
        rows = pl.read_parquet(of_task)
        largest = max(largest, len(rows))
        spilled.write(window_features(rows, kind, specs))
        for file in of_task:
            file.unlink()
    return largest


def _merge(place: Range, selection: Selection, pieces: dict[str, pl.DataFrame | None]) -> pl.DataFrame:
    """Return one range of the result: what names an attempt, and its features in the order of the selection."""
    own = pl.scan_parquet(place.path).with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
    made = request_features(own, selection.encodings, selection.own).drop("row")
    frames = pl.collect_all([own.select(IDENTITY), made])
    rows = pl.DataFrame({"row": pl.int_range(place.first, place.first + place.rows, dtype=pl.Int64, eager=True)})
    for kind, specs in selection.kinds.items():
        piece = pieces[kind]
        if piece is None:
            piece = pl.DataFrame(schema={"row": pl.Int64, **dict.fromkeys(feature_columns(specs), pl.Float32)})
        if len(piece) != place.rows:
            absent = [
                pl.col(name).fill_null(pl.lit(spec.default, pl.Float32))
                for name, spec in zip(feature_columns(specs), specs, strict=True)
            ]
            piece = rows.join(piece, on="row", how="left", maintain_order="left").with_columns(absent)
        frames.append(piece.drop("row"))
    return pl.concat(frames, how="horizontal").select(*IDENTITY, *feature_columns(selection.specs))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
