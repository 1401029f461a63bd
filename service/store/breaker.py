"""A circuit breaker: when nothing but failures came for a while, nobody waits for a failure any more.

One probe of its own looks again, ten times a second; no caller's time is spent on it. The first probe that succeeds closes
the breaker.

This module must not know what is called.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from service.errors import StoreError, StoreTimeout, StoreUnavailable

TRIP_SECONDS: Final = 0.03
"""Failures without a success between them for so long open it: a hiccup of ten milliseconds does not."""
TRIP_FAILURES: Final = 3
_FIRST_PROBE: Final = 0.02
PROBE_SECONDS: Final = 0.1

log: Final = logging.getLogger(__name__)


class Breaker:
    """Watches one sort of call.

    Parameters
    ----------
    name
        Of the calls, for the log.
    probe
        Makes a harmless call of the sort; raises `StoreError` when it fails.
    least_ms
        A timeout of less says more of who asked than of the store, and does not count.
    """

    __slots__ = ("_failures", "_first", "_least_ms", "_name", "_probe", "_probing", "refusal", "untroubled")

    def __init__(self, name: str, probe: Callable[[], Awaitable[object]], *, least_ms: float) -> None:
        self._name = name
        self._probe = probe
        self._least_ms = least_ms
        self._failures = 0
        self._first = 0.0
        self._probing: asyncio.Task[None] | None = None
        self.refusal: StoreError | None = None
        """What to refuse callers with; None while they may go through."""
        self.untroubled = True
        """Whether the last call succeeded: one attribute to look at on the way of every answer."""

    def refused(self) -> StoreError:
        """Return an error like the last, for one caller."""
        error = self.refusal
        if isinstance(error, StoreTimeout):
            return StoreTimeout(error.after_ms)
        return StoreUnavailable(error.reason if isinstance(error, StoreUnavailable) else "it is not well")

    def failed(self, error: StoreError) -> None:
        """Count a call that failed; open after some."""
        if isinstance(error, StoreTimeout) and error.after_ms < self._least_ms:
            return
        now = monotonic()
        if self._failures == 0:
            self._first = now
        self._failures += 1
        self.untroubled = False
        if self.refusal is not None:
            self.refusal = error
        elif self._failures >= TRIP_FAILURES and now - self._first >= TRIP_SECONDS:
            self.refusal = error
            log.warning("the store is left alone until it answers again (%s): %s", self._name, error)
            self._probing = asyncio.get_running_loop().create_task(self._look())

    def succeeded(self) -> None:
        """Forget the failures so far; one that is open is closed by its own probe alone."""
        if self.refusal is None:
            self._failures = 0
            self.untroubled = True

    async def close(self) -> None:
        """Stop looking. A second call does nothing."""
        probing, self._probing = self._probing, None
        if probing is not None:
            probing.cancel()
            await asyncio.wait([probing])

    async def _look(self) -> None:
        pause = _FIRST_PROBE
        while True:
            await asyncio.sleep(pause)
            pause = PROBE_SECONDS
            try:
                await self._probe()
            except StoreError as error:
                self.refusal = error
            else:
                break
        self.refusal = None
        self._failures = 0
        self.untroubled = True
        log.warning("the store answers again (%s)", self._name)
