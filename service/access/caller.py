"""Who asks, and how often it may: a name for the audit, scopes, and a limit.

This module must not know how a caller proves who it is.
"""

import math
from typing import Final, Literal, get_args

from service.errors import RateLimited

Scope = Literal["decide", "report", "read", "admin"]
"""What a caller may do: ask for decisions, report outcomes, read what is on record, move the pointer of the bundles.

No scope holds another: whoever may activate a bundle may not therefore read a decision.
"""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


UNKNOWN: Final = "expected a key or token that is known and has not ended"
"""What is said of every credential that proves nothing, so that nobody learns what was wrong with it."""


class Limit:
    """So many requests a second, and so many at once: a token bucket, kept as the one moment at which it is full again.

    This is the generic cell rate algorithm (ITU-T I.371): with `T` the time one request is worth, the bucket holds
    ``burst - (full - now) / T`` requests.

    Parameters
    ----------
    rate
        Requests a second, in the long run; above 0.
    burst
        Requests at once after a pause; at least 1.
    """

    __slots__ = ("_each", "_full", "_slack", "burst", "rate")

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._each = 1.0 / rate
        # A thousandth of a request more than the burst: sums of floats must not cost a caller one that is its due.
        self._slack = (burst - 0.999) * self._each
        self._full = -math.inf

    def take(self, now: float) -> None:
        """Take one request at `now`, in seconds of a clock that never goes back.

        Raises
        ------
        RateLimited
            When there is none to take.
        """
        full = self._full
        if full <= now:
            self._full = now + self._each
        elif full - now <= self._slack:
            self._full = full + self._each
        else:
            raise RateLimited(max(1, math.ceil(full - now - self._slack)))


def limit_of(rate: float, burst: int) -> Limit | None:
    """Return a limit; None for a rate of 0. A burst of 0 is one second's worth."""
    return Limit(rate, burst or max(1, math.ceil(rate))) if rate > 0 else None


class Caller:
    """One who may ask.

    Parameters
    ----------
    name
        What the audit calls it; never a secret.
    scopes
        What it may do.
    limit
        How often; None for as often as it likes.
    """

    __slots__ = ("limit", "name", "scopes")

    def __init__(self, name: str, scopes: frozenset[str], limit: Limit | None) -> None:
        self.name = name
        self.scopes = scopes
        self.limit = limit
