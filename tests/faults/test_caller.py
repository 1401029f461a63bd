"""The gateway of the chaos command: it asks again where a connection was lost, and keeps what it was told."""

import asyncio
import contextlib
import time

from benchmarks.caller import Call, Caller
from benchmarks.client import Target
from tests.servers import free_port

ANSWER = b'{"decision_id":"d_1","processor":"atlas","degraded":["journal"],"latency_us":7}'


def test_a_request_is_asked_again_until_it_is_answered() -> None:
    """Every second connection is dropped with the request that came on it."""

    async def story() -> None:
        came: list[bytes] = []
        served: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                while data := await reader.readuntil(b"\r\n\r\n"):
                    came.append(data)
                    if len(came) % 2:
                        break
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER[:10])
                    await writer.drain()
                    writer.write(ANSWER[10:])
            writer.close()
            await writer.wait_closed()
            served.append(writer)

        port = free_port()
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        told: list[Call] = []
        caller = Caller(Target("127.0.0.1", port), 2, told.append)
        await caller.connect()
        number = 0

        def source() -> Call:
            nonlocal number
            number += 1
            return Call("auth", f"p{number}", b"GET /%d HTTP/1.1\r\n\r\n" % number)

        began = time.perf_counter()
        await caller.drive(source, 200.0, 0.1)
        await caller.drain()
        await caller.close()
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(10):
            # Two connections in the end, and one more for each that was dropped.
            while len(served) < 2 + sum(call.tries - 1 for call in told):
                await asyncio.sleep(0.01)
        assert sorted(call.name for call in told) == sorted(f"p{each}" for each in range(1, 21))
        for call in told:
            assert call.status == 200
            assert call.answer is not None
            assert (call.answer.decision_id, call.answer.processor) == ("d_1", "atlas")
            assert not call.is_whole
            assert call.due >= began
            assert call.seconds >= 0
        # Those that were dropped came again.
        assert len(came) == sum(call.tries for call in told) > 20

    asyncio.run(story())


def test_an_answer_is_of_the_request_on_its_connection_also_after_idle_ones_were_lost() -> None:
    """The server drops every connection at once while most are idle, and answers each request with its own number."""

    async def story() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while data := await reader.readuntil(b"\r\n\r\n"):
                    body = b'{"decision_id":"%b"}' % data.split()[1]
                    await asyncio.sleep(0.005)
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        port = free_port()
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        told: list[Call] = []
        caller = Caller(Target("127.0.0.1", port), 8, told.append)
        await caller.connect()
        numbers = iter(range(1000))

        def source() -> Call:
            number = next(numbers)
            if number % 20 == 10:
                for writer in writers:
                    writer.close()
                writers.clear()
            return Call("auth", str(number), b"GET %d HTTP/1.1\r\n\r\n" % number)

        await caller.drive(source, 400.0, 0.3)
        await caller.drain()
        await caller.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)
        assert len(told) == 120
        for call in told:
            assert call.answer is not None
            assert call.answer.decision_id == call.name

    asyncio.run(story())
