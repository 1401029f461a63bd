"""A client that costs a few microseconds a request: raw HTTP/1.1 over an asyncio protocol, requests made beforehand.

Closed loop: every connection asks again as soon as it is answered; that shows the most a server can do, and nothing of how
long a caller would wait. Open loop: requests are due at fixed moments whether or not earlier ones were answered, and the
latency counts from the moment a request was due, so that a stalled server is charged for all who waited for it.

This module must not know what is asked, nor print anything.
"""

import asyncio
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

CONNECT_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 5.0
_SPIN_SECONDS: Final = 0.002
_LENGTH: Final = b"content-length:"

Requests = Iterator[tuple[str, bytes]]
"""What to ask, without end: the kind of a request and its bytes."""


class Seen:
    """What came back: latencies in seconds by kind, how many failed and why, how many were degraded and how."""

    def __init__(self) -> None:
        self.latencies: dict[str, array[float]] = {}
        self.errors: dict[str, int] = {}
        self.degraded: dict[str, int] = {}
        self.late = array("d")
        """Open loop: how late each request was sent, by the client's own fault or for want of a free connection."""
        self.seconds = 0.0
        self.busy_seconds = 0.0
        self.server_seconds = 0.0
        """Processor time of what was asked, where somebody looked."""
        self.store_seconds = 0.0
        """Processor time of the store that it uses."""

    @property
    def answered(self) -> int:
        """How many requests were answered with 200."""
        return sum(map(len, self.latencies.values()))

    def add(self, other: "Seen") -> None:
        """Add what another saw of the same target."""
        for kind, latencies in other.latencies.items():
            self.latencies.setdefault(kind, array("d")).extend(latencies)
        for mine, theirs in ((self.errors, other.errors), (self.degraded, other.degraded)):
            for why, count in theirs.items():
                mine[why] = mine.get(why, 0) + count
        self.late.extend(other.late)
        self.seconds += other.seconds
        self.busy_seconds += other.busy_seconds
        self.server_seconds += other.server_seconds
        self.store_seconds += other.store_seconds

    def fail(self, why: str) -> None:
        """Count a failure."""
        self.errors[why] = self.errors.get(why, 0) + 1


class Target(NamedTuple):
    """Where to ask."""

    host: str
    port: int


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, seen: Seen, answered: Callable[["_Connection"], None]) -> None:
        self._seen = seen
        self._answered = answered
        self._received = b""
        self._needed = 0
        self._transport: asyncio.Transport | None = None
        self._kind: str | None = None
        self._due = 0.0

    @property
    def open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return self._kind is not None

    def ask(self, kind: str, request: bytes, due: float) -> None:
        """Send a request that was due at `due` (of `time.perf_counter`)."""
        self._kind = kind
        self._due = due
        assert self._transport is not None
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if not self._needed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = received[: end + 2].lower()
            at = head.find(_LENGTH)
            if at < 0:
                self._done("an answer without a length")
                return
            self._needed = end + 4 + int(head[at + len(_LENGTH) : head.find(b"\r\n", at)])
        if len(received) >= self._needed:
            self._done(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._kind is not None:
            self._seen.fail("connection lost")
            self._kind = None

    def close(self) -> None:
        """Close it; a request under way counts as unanswered."""
        if self._kind is not None:
            self._seen.fail("no answer in time")
            self._kind = None
        if self._transport is not None:
            self._transport.close()

    def _done(self, wrong: str | None) -> None:
        received, kind = self._received, self._kind
        self._received, self._needed, self._kind = b"", 0, None
        if kind is None:
            self._seen.fail("an answer nobody asked for")
            return
        status = received[9:12]
        if wrong is not None or status != b"200":
            self._seen.fail(wrong or f"status {status.decode('latin-1')}")
        else:
            latencies = self._seen.latencies.get(kind)
            if latencies is None:
                latencies = self._seen.latencies[kind] = array("d")
            latencies.append(time.perf_counter() - self._due)
            if b'"degraded":[' in received and b'"degraded":[]' not in received:
                codes = received.partition(b'"degraded":[')[2].partition(b"]")[0].decode()
                self._seen.degraded[codes] = self._seen.degraded.get(codes, 0) + 1
        self._answered(self)


async def closed_loop(target: Target, requests: Requests, connections: int, seconds: float, seen: Seen) -> None:
    """Ask over `connections` connections without a pause for `seconds`, then wait for what is under way."""
    began = time.perf_counter()
    end = began + seconds

    def again(connection: _Connection) -> None:
        now = time.perf_counter()
        if now < end and connection.open:
            connection.ask(*next(requests), now)

    pool = await _connect(target, connections, seen, again)
    began = time.perf_counter()
    end = began + seconds
    busy = time.process_time()
    for connection in pool:
        connection.ask(*next(requests), time.perf_counter())
    while time.perf_counter() < end and any(connection.open for connection in pool):
        await asyncio.sleep(0.02)
    seen.busy_seconds += time.process_time() - busy
    await _drain(pool)
    seen.seconds += time.perf_counter() - began


async def open_loop(
    target: Target, requests: Requests, connections: int, seconds: float, rate: float, seen: Seen
) -> None:
    """Ask `rate` times a second for `seconds`, whatever comes back; a request waits for a connection, its clock running."""
    idle: deque[_Connection] = deque()
    queue: deque[float] = deque()

    def send(connection: _Connection, due: float) -> None:
        now = time.perf_counter()
        seen.late.append(now - due)
        connection.ask(*next(requests), due)

    def free(connection: _Connection) -> None:
        if not connection.open:
            return
        if queue:
            send(connection, queue.popleft())
        else:
            idle.append(connection)

    pool = await _connect(target, connections, seen, free)
    idle.extend(pool)
    began = time.perf_counter()
    gap = 1.0 / rate
    number, total = 0, round(rate * seconds)
    while number < total:
        now = time.perf_counter()
        due = began + number * gap
        while due <= now and number < total:
            if idle and (connection := idle.popleft()).open:
                send(connection, due)
            else:
                queue.append(due)
            number += 1
            due = began + number * gap
        # The loop's own timer is a millisecond coarse: near the next request it is asked again and again instead.
        ahead = due - time.perf_counter()
        # Whoever else is on this core goes first: Redis is.
        os.sched_yield()
        await asyncio.sleep(ahead - _SPIN_SECONDS if ahead > _SPIN_SECONDS else 0)
        if not any(connection.open for connection in pool):
            break
    until = time.perf_counter() + DRAIN_SECONDS
    while queue and time.perf_counter() < until and any(connection.open for connection in pool):
        await asyncio.sleep(0.005)
    for _ in queue:
        seen.fail("never sent for want of a connection")
    await _drain(pool)
    seen.seconds += time.perf_counter() - began


async def _connect(
    target: Target, connections: int, seen: Seen, answered: Callable[[_Connection], None]
) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        made = [
            await loop.create_connection(lambda: _Connection(seen, answered), target.host, target.port)
            for _ in range(connections)
        ]
    return [connection for _, connection in made]


async def _drain(pool: list[_Connection]) -> None:
    until = time.perf_counter() + DRAIN_SECONDS
    while time.perf_counter() < until and any(connection.waiting for connection in pool):
        await asyncio.sleep(0.002)
    for connection in pool:
        connection.close()
    await asyncio.sleep(0)
