"""h2load as a second witness: what its log says, and that its requests are what they should be."""

import asyncio
import threading
from itertools import count, pairwise

import pytest

from benchmarks import h2load
from benchmarks.client import Target
from benchmarks.h2load import _read

SAID = "requests: {} total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout\n"


def read(tmp_path, lines, written, silent=0, turn=0.064):
    log = tmp_path / "log"
    log.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return _read(log, SAID.format(len(lines) + silent), written, turn)


def test_a_log_is_read(tmp_path):
    told = read(
        tmp_path, [(1_000, 200, 250), (3_000, 200, 500), (2_000, 503, 90), (4_000, -1, 10)], [0, 1_500, 2_500, 3_500]
    )
    assert sorted(told.seen.latencies["h2load"]) == pytest.approx([250e-6, 500e-6])
    assert told.seen.errors == {"status 503": 1, "connection lost": 1}
    assert told.seen.seconds == pytest.approx(0.003)
    assert told.repeated == 0.0
    assert not told.hidden


def test_requests_between_two_bodies_repeat_each_other(tmp_path):
    told = read(tmp_path, [(1_000, 200, 1), (1_001, 200, 1), (1_002, 200, 1), (5_000, 200, 1)], [0, 3_000])
    assert told.repeated == 0.5


def test_an_answer_longer_than_a_turn_hides_what_waited_behind_it(tmp_path):
    assert read(tmp_path, [(1_000, 200, 63_000)], [0]).hidden is False
    assert read(tmp_path, [(1_000, 200, 65_000)], [0]).hidden is True


def test_requests_without_an_answer_are_not_forgotten(tmp_path):
    assert read(tmp_path, [(1_000, 200, 1)], [0], silent=2).seen.errors == {"never answered": 2}


def test_a_log_of_nothing_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="got 0 requests"):
        read(tmp_path, [], [0])


def test_a_machine_without_h2load_is_told_where_it_is(monkeypatch):
    monkeypatch.setattr(h2load, "program", lambda: None)
    with pytest.raises(RuntimeError, match="nghttp2-client"):
        constant(8080)


def test_rates_it_cannot_space_are_refused(monkeypatch):
    monkeypatch.setattr(h2load, "program", lambda: "h2load")
    with pytest.raises(RuntimeError, match="1 to 1,000 a second"):
        constant(8080, rate=2_000)


def constant(port, rate=100):
    bodies = (b'{"payment_id":"%010d"}' % number for number in count())
    return h2load.constant(
        Target("127.0.0.1", port), "/ask", bodies, rate=rate, seconds=0.5, connections=10, cores=set(), key="pm_key"
    )


class Server:
    """Answers everything, and keeps what it was asked."""

    def __init__(self):
        self.heads, self.bodies = [], []
        self.port = 0
        self.up, self.over = threading.Event(), None
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.up.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)

    async def run(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.up.set()
            await self.over.wait()

    async def serve(self, reader, writer):
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.mark.skipif(h2load.program() is None, reason=f"there is no h2load here ({h2load.WHERE})")
def test_h2load_asks_at_the_rate_about_one_payment_after_the_other():
    with Server() as server:
        told = constant(server.port)
    assert told.seen.answered == len(server.bodies) == 50
    assert told.seen.errors == {}
    assert told.turn_ms == 100
    assert all(b"authorization: bearer pm_key" in head and head.startswith(b"post /ask") for head in server.heads)
    # Ten milliseconds lie between two requests and 0.3 between two bodies, so that two may share one where the machine stalls.
    assert len(set(server.bodies)) >= 40
    assert sum(one == other for one, other in pairwise(sorted(server.bodies))) <= 10
