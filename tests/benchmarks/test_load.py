"""The load script's client and requests: a measurement is only worth what the measuring is."""

import asyncio
from itertools import islice

import msgspec
import pytest

from benchmarks import load
from benchmarks.client import Seen, Target, closed_loop, open_loop
from benchmarks.questions import MIXES, requests
from contracts.outcome import Outcome
from contracts.payment import AuthRequest, RetryRequest
from service.http.wire import JSON

ASK = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n"


def endless(request=ASK):
    while True:
        yield "auth", request


class Server:
    """Answers every request, in pieces; the `stall_at`-th only after a while; then as `tail` says."""

    def __init__(self, stall_at=None, stall=0.0, status="200 OK", body=b'{"degraded":[]}', close_after=None):
        self.stall_at, self.stall, self.close_after = stall_at, stall, close_after
        self.head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.body = body
        self.asked = 0

    async def serve(self, reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if self.asked == self.close_after:
                    break
                if self.asked == self.stall_at:
                    await asyncio.sleep(self.stall)
                writer.write(self.head)
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(self.body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def measure(self, loop, *arguments):
        async def go():
            seen = Seen()
            async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                await loop(Target("127.0.0.1", port), endless(), *arguments, seen)
            return seen

        return asyncio.run(go())


def test_closed_loop_counts_every_answer():
    server = Server()
    seen = server.measure(closed_loop, 4, 0.2)
    assert seen.answered == server.asked > 4
    assert seen.errors == {}
    assert seen.degraded == {}
    assert 0.15 < seen.seconds < 2


def test_open_loop_asks_as_often_as_told():
    server = Server()
    seen = server.measure(open_loop, 4, 0.5, 100)
    assert server.asked == seen.answered == 50
    assert seen.errors == {}


def test_open_loop_charges_a_stall_to_all_who_waited_for_it():
    # One connection, 100 requests a second, one answer late by 300 ms: some thirty requests were due meanwhile.
    seen = Server(stall_at=10, stall=0.3).measure(open_loop, 1, 1.0, 100)
    slow = [latency for latency in seen.latencies["auth"] if latency > 0.05]
    assert seen.answered == 100
    assert 20 <= len(slow) <= 60
    assert max(slow) >= 0.29


def test_other_statuses_lost_connections_and_degraded_answers_are_told_apart():
    refused = Server(status="503 Service Unavailable").measure(open_loop, 1, 0.1, 50)
    assert refused.errors == {"status 503": 5}
    lost = Server(close_after=2).measure(open_loop, 1, 0.1, 50)
    assert lost.errors["connection lost"] == 1
    assert lost.answered == 1
    degraded = Server(body=b'{"degraded":["journal"]}').measure(open_loop, 1, 0.1, 50)
    assert degraded.degraded == {'"journal"': 5}
    assert degraded.answered == 5


@pytest.mark.parametrize("mix", MIXES)
def test_requests_are_whole_and_no_payment_comes_twice(mix):
    kinds = {"auth": AuthRequest, "retry": RetryRequest, "outcome": Outcome}
    asked = []
    for kind, raw in islice(requests(mix, "a"), 500):
        head, body = raw.split(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert not JSON.suspicious(body)
        message = msgspec.json.decode(body, type=kinds[kind])
        if kind != "outcome":
            asked.append(message.payment_id)
    assert len(set(asked)) == len(asked) > 250


def test_load_goes_nowhere_but_to_loopback(capsys):
    assert load.main(["--url", "http://192.0.2.1:8080"]) == 2
    assert load.main(["--store", "redis://192.0.2.1:6379/0", "--seconds", "0"]) == 2
    assert "loopback" in capsys.readouterr().err


def test_runs_are_bounded(capsys):
    for argument in (["--seconds", "100000"], ["--connections", "0"], ["--rate", "1e9"]):
        assert load.main(argument) == 2
    assert capsys.readouterr().err.count("expected --") == 3
