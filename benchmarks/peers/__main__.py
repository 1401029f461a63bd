"""``python -m benchmarks.peers``: other ways to serve a model, and Pointsman, on the same core in one interleaved run.

Makes each peer's environment under ``var/peers`` (the first time minutes and some GB), starts all, holds each to the forest's
own answers, asks them in turns, stops them. A peer that cannot be installed or started is named with the reason.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import redis
import uvloop

from benchmarks.documents import FIGURES, NoPlace, put
from benchmarks.material import FOLDER
from benchmarks.peers import report as shown
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.measure import environments, measure
from benchmarks.results import machine

PLOT: Final = Path("docs/images/peers.png")
_RANGES: Final = {"connections": (1, 256), "seconds": (0.2, 20.0), "rounds": (1, 20)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return the exit code."""
    options = _parser().parse_args(argv)
    for name, (low, high) in _RANGES.items():
        value = getattr(options, name)
        if not low <= value <= high:
            print(f"peers: expected --{name} to be {low:g} to {high:g}, got {value:g}", file=sys.stderr)
            return 2
    peers = [
        peer for peer in PEERS if not options.only or any(word.lower() in peer.name.lower() for word in options.only)
    ]
    programs, absent = environments(peers)
    if options.build:
        for each in absent:
            print(f"{each.name}: {each.why}")
        return 1 if absent else 0
    try:
        host = machine()
        work = measure(peers, programs, connections=options.connections, seconds=options.seconds, rounds=options.rounds)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results, failed, idle = runner.run(work)
        report = shown.Report(
            machine=host,
            connections=options.connections,
            seconds=options.seconds,
            rounds=options.rounds,
            results=tuple(results),
            absent=(*absent, *failed),
            idle=idle,
        )
        print(shown.rendered(report))
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if options.write_docs:
            shown.plot(report, PLOT)
            put(FIGURES, "peers", f"{shown.rendered(report)}\n\n![Requests a second](images/{PLOT.name})")
    except (RuntimeError, redis.RedisError, NoPlace) as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Measure other ways to serve a model, and Pointsman, in one run."
    )
    parser.add_argument("--only", nargs="+", metavar="WORD", help="peers with one of these words in their name")
    parser.add_argument("--build", action="store_true", help="make the environments and measure nothing")
    parser.add_argument("--connections", type=int, default=8, help="default 8")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument(
        "--json", type=Path, default=FOLDER / "peers.json", help="figures as JSON (default %(default)s)"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"write table and picture into {FIGURES} and {PLOT}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
