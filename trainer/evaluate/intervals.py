"""Intervals that a bootstrap alone would draw too narrow, and what many tests at once ask of each.

This module must not know what is estimated.
"""

from collections.abc import Sequence
from typing import Final

from contracts.bundle import Metric

DEVIATE: Final = 1.959963984540054
"""The normal deviate of a two-sided 95 % interval."""


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share seen in `rows` rows (Wilson 1927); `rows` may be an effective number.

    >>> [round(end, 3) for end in wilson(0.0, 100)], wilson(0.5, 0)
    ([0.0, 0.037], (0.0, 1.0))
    """
    if rows <= 0:
        return 0.0, 1.0
    kept = min(max(share, 0.0), 1.0)
    square = DEVIATE**2 / rows
    middle = (kept + square / 2) / (1 + square)
    half = (kept * (1 - kept) * square + square**2 / 4) ** 0.5 / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def around(value: float, variance: float) -> tuple[float, float]:
    """Return the 95 % normal interval of a value whose estimator has this variance."""
    half = DEVIATE * max(variance, 0.0) ** 0.5
    return value - half, value + half


def wider(found: Metric, least: tuple[float, float]) -> Metric:
    """Return an interval that holds both `found` and `least`.

    A bootstrap only redraws what it saw: where the few heavy rows all happened to end alike it finds no spread.
    """
    return Metric(value=found.value, low=min(found.low, least[0]), high=max(found.high, least[1]))


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values made larger, so that among all of them a false alarm at 5 % has a chance of 5 % (Holm 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    adjusted = [0.0] * len(chances)
    highest = 0.0
    for done, place in enumerate(order):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - done)))
        adjusted[place] = highest
    return adjusted
