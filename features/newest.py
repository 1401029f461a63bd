"""An event in the newest tile of a state, quickly: only the head of the blob is taken apart.

The embedded store adds on the event loop, and a busy entity sees little else. `features.state.add` is the definition; whatever
is not plain here is left to it, and a test holds the two to the same bytes.
"""

import struct
from typing import Final

from features.increment import CODES, Increment
from features.layout import AMOUNT, ATTEMPTS, INDEX, MOST_ROWS, WORD, Layout

_TILE: Final = struct.Struct("<i")
_MEMBER: Final = struct.Struct("<Ii")
_APPROVED: Final = CODES["approved"]
_TECHNICAL: Final = CODES["technical"]
_DECLINED: Final = INDEX["declined"]


def add_to_newest(layout: Layout, blob: bytes | None, increment: Increment, member: int | None) -> bytes | None:
    """Return the state after an event in its newest tile that changes nothing but its head; None for any other.

    The embedded store adds on the event loop, and a busy entity sees little else.
    """
    if blob is None or len(blob) < layout.head_size:
        return None
    mark, rows, members, streak, *head = layout.head.unpack_from(blob)
    end = layout.head_size + rows * (4 + 4 * layout.words)
    at, deltas, code = increment
    tile = at // layout.hop
    if mark != layout.mark or not rows or len(blob) != end + 8 * (members + streak):
        return None
    if rows > MOST_ROWS or members > layout.members or streak > layout.streak:
        return None
    if _TILE.unpack_from(blob, layout.head_size + 4 * rows - 4)[0] != tile:
        return None
    if member is not None and layout.members and deltas[ATTEMPTS]:
        place = blob.find(_MEMBER.pack(member, tile), end, end + 8 * members)
        if place < 0 or (place - end) % 8:
            return None
    declined = deltas[_DECLINED]
    if code and layout.streak and (streak or declined):
        return None
    if not _count(head, layout, deltas):
        return None
    words = layout.words
    if deltas[ATTEMPTS] and at >= head[words]:
        amount = deltas[AMOUNT]
        head[words + 1] = amount if at > head[words] else max(amount, head[words + 1])
        head[words] = at
    if code and not _settle(head, words, at, code, layout.half_life):
        return None
    return layout.head.pack(mark, rows, members, streak, *head) + blob[layout.head_size :]


def _count(head: list[float], layout: Layout, deltas: tuple[int, ...]) -> bool:
    """Add an event to the sums; return False when there is nothing to add, something to take back, or a word would run over."""
    counted = False
    for name, place in layout.place.items():
        delta = deltas[INDEX[name]]
        if delta:
            total = head[place] + delta
            if delta < 0 or total >= WORD:
                return False
            head[place] = total
            counted = True
    return counted


def _settle(head: list[float], words: int, at: int, code: int, half_life: int) -> bool:
    """Remember a result that is not older than the last one; return False for one that is."""
    last = head[words + 2]
    if at < last:
        return False
    approved, technical = code == _APPROVED, code == _TECHNICAL
    weight = 2.0 ** (-(at - last) / half_life)
    head[words + 5] = head[words + 5] * weight + 1.0
    head[words + 6] = head[words + 6] * weight + approved
    head[words + 7] = head[words + 7] * weight + technical
    head[words + 4] = code if at > last else max(code, head[words + 4])
    head[words + 2] = at
    if approved and at > head[words + 3]:
        head[words + 3] = at
    return True
