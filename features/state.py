"""One entity's remembered sums as a packed blob: add an increment, read a window.

Pure functions over bytes. ``service/store/update.lua`` does the same addition inside Redis; one contract suite holds
both to the same bytes.
"""

import struct
from bisect import bisect_left

from features.increment import Increment
from features.layout import VERSION, Layout, M

_ROW = struct.Struct(f"<{M}q")
_TILE = struct.Struct("<i")
_ZEROS = (0,) * M


def empty(layout: Layout) -> bytes:
    """Return the state of an entity to which nothing was added yet."""
    counts = (0,) * len(layout.rings)
    return layout.head.pack(VERSION, len(layout.rings), layout.crc, *counts) + layout.totals.pack(*_ZEROS, 0)


def is_readable(layout: Layout, blob: bytes) -> bool:
    """Tell whether `blob` is a whole state of this layout (right version, layout and length)."""
    if len(blob) < layout.head_size:
        return False
    version, rings, crc, *counts = layout.head.unpack_from(blob)
    if version != VERSION or rings != len(layout.rings) or crc != layout.crc:
        return False
    return bool(len(blob) == layout.head_size + sum(counts) * (4 + 8 * M))


def add(layout: Layout, blob: bytes | None, increment: Increment) -> bytes:
    """Return the state after one increment; a missing or unreadable blob counts as empty.

    Increments may come in any order: the result depends only on their set, as far as any window can see.
    """
    if blob is None or not is_readable(layout, blob):
        blob = empty(layout)
    _, _, _, *counts = layout.head.unpack_from(blob)
    *totals, last_attempt = layout.totals.unpack_from(blob, layout.totals_offset)
    at, deltas, is_attempt = increment
    parts: list[bytes] = []
    new_counts = []
    offset = layout.head_size
    for ring, count in zip(layout.rings, counts, strict=True):
        rows_at = offset + 4 * count
        end = rows_at + 8 * M * count
        tiles = list(struct.unpack_from(f"<{count}i", blob, offset))
        tile = at // ring.hop
        if count and tile == tiles[-1]:
            # The newest tile: its row holds what was before it, so only the totals move.
            parts.append(blob[offset:end])
        else:
            rows = [_ROW.unpack_from(blob, rows_at + 8 * M * position) for position in range(count)]
            tiles, rows = _insert(tiles, rows, tile, deltas, tuple(totals), ring.tiles)
            parts.append(struct.pack(f"<{len(tiles)}i", *tiles) + b"".join(_ROW.pack(*row) for row in rows))
        new_counts.append(len(tiles))
        offset = end
    totals = [total + delta for total, delta in zip(totals, deltas, strict=True)]
    if is_attempt:
        last_attempt = max(last_attempt, at)
    head = layout.head.pack(VERSION, len(layout.rings), layout.crc, *new_counts)
    return head + layout.totals.pack(*totals, last_attempt) + b"".join(parts)


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
    """A blob opened for reading windows: nothing is decoded before it is asked for."""

    __slots__ = ("_blob", "_layout", "_starts", "_tiles", "last_attempt", "totals")

    def __init__(self, layout: Layout, blob: bytes) -> None:
        self._layout = layout
        self._blob = blob
        _, _, _, *counts = layout.head.unpack_from(blob)
        *totals, self.last_attempt = layout.totals.unpack_from(blob, layout.totals_offset)
        self.totals: list[int] = totals
        offset = layout.head_size
        self._tiles: list[tuple[int, ...]] = []
        self._starts: list[int] = []
        for count in counts:
            self._tiles.append(struct.unpack_from(f"<{count}i", blob, offset))
            offset += 4 * count
            self._starts.append(offset)
            offset += 8 * M * count

    def window(self, ring: int, width: int, now: int) -> tuple[int, ...]:
        """Return the sums over [floor((now - width) / hop) * hop, now) in microseconds, one per measure.

        Rows of another time than `now` - the future included - are whatever was added: the caller asks at the present.
        """
        tiles = self._tiles[ring]
        position = bisect_left(tiles, (now - width) // self._layout.rings[ring].hop)
        if position == len(tiles):
            return _ZEROS
        row = _ROW.unpack_from(self._blob, self._starts[ring] + 8 * M * position)
        return tuple([total - value for total, value in zip(self.totals, row, strict=True)])
