"""Clients that do not go on, too many of them, and too much at once: each costs a connection for a while and nothing else."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from contracts.payment import AuthRequest
from service.settings import Settings
from tests.service.conftest import Edge, make_decision
from tests.service.http.served import PATIENCE, Client, Served, post
from tests.service.http.test_protocol import AUTH, body, code, decided

QUICK: dict[str, Any] = {"head_seconds": 0.3, "body_seconds": 0.3, "idle_seconds": 0.3, "write_seconds": 0.3}
LIVE = b"GET /health/live HTTP/1.1\r\nhost: edge\r\n\r\n"


def serving(**settings: Any) -> Served:
    chosen = Settings(**settings)
    return Served(Edge(None, chosen), chosen)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def quick() -> Iterator[Served]:
    with serving(**QUICK) as server:
        yield server


@pytest.fixture
def let_go(quick: Served) -> Any:
    before = dict(quick.server._edge.let_go)

    def since(at: str) -> int:
        return quick.server._edge.let_go.get(at, 0) - before.get(at, 0)

    return since


@pytest.mark.parametrize("begun", [b"P", b"POST /api/decisioning/auth HTTP/1.1\r\nhost: edge\r\ncontent-le"])
def test_a_head_that_does_not_come_to_its_end_is_told_so(quick: Served, let_go: Any, begun: bytes) -> None:
    with quick.client() as client:
        client.send(begun)
        assert code(client.answer()) == (408, "request_timeout")
        assert client.closed
    assert let_go("head") == 1


def test_a_head_that_comes_byte_by_byte_for_ever_is_told_so_too(quick: Served) -> None:
    with quick.client() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        stopped = threading.Event()

        def drip() -> None:
            while not stopped.wait(0.02):
                try:
                    client.send(b"x-a: b\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert code(client.answer()) == (408, "request_timeout")
        finally:
            stopped.set()
            dripping.join()


def test_a_body_that_does_not_come_is_told_so_and_counted(quick: Served, let_go: Any) -> None:
    statuses = quick.edge.metrics.endpoint(AUTH).statuses
    before = statuses.get(408, 0)
    with quick.client() as client:
        client.send(post(AUTH, body())[:-5])
        assert code(client.answer()) == (408, "request_timeout")
        assert client.closed
    assert let_go("body") == 1
    assert statuses[408] == before + 1
    assert not quick.state.tasks


def test_a_body_in_chunks_that_do_not_come_is_told_so_and_nobody_waits_for_it(quick: Served) -> None:
    with quick.client() as client:
        client.send(f"POST {AUTH} HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{{".encode())
        assert code(client.answer()) == (408, "request_timeout")
        assert client.closed
    until(lambda: not quick.state.tasks)


def test_a_request_behind_others_that_does_not_come_to_its_end_is_told_so_after_their_answers(quick: Served) -> None:
    with quick.client() as client:
        client.send(post(AUTH, body("one")) + post(AUTH, body("two")) + post(AUTH, body("three"))[:-5])
        assert [decided(client.answer()) for _ in range(2)] == ["one", "two"]
        assert code(client.answer()) == (408, "request_timeout")
        assert client.closed
    until(lambda: not quick.state.tasks)


def test_a_connection_that_asks_nothing_is_closed(quick: Served, let_go: Any) -> None:
    with quick.client() as silent, quick.client() as asked:
        assert decided(asked.ask(post(AUTH, body("one")))) == "one"
        assert silent.closed
        assert asked.closed
    assert let_go("idle") == 2


def test_a_request_under_way_is_not_hurried(quick: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slowly(request: AuthRequest, *, deadline: float) -> Any:
        await asyncio.sleep(1.0)
        return make_decision(request)

    monkeypatch.setattr(quick.edge.decider, "auth", slowly)
    with quick.client() as client:
        assert decided(client.ask(post(AUTH, body("slow")))) == "slow"


def test_a_client_that_takes_no_answers_is_cut_off(quick: Served, let_go: Any) -> None:
    sent = 0
    with quick.client() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        request = post(AUTH, body("deaf"))
        try:
            while sent < 100_000:
                client.send(request)
                sent += 1
        except (OSError, TimeoutError):
            pass
        # One that sends no more because its own window is full may be waited for wherever in a request that was instead.
        until(lambda: sum(map(let_go, ("write", "body", "head", "idle"))) == 1)
    # It was stopped long before: its answers wait in no memory of ours.
    assert sent < 100_000
    until(lambda: not quick.state.connections)


def test_however_many_slow_clients_there_are_another_one_is_served() -> None:
    with serving(connections=64) as server, ExitStack() as stack:
        for _ in range(300):
            slow = stack.enter_context(server.client())
            slow.send(b"POST / HTTP/1.1\r\nx-slow: ")
        with server.client() as client:
            for number in range(5):
                assert decided(client.ask(post(AUTH, body(f"served_{number}")))) == f"served_{number}"
        until(lambda: len(server.state.connections) <= 64)
        assert server.server._edge.let_go["room"] >= 300 - 64


class Held:
    """Holds back every answer of a server's until told otherwise."""

    def __init__(self, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.waiting = 0
        monkeypatch.setattr(server.edge.decider, "auth", self._auth)

    async def _auth(self, request: AuthRequest, *, deadline: float) -> Any:
        self.waiting += 1
        while not self.released.is_set():
            await asyncio.sleep(0.002)
        return make_decision(request)


def test_more_requests_than_may_be_under_way_are_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_flight=2) as server, ExitStack() as stack:
        held = Held(server, monkeypatch)
        clients: list[Client] = [stack.enter_context(server.client()) for _ in range(3)]
        for number, client in enumerate(clients[:2]):
            client.send(post(AUTH, body(f"held_{number}")))
        until(lambda: held.waiting == 2)
        for _ in range(2):
            refused = clients[2].ask(post(AUTH, body("too_many")))
            assert code(refused) == (429, "overloaded")
            assert int(refused.headers["retry-after"]) > 0
        # Whoever asks how it is gets an answer all the same.
        assert clients[2].ask(LIVE).status == 200
        assert b"pointsman_requests_in_flight 3.0" in clients[2].ask(LIVE.replace(b"/health/live", b"/metrics")).body
        held.released.set()
        assert [decided(client.answer()) for client in clients[:2]] == ["held_0", "held_1"]
        assert decided(clients[2].ask(post(AUTH, body("later")))) == "later"


def test_when_all_connections_are_at_work_another_one_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(connections=2) as server, ExitStack() as stack:
        held = Held(server, monkeypatch)
        clients: list[Client] = [stack.enter_context(server.client()) for _ in range(2)]
        for number, client in enumerate(clients):
            client.send(post(AUTH, body(f"held_{number}")))
        until(lambda: held.waiting == 2)
        with server.client() as third:
            assert code(third.answer()) == (429, "overloaded")
            assert third.closed
        held.released.set()
        assert [decided(client.answer()) for client in clients] == ["held_0", "held_1"]


def test_told_to_stop_it_answers_what_it_has_begun_and_closes_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server, ExitStack() as stack:
        held = Held(server, monkeypatch)
        idle, half, busy = (stack.enter_context(server.client()) for _ in range(3))
        assert idle.ask(LIVE).status == 200
        request = post(AUTH, body("half"))
        half.send(request[:-5])
        busy.send(post(AUTH, body("busy")))
        until(lambda: held.waiting == 1 and len(server.state.connections) == 3)
        server.server.should_exit = True
        assert idle.closed
        held.released.set()
        answer = busy.answer()
        assert decided(answer) == "busy"
        assert answer is not None
        assert answer.headers["connection"] == "close"
        half.send(request[-5:])
        assert decided(half.answer()) == "half"
        server.stop()


def test_while_it_is_about_to_stop_it_says_that_it_is_not_ready_and_that_connections_end() -> None:
    with serving(drain_delay_seconds=0.0) as server:
        server.edge.app.drain()
        server.server._edge.draining = True
        with server.client() as client:
            ready = client.ask(LIVE.replace(b"live", b"ready"))
            assert ready.status == 503
            assert json.loads(ready.body)["parts"]["server"]["state"] == "not_ready"
            assert ready.headers["connection"] == "close"
        for _ in range(2):
            with server.client() as client:
                answer = client.ask(post(AUTH, body("last")))
                assert decided(answer) == "last"
                assert answer.headers["connection"] == "close"
                assert client.closed
