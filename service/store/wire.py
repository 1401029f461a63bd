"""A connection to Redis once it is made: commands out, replies in, and nothing between them and the socket.

redis-py makes the connection (TLS, credentials, database, Sentinels). Then its streams are taken off, which cost a lone caller as
much as Redis does: a reader and a writer that are waited for, a task switch and a timeout for every reply. What is left is a
protocol that feeds hiredis and is done when as many replies are there as were asked for.

This module must not know what the commands mean.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from hiredis import Reader
from redis._parsers import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, RedisError

_LOST: Final = "the connection was lost"
_NOTHING: Final = object()


async def dial(make: Callable[[], AbstractConnection]) -> "Wire":
    """Return a connection that is ready.

    Parameters
    ----------
    make
        Makes one of redis-py that is not connected yet.

    Raises
    ------
    redis.exceptions.RedisError, OSError
        When it could not be had; nothing of it is left.
    """
    connection = make()
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        return Wire(connection)
    except BaseException:
        with contextlib.suppress(RedisError, OSError):
            await connection.disconnect(nowait=True)
        raise


class Wire(asyncio.Protocol):
    """One connection, for one exchange after the other.

    Parameters
    ----------
    connection
        Of redis-py, connected and idle; it is of no use any more.

    Attributes
    ----------
    watch
        Told of each exchange by what is waited for, to end it when it takes too long; None where nobody does.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        reader, writer = connection._reader, connection._writer
        if reader is None or writer is None or reader.at_eof():
            raise ConnectionLost(_LOST)
        # Held, not used: a writer that is thrown away closes what it wrote to.
        self._held = (reader, writer)
        connection._reader = connection._writer = None
        self._replies: list[Any] = []
        self._wanted = 0
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._reader = Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING)
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.watch: Callable[[asyncio.Future[Any]], None] | None = None
        self.is_closed = False
        """Whether it is of no more use."""
        self._transport: Any = writer.transport
        self._transport.set_protocol(self)

    async def ask(self, commands: Sequence[bytes], count: int) -> list[Any]:
        """Send packed commands and return their `count` replies, an error reply in its place.

        Whoever gives up on an exchange is to close the wire: its replies may still come.

        Raises
        ------
        redis.exceptions.ConnectionError, redis.exceptions.InvalidResponse
            When the connection was lost, the server refuses it, or what came is no reply.
        """
        if self.is_closed or self._waiting is not None:
            raise ConnectionLost(_LOST)
        if not count:
            return []
        self._replies, self._wanted = [], count
        waiting: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiting = waiting
        self._transport.writelines(commands)
        if self.watch is not None:
            self.watch(waiting)
        try:
            return await waiting
        finally:
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the server."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            # Nobody asked.
            self._fail(ConnectionLost(_LOST))
            return
        reader, replies = self._reader, self._replies
        try:
            reader.feed(data)
            while len(replies) < self._wanted:
                reply = reader.gets(False)
                if reply is _NOTHING:
                    return
                if isinstance(reply, ConnectionLost):
                    raise reply
                replies.append(reply)
            if reader.has_data():
                msg = "more came than was asked for"
                raise InvalidResponse(msg)
        except RedisError as error:
            self._fail(error)
            return
        waiting.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self._fail(ConnectionLost(_LOST if exc is None else f"{_LOST}: {exc}"))
        if not self._gone.done():
            self._gone.set_result(None)

    def _fail(self, error: Exception) -> None:
        self.is_closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self._transport.abort()

    def close(self) -> None:
        """Let go of the server. A second call does nothing."""
        self._fail(ConnectionLost(_LOST))

    async def closed(self) -> None:
        """Wait until nothing of it is left; to be called once it is closed."""
        await self._gone
