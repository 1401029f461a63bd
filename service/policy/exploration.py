"""Exploration: now and then a near equal candidate is drawn, so that history can judge it; the odds are written down.

This module must not know why one candidate is better than another.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

BOUND: Final = 0.10
"""How much worse than the best a candidate may be and still be drawn: ten points of approval probability, or what
ten points are worth in margin. Exploration tells near equals apart; it does not send customers where they fail."""

_RANGE: Final = float(1 << 64)


def draw_of(payment_id: str, attempt: int) -> float:
    """Return a number in [0, 1) that depends on the question alone: asked again, the answer is the same.

    >>> draw_of("pay_1", 1) == draw_of("pay_1", 1) != draw_of("pay_1", 2)
    True
    """
    digest = blake2b(f"{payment_id}:{attempt}".encode(), digest_size=8).digest()
    # The last bits of 64 do not fit a float: the highest values would round up to 1.
    return min(int.from_bytes(digest, "big") / _RANGE, 1.0 - 2.0**-53)


def near(losses: Sequence[float], bound: float) -> list[int]:
    """Return the places of candidates that lose at most `bound` against the best; the best is at place 0."""
    return [place for place, loss in enumerate(losses) if loss <= bound]


def propensities(count: int, drawable: Sequence[int], share: float) -> list[float]:
    """Return the probability with which each of `count` ranked candidates is chosen.

    With n drawable candidates and a share e of payments drawn: e / n each, and 1 - e more for the best, which is at
    place 0. The rest is never chosen. They sum to 1.
    """
    odds = [0.0] * count
    if not count:
        return odds
    each = share / len(drawable)
    for place in drawable:
        odds[place] = each
    odds[0] += 1.0 - share
    return odds


def pick(draw: float, drawable: Sequence[int], share: float) -> int:
    """Return the chosen place: uniform over `drawable` for draws below `share`, the best otherwise.

    >>> [pick(draw, [0, 2], 0.1) for draw in (0.04, 0.06, 0.5)]
    [0, 2, 0]
    """
    if draw >= share:
        return 0
    return drawable[min(int(draw / share * len(drawable)), len(drawable) - 1)]
