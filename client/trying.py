"""How long one call has, and whether and when it is tried again.

Tried again is what may have been lost on the way, and only where a second arrival changes nothing; never what the service
understood and refused. This module must not know HTTP libraries.
"""

import random
import time
from typing import Any, Final

from client.calls import Call
from client.errors import Failed, Overloaded, TimedOut, Unavailable, Unreachable
from client.options import Options

FIRST_WAIT_SECONDS: Final = 0.02
LONGEST_WAIT_SECONDS: Final = 0.5
_PASSING: Final = frozenset({408, 502, 504})
_draw: Final = random.SystemRandom()


class Tries:
    """The tries of one call.

    Parameters
    ----------
    call, options
        What is asked, and how.
    timeout_seconds
        How long the call may take in all; None: as the options say.
    """

    def __init__(self, call: Call[Any], options: Options, timeout_seconds: float | None = None) -> None:
        self._call = call
        self._options = options
        seconds = options.timeout_seconds if timeout_seconds is None else timeout_seconds
        self._until = time.monotonic() + seconds
        self._made = 0

    def begin(self) -> tuple[float, dict[str, str]]:
        """Begin a try; return the moment (of `time.monotonic`) by which it is over, and its headers.

        Raises
        ------
        TimedOut
            When no time is left for it.
        """
        self._made += 1
        now = time.monotonic()
        until = min(self._until, now + self._options.try_seconds)
        if until <= now:
            msg = "no time was left to ask"
            raise TimedOut(msg, sent=self._made > 1)
        left_ms = (until - now) * 1000
        budget_ms = left_ms if self._options.budget_ms is None else min(left_ms, self._options.budget_ms)
        return until, self._call.headers(self._options.bearer(), budget_ms)

    def wait_after(self, error: Unavailable) -> float | None:
        """Return how many seconds to wait before the next try, or None when there is to be none; notes the tries made."""
        error.tries = self._made
        if self._made >= self._options.tries or not self._worth(error):
            return None
        wait = _draw.uniform(0.0, min(FIRST_WAIT_SECONDS * 2.0**self._made, LONGEST_WAIT_SECONDS))
        if isinstance(error, Overloaded) and error.retry_after is not None:
            wait += error.retry_after
        return wait if time.monotonic() + wait < self._until else None

    def _worth(self, error: Unavailable) -> bool:
        if isinstance(error, Overloaded):
            # Too many requests: refused before anything was done.
            return self._call.idempotent or error.status == 429
        if isinstance(error, Failed):
            return error.status in _PASSING and self._call.idempotent
        return isinstance(error, TimedOut | Unreachable) and (self._call.idempotent or not error.sent)
