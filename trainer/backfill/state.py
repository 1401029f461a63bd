"""Packed states computed from a history in bulk: byte for byte what the store would hold after living through it.

This module must not know where the states are written.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from features.layout import LAYOUTS, MEASURES, VERSION, Layout
from features.offline.windows import increments

Item = tuple[str, str, bytes]


def states(history: pl.LazyFrame, now: int) -> Iterator[Item]:
    """Yield (kind, key, state) of every entity that any window still sees at `now` (microseconds).

    What becomes known at or after `now` is left out.
    """
    for kind, layout in LAYOUTS.items():
        yield from _states(history, layout, kind, now)


def _states(history: pl.LazyFrame, layout: Layout, kind: str, now: int) -> Iterator[Item]:
    known = increments(history, kind).filter(pl.col("_at") < now).sort("_at").collect(engine="streaming")
    recent = known.group_by("_key").agg(newest=pl.col("_at").max())
    recent = recent.filter(pl.col("newest") >= now - layout.ttl_seconds * 1_000_000).sort("_key")
    known = known.join(recent, on="_key", how="inner", maintain_order="left")
    last = pl.when(pl.col("attempts") > 0).then(pl.col("_at")).max().fill_null(0)
    totals = known.group_by("_key").agg(*(pl.col(name).sum() for name in MEASURES), last.alias("last")).sort("_key")
    before = known.with_columns((pl.col(name).cum_sum().over("_key") - pl.col(name)).alias(name) for name in MEASURES)
    rings = [_Rows(before, ring.hop, ring.tiles) for ring in layout.rings]
    for row in totals.iter_rows():
        key, sums = row[0], row[1:]
        counts, packed = zip(*(ring.packed(key) for ring in rings), strict=True)
        head = layout.head.pack(VERSION, len(rings), layout.crc, *counts)
        yield kind, key, head + layout.totals.pack(*sums) + b"".join(packed)


class _Rows:
    """The rows of one ring for every entity, in one array."""

    def __init__(self, before: pl.DataFrame, hop: int, keep: int) -> None:
        tile = pl.col("_at") // hop
        rows = (
            before.lazy()
            .with_columns(tile=tile)
            .filter(pl.col("tile") > pl.col("newest") // hop - keep)
            .group_by("_key", "tile")
            .agg(pl.col(name).first() for name in MEASURES)
            .sort("_key", "tile")
            .collect()
        )
        self._tiles = rows["tile"].to_numpy().astype("<i4")
        self._sums = np.ascontiguousarray(rows.select(MEASURES).to_numpy(), dtype="<i8")
        lengths = rows.group_by("_key", maintain_order=True).len()
        ends = lengths["len"].cum_sum()
        self._spans = dict(zip(lengths["_key"], zip(ends - lengths["len"], ends, strict=True), strict=True))

    def packed(self, key: str) -> tuple[int, bytes]:
        """Return how many rows an entity has, and its tiles and sums as they lie in a state."""
        start, end = self._spans.get(key, (0, 0))
        return end - start, self._tiles[start:end].tobytes() + self._sums[start:end].tobytes()
