"""``python -m benchmarks.load``: the service over HTTP on loopback, side by side with a bare ASGI app.

That app is there twice, with the ONNX runs of a decision and without. All are started, warmed, then asked in turns: first as
fast as they answer, then at a fixed rate. Ends by itself.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import msgspec
import redis
import uvloop

from benchmarks import processes, started
from benchmarks.client import Requests, Seen
from benchmarks.material import FOLDER, kept_shelf, warm_states
from benchmarks.questions import MIXES, requests
from benchmarks.recorded import record
from benchmarks.results import FLOOR, JSON_FLOOR, Report, machine, measured, rendered
from benchmarks.subjects import Subject

SERVICE: Final = "service"
OWN_STORES: Final = ("memory://", "redis://")
SLICES: Final = 2
"""Each phase is cut in so many turns, floors and service alternating, so that a slow minute of the machine hits both."""
WARM_SECONDS: Final = 2.0
MOST_SECONDS: Final = 120.0
MOST_CONNECTIONS: Final = 1024
MOST_RATE: Final = 100_000.0


class LoadError(Exception):
    """What prevents a run, in one sentence."""


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
        folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="run-")))
        shelf = kept_shelf()
        recorded = folder / "recorded"
        record(shelf, recorded)
        guarded = None
        if options.url is None:
            guarded = started.keys(folder)
            own = started.service(
                stack,
                shelf=shelf,
                store=options.store,
                journal=options.journal,
                folder=folder,
                state=list(warm_states()),
                cores=(server_cores, client_cores),
                guarded=guarded,
            )
            asked, pid = own.target, own.server.pid
            store = None if own.redis is None else own.redis.pid
            subject = f"service, {options.store}, journal {options.journal}, {_guard(guarded)}"
        else:
            asked, pid, store = started.target(options.url), None, None
            subject = f"service at {options.url}"
        subjects = {}
        for name, models in ((JSON_FLOOR, False), (FLOOR, True)):
            floor = stack.enter_context(processes.floor(recorded, server_cores, models=models))
            subjects[name] = Subject(started.target(floor.url), _source(options.mix, None), floor.pid)
        key = options.key if guarded is None else guarded.key
        subjects[SERVICE] = Subject(asked, _source(options.mix, key), pid, store)
        processes.keep_to(0, client_cores)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen, rate = runner.run(_measure(options, subjects))
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


def _guard(keys: started.Keys | None) -> str:
    return "open" if keys is None else "with a key"


def _source(mix: str, key: str | None) -> dict[str, Requests]:
    # Another run against the same service must not repeat payment ids; the letter keeps digits apart from other digits.
    return {mix: requests(mix, chr(ord("a") + os.getpid() % 26), key)}


async def _measure(
    options: argparse.Namespace, subjects: dict[str, Subject]
) -> tuple[dict[tuple[str, str], Seen], float]:
    for subject in subjects.values():
        await subject.closed(options.mix, options.connections, WARM_SECONDS, Seen())
    seen = {(phase, who): Seen() for phase in ("closed", "open") for who in subjects}
    part = options.seconds / SLICES
    for _ in range(SLICES):
        for who, subject in subjects.items():
            await subject.closed(options.mix, options.connections, part, seen["closed", who])
    best = seen["closed", SERVICE]
    rate = options.rate or max(50.0, float(f"{best.answered / best.seconds / 2:.1g}"))
    for _ in range(SLICES):
        for who, subject in subjects.items():
            await subject.open(options.mix, options.connections, part, rate, seen["open", who])
    return seen, rate


def _loopback(url: str) -> None:
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        msg = f"expected an address of this machine's own loopback, got {url}: no load is sent anywhere else"
        raise LoadError(msg)


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
    if urlsplit(options.store).scheme not in {"memory", "redis", "rediss"}:
        msg = f"expected --store memory://, redis:// (a server of its own) or the URL of an empty Redis, got {options.store}"
        raise LoadError(msg)
    if options.store not in OWN_STORES:
        _loopback(options.store)


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
        "--mix", choices=MIXES, default="auth", help="auth or retry alone, or auth, outcomes and retry (default auth)"
    )
    parser.add_argument("--key", help="API key for a service that runs already")
    parser.add_argument("--connections", type=int, default=64, help="default 64")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of each phase and target (default 10, six of them)"
    )
    parser.add_argument(
        "--rate", type=float, help="requests a second of the open loop (default: half of the closed loop's throughput)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
