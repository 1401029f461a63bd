"""One entity's remembered sums as a packed blob: add an event, read a window.

Pure functions over bytes; `features.layout` says how they lie. ``service/store/update.lua`` does the same addition inside
Redis; one contract suite holds both to the same bytes.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, Literal

from features.increment import CODES, Increment
from features.layout import AMOUNT, INDEX, MOST_ROWS, VERSION, WORD, Layout

try:
    from features.state_native import add_in_order as add_quickly
except ImportError:
    from features.newest import add_to_newest as add_quickly

Trouble = Literal["version", "corrupt"]

_MEMBER: Final = struct.Struct("<Ii")
_TILE: Final = struct.Struct("<i")
_COUNTS: Final = struct.Struct("<6sHBB")
_NONE: Final = (0, 0, 0, 0, 0, 0.0, 0.0, 0.0)
_APPROVED: Final = CODES["approved"]
_TECHNICAL: Final = CODES["technical"]
_DECLINED: Final = INDEX["declined"]
_SPECK: Final = 1e-9
"""What no sum of results is as small as: the last one counts 1, one of a horizon ago 1e-6."""

Row = tuple[int, ...]


class View:
    """A readable blob, taken apart. Unknown bytes are for `trouble`, not for this class.

    Attributes
    ----------
    sums
        The words of everything ever added.
    last_attempt, last_amount, last_result, last_approved, last_code
        Microseconds, minor units and one of `features.increment.CODES`; 0 for never.
    decayed
        Decayed sums of results, approved and technical as of `last_result`.
    newest
        The newest tile; None without any.
    members
        (member, last seen tile), by tile and member, greatest first.
    streak
        Times of the declines after the last approval, greatest first.
    """

    __slots__ = (
        "_count",
        "_raw",
        "_rows",
        "_tiles",
        "decayed",
        "last_amount",
        "last_approved",
        "last_attempt",
        "last_code",
        "last_result",
        "layout",
        "members",
        "newest",
        "streak",
        "sums",
    )

    def __init__(self, layout: Layout, blob: bytes | None = None) -> None:
        self.layout = layout
        words = layout.words
        self._tiles: list[int] | None = None
        self._rows: list[Row] | None = None
        self.members: list[tuple[int, int]] = []
        self.streak: list[int] = []
        self.newest: int | None = None
        if blob is None:
            self._count, self._raw = 0, b""
            self.sums: Row = (0,) * words
            fixed: Sequence[float] = _NONE
        else:
            _, count, members, streak, *rest = layout.head.unpack_from(blob)
            self.sums, fixed = tuple(rest[:words]), rest[words:]
            end = layout.head_size + count * (4 + 4 * words)
            # Tiles and rows are taken apart when they are asked for: an event in the newest tile leaves them alone.
            self._count, self._raw = count, blob[layout.head_size : end]
            if count:
                (self.newest,) = _TILE.unpack_from(blob, layout.head_size + 4 * count - 4)
            if members:
                self.members = [_MEMBER.unpack_from(blob, end + 8 * place) for place in range(members)]
            if streak:
                self.streak = list(struct.unpack_from(f"<{streak}q", blob, end + 8 * members))
        self.last_attempt, self.last_amount, self.last_result, self.last_approved, self.last_code = map(int, fixed[:5])
        self.decayed: tuple[float, ...] = tuple(fixed[5:])

    @property
    def tiles(self) -> list[int]:
        """Tiles in units of the finest hop, ascending."""
        if self._tiles is None:
            self._tiles = list(struct.unpack_from(f"<{self._count}i", self._raw))
        return self._tiles

    @property
    def rows(self) -> list[Row]:
        """The sums before each tile."""
        if self._rows is None:
            raw = self._raw[4 * self._count :]
            self._rows = list(self.layout.row.iter_unpack(raw)) if raw else []
        return self._rows

    def append(self, tile: int) -> None:
        """Begin a tile later than all others, and drop the rows that no ring keeps any more."""
        tiles = self.tiles
        tiles.append(tile)
        kept = _kept(self.layout, tiles)
        size = 4 * self.layout.words
        raw = self._raw[4 * self._count :] + self.layout.row.pack(*self.sums)
        if len(kept) < len(tiles):
            raw = b"".join([raw[size * place : size * place + size] for place in kept])
            self._tiles = tiles = [tiles[place] for place in kept]
        self._count = len(tiles)
        self._raw = struct.pack(f"<{len(tiles)}i", *tiles) + raw
        self._rows, self.newest = None, tile

    def replace(self, tiles: list[int], rows: list[Row]) -> None:
        """Put other tiles and rows in place of those that are there."""
        self._tiles, self._rows, self._count = tiles, rows, len(tiles)
        self._raw = struct.pack(f"<{len(tiles)}i", *tiles) + b"".join([self.layout.row.pack(*row) for row in rows])
        self.newest = tiles[-1] if tiles else None

    def packed(self) -> bytes:
        """Return the blob."""
        head = self.layout.head.pack(
            self.layout.mark,
            self._count,
            len(self.members),
            len(self.streak),
            *self.sums,
            self.last_attempt,
            self.last_amount,
            self.last_result,
            self.last_approved,
            self.last_code,
            *self.decayed,
        )
        blob = head + self._raw
        if self.members:
            blob += b"".join([_MEMBER.pack(*entry) for entry in self.members])
        if self.streak:
            blob += struct.pack(f"<{len(self.streak)}q", *self.streak)
        return blob

    def start(self, width: int, hop: int, now: int) -> int:
        """Return the first tile of the window [floor((now - width) / hop) * hop, now), all in microseconds."""
        return (now - width) // hop * (hop // self.layout.hop)

    def window(self, measure: str, width: int, hop: int, now: int) -> int:
        """Return the sum of one measure over a window.

        Whatever was added at `now` or later is counted too: the caller asks at the present.
        """
        place = self.layout.place[measure]
        position = bisect_left(self.tiles, self.start(width, hop, now))
        row = self.rows[position] if position < len(self.rows) else self.sums
        low = (self.sums[place] - row[place]) % WORD
        if measure != "amount_minor":
            return low
        high = (self.sums[place + 1] - row[place + 1]) * WORD
        return (self.sums[place] - row[place] + high) % (WORD * WORD)


def empty(layout: Layout) -> bytes:
    """Return the state of an entity to which nothing was added yet."""
    return View(layout).packed()


def trouble(layout: Layout, blob: bytes) -> Trouble | None:
    """Return why a blob cannot be read: "version" for another version or layout, "corrupt" for anything else, or None."""
    mark = layout.mark
    if blob[:6] != mark:
        return "version" if len(blob) >= 6 and 0 < blob[0] <= VERSION else "corrupt"
    if len(blob) < layout.head_size:
        return "corrupt"
    _, rows, members, streak = _COUNTS.unpack_from(blob)
    whole = len(blob) == layout.size(rows, members, streak)
    # More than a layout keeps is no state of ours, whatever its length.
    sane = rows <= MOST_ROWS and members <= layout.members and streak <= layout.streak
    return None if whole and sane else "corrupt"


def is_readable(layout: Layout, blob: bytes) -> bool:
    """Tell whether `blob` is a whole state of this layout (right version, layout and length)."""
    return trouble(layout, blob) is None


def readable(layout: Layout, blob: bytes | None) -> View | None:
    """Open a state; None for one that is missing or cannot be read, which then counts as never seen."""
    return None if blob is None or trouble(layout, blob) is not None else View(layout, blob)


def add(layout: Layout, blob: bytes | None, increment: Increment, member: int | None = None) -> bytes:
    """Return the state after one event; a missing or unreadable blob counts as empty.

    Events may come in any order: the result depends only on their set (decayed sums: but for rounding). One that the layout
    does not take changes nothing.

    One that takes an earlier event back (`features.increment.taken_back`) comes after it and has its time. Every window and the
    decayed sums are then as if neither had been; what was last (attempt, result, approval, its code), the values seen and
    the declines in a row stay as the earlier one left them. Where the earlier one never came, nothing is taken.

    Parameters
    ----------
    layout, blob
        The entity's layout and its state so far.
    increment
        The event.
    member
        The value to remember for a distinct count (`features.increment.member`), of attempts only.
    """
    if (quickly := add_quickly(layout, blob, increment, member)) is not None:
        return quickly
    view = readable(layout, blob) or View(layout)
    if not layout.takes(increment.deltas):
        return view.packed()
    tile = increment.at // layout.hop
    words = layout.packed(increment.deltas)
    if min(increment.deltas) < 0:
        _take_back(view, increment, tile, words)
        return view.packed()
    _add_row(view, tile, words)
    view.sums = _plus(layout, view.sums, words)
    if increment.is_attempt:
        _remember_attempt(view, increment, tile, member)
    if increment.code:
        _remember_result(view, increment)
    return view.packed()


def _plus(layout: Layout, row: Row, words: Row) -> Row:
    """Return a row plus the words of an event, each modulo 2^32 but for the carry of an amount."""
    sums = [total + delta for total, delta in zip(row, words, strict=True)]
    low = layout.place.get("amount_minor")
    if low is not None and sums[low] >= WORD:
        sums[low + 1] += 1
    return tuple([total % WORD for total in sums])


def _add_row(view: View, tile: int, words: Row) -> None:
    """Make room for an event of `tile` among the rows, and add it to those it comes before."""
    if tile == view.newest:
        return
    if view.newest is None or tile > view.newest:
        view.append(tile)
        return
    tiles, rows, layout = view.tiles, view.rows, view.layout
    place = bisect_left(tiles, tile)
    if tiles[place] != tile:
        rows.insert(place, rows[place])
        tiles.insert(place, tile)
    # What comes late was not there when the later tiles began; from now on it was.
    for later in range(place + 1, len(rows)):
        rows[later] = _plus(layout, rows[later], words)
    kept = _kept(layout, tiles)
    view.replace([tiles[at] for at in kept], [rows[at] for at in kept])


def _kept(layout: Layout, tiles: list[int]) -> list[int]:
    """Return the positions of the rows that some ring keeps."""
    kept: set[int] = set()
    for ring in layout.rings:
        per_hop = ring.hop // layout.hop
        oldest = tiles[-1] // per_hop - ring.reach // ring.hop
        before = None
        for position in range(bisect_left(tiles, oldest * per_hop), len(tiles)):
            hop = tiles[position] // per_hop
            if hop != before:
                kept.add(position)
                before = hop
    return sorted(kept)


def _take_back(view: View, increment: Increment, tile: int, words: Row) -> None:
    """Subtract an event from the tile in which it came, if that holds it: a count below nothing would be four billion."""
    layout, tiles, rows = view.layout, view.tiles, view.rows
    later = bisect_right(tiles, tile)
    # The first tile of a hop may stand for the others of it, but for the newest.
    if later == len(tiles) and tile != view.newest:
        return
    before = rows[later - 1] if later else (0,) * layout.words
    after = rows[later] if later < len(rows) else view.sums
    for name, place in layout.place.items():
        if name != "amount_minor" and (after[place] - before[place]) % WORD < -increment.deltas[INDEX[name]]:
            return
    view.replace(tiles, rows[:later] + [_plus(layout, row, words) for row in rows[later:]])
    view.sums = _plus(layout, view.sums, words)
    if increment.code and increment.at <= view.last_result:
        weight = 2.0 ** (-(view.last_result - increment.at) / layout.half_life)
        results, approved, technical = view.decayed
        approved = _less(approved, weight if increment.code == -_APPROVED else 0.0)
        technical = _less(technical, weight if increment.code == -_TECHNICAL else 0.0)
        # What rounding leaves must not make a part greater than the whole.
        view.decayed = (max(_less(results, weight), approved + technical), approved, technical)


def _less(total: float, weight: float) -> float:
    """Return a decayed sum less a weight; what rounding leaves of nothing is nothing."""
    left = total - weight
    return left if left > _SPECK else 0.0


def _remember_attempt(view: View, increment: Increment, tile: int, member: int | None) -> None:
    at, amount = increment.at, increment.deltas[AMOUNT]
    if at > view.last_attempt:
        view.last_attempt, view.last_amount = at, amount
    elif at == view.last_attempt:
        view.last_amount = max(view.last_amount, amount)
    if member is not None and view.layout.members:
        seen = dict(view.members)
        seen[member] = max(tile, seen.get(member, tile))
        newest = sorted(((last, value) for value, last in seen.items()), reverse=True)
        view.members = [(value, last) for last, value in newest[: view.layout.members]]


def _remember_result(view: View, increment: Increment) -> None:
    at, code = increment.at, increment.code
    one = (1.0, float(code == _APPROVED), float(code == _TECHNICAL))
    half_life = view.layout.half_life
    # Exponential decay kept as of the newest result, so that a rate needs no clock to be read.
    if at >= view.last_result:
        weight = 2.0 ** (-(at - view.last_result) / half_life)
        view.decayed = tuple([was * weight + new for was, new in zip(view.decayed, one, strict=True)])
    else:
        weight = 2.0 ** (-(view.last_result - at) / half_life)
        view.decayed = tuple([was + weight * new for was, new in zip(view.decayed, one, strict=True)])
    if at > view.last_result:
        view.last_result, view.last_code = at, code
    elif at == view.last_result:
        view.last_code = max(view.last_code, code)
    if code == _APPROVED:
        view.last_approved = max(view.last_approved, at)
        view.streak = [time for time in view.streak if time > view.last_approved]
    elif increment.deltas[_DECLINED] and view.layout.streak and at > view.last_approved:
        view.streak.insert(bisect_right([-time for time in view.streak], -at), at)
        del view.streak[view.layout.streak :]
