"""What is due: it fails when its time is up, not for a loop that is late, and one timer serves all."""

import asyncio
import socket
import time
from typing import Any

import pytest

from service.due import Due


class Late(Exception):
    """What a future of these tests fails with."""


def fail(future: "asyncio.Future[Any]", seconds: float) -> None:
    future.set_exception(Late(seconds))


def test_it_fails_with_the_seconds_it_had_and_never_sooner() -> None:
    async def scenario() -> None:
        due, future = Due(), asyncio.get_running_loop().create_future()
        started = time.monotonic()
        due.within(0.02, future, fail)
        with pytest.raises(Late, match=r"^0\.02$"):
            await future
        assert time.monotonic() - started >= 0.02

    asyncio.run(scenario())


def test_time_that_is_up_already_is_some_turns_of_the_loop() -> None:
    async def scenario() -> None:
        due, loop = Due(), asyncio.get_running_loop()
        kept, lost = loop.create_future(), loop.create_future()
        due.within(-1.0, kept, fail)
        due.within(-1.0, lost, fail)
        loop.call_soon(kept.set_result, "in time")
        assert await kept == "in time"
        with pytest.raises(Late):
            await lost

    asyncio.run(scenario())


def test_whoever_has_more_time_waits_longer_whatever_the_order() -> None:
    async def scenario() -> list[str]:
        due, loop = Due(), asyncio.get_running_loop()
        order: list[str] = []
        waiting = []
        for name, seconds in (("last", 0.06), ("first", 0.01), ("second", 0.03), ("with the second", 0.03)):
            future = loop.create_future()
            due.within(seconds, future, lambda future, _, name=name: (order.append(name), future.cancel()))  # type: ignore[misc]
            waiting.append(future)
        await asyncio.wait(waiting)
        return order

    assert asyncio.run(scenario()) == ["first", "second", "with the second", "last"]


def test_what_is_done_is_left_alone() -> None:
    async def scenario() -> None:
        due, loop = Due(), asyncio.get_running_loop()
        done, gone, other = loop.create_future(), loop.create_future(), loop.create_future()
        for future in (done, gone, other):
            due.within(0.01, future, fail)
        done.set_result(1)
        gone.cancel()
        with pytest.raises(Late):
            await other
        assert done.result() == 1
        assert gone.cancelled()

    asyncio.run(scenario())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, None], ids=["asyncio", "uvloop"])
def test_a_loop_that_is_late_takes_what_came_in_time(loop_factory: Any) -> None:
    import uvloop

    async def scenario() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        answer: asyncio.Future[bytes] = loop.create_future()

        async def receive() -> None:
            got = await reader.readexactly(6)
            if not answer.done():
                answer.set_result(got)

        receiving = loop.create_task(receive())
        await asyncio.sleep(0)
        Due().within(0.02, answer, fail)
        theirs.sendall(b"answer")
        # The loop is at something else while the answer lies there, and when it looks up the time is over.
        time.sleep(0.05)
        try:
            return await answer
        finally:
            await receiving
            writer.close()
            theirs.close()

    with asyncio.Runner(loop_factory=loop_factory or uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == b"answer"


def test_one_serves_loop_after_loop() -> None:
    due = Due()

    async def forgotten() -> None:
        due.within(5.0, asyncio.get_running_loop().create_future(), fail)

    async def scenario() -> None:
        future = asyncio.get_running_loop().create_future()
        due.within(0.01, future, fail)
        with pytest.raises(Late):
            await future

    asyncio.run(forgotten())
    for _ in range(2):
        asyncio.run(scenario())
