"""The approval that is expected before anything is known of a processor, a BIN or a merchant.

A pure reading of `contracts.hierarchy.Hierarchy`: log-odds add up over the groups that a payment belongs to, and what is
missing adds doubt instead. This module must not know how a hierarchy is learnt.
"""

from collections.abc import Callable
from math import exp, log, pi, sqrt
from operator import attrgetter
from typing import Any, Final, NamedTuple

from contracts.hierarchy import Hierarchy, Level
from features.encoding import category

_SMALLEST: Final = 1e-6
_FLATTER: Final = pi / 8.0


class Expected(NamedTuple):
    """An approval probability, and the standard error of its log-odds."""

    probability: float
    doubt: float


def log_odds(p: float) -> float:
    """Return the log-odds of a probability, which may be 0 or 1.

    >>> log_odds(0.5)
    0.0
    """
    p = min(max(p, _SMALLEST), 1.0 - _SMALLEST)
    return log(p / (1.0 - p))


def probability(odds: float) -> float:
    """Return the probability of log-odds.

    >>> probability(0.0)
    0.5
    """
    return 1.0 / (1.0 + exp(-odds)) if odds >= 0.0 else 1.0 - 1.0 / (1.0 + exp(odds))


class Rates:
    """Expected approval of payments under one hierarchy.

    Attributes
    ----------
    processor_spread
        How far a processor that nobody has seen may be off, log-odds.
    """

    __slots__ = ("_base", "_levels", "_processors", "processor_spread")

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._base = log_odds(hierarchy.rate)
        self._levels: list[tuple[Callable[[Any], str], float, dict[str, float]]] = [
            (_group(level), level.spread * level.spread, level.offsets) for level in hierarchy.levels
        ]
        self._processors = hierarchy.processors
        self.processor_spread = hierarchy.processor_spread

    def knows(self, processor: str) -> bool:
        """Tell whether the hierarchy has learnt of a processor."""
        return processor in self._processors

    def of(self, payment: Any, processor: str | None = None) -> Expected:
        """Return what is expected of a payment, through `processor` when it is given.

        The doubt is that of the groups which nobody has seen. The probability is the mean over what they may be, which lies
        nearer to a half than the likeliest: log-odds divided by sqrt(1 + pi / 8 * variance) (MacKay 1992).
        """
        odds, variance = self._base, 0.0
        for group, spread, offsets in self._levels:
            offset = offsets.get(group(payment))
            if offset is None:
                variance += spread
            else:
                odds += offset
        if processor is not None:
            own = self._processors.get(processor)
            if own is None:
                variance += self.processor_spread * self.processor_spread
            else:
                odds += own
        return Expected(probability(odds / sqrt(1.0 + _FLATTER * variance)), sqrt(variance))


def _group(level: Level) -> Callable[[Any], str]:
    if len(level.fields) == 1:
        (field,) = level.fields
        get = attrgetter(field)

        def of_one(payment: Any) -> str:
            return get(payment) or ""

        return of_one
    get = attrgetter(*level.fields)

    def of_many(payment: Any) -> str:
        return category(*get(payment))

    return of_many
