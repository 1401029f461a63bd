"""What the connections of one server share: the questions they lead to, how long they wait, and how many there may be.

A client that does not go on costs a connection, nothing else: it gives way to another one as soon as there are too many.
This module must not know HTTP's own grammar.
"""

import asyncio
import heapq
import time
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple, Protocol

from uvicorn.server import ServerState

from service.http.decisions import Exchange
from service.http.heads import Heads

NEVER: Final = float("inf")
_SHARE_TO_GO: Final = 64
"""When there are too many connections, one of so many goes at once, so that the search for it is paid once for all."""


class Limits(NamedTuple):
    """How long a connection waits for its client, in seconds, and how much of anything there may be.

    Attributes
    ----------
    head_seconds, body_seconds, idle_seconds
        For the whole head of a request, from its first byte or from the connection's beginning; for the whole of its
        body; for the next request.
    write_seconds
        For a client that does not take its answers.
    head_bytes
        Largest head of a request.
    connections, in_flight
        How many connections are kept open, and how many requests may be under way.
    """

    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 75.0
    write_seconds: float = 10.0
    head_bytes: int = 16_384
    connections: int = 4_096
    in_flight: int = 512


class Waiting(Protocol):
    """A connection, as far as it has to be watched."""

    due: float
    """When its client's patience ends, a value of `time.monotonic`."""

    @property
    def closing(self) -> bool:
        """Whether it is on its way out."""
        ...

    def expire(self) -> None:
        """Let go of the client, telling it why where that helps."""
        ...

    def cut(self) -> None:
        """Let go of the client at once."""
        ...


class Edge:
    """What the connections of one server share.

    Parameters
    ----------
    exchanges
        The questions that are served without ASGI.
    limits
        How long a connection waits, and how many there may be.
    """

    def __init__(self, exchanges: Iterable[Exchange[Any]], limits: Limits) -> None:
        self.lane = {exchange.path.encode(): exchange for exchange in exchanges}
        self.limits = limits
        self.draining = False
        self.let_go: dict[str, int] = {}
        self.heads = Heads()
        self._default: list[tuple[bytes, bytes]] = []
        self._default_raw = b""

    def count(self, at: str) -> None:
        """Count a client let go, by what it was waited for."""
        self.let_go[at] = self.let_go.get(at, 0) + 1

    def default_headers(self, state: ServerState) -> bytes:
        """Return what every answer begins with (the date), which uvicorn renews once a second."""
        if state.default_headers is not self._default:
            self._default = state.default_headers
            self._default_raw = b"".join([b"%b: %b\r\n" % field for field in self._default])
        return self._default_raw

    async def watch(self, connections: Collection[Waiting]) -> None:
        """Let go of each client whose time is over, until cancelled: one timer for all, in the place of one a request."""
        limits = self.limits
        period = min(limits.head_seconds, limits.body_seconds, limits.idle_seconds, limits.write_seconds, 4.0) / 4
        while True:
            await asyncio.sleep(period)
            now = time.monotonic()
            for connection in [each for each in connections if each.due <= now]:
                connection.expire()

    def make_room(self, connections: Collection[Waiting], newest: Waiting) -> bool:
        """Let go of those clients that would be the next to go; return False when all have a request under way."""
        there = [each for each in connections if not each.closing]
        if len(there) <= self.limits.connections:
            return True
        waiting = [each for each in there if each.due != NEVER and each is not newest]
        going = heapq.nsmallest(max(1, self.limits.connections // _SHARE_TO_GO), waiting, key=lambda each: each.due)
        for connection in going:
            connection.cut()
            self.count("room")
        return bool(going)
