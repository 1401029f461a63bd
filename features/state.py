"""One entity's remembered sums as a packed blob: add an increment, read a window.

Pure functions over bytes. ``service/store/update.lua`` does the same addition inside Redis; one contract suite holds
both to the same bytes.
"""

import struct
from bisect import bisect_left
from collections.abc import Sequence

from features.increment import Increment
from features.layout import MOST_TILES, VERSION, Layout, M

_ROW = struct.Struct(f"<{M}q")
_TILE = struct.Struct("<i")
_ZEROS = (0,) * M
_ROW_AND_TILE = 4 + 8 * M
_TILE_RUNS = tuple(struct.Struct(f"<{count}i") for count in range(MOST_TILES + 2))


def empty(layout: Layout) -> bytes:
    """Return the state of an entity to which nothing was added yet."""
    counts = (0,) * len(layout.rings)
    return layout.head.pack(VERSION, len(layout.rings), layout.crc, *counts) + layout.totals.pack(*_ZEROS, 0)


def is_readable(layout: Layout, blob: bytes) -> bool:
    """Tell whether `blob` is a whole state of this layout (right version, layout and length)."""
    return _counts(layout, blob) is not None


def _counts(layout: Layout, blob: bytes) -> tuple[int, ...] | None:
    """Return how many tiles each ring of a state has; None for bytes that are no state of this layout."""
    if len(blob) < layout.head_size:
        return None
    head = layout.head.unpack_from(blob)
    counts = head[3:]
    if head[:3] != layout.mark or len(blob) != layout.head_size + sum(counts) * _ROW_AND_TILE:
        return None
    # More tiles than a ring keeps is no state of ours, whatever its length.
    return counts if max(counts) <= MOST_TILES else None


def add(layout: Layout, blob: bytes | None, increment: Increment) -> bytes:
    """Return the state after one increment; a missing or unreadable blob counts as empty.

    Increments may come in any order: the result depends only on their set, as far as any window can see.
    """
    counts = None if blob is None else _counts(layout, blob)
    if blob is None or counts is None:
        blob = empty(layout)
        counts = (0,) * len(layout.rings)
    *totals, last_attempt = layout.totals.unpack_from(blob, layout.totals_offset)
    at, deltas, is_attempt = increment
    after = layout.totals.pack(
        *[total + delta for total, delta in zip(totals, deltas, strict=True)],
        max(last_attempt, at) if is_attempt else last_attempt,
    )
    if _is_newest(layout, blob, counts, at):
        # Every row holds what was before its tile, so only the totals move.
        return blob[: layout.totals_offset] + after + blob[layout.head_size :]
    parts: list[bytes] = []
    new_counts = []
    offset = layout.head_size
    for ring, count in zip(layout.rings, counts, strict=True):
        rows_at = offset + 4 * count
        tiles = list(_TILE_RUNS[count].unpack_from(blob, offset))
        rows = [_ROW.unpack_from(blob, rows_at + 8 * M * position) for position in range(count)]
        tile = at // ring.hop
        if not count or tile != tiles[-1]:
            tiles, rows = _insert(tiles, rows, tile, deltas, tuple(totals), ring.tiles)
        parts.append(_TILE_RUNS[len(tiles)].pack(*tiles) + b"".join([_ROW.pack(*row) for row in rows]))
        new_counts.append(len(tiles))
        offset += count * _ROW_AND_TILE
    return layout.head.pack(*layout.mark, *new_counts) + after + b"".join(parts)


def _is_newest(layout: Layout, blob: bytes, counts: tuple[int, ...], at: int) -> bool:
    """Tell whether `at` lies in the newest tile of every ring."""
    offset = layout.head_size
    for hop, count in zip(layout.hops, counts, strict=True):
        if not count or _TILE.unpack_from(blob, offset + 4 * count - 4)[0] != at // hop:
            return False
        offset += count * _ROW_AND_TILE
    return True


def _insert(
    tiles: list[int],
    rows: list[tuple[int, ...]],
    tile: int,
    deltas: tuple[int, ...],
    totals: tuple[int, ...],
    keep: int,
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Put an increment of `tile` into a ring whose newest tile is another one."""
    oldest = (max(tile, tiles[-1]) if tiles else tile) - keep + 1
    position = bisect_left(tiles, tile)
    if tile >= oldest and (position == len(tiles) or tiles[position] != tile):
        before = rows[position] if position < len(rows) else totals
        tiles.insert(position, tile)
        rows.insert(position, before)
    # What comes late was not there when the later tiles began; from now on it was.
    first_later = bisect_left(tiles, tile + 1)
    for later in range(first_later, len(rows)):
        rows[later] = tuple(value + delta for value, delta in zip(rows[later], deltas, strict=True))
    drop = bisect_left(tiles, oldest)
    return tiles[drop:], rows[drop:]


class View:
    """A readable blob opened for windows: nothing is decoded before it is asked for (see `readable`)."""

    __slots__ = ("_blob", "_hops", "_offsets", "_tiles", "last_attempt", "totals")

    def __init__(self, layout: Layout, blob: bytes, counts: tuple[int, ...] | None = None) -> None:
        if counts is None:
            counts = layout.head.unpack_from(blob)[3:]
        self._blob = blob
        self._hops = layout.hops
        *totals, self.last_attempt = layout.totals.unpack_from(blob, layout.totals_offset)
        self.totals: list[int] = totals
        offset = layout.head_size
        self._offsets: list[tuple[int, int]] = []
        self._tiles: list[tuple[int, ...] | None] = [None] * len(counts)
        for count in counts:
            self._offsets.append((offset, count))
            offset += count * _ROW_AND_TILE

    def before(self, ring: int, width: int, now: int) -> Sequence[int]:
        """Return the totals as they stood at the start of a window, one per measure.

        The window covers [floor((now - width) / hop) * hop, now) in microseconds; its sums are `totals` less what this
        returns. Whatever was added at `now` or later is counted too: the caller asks at the present.
        """
        start, count = self._offsets[ring]
        tiles = self._tiles[ring]
        if tiles is None:
            tiles = self._tiles[ring] = _TILE_RUNS[count].unpack_from(self._blob, start)
        position = bisect_left(tiles, (now - width) // self._hops[ring])
        if position == count:
            return self.totals
        return _ROW.unpack_from(self._blob, start + 4 * count + 8 * M * position)

    def window(self, ring: int, width: int, now: int) -> tuple[int, ...]:
        """Return the sums over a window, one per measure; see `before`."""
        return tuple([total - was for total, was in zip(self.totals, self.before(ring, width, now), strict=True)])


def readable(layout: Layout, blob: bytes | None) -> View | None:
    """Open a state; None for one that is missing or cannot be read, which then counts as never seen."""
    if blob is None:
        return None
    counts = _counts(layout, blob)
    return None if counts is None else View(layout, blob, counts)
