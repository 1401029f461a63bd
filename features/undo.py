"""An attempt taken out of a state again: no attempt is a payment before itself.

This module must not know why it is asked.
"""

import struct
from bisect import bisect_left
from typing import Final

from features.increment import Increment
from features.layout import WORD, Layout
from features.seen import LastSeen
from features.state import Row, readable, trouble

_MEMBER: Final = struct.Struct("<Ii")


def last_seen(layout: Layout, blob: bytes | None, member: int | None) -> LastSeen:
    """Return what `without` must know to take an attempt out again; a blob that cannot be read has seen nothing."""
    if blob is None or trouble(layout, blob) is not None:
        return LastSeen()
    _, rows, members, _, *rest = layout.head.unpack_from(blob)
    attempt, amount = int(rest[layout.words]), int(rest[layout.words + 1])
    if member is None:
        return LastSeen(attempt, amount)
    offset = layout.head_size + rows * (4 + 4 * layout.words)
    entries = [_MEMBER.unpack_from(blob, offset + 8 * place) for place in range(members)]
    tile = next((last for value, last in entries if value == member), None)
    full = tile is None and members == layout.members > 0
    return LastSeen(attempt, amount, tile, entries[-1] if full else None)


def without(
    layout: Layout,
    blob: bytes | None,
    increment: Increment,
    *,
    member: int | None = None,
    before: LastSeen = LastSeen(),  # noqa: B008 - immutable
) -> bytes | None:
    """Return the state as if an attempt had not been added: no attempt is a payment before itself.

    Parameters
    ----------
    layout, blob
        The state with the attempt in it.
    increment, member
        The attempt, and what a distinct count remembers of it.
    before
        What `last_seen` said of the state without it.
    """
    view = readable(layout, blob)
    if view is None or not layout.takes(increment.deltas) or view.newest is None:
        return blob
    tile = increment.at // layout.hop
    words = layout.packed(increment.deltas)
    if any(view.sums[place] < words[place] for name, place in layout.place.items() if name != "amount_minor"):
        # It was never added here: a write that failed, or an entity forgotten since.
        return blob
    view.sums = _minus(layout, view.sums, words)
    tiles, rows = list(view.tiles), list(view.rows)
    position = bisect_left(tiles, tile)
    its_own = position < len(tiles) and tiles[position] == tile
    # Its tile may be gone already: then every row from here on begins after it.
    for later in range(position + its_own, len(rows)):
        rows[later] = _minus(layout, rows[later], words)
    if its_own and rows[position] == (rows[position + 1] if position + 1 < len(rows) else view.sums):
        # Nothing else came in its tile.
        del tiles[position], rows[position]
    view.replace(tiles, rows)
    if view.last_attempt == increment.at:
        view.last_attempt, view.last_amount = before.attempt, before.amount
    if member is not None and dict(view.members).get(member) == tile:
        view.members = [entry for entry in view.members if entry[0] != member]
        back = before.pushed_out if before.member_tile is None else (member, before.member_tile)
        if back is not None and back[0] not in dict(view.members):
            view.members.append(back)
            view.members.sort(key=lambda entry: (entry[1], entry[0]), reverse=True)
    return view.packed()


def _minus(layout: Layout, row: Row, words: Row) -> Row:
    sums = [total - delta for total, delta in zip(row, words, strict=True)]
    low = layout.place.get("amount_minor")
    if low is not None and sums[low] < 0:
        sums[low + 1] -= 1
    return tuple([total % WORD for total in sums])
