"""A lane to Redis: one connection on which everything that waits is sent together.

While an exchange is under way, what is asked meanwhile gathers and goes out as the next one. So at low load a caller
travels alone, and at high load the cost of a round trip is shared by all. Measured, an MGET of ten blobs costs a lone
caller about 50 us and each of 32 concurrent callers about 8 us.

The lane owns its connection: it connects in the background with a bound of its own, refuses callers at once while that
hangs and for a short while after it failed, and tries again with the next caller. Neither the timeout of a caller nor its
cancellation touches what others wait for.

This module must not know what the commands mean.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from service.due import Due
from service.errors import StoreError, StoreTimeout, StoreUnavailable
from service.store.wire import Wire, dial

CONNECT_SECONDS: Final = 1.0
"""How long one attempt to connect may take; callers do not wait for it longer than their own time."""
_REST_FIRST: Final = 0.02
_REST_MOST: Final = 0.1
"""Seconds in which callers are refused at once after a failed connection: doubling from the first to the most."""

Q = TypeVar("Q")
A = TypeVar("A")


def sentence(error: BaseException) -> str:
    """Return what went wrong in one line."""
    words = " ".join(str(error).split())
    return words or type(error).__name__


class Ask(Generic[Q, A]):
    """One caller's question and the future of its answer."""

    __slots__ = ("answer", "question")

    def __init__(self, question: Q, answer: "asyncio.Future[A]") -> None:
        self.question = question
        self.answer = answer

    def give(self, answer: A) -> None:
        """Hand over the answer, if anybody still waits."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: StoreError) -> None:
        """Hand over an error, if anybody still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Lane(Generic[Q, A]):
    """Asks questions of type `Q` over one connection, many at a time.

    Parameters
    ----------
    connect
        Makes a connection that is not connected yet.
    exchange
        Sends the questions, reads the replies, and gives every ask its answer.
    timeout
        Seconds for one round trip and for one caller.
    weigh
        How much work a question is.
    most
        An exchange takes no further question once it weighs this much.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        exchange: Callable[[Wire, Sequence[Ask[Q, A]]], Awaitable[None]],
        *,
        timeout: float,
        weigh: Callable[[Q], int],
        most: int,
    ) -> None:
        self._connect = connect
        self._exchange = exchange
        self._timeout = timeout
        self._weigh = weigh
        self._most = most
        self._waiting: deque[Ask[Q, A]] = deque()
        self._awake: asyncio.Future[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._connecting: float | None = None
        self._rest = _REST_FIRST
        self._down_until = 0.0
        self._reason = "it was closed"
        self._closed = False
        self._due = Due()

    async def ask(self, question: Q, deadline: float | None = None, timeout: float | None = None) -> A:
        """Return the answer to `question`.

        Raises
        ------
        StoreTimeout
            When it did not come in time.
        StoreUnavailable
            When there is no connection to be had or the server refused.
        """
        now = time.monotonic()
        if self._closed or now < self._down_until:
            raise StoreUnavailable(self._reason)
        left = self._timeout if timeout is None else timeout
        if deadline is not None and deadline - now < left:
            left = deadline - now
        if left <= 0:
            raise StoreTimeout(0.0)
        if self._connecting is not None and timeout is None and now - self._connecting > self._timeout:
            # It hangs: one caller found out, the others need not wait for it as well.
            raise StoreTimeout(round((now - self._connecting) * 1000))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append(Ask(question, answer))
        if self._awake is not None:
            if not self._awake.done():
                self._awake.set_result(None)
        elif self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        self._due.within(left, answer, _expire)
        return await answer

    async def close(self) -> None:
        """Refuse what waits and drop the connection. A second call does nothing."""
        self._closed = True
        self._reason = "it was closed"
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
            self._worker = None
        self._refuse(self._waiting, StoreUnavailable(self._reason))
        self._waiting.clear()
        await self._drop(wait=True)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._awake = loop.create_future()
                try:
                    await self._awake
                finally:
                    self._awake = None
            try:
                wire = await self._connected()
            except StoreUnavailable as error:
                self._refuse(self._waiting, error)
                self._waiting.clear()
                continue
            asks = self._take()
            if asks:
                await self._serve(wire, asks)

    async def _serve(self, wire: Wire, asks: Sequence[Ask[Q, A]]) -> None:
        whole = False
        try:
            await self._exchange(wire, asks)
            whole = True
        except TimeoutError:
            self._refuse(asks, StoreTimeout(self._timeout * 1000))
        except (RedisError, OSError) as error:
            self._refuse(asks, StoreUnavailable(sentence(error)))
        finally:
            if not whole:
                # Replies may still come, or the server became a replica: this connection is of no more use.
                self._refuse(asks, StoreUnavailable(self._reason))
                await self._drop()

    def _watch(self, replies: "asyncio.Future[Any]") -> None:
        self._due.within(self._timeout, replies, _give_up)

    def _take(self) -> list[Ask[Q, A]]:
        asks: list[Ask[Q, A]] = []
        weight = 0
        while self._waiting and weight < self._most:
            ask = self._waiting.popleft()
            if not ask.answer.done():
                asks.append(ask)
                weight += self._weigh(ask.question)
        return asks

    async def _connected(self) -> Wire:
        wire = self._wire
        if wire is not None:
            if not wire.is_closed:
                return wire
            # The server hung up while nobody asked.
            await self._drop()
        self._connecting = time.monotonic()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                wire = self._wire = await dial(self._connect)
            wire.watch = self._watch
        except (RedisError, OSError) as error:
            late = isinstance(error, TimeoutError)
            self._reason = f"no connection within {CONNECT_SECONDS:g} s" if late else sentence(error)
            self._down_until = time.monotonic() + self._rest
            self._rest = min(self._rest * 2, _REST_MOST)
            raise StoreUnavailable(self._reason) from error
        finally:
            self._connecting = None
        self._rest = _REST_FIRST
        return wire

    async def _drop(self, *, wait: bool = False) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
            if wait:
                await wire.closed()

    @staticmethod
    def _refuse(asks: Sequence[Ask[Q, A]] | deque[Ask[Q, A]], error: StoreError) -> None:
        for ask in asks:
            ask.fail(error)


def _expire(answer: "asyncio.Future[Any]", seconds: float) -> None:
    answer.set_exception(StoreTimeout(seconds * 1000))


def _give_up(replies: "asyncio.Future[Any]", _seconds: float) -> None:
    replies.set_exception(TimeoutError())
