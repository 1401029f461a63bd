"""Where the time of one request goes: a clock with laps, carried by the request's own task.

The edge starts one for a share of the requests, and for each that asks; `current` is what the parts behind it call. All
other requests have `OFF`, whose laps cost one empty call each (0.03 us, and 0.03 us for `current`).
This module must not know who measures what, nor what becomes of the figures.
"""

from contextvars import ContextVar, Token
from time import perf_counter_ns
from typing import Final, Literal

Stage = Literal["decode", "read", "assemble", "score", "choose", "explain", "keep", "journal", "encode"]

STAGES: Final[tuple[Stage, ...]] = (
    "decode", "read", "assemble", "score", "choose", "explain", "keep", "journal", "encode",
)  # fmt: skip
"""In the order of a request; one that is gone through more than once is the sum of its times."""


class Clock:
    """Gives each stage all the time since the one before it was done: nothing between two stages is left out.

    Attributes
    ----------
    spent
        Nanoseconds by stage, of the stages gone through so far.
    """

    __slots__ = ("_last", "spent")

    def __init__(self) -> None:
        self.spent: dict[Stage, int] = {}
        self._last = perf_counter_ns()

    def done(self, stage: Stage) -> None:
        """Say that a stage has ended this moment."""
        now = perf_counter_ns()
        self.spent[stage] = self.spent.get(stage, 0) + now - self._last
        self._last = now

    def server_timing(self) -> bytes:
        """Return the value of a ``Server-Timing`` header (W3C Server Timing): milliseconds by stage, and their sum."""
        parts = [f"{stage};dur={spent / 1e6:.3f}" for stage, spent in self.spent.items()]
        parts.append(f"total;dur={sum(self.spent.values()) / 1e6:.3f}")
        return ", ".join(parts).encode()


class _Off(Clock):
    """Times nothing; shared by all requests that are not timed."""

    __slots__ = ()

    def done(self, stage: Stage) -> None:
        """Do nothing."""


OFF: Final[Clock] = _Off()
_CURRENT: Final[ContextVar[Clock]] = ContextVar("pointsman_stages", default=OFF)

current: Final = _CURRENT.get
"""Return the clock of the request whose task runs, `OFF` when it is not timed. To be fetched once a request, not once a stage."""


def start() -> tuple[Clock, Token[Clock]]:
    """Start timing the request whose task runs; the token ends it again."""
    clock = Clock()
    return clock, _CURRENT.set(clock)


def stop(token: Token[Clock]) -> None:
    """End the timing that `start` began, in the same task."""
    _CURRENT.reset(token)
