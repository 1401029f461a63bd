"""What an attempt writes over, as it was before.

This module must not know how it is found.
"""

from typing import NamedTuple


class LastSeen(NamedTuple):
    """What a state says before an attempt of what the attempt will write over.

    Attributes
    ----------
    attempt, amount
        Time and amount of the last attempt, zeros for none.
    member_tile
        The tile in which the attempt's value was last seen; None for never, or for too long ago.
    pushed_out
        The member, and its tile, that makes room for a new one; None when there is room.
    """

    attempt: int = 0
    amount: int = 0
    member_tile: int | None = None
    pushed_out: tuple[int, int] | None = None
