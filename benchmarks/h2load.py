"""A constant rate measured by nghttp2's ``h2load --rps``, a tool that is not ours, from its log of every request.

Each connection has its own turn of one request, and the connections begin one after the other, so that together they ask at
evenly spaced moments whether or not earlier ones were answered. h2load reads the body anew for every request: a file that is
rewritten all the while gives nearly every request a payment of its own. Latency counts from the moment a request was sent. That
is the moment it was due as long as no answer took longer than a connection's turn (`Constant.turn_ms`); past that it is the
time of the answer alone, and `Constant.hidden` says so.

This module must not know what is asked.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.client import Seen, Target
from benchmarks.processes import on

WHERE: Final = "h2load is in nghttp2, on Debian: apt-get install -y nghttp2-client"
REWRITE_SECONDS: Final = 0.0003
"""How long the body's writer sleeps at the most: several times shorter than the pause between two requests at 1,000/s."""
_GRACE_SECONDS: Final = 15.0
_SELECT: Final = "1"
"""libev's select backend waits to the microsecond; its epoll backend to the millisecond, which sends requests in pairs."""
_TOTAL: Final = re.compile(r"requests: (\d+) total")


class Constant(NamedTuple):
    """What h2load's log said.

    Attributes
    ----------
    seen
        Latencies, and what failed.
    turn_ms
        How often one connection asks.
    hidden
        Whether an answer took longer than a turn, so that its connection's next request was sent late and not charged for it.
    repeated
        Share of requests that asked about the payment of the request before.
    """

    seen: Seen
    turn_ms: float
    hidden: bool
    repeated: float


def program() -> str | None:
    """Return the path of h2load, or None when there is none."""
    return shutil.which("h2load")


def constant(
    target: Target,
    path: str,
    bodies: Iterator[bytes],
    *,
    rate: int,
    seconds: float,
    connections: int,
    cores: set[int],
    key: str | None = None,
) -> Constant:
    """Ask `rate` times a second for `seconds` with h2load, and return what its log says.

    Parameters
    ----------
    path
        What is asked.
    bodies
        Bodies of one length, as many as are asked for.
    rate
        At most 1,000 a second, so that connections begin at least a millisecond apart.
    cores
        The first of them runs h2load and this thread, which rewrites the body: on one core neither sees half of the other's work.

    Raises
    ------
    RuntimeError
        When there is no h2load, or it did not do what it was asked.
    """
    found = program()
    if found is None:
        msg = f"expected h2load on PATH: {WHERE}"
        raise RuntimeError(msg)
    if not 1 <= rate <= 1_000:
        msg = f"expected a rate of 1 to 1,000 a second for h2load, got {rate:,}"
        raise RuntimeError(msg)
    with tempfile.TemporaryDirectory(prefix="pointsman-h2load-") as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(next(bodies))
        command = [
            *(found, "--h1", f"--clients={connections}", "--threads=1", f"--requests={round(rate * seconds)}"),
            *("--rate=1", f"--rate-period={1000 // rate}ms", f"--rps={rate / connections}"),
            *(f"--data={body}", f"--log-file={log}", "--header=content-type: application/json"),
            *(() if key is None else (f"--header=authorization: Bearer {key}",)),
            f"http://{target.host}:{target.port}{path}",
        ]
        written, said = _run(command, body, bodies, seconds + _GRACE_SECONDS, set(sorted(cores)[:1]))
        return _read(log, said, written, connections / rate)


def _run(
    command: list[str], body: Path, bodies: Iterator[bytes], limit: float, core: set[int]
) -> tuple[list[float], str]:
    """Run h2load; return the moments (microseconds since the epoch) at which the body changed, and what h2load said."""
    written: list[float] = []
    with on(core), tempfile.TemporaryFile() as output, body.open("r+b", buffering=0) as file:
        process = subprocess.Popen(  # noqa: S603  (made above)
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "LIBEV_FLAGS": _SELECT}
        )
        until = time.monotonic() + limit
        try:
            _rewrite(file.fileno(), bodies, written, lambda: process.poll() is None and time.monotonic() < until)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        msg = f"h2load failed with code {process.returncode}: {said[-1000:]}"
        raise RuntimeError(msg)
    return written, said


def _rewrite(file: int, bodies: Iterator[bytes], written: list[float], going: Callable[[], bool]) -> None:
    turns = 0
    while turns % 16 or going():
        turns += 1
        os.pwrite(file, next(bodies), 0)
        written.append(time.time() * 1e6)
        time.sleep(REWRITE_SECONDS)


def _read(log: Path, said: str, written: list[float], turn: float) -> Constant:
    seen = Seen()
    latencies, starts = array("d"), []
    for line in log.read_text().splitlines():
        start, status, micros = line.split("\t")[:3]
        starts.append(int(start))
        if status == "200":
            latencies.append(int(micros) / 1e6)
        else:
            seen.fail("connection lost" if status == "-1" else f"status {status}")
    seen.latencies["h2load"] = latencies
    total = _TOTAL.search(said)
    if total is None or not starts:
        msg = f"expected h2load's summary and a log of its requests, got {len(starts)} requests and: {said[-500:]}"
        raise RuntimeError(msg)
    # What was never answered may not be in the log at all.
    for _ in range(int(total[1]) - len(starts)):
        seen.fail("never answered")
    starts.sort()
    seen.seconds = (starts[-1] - starts[0]) / 1e6
    places = [bisect_right(written, start) for start in starts]
    repeated = sum(first == second for first, second in pairwise(places)) / len(places)
    return Constant(seen, turn * 1000, bool(latencies) and max(latencies) > turn, repeated)
