"""``python -m benchmarks.load``: the service over HTTP on loopback, side by side with a bare ASGI app.

Starts both, warms both, then asks them in turns: first as fast as they answer, then at a fixed rate. Ends by itself.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import redis
import uvloop

from benchmarks import processes
from benchmarks.client import Requests, Seen, Target, closed_loop, open_loop
from benchmarks.material import FOLDER, kept_shelf, warm_states, workload
from benchmarks.results import Report, machine, measured, rendered
from service.http.decisions import PREFIX
from service.store.bulk import put_many
from service.store.memory import MemoryStore

SLICES: Final = 2
"""Each phase is cut in so many turns, floor and service alternating, so that a slow minute of the machine hits both."""
WARM_SECONDS: Final = 2.0
MOST_SECONDS: Final = 120.0
MOST_CONNECTIONS: Final = 1024
MOST_RATE: Final = 100_000.0
_BEHIND: Final = 4_096


class LoadError(Exception):
    """What prevents a run, in one sentence."""


def requests(mix: str, run: str) -> Requests:
    """Yield requests without end, every payment with an id of its own.

    Parameters
    ----------
    mix
        ``auth``: questions of auth alone. ``flow``: of ten requests five of auth, four outcomes of payments asked about
        some time before, and one retry.
    run
        Part of every payment id; another run gives other payments.
    """
    asked = workload()
    auths = cycle([_template("auth", request) for request in asked.auths])
    retries = cycle([_template("retry", request) for request in asked.retries])
    outcome = _template("outcomes", {"payment_id": "", "status": "approved", "response_code": "00", "latency_ms": 640})
    pattern = cycle(("auth", "outcome", "auth", "outcome", "auth", "outcome", "auth", "outcome", "auth", "retry"))
    number = settled = 0
    if mix == "auth":
        while True:
            number += 1
            head, tail = next(auths)
            yield "auth", b"%b%b%010d%b" % (head, run.encode(), number, tail)
    while True:
        kind = next(pattern)
        number += 1
        if kind == "auth":
            head, tail = next(auths)
            yield kind, b"%b%b%010d%b" % (head, run.encode(), number, tail)
        elif kind == "outcome":
            # Far enough behind that its payment has been decided, or else one nobody knows, which is answered as well.
            settled = max(settled + 2, number - _BEHIND)
            head, tail = outcome
            yield kind, b"%b%b%010d%b" % (head, run.encode(), settled | 1, tail)
        else:
            head, tail = next(retries)
            yield kind, b"%b%b%010d%b" % (head, run.encode(), number, tail)


def _template(path: str, message: Any) -> tuple[bytes, bytes]:
    """Return the bytes of a request before and after the last eleven characters of its payment id."""
    mark = "0" * 11
    members = {key: value for key, value in msgspec.to_builtins(message).items() if value is not None}
    body = msgspec.json.encode({**members, "payment_id": "bench_" + mark})
    head = (
        f"POST {PREFIX}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    before, after = (head.encode() + body).split(mark.encode())
    return before, after


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(argv)
    try:
        _check(options)
        report = run(options)
    except (LoadError, RuntimeError, redis.RedisError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2
    print(rendered(report))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if any(row.errors for row in report.rows) else 0


def run(options: argparse.Namespace) -> Report:
    """Start what is to be measured, measure it, stop it, and return what was seen."""
    host = machine()
    server_cores, client_cores = processes.cores()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if options.url is None:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="run-")))
            shelf = kept_shelf()
            store = _store(options.store, folder, client_cores, stack)
            journal = "off" if options.journal == "off" else str(folder / "journal")
            sync = "full" if options.journal == "off" else options.journal
            server = stack.enter_context(processes.service(shelf.absolute(), store, journal, sync, server_cores))
            url, subject = server.url, f"service, {options.store}, journal {options.journal}"
        else:
            url, subject = options.url, f"service at {options.url}"
        targets = {
            "floor": _target(stack.enter_context(processes.floor(server_cores)).url),
            "service": _target(url),
        }
        processes.keep_to(0, client_cores)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen, rate = runner.run(_measure(options, targets))
    return Report(
        subject=subject,
        mix=options.mix,
        connections=options.connections,
        seconds=options.seconds,
        rate=rate,
        cores=f"server on {sorted(server_cores) or 'any'}, client on {sorted(client_cores) or 'any'}",
        machine=host,
        rows=tuple(measured(phase, who, each) for (phase, who), each in seen.items()),
    )


async def _measure(
    options: argparse.Namespace, targets: dict[str, Target]
) -> tuple[dict[tuple[str, str], Seen], float]:
    # Another run against the same service must not repeat payment ids; the letter keeps digits apart from other digits.
    letter = chr(ord("a") + os.getpid() % 26)
    sources: dict[str, Iterator[tuple[str, bytes]]] = {who: requests(options.mix, letter) for who in targets}
    for who, target in targets.items():
        await closed_loop(target, sources[who], options.connections, WARM_SECONDS, Seen())
    seen = {(phase, who): Seen() for phase in ("closed", "open") for who in targets}
    part = options.seconds / SLICES
    for _ in range(SLICES):
        for who, target in targets.items():
            await closed_loop(target, sources[who], options.connections, part, seen["closed", who])
    best = seen["closed", "service"]
    rate = options.rate or max(50.0, float(f"{best.answered / best.seconds / 2:.1g}"))
    for _ in range(SLICES):
        for who, target in targets.items():
            await open_loop(target, sources[who], options.connections, part, rate, seen["open", who])
    return seen, rate


def _store(url: str, folder: Path, wanted: set[int], stack: ExitStack) -> str:
    """Put the state of a history of sixty days into the store the service is to use; return the store's URL."""
    if url == "memory://":
        path = folder.absolute() / "state"
        store = MemoryStore(path)
        store.put_many(warm_states())
        store.save()
        return f"memory://{path}"
    if url == "redis://":
        url = stack.enter_context(processes.Redis(wanted)).url
    elif urlsplit(url).scheme not in {"redis", "rediss"}:
        msg = f"expected --store memory://, redis:// (a server of its own) or the URL of an empty Redis, got {url}"
        raise LoadError(msg)
    _loopback(url)
    with redis.Redis.from_url(url) as client:
        if client.dbsize():
            msg = f"expected an empty Redis at {url}: the state of a simulated world is written to it"
            raise LoadError(msg)
    put_many(url, warm_states())
    return url


def _loopback(url: str) -> None:
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        msg = f"expected an address of this machine's own loopback, got {url}: no load is sent anywhere else"
        raise LoadError(msg)


def _target(url: str) -> Target:
    parts = urlsplit(url)
    return Target(parts.hostname or "127.0.0.1", parts.port or 80)


def _check(options: argparse.Namespace) -> None:
    ranges = {
        "--connections": (options.connections, 1, MOST_CONNECTIONS),
        "--seconds": (options.seconds, 0.2, MOST_SECONDS),
        "--rate": (options.rate if options.rate is not None else 1.0, 1.0, MOST_RATE),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            msg = f"expected {name} to be {low:g} to {high:g}, got {value:g}"
            raise LoadError(msg)
    if options.url is not None:
        _loopback(options.url)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description="Load the service over HTTP on loopback, beside its floor."
    )
    parser.add_argument("--url", help="a service that runs already, on loopback (default: start one)")
    parser.add_argument(
        "--store",
        default="memory://",
        help="memory:// (default), redis:// (a server of its own) or an empty Redis' URL",
    )
    parser.add_argument(
        "--journal", choices=("full", "async", "off"), default="full", help="how the journal syncs (default full)"
    )
    parser.add_argument(
        "--mix", choices=("auth", "flow"), default="auth", help="auth alone, or auth, outcomes and retry"
    )
    parser.add_argument("--connections", type=int, default=64, help="default 64")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each phase and target (default 10, four of them)"
    )
    parser.add_argument(
        "--rate", type=float, help="requests a second of the open loop (default: half of the closed loop's throughput)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
