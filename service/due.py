"""Futures that fail when their time is up, and an event loop that is late itself does not fail them.

A timer only says what the clock says. In a loop with much to do it comes before the answer that has lain in the socket for
milliseconds, and whoever believed it would call a store slow that is not. So what is due has some more turns of the loop, in
which it looks at its sockets; an idle loop makes them in no time.

One timer serves all: futures are put together by two milliseconds, and nothing is to be done for one that was kept in time.
This module must not know what is waited for.
"""

import asyncio
import heapq
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

TURNS: Final = 4
"""Of the loop, after the clock said that time is up: bytes are received in the first, read in the second and handed over."""

_STEP: Final = 0.002
"""Seconds. What is due within one is due at its end."""

Future = asyncio.Future[Any]
Fail = Callable[[Future, float], None]
"""Fails a future that is not done, given the seconds that it had."""


class Due:
    """What is waited for by the users of one event loop.

    Everything is to be called in the loop. Times are those of `time.monotonic`.
    """

    __slots__ = ("_due", "_loop", "_order", "_timer", "_wakes")

    def __init__(self) -> None:
        self._due: dict[int, list[tuple[Future, Fail, float]]] = {}
        self._order: list[int] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = 0

    def within(self, seconds: float, future: Future, fail: Fail) -> None:
        """Have `future` failed by `fail` unless it is done in so many seconds, and never sooner."""
        step = int((monotonic() + seconds) / _STEP) + 1
        entry = (future, fail, seconds)
        others = self._due.get(step)
        if others is not None:
            others.append(entry)
            return
        self._due[step] = [entry]
        heapq.heappush(self._order, step)
        loop = future.get_loop()
        if self._timer is None or step < self._wakes or loop is not self._loop:
            self._wake(loop, step)

    def _wake(self, loop: asyncio.AbstractEventLoop, step: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop, self._wakes = loop, step
        self._timer = loop.call_later(max(0.0, step * _STEP - monotonic()), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what is due, and be woken for the next."""
        self._timer = None
        now = int(monotonic() / _STEP)
        late: list[tuple[Future, Fail, float]] = []
        while self._order and self._order[0] <= now:
            late += [entry for entry in self._due.pop(heapq.heappop(self._order)) if not entry[0].done()]
        if late:
            loop.call_soon(_once_more, loop, late, TURNS)
        # Nearly all are done by now: nobody is to be woken for them.
        while self._order and all(entry[0].done() for entry in self._due[self._order[0]]):
            del self._due[heapq.heappop(self._order)]
        if self._order:
            self._wake(loop, self._order[0])


def _once_more(loop: asyncio.AbstractEventLoop, late: list[tuple[Future, Fail, float]], turns: int) -> None:
    late = [entry for entry in late if not entry[0].done()]
    if late and turns:
        loop.call_soon(_once_more, loop, late, turns - 1)
        return
    for future, fail, seconds in late:
        if not future.done():
            fail(future, seconds)
