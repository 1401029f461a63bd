"""``python -m benchmarks.hotpath``: every figure of the hot path in one run, floor and service in turns, in under six minutes.

Saturated and at a constant rate, auth and retry, over memory and Redis, with one worker and two; what a worker costs in memory
and in time to start. Everything on: keys, strict decoding, features, models, policy with reasons, journal synced, metrics.
Ends by itself and stops what it started.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec
import redis
import uvloop

from benchmarks import h2load, hotpath_report, processes, started, usage
from benchmarks.client import Seen
from benchmarks.documents import FIGURES, NoPlace, put
from benchmarks.hotpath_report import KINDS, MEMORY, RATE, REDIS, Memory, Report, Steady, Workers
from benchmarks.material import FOLDER, kept_shelf, warm_states
from benchmarks.questions import bodies, requests
from benchmarks.recorded import Record, record
from benchmarks.results import FLOOR, JSON_FLOOR, Row, machine, measured
from benchmarks.subjects import Subject
from service.http.decisions import PREFIX
from service.store.base import Item

CONNECTIONS: Final = 64
SATURATING: Final = 32
"""Connections that ask as fast as they are answered: more would wait for each other longer than a store may take."""
TURNS: Final = 2
WARM_SECONDS: Final = 1.0
STARTS: Final = 5
MOST_SECONDS: Final = 6.0
"""Of a turn: with it the whole takes less than six minutes."""


class Material(NamedTuple):
    """What is needed to start anything."""

    folder: Path
    shelf: Path
    recorded: Path
    record: Record
    state: list[Item]
    guarded: started.Keys | None
    cores: tuple[set[int], set[int]]

    @property
    def key(self) -> str | None:
        """The key that may ask, if one is needed."""
        return None if self.guarded is None else self.guarded.key


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return the exit code."""
    options = _parser().parse_args(argv)
    if not 0.2 <= options.seconds <= MOST_SECONDS:
        print(f"hotpath: expected --seconds to be 0.2 to {MOST_SECONDS:g}, got {options.seconds:g}", file=sys.stderr)
        return 2
    try:
        report = run(options.seconds)
        print(hotpath_report.rendered(report))
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        if options.write_docs:
            put(FIGURES, "hotpath", hotpath_report.rendered(report))
    except (RuntimeError, redis.RedisError, NoPlace) as error:
        print(f"hotpath: {error}", file=sys.stderr)
        return 2
    rows = [*report.saturated, *(each.row for each in report.steady), *(each.row for each in report.workers)]
    return 1 if any(row.errors for row in rows) else 0


def run(seconds: float) -> Report:
    """Measure everything, `seconds` a turn.

    Raises
    ------
    RuntimeError
        When something could not be started; nothing is left running.
    """
    host = machine()
    FOLDER.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with TemporaryDirectory(dir=FOLDER, prefix="run-") as scratch:
        folder, shelf = Path(scratch), kept_shelf()
        _say("recording the ONNX runs of decisions")
        recorded = record(shelf, folder / "recorded")
        cores = processes.cores()
        guarded = started.keys(folder)
        if guarded is None:
            notes.append("without authentication: this service has no setting for keys")
        material = Material(
            folder, shelf, folder / "recorded", recorded, list(warm_states()), guarded, (cores[0], cores[1])
        )
        with processes.on(cores[1]):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                saturated, steady, memory = runner.run(_alone(material, seconds, notes))
                workers = [
                    row
                    for count in (1, 2)
                    if (row := runner.run(_workers(material, count, seconds, notes))) is not None
                ]
            _say("starting the service again and again")
            ready = list(_starts(material))
            refused = _refused(material)
    return Report(
        machine=host,
        seconds=seconds,
        turns=TURNS,
        connections=(SATURATING, CONNECTIONS),
        runs={kind: recorded.runs_per_question(kind) for kind in KINDS},
        saturated=tuple(saturated),
        steady=tuple(steady),
        memory=tuple(memory),
        workers=tuple(workers),
        ready_seconds=tuple(ready),
        memory_store_with_two=refused,
        notes=tuple(notes),
    )


async def _alone(material: Material, seconds: float, notes: list[str]) -> tuple[list[Row], list[Steady], list[Memory]]:
    """Measure one worker on a core of its own beside the floors: saturated, then at a constant rate by both clients."""
    with ExitStack() as stack:
        subjects = {}
        for name, models in ((JSON_FLOOR, False), (FLOOR, True)):
            server = stack.enter_context(processes.floor(material.recorded, material.cores[0], models=models))
            subjects[name] = Subject(started.target(server.url), _questions(None), server.pid)
        for name in (MEMORY, REDIS):
            own = _start(stack, material, name, material.cores[0])
            store = None if own.redis is None else own.redis.pid
            subjects[name] = Subject(own.target, _questions(material.key), own.server.pid, store)
        _say("saturated")
        seen = {(kind, name): Seen() for kind in KINDS for name in subjects}
        for kind, name in seen:
            await subjects[name].closed(kind, SATURATING, WARM_SECONDS, Seen())
        for _ in range(TURNS):
            for (kind, name), into in seen.items():
                await subjects[name].closed(kind, SATURATING, seconds, into)
        saturated = [measured(kind, name, into) for (kind, name), into in seen.items()]
        steady = await _steady(material, {name: subjects[name] for name in (FLOOR, MEMORY, REDIS)}, seconds, notes)
        memory = [
            Memory(subject=name, mib=round(mib, 1))
            for name in (MEMORY, REDIS)
            if (pid := subjects[name].server) is not None and (mib := usage.rss_mib(pid)) is not None
        ]
    return saturated, steady, memory


async def _steady(material: Material, subjects: dict[str, Subject], seconds: float, notes: list[str]) -> list[Steady]:
    """Ask everybody at the constant rate, by the client of the benchmarks and by h2load, in turns."""
    tools = ["ours", "h2load"]
    if h2load.program() is None:
        tools.remove("h2load")
        notes.append(f"without h2load, which is not on this machine's PATH ({h2load.WHERE})")
    _say(f"at {RATE:,} a second, by {' and by '.join(tools)}")
    seen = {(tool, name): Seen() for tool in tools for name in subjects}
    source = bodies("auth", "h")
    hidden: set[str] = set()
    repeated = []
    for _ in range(TURNS):
        for (tool, name), into in seen.items():
            subject = subjects[name]
            if tool == "ours":
                await subject.open("auth", CONNECTIONS, seconds, RATE, into)
                continue
            before = subject.used()
            told = h2load.constant(
                subject.target,
                f"{PREFIX}/auth",
                source,
                rate=RATE,
                seconds=seconds,
                connections=CONNECTIONS,
                cores=material.cores[1],
                key=None if name == FLOOR else material.key,
            )
            into.add(told.seen)
            subject.account(into, before)
            repeated.append(told.repeated)
            if told.hidden:
                hidden.add(name)
    if repeated:
        notes.append(
            f"h2load: {max(repeated):.1%} of the requests of a turn at the most asked about the payment of the one before"
        )
    notes += [
        f"h2load, {name}: an answer took longer than a connection's turn, what waited behind it is not charged for that"
        for name in sorted(hidden)
    ]
    return [Steady(tool=tool, row=measured("constant", name, into)) for (tool, name), into in seen.items()]


async def _workers(material: Material, count: int, seconds: float, notes: list[str]) -> Workers | None:
    """Measure so many workers over Redis, all on as many cores as there are of them."""
    if count > 1 and not started.knows("workers"):
        notes.append("without a second worker: this service has no setting for it")
        return None
    _say(f"{count} worker{'s' if count > 1 else ''}")
    every = sorted(set().union(*material.cores))
    with ExitStack() as stack:
        own = _start(stack, material, REDIS, set(every[:count]), count)
        pid = own.server.pid
        subject = Subject(own.target, _questions(material.key), pid, None if own.redis is None else own.redis.pid)
        # Longer than one alone: the port answers as soon as the first is ready, and the others are to be there.
        await subject.closed("auth", SATURATING, WARM_SECONDS * count, Seen())
        seen = Seen()
        for _ in range(TURNS):
            await subject.closed("auth", SATURATING, seconds, seen)
        # Of several workers the first process is their supervisor, which answers nothing.
        workers = [each for each in usage.family(pid) if count == 1 or each != pid]
        if len(workers) != count:
            notes.append(
                f"{len(workers)} of {count} workers were at work at the end: what they answered is not what {count} do"
            )
        mib = [round(rss, 1) for each in workers if (rss := usage.rss_mib(each)) is not None]
        return Workers(
            workers=count,
            row=measured("workers", REDIS, seen),
            mib=tuple(mib),
            ready_seconds=round(own.server.ready_seconds, 2),
        )


def _start(stack: ExitStack, material: Material, store: str, cores: set[int], workers: int = 1) -> started.Service:
    folder = Path(stack.enter_context(TemporaryDirectory(dir=material.folder)))
    return started.service(
        stack,
        shelf=material.shelf,
        store=store,
        journal="full",
        folder=folder,
        state=material.state,
        cores=(cores, material.cores[1]),
        workers=workers,
        guarded=material.guarded,
    )


def _starts(material: Material) -> Iterator[float]:
    """Yield how long the service took from its execution until it said that it is ready, again and again."""
    with ExitStack() as stack:
        store = stack.enter_context(processes.Redis(material.cores[1])).url
        for number in range(STARTS):
            journal = str((material.folder / f"start-{number}").absolute())
            keys = None if material.guarded is None else material.guarded.file
            server = processes.service(material.shelf.absolute(), store, journal, "full", material.cores[0], keys=keys)
            server.stop()
            yield round(server.ready_seconds, 2)


def _refused(material: Material) -> str | None:
    """Return what the service says to a memory store with two workers; None when it starts, or has no workers."""
    if not started.knows("workers"):
        return None
    log = material.folder / "refused.log"
    try:
        processes.service(
            material.shelf.absolute(), "memory://", "off", "full", material.cores[0], workers=2, log=log
        ).stop()
    except RuntimeError:
        return log.read_text(errors="replace").strip()[-500:]
    return None


def _questions(key: str | None) -> dict[str, Iterator[tuple[str, bytes]]]:
    return {kind: requests(kind, chr(ord("a") + os.getpid() % 26), key) for kind in KINDS}


def _say(what: str) -> None:
    print(f"hotpath: {what}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hotpath", description="Measure the hot path, whole, beside its floors."
    )
    parser.add_argument("--seconds", type=float, default=4.0, help=f"of a turn (default 4, at most {MOST_SECONDS:g})")
    parser.add_argument(
        "--json", type=Path, default=FOLDER / "hotpath.json", help="where the figures go as JSON (default %(default)s)"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"write the tables into {FIGURES}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
