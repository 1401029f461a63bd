"""What is remembered of an entity, and how it lies in bytes.

An entity's state is one blob. It holds, for each measure, the total of everything ever added, and for each *ring* (a
hop and a number of tiles) one row per recent tile: the totals as they stood when that tile began. A window's sum is then
one subtraction, ``total - row``, found by bisection: reading does not grow with the window, and adding to the newest
tile touches only the totals. The offline plan computes the same integers as a cumulative sum and one as-of join.

Layout, little endian: ``version u8 | rings u8 | layout crc u32 | rows per ring u16 * rings | totals i64 * (M + 1)``, then
per ring ``tiles i32 * n`` and ``rows i64 * n * M``. The total after the last measure is the time of the last attempt.

This module must not know what a feature is made of these sums, nor where a blob is kept.
"""

import struct
import zlib
from typing import Final

from features.clock import DAY, HOUR, MINUTE

VERSION: Final = 1

MEASURES: Final = ("events", "attempts", "amount_minor", "results", "approved", "technical", "chargebacks")
"""What is counted. `events` counts every increment: an entity without one in its longest window was never seen."""

M: Final = len(MEASURES)
INDEX: Final[dict[str, int]] = {name: position for position, name in enumerate(MEASURES)}


class Ring:
    """Tiles of one width: `hop` in microseconds, kept for windows up to `reach` microseconds."""

    __slots__ = ("hop", "reach", "tiles")

    def __init__(self, hop: int, reach: int) -> None:
        if reach % hop:
            msg = f"a window must be a whole number of hops, got {reach} us in hops of {hop} us"
            raise ValueError(msg)
        self.hop = hop
        self.reach = reach
        # W / h whole tiles, the one the window's start lies in, and the newest, not yet full.
        self.tiles = reach // hop + 1


class Layout:
    """The rings of one kind of entity, with the offsets that do not depend on a blob."""

    __slots__ = (
        "crc",
        "head",
        "head_size",
        "hops",
        "horizon",
        "kind",
        "mark",
        "rings",
        "totals",
        "totals_offset",
        "ttl_seconds",
    )

    def __init__(self, kind: str, rings: tuple[Ring, ...]) -> None:
        self.kind = kind
        self.rings = rings
        self.head = struct.Struct(f"<BBI{len(rings)}H")
        self.totals_offset = self.head.size
        self.totals = struct.Struct(f"<{M + 1}q")
        self.head_size = self.head.size + self.totals.size
        words = f"{VERSION}:{','.join(MEASURES)}:{','.join(f'{ring.hop}/{ring.tiles}' for ring in rings)}"
        self.crc = zlib.crc32(words.encode())
        self.mark = (VERSION, len(rings), self.crc)
        self.hops = tuple(ring.hop for ring in rings)
        self.horizon = max(ring.reach for ring in rings)
        # Past the longest window plus one of its hops the blob says nothing any more.
        self.ttl_seconds = (self.horizon + max(ring.hop for ring in rings)) // 1_000_000 + 60

    def __repr__(self) -> str:
        return f"Layout({self.kind!r}, crc={self.crc:08x})"


LAYOUTS: Final[dict[str, Layout]] = {
    "card": Layout("card", (Ring(5 * MINUTE, HOUR), Ring(HOUR, DAY), Ring(DAY, 30 * DAY))),
    "merchant": Layout("merchant", (Ring(5 * MINUTE, HOUR), Ring(HOUR, DAY), Ring(DAY, 30 * DAY))),
    "bin": Layout("bin", (Ring(5 * MINUTE, HOUR), Ring(HOUR, DAY), Ring(DAY, 30 * DAY))),
    "issuer": Layout("issuer", (Ring(5 * MINUTE, HOUR), Ring(HOUR, DAY), Ring(DAY, 7 * DAY))),
    "processor": Layout("processor", (Ring(MINUTE, 15 * MINUTE), Ring(5 * MINUTE, HOUR), Ring(HOUR, DAY))),
}
"""The state kept for each kind of entity."""

MOST_TILES: Final = max(ring.tiles for layout in LAYOUTS.values() for ring in layout.rings)
"""Tiles of the longest ring of all."""
