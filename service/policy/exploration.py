"""Exploration: now and then another candidate than the best is drawn; the odds are written down.

A candidate is drawn as often as it may well be the better one (probability matching, as in Thompson sampling), which is
known in closed form: an answer's propensity is exact, and history can be judged by it. This module must not know why one
candidate is better than another.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import erfc, sqrt
from typing import Final

BOUND: Final = 0.10
"""How much worse than the best a near equal may be: ten points of approval probability, or what ten points are worth in
margin. Near equals are drawn now and then however sure their order is."""
MOST_ON_TRIAL: Final = 0.5
"""The most that all candidates on trial share."""

_RANGE: Final = float(1 << 64)
# Propensities are whole multiples of this: sums of so few of them are exact in binary, in whatever order.
_GRAIN: Final = float(1 << 40)


def draw_of(payment_id: str, attempt: int) -> float:
    """Return a number in [0, 1) that depends on the question alone: asked again, the answer is the same.

    >>> draw_of("pay_1", 1) == draw_of("pay_1", 1) != draw_of("pay_1", 2)
    True
    """
    digest = blake2b(f"{payment_id}:{attempt}".encode(), digest_size=8).digest()
    # The last bits of 64 do not fit a float: the highest values would round up to 1.
    return min(int.from_bytes(digest, "big") / _RANGE, 1.0 - 2.0**-53)


def shares(
    losses: Sequence[float], doubts: Sequence[float], *, bound: float, floor: float, total: float
) -> list[float]:
    """Return with which probability each candidate is drawn; the best is at place 0 and has what the others leave.

    With d what a candidate loses against the best and s the standard error of that difference, it is better with the
    probability Phi(-d / s), if both errors are independent and normal: that is its share. Near equals (d at most `bound`)
    have at least `floor`. All but the best have at most `total` together: what goes beyond the floors is scaled down.

    Parameters
    ----------
    losses, doubts
        Of every candidate, the best first: how much worse than the best, and the standard error of its worth.

    Returns
    -------
    list of float
        They sum to 1 exactly.
    """
    count = len(losses)
    odds = [0.0] * count
    if count < 2 or total <= 0.0:
        if count:
            odds[0] = 1.0
        return odds
    own = doubts[0]
    least = min(floor, total / (count - 1))
    above = [0.0] * count
    spare = total
    for place in range(1, count):
        loss = losses[place]
        base = least if loss <= bound else 0.0
        doubt = doubts[place]
        error = sqrt(doubt * doubt + own * own)
        better = 0.5 * erfc(loss / (error * _ROOT_2)) if error > 0.0 else 0.0
        odds[place] = base
        spare -= base
        if better > base:
            above[place] = better - base
    # Added one by one: what `sum` makes of floats depends on the version of Python.
    wanted = 0.0
    for one in above:
        wanted += one
    spare = max(spare, 0.0)
    ratio = 1.0 if wanted <= spare else spare / wanted
    rest = 1.0
    for place in range(1, count):
        share = int((odds[place] + ratio * above[place]) * _GRAIN) / _GRAIN
        odds[place] = share
        rest -= share
    odds[0] = rest
    return odds


def on_trial(odds: list[float], count: int, share: float, total: float) -> list[float]:
    """Return the odds with `count` candidates on trial behind them, `share` each.

    What they get is taken from those that are drawn to be compared as long as all of these share more than what is left
    of `total`, and from the best.

    Returns
    -------
    list of float
        They sum to 1 exactly.
    """
    each = int(min(share, MOST_ON_TRIAL / count) * _GRAIN) / _GRAIN
    drawn = 1.0 - odds[0]
    left = max(total - each * count, 0.0)
    if drawn > left:
        odds = [int(one * left / drawn * _GRAIN) / _GRAIN for one in odds]
    others = odds[1:] + [each] * count
    # Whole multiples of the grain: exact in whatever way they are added.
    return [1.0 - sum(others), *others]


def pick(draw: float, odds: Sequence[float]) -> int:
    """Return the chosen place: each as often as its odds say, over draws that are spread evenly over [0, 1).

    >>> [pick(draw, [0.9, 0.0, 0.1]) for draw in (0.04, 0.0999, 0.1, 0.99)]
    [2, 2, 0, 0]
    """
    reached = 0.0
    for place in range(1, len(odds)):
        reached += odds[place]
        if draw < reached:
            return place
    return 0


_ROOT_2: Final = sqrt(2.0)
