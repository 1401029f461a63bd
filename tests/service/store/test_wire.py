"""A wire to Redis: what is asked is answered in order, and a wire of which anything else came is of no more use."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

from service.store.command import packed
from service.store.wire import Wire, dial
from tests.servers import free_port


def maker(url: str) -> Callable[[], Any]:
    return ConnectionPool.from_url(url, protocol=2, socket_connect_timeout=1.0).make_connection


def at(url: str, story: Callable[[Wire], Awaitable[None]]) -> None:
    async def act() -> None:
        wire = await dial(maker(url))
        try:
            await story(wire)
        finally:
            wire.close()
            await wire.closed()

    asyncio.run(act())


def replying(answer: Callable[[bytes], list[bytes]], story: Callable[[Wire], Awaitable[None]]) -> None:
    """Tell a story with a server that says anything; what it says to a greeting is all well."""

    async def act() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65_536):
                    pieces = [b"+OK\r\n" * data.count(b"CLIENT")] if b"CLIENT" in data else answer(data)
                    for piece in pieces:
                        if not piece:
                            break
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0.01)
                    if b"" in pieces:
                        break
            writer.close()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wire = await dial(maker(f"redis://127.0.0.1:{port}/0"))
        try:
            await asyncio.wait_for(story(wire), 10)
        finally:
            wire.close()
            await wire.closed()
            await served.wait()
            server.close()
            await asyncio.sleep(0)

    asyncio.run(act())


def test_replies_are_in_order_errors_in_their_place_and_bytes_as_they_are(redis_url: str) -> None:
    async def story(wire: Wire) -> None:
        large = bytes(range(256)) * 20_000
        commands = [
            ("SET", "pm:w", large),
            ("GET", "pm:w"),
            ("EVALSHA", "0" * 40, 0),
            ("HGET", "pm:w", "a"),
            ("GET", "no"),
        ]
        replies = await wire.ask([packed(each) for each in commands], len(commands))
        assert replies[:2] == [b"OK", large]
        assert isinstance(replies[2], NoScriptError)
        assert isinstance(replies[3], ResponseError)
        assert replies[4] is None
        assert await wire.ask([], 0) == []
        assert await wire.ask([packed(("MGET", "pm:w", "no"))], 1) == [[large, None]]

    at(redis_url, story)


def test_a_server_that_hangs_up_while_nobody_asks_is_noticed(redis_url: str) -> None:
    async def story(wire: Wire) -> None:
        (own,) = await wire.ask([packed(("CLIENT", "ID"))], 1)
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_id=own)
        await asyncio.wait_for(wire.closed(), 5)
        assert wire.is_closed
        with pytest.raises(ConnectionLost):
            await wire.ask([packed(("GET", "a"))], 1)

    at(redis_url, story)


def test_one_that_hangs_up_while_somebody_waits_fails_him() -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(ConnectionLost, match="lost"):
            await wire.ask([packed(("GET", "a"))], 1)
        assert wire.is_closed

    replying(lambda _: [b"$100\r\nabc", b""], story)


def test_replies_may_come_in_any_pieces() -> None:
    async def story(wire: Wire) -> None:
        assert await wire.ask([packed(("GET", "a")), packed(("GET", "b"))], 2) == [b"abc", 5]
        assert not wire.is_closed

    replying(lambda _: [b"$3", b"\r\nab", b"c\r\n:", b"5\r\n"], story)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"!what\r\n", InvalidResponse),
        (b":1\r\n:2\r\n", InvalidResponse),
        (b"-ERR max number of clients reached\r\n", ConnectionLost),
    ],
)
def test_what_is_no_reply_ends_it(said: bytes, expected: type[RedisError]) -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(expected):
            await wire.ask([packed(("GET", "a"))], 1)
        assert wire.is_closed

    replying(lambda _: [said], story)


def test_what_comes_after_somebody_gave_up_is_nobodys_answer() -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.ask([packed(("GET", "a"))], 1), 0.001)
        await wire.closed()
        assert wire.is_closed

    replying(lambda _: [b":1\r\n"], story)


def test_what_cannot_be_reached_leaves_nothing() -> None:
    async def act() -> None:
        with pytest.raises((RedisError, OSError)):
            await dial(maker(f"redis://127.0.0.1:{free_port()}/0"))

    asyncio.run(act())
