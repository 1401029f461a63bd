"""A gateway under a fault: asks at a fixed rate whatever comes back, asks again where a connection was lost, keeps all answers.

Latency counts from the moment a request was due to its answer, with every try between them. This module must not know which
fault there is.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from benchmarks.client import Target

CONNECTIONS: Final = 64
"""How many a gateway holds open."""
GIVE_UP_SECONDS: Final = 10.0
"""How long a request is asked again where connections are lost, and waited for where they are not."""
_SPIN_SECONDS: Final = 0.001
_RECONNECT_SECONDS: Final = 0.02
_LENGTH: Final = b"content-length:"


class Answer(msgspec.Struct):
    """What is looked at of an answer or a receipt."""

    decision_id: str = ""
    processor: str | None = None
    should_retry: bool | None = None
    degraded: list[str] = []
    results: list[str] = []


_decode: Final = msgspec.json.Decoder(Answer).decode


class Call:
    """One request: what it was, when it was due, and what came of it (status 0: nothing)."""

    __slots__ = ("answer", "done", "due", "kind", "name", "request", "status", "tries")

    def __init__(self, kind: str, name: str, request: bytes) -> None:
        self.kind = kind
        self.name = name
        self.request = request
        self.due = 0.0
        self.done = 0.0
        self.status = 0
        self.tries = 0
        self.answer: Answer | None = None

    @property
    def seconds(self) -> float:
        """From due to answered."""
        return self.done - self.due

    @property
    def is_whole(self) -> bool:
        """Whether it was answered with nothing missing."""
        return self.status == 200 and self.answer is not None and not self.answer.degraded


class Caller:
    """Connections to one service, and the requests that wait for one of them.

    Parameters
    ----------
    target
        Where to ask.
    connections
        How many to hold.
    told
        Called with each call that is over.
    """

    def __init__(self, target: Target, connections: int, told: Callable[[Call], None]) -> None:
        self._target = target
        self._told = told
        self._lines = [_Line(self) for _ in range(connections)]
        self._idle: deque[_Line] = deque()
        self._waiting: deque[Call] = deque()
        self._open = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open every connection; those that cannot be are tried again for ever."""
        for line in self._lines:
            self.reconnect(line)
        while len(self._idle) < len(self._lines):
            await asyncio.sleep(0.01)

    async def drive(self, source: Callable[[], Call], rate: float, seconds: float) -> None:
        """Ask `rate` times a second for `seconds`."""
        began = time.perf_counter()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            while (ahead := due - time.perf_counter()) > 0:
                # Whoever else is on this core goes first: Redis is.
                os.sched_yield()
                await asyncio.sleep(ahead - _SPIN_SECONDS if ahead > _SPIN_SECONDS else 0)
            call = source()
            call.due = due
            self._open += 1
            self.ask(call)

    def ask(self, call: Call) -> None:
        """Ask on a connection that is free, or as soon as one is."""
        while self._idle:
            line = self._idle.popleft()
            if line.is_open:
                line.ask(call)
                return
        self._waiting.append(call)

    async def drain(self) -> None:
        """Wait for what is under way."""
        until = time.perf_counter() + GIVE_UP_SECONDS
        while self._open and time.perf_counter() < until:
            await asyncio.sleep(0.005)
        for call in self._waiting:
            self.over(call)
        self._waiting.clear()
        for line in self._lines:
            if line.call is not None:
                self.over(line.call)
                line.call = None

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        for line in self._lines:
            line.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Told by the connections.

    def free(self, line: "_Line") -> None:
        """Take a connection back."""
        if not line.is_open:
            return
        if self._waiting:
            line.ask(self._waiting.popleft())
        else:
            self._idle.append(line)

    def over(self, call: Call) -> None:
        """Take an answer, or the end of waiting for one."""
        self._open -= 1
        call.done = time.perf_counter()
        self._told(call)

    def lost(self, call: Call) -> None:
        """Ask again what was under way on a connection that was lost: the same attempt has the same answer."""
        if self._closed or time.perf_counter() - call.due > GIVE_UP_SECONDS:
            self.over(call)
        else:
            self.ask(call)

    def reconnect(self, line: "_Line") -> None:
        """Open a connection in the background; it is nobody's until then."""
        with contextlib.suppress(ValueError):
            self._idle.remove(line)
        if not self._closed:
            task = asyncio.get_running_loop().create_task(self._connect(line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, line: "_Line") -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                async with asyncio.timeout(1.0):
                    await loop.create_connection(lambda: line, self._target.host, self._target.port)
            except (OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                self.free(line)
                return


class _Line(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self.call: Call | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ask(self, call: Call) -> None:
        call.tries += 1
        self.call = call
        assert self._transport is not None
        try:
            self._transport.write(call.request)
        except RuntimeError:
            # The other side has ended it, and this side has not been told yet.
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._received = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        call, self.call = self.call, None
        self._caller.reconnect(self)
        if call is not None:
            self._caller.lost(call)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0 or self.call is None:
            return
        head = received[: end + 2].lower()
        at = head.find(_LENGTH)
        whole = end + 4 + int(head[at + len(_LENGTH) : head.find(b"\r\n", at)])
        if len(received) < whole:
            return
        call, self.call, self._received = self.call, None, b""
        call.status = int(received[9:12])
        if call.status == 200:
            call.answer = _decode(received[end + 4 : whole])
        self._caller.over(call)
        if b"\r\nconnection: close" in head:
            self.close()
        else:
            self._caller.free(self)
