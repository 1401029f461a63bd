"""What is remembered of an entity, and how it lies in bytes.

An entity's state is one blob. It holds, for each measure of its kind, the sum of everything ever added, and *rows*: the
sums as they stood when a tile of time began. A window's sum is then one subtraction, ``sums - row``, found by bisection:
reading does not grow with the window, and adding to the newest tile touches only the sums. The offline plan computes the
same integers as a cumulative sum and one as-of join.

One list of rows serves windows of every length. A *ring* (a hop and a reach) says how far back how finely: with T the newest
tile, the row of tile x stays when for some ring it is the first row of its hop and that hop is not older than T's hop
less ``reach / hop``. So minutes thin out to hours, and hours to days.

The rows depend only on the set of events, not on their order. A late event inserts a row x with the sums of the row y that
follows it. That is right when nothing was added in [x, y), that is when no tile between them was dropped. Were there
one, z, in the same hop of the ring that keeps x, then the first row of that hop came at or before z and stays, for a later
hop is dropped after an earlier one: x would not be the first, or y would be at or before z.

Layout, little endian::

    mark (version u8 | words u8 | layout crc u32) | rows u16 | members u8 | streak u8
    sums u32 * words                 modulo 2^32; an amount takes two words and is exact modulo 2^64
    last_attempt i64 | last_amount i64 | last_result i64 | last_approved i64 | last_code u8
    decayed f64 * 3                  results, approved, technical, as of last_result
    tiles i32 * rows                 in units of the finest hop, ascending
    sums before each tile u32 * words * rows
    (member u32, last seen tile i32) * members      by tile, then member, greatest first
    time of a decline i64 * streak                  greatest first

This module must not know what a feature is made of these numbers, nor where a blob is kept.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

from features.clock import DAY, HOUR, MINUTE, SECOND

VERSION: Final = 2

MEASURES: Final = (
    "attempts",
    "amount_minor",
    "results",
    "approved",
    "declined",
    "technical",
    "never",
    "fix_data",
    "authenticate",
    "funds",
    "chargebacks",
)
"""What is counted. The classes of declines are those of `features.decline`."""

INDEX: Final[dict[str, int]] = {name: position for position, name in enumerate(MEASURES)}
ATTEMPTS: Final = INDEX["attempts"]
AMOUNT: Final = INDEX["amount_minor"]

CLOCKS: Final[dict[str, str]] = {
    "attempts": "decided_at",
    "amount_minor": "decided_at",
    "chargebacks": "chargeback_at",
} | dict.fromkeys(MEASURES[2:10], "settled_at")
"""When each measure becomes known."""

DECAYED: Final = ("results", "approved", "technical")
"""The measures of which an exponentially decayed sum is kept too."""

HALF_LIVES: Final = 20
"""The least number of half-lives in a horizon: what is forgotten with a silent entity would have weighed under 1e-6."""

WORD: Final = 1 << 32


class Ring:
    """Tiles of one width: `hop` in microseconds, kept for windows up to `reach` microseconds."""

    __slots__ = ("hop", "reach", "tiles")

    def __init__(self, hop: int, reach: int) -> None:
        if reach % hop:
            msg = f"a window must be a whole number of hops, got {reach} us in hops of {hop} us"
            raise ValueError(msg)
        self.hop = hop
        self.reach = reach
        # W / h whole tiles and the newest, not yet full.
        self.tiles = reach // hop + 1


class Layout:
    """What is kept for one kind of entity, with the offsets that do not depend on a blob.

    Attributes
    ----------
    measures, positions, words
        The kind's measures, their places in `MEASURES`, and the u32 words of its sums.
    rings
        From the finest; each hop is a multiple of the finer ones.
    half_life
        Of the decayed sums, microseconds.
    distinct, members
        The payment's field whose different values are remembered, and how many at most.
    streak
        How many declines after the last approval are remembered at most.
    horizon
        The longest window: an entity without an event in it was never seen.
    """

    def __init__(
        self,
        kind: str,
        measures: Sequence[str],
        rings: Sequence[tuple[int, int]],
        half_life: int,
        *,
        distinct: tuple[str, int] | None = None,
        streak: int = 0,
    ) -> None:
        self.kind = kind
        self.measures = tuple(measures)
        self.positions = tuple(INDEX[name] for name in measures)
        # Asked for every entity of every event: a loop over them takes ten times as long. The first twice, for a tuple.
        self._own: Callable[[Sequence[int]], tuple[int, ...]] = itemgetter(self.positions[0], *self.positions)
        self.rings = tuple(Ring(*ring) for ring in rings)
        self.hops = tuple(ring.hop for ring in self.rings)
        self.hop = self.hops[0]
        self.horizon = max(ring.reach for ring in self.rings)
        self.half_life = half_life
        self.distinct = distinct[0] if distinct else None
        self.members = distinct[1] if distinct else 0
        self.streak = streak
        self._check()
        self.place: dict[str, int] = {}
        """First word of each measure in a row."""
        for name in self.measures:
            self.place[name] = len(self.place) + (AMOUNT in self.positions and name not in ("attempts", "amount_minor"))
        self.words = len(self.measures) + (AMOUNT in self.positions)
        words = ":".join(
            (
                str(VERSION),
                ",".join(self.measures),
                ",".join(f"{ring.hop}/{ring.reach}" for ring in self.rings),
                f"{half_life}:{self.distinct}:{self.members}:{streak}",
            )
        )
        self.crc = zlib.crc32(words.encode())
        self.mark = struct.pack("<BBI", VERSION, self.words, self.crc)
        self.head = struct.Struct(f"<6sHBB{self.words}I4qB3d")
        """Mark, counts, sums, last_attempt, last_amount, last_result, last_approved, last_code, decayed sums."""
        self.head_size = self.head.size
        self.row = struct.Struct(f"<{self.words}I")
        # Past the longest window plus one of its hops the blob says nothing any more.
        self.ttl_seconds = (self.horizon + max(self.hops)) // SECOND + 60

    def _check(self) -> None:
        if any(coarser % finer for finer, coarser in zip(self.hops, self.hops[1:], strict=False)):
            msg = f"{self.kind}: each hop must be a multiple of the finer ones, got {self.hops}"
            raise ValueError(msg)
        if self.horizon < HALF_LIVES * self.half_life:
            msg = f"{self.kind}: the longest window must span {HALF_LIVES} half-lives, got {self.horizon / self.half_life:.1f}"
            raise ValueError(msg)

    def __repr__(self) -> str:
        return f"Layout({self.kind!r}, crc={self.crc:08x})"

    def takes(self, deltas: Sequence[int]) -> bool:
        """Tell whether an event with these deltas (one for each of `MEASURES`) is one of this kind's entities at all."""
        return any(self._own(deltas))

    def packed(self, deltas: Sequence[int]) -> tuple[int, ...]:
        """Return the words that deltas (one for each of `MEASURES`) add to a row."""
        words: list[int] = []
        for position in self.positions:
            value = deltas[position]
            words.append(value % WORD)
            if position == AMOUNT:
                words.append(value // WORD % WORD)
        return tuple(words)

    def size(self, rows: int, members: int, streak: int) -> int:
        """Return the length in bytes of a blob with so many rows, members and remembered declines."""
        return self.head_size + rows * (4 + 4 * self.words) + 8 * members + 8 * streak


# Of a person, hops are fine, for rows are few; of what many payments share they are coarser: fewer tiles to look through.
_MINUTES: Final = (5 * MINUTE, HOUR)
_HOURS: Final = (HOUR, DAY)
_TENS: Final = (10 * MINUTE, HOUR)
_PAIRS: Final = (2 * HOUR, DAY)
_WEEK: Final = (DAY, 7 * DAY)
_MONTH: Final = (DAY, 30 * DAY)
_QUARTER: Final = (10 * DAY, 90 * DAY)

LAYOUTS: Final[dict[str, Layout]] = {
    layout.kind: layout
    for layout in (
        Layout(
            "card",
            (
                "attempts",
                "amount_minor",
                "results",
                "approved",
                "declined",
                "never",
                "fix_data",
                "authenticate",
                "funds",
                "chargebacks",
            ),
            (_MINUTES, _HOURS, _MONTH, _QUARTER),
            3 * DAY,
            distinct=("merchant_id", 8),
            streak=8,
        ),
        Layout(
            "customer",
            ("attempts", "amount_minor", "results", "approved", "declined", "chargebacks"),
            (_MINUTES, _HOURS, _MONTH),
            DAY,
            distinct=("card_token", 8),
            streak=8,
        ),
        Layout(
            "device",
            ("attempts", "amount_minor", "results", "approved", "declined", "chargebacks"),
            ((15 * SECOND, MINUTE), _MINUTES, _HOURS, _WEEK),
            6 * HOUR,
            distinct=("card_token", 8),
            streak=8,
        ),
        Layout(
            "merchant",
            (
                "attempts",
                "amount_minor",
                "results",
                "approved",
                "declined",
                "technical",
                "never",
                "funds",
                "chargebacks",
            ),
            (_TENS, _PAIRS, _MONTH, _QUARTER),
            DAY,
        ),
        Layout(
            "merchant_card",
            ("attempts", "amount_minor", "results", "approved", "chargebacks"),
            (_MONTH, _QUARTER),
            4 * DAY,
        ),
        Layout(
            "bin",
            ("attempts", "results", "approved", "never", "funds", "chargebacks"),
            (_TENS, _PAIRS, _MONTH),
            DAY,
        ),
        Layout(
            "issuer",
            ("attempts", "results", "approved", "technical", "funds"),
            (_TENS, _PAIRS, _WEEK),
            6 * HOUR,
        ),
        Layout(
            "processor",
            ("attempts", "results", "approved", "technical"),
            ((10 * SECOND, MINUTE), (MINUTE, 15 * MINUTE), _TENS, _PAIRS),
            30 * MINUTE,
        ),
        Layout("processor_bin", ("results", "approved", "technical"), (_PAIRS, _WEEK), 6 * HOUR),
        Layout("processor_issuer", ("results", "approved", "technical"), (_TENS, _PAIRS), HOUR),
    )
}
"""The state kept for each kind of entity."""

MOST_ROWS: Final = max(sum(ring.tiles for ring in layout.rings) for layout in LAYOUTS.values())
"""More rows than any state has."""
