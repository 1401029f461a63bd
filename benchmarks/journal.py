"""``python -m benchmarks.journal``: what keeping an event costs, beside SQLite in the same run.

Three questions: how many events a second and at what processor time, when nothing else is done; how much later a request is
answered that has to be kept, at a constant rate and with work of its own; and what the interpreter's switch interval does to a
thread that writes beside a busy loop. Subjects take turns, round by round, and the median of the rounds is shown.
"""

import argparse
import asyncio
import gc
import itertools
import os
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import uvloop

from benchmarks.results import machine
from benchmarks.sqlite_journal import SqliteJournal
from contracts.event import AuthDecided, JournalEvent
from features.assemble import WIDTH
from service.errors import JournalUnavailable
from service.journal import Keeping, LogJournal, NullJournal, prepare

CANDIDATES: Final = 5
BURN_SECONDS: Final = 100e-6
"""Work of a request beside its journal: about what a whole decision takes."""
SWITCH_MS: Final = (5.0, 1.0, 0.5, 0.1)
"""Switch intervals of the interpreter; 5 is its own."""
TURNS_MS: Final = (0.1, 1.0, 6.0)
"""How long the event loop works before it looks at its sockets: one request, ten, and sixty."""
DISK_SECONDS: Final = 200e-6

Subject = Callable[[Path], Any]


def _log(folder: Path, sync: Literal["full", "async"] = "full") -> LogJournal:
    """Return the journal as it is seconds after its start: in a segment that was made beforehand."""
    writer = folder / "0"
    writer.mkdir(parents=True)
    prepare.prepare(writer, Keeping().segment_bytes, 0.0, threading.Event())
    return LogJournal(folder, sync=sync)


SUBJECTS: Final[dict[str, Subject]] = {
    "nothing kept": lambda _: NullJournal(),
    "sqlite": SqliteJournal,
    "log": _log,
    "log, not made ready": LogJournal,
    "log, async": lambda folder: _log(folder, "async"),
}


class Saturated(NamedTuple):
    """Events that were kept by tasks that do nothing else."""

    per_second: float
    cpu_us: float
    loop_us: float


class Paced(NamedTuple):
    """Seconds from the moment a request was due, or was begun in a closed loop, to its event kept."""

    per_second: float
    p50: float
    p99: float
    p999: float


def event_at(number: int) -> JournalEvent:
    """Return a decision about five candidates, with what the models saw."""
    entry = {
        "processor": "adler", "approval_probability": 0.91, "cost_minor": 31, "expected_value_minor": 402.5,
        "propensity": 0.98, "eligible": True,
    }  # fmt: skip
    answer = {
        "decision_id": f"d_{number:024x}", "payment_id": f"pay_{number}", "attempt": 1, "action": "approve",
        "approval_probability": 0.91, "risk_score": 0.02, "risk_tier": "LOW", "processor": "adler",
        "ranking": [entry] * CANDIDATES, "three_ds": "none", "exemption": None, "reasons": [], "degraded": [],
        "bundle_version": "20261124T100000Z-abcdef", "policy_version": "policy-1", "latency_us": 180,
    }  # fmt: skip
    request = {
        "payment_id": f"pay_{number}", "merchant_id": "m-0001", "amount_minor": 4990, "currency": "EUR",
        "card_token": "tok_demo", "card_network": "visa", "issuer_country": "DE",
    }  # fmt: skip
    rows = np.random.default_rng(number).random((CANDIDATES, WIDTH), dtype=np.float32).tobytes()
    vectors = {"fingerprint": "0123456789abcdef", "processors": ["adler"] * CANDIDATES, "rows": rows}
    told = {"decided_at": datetime.now(UTC), "request": request, "answer": answer, "vectors": vectors}
    return msgspec.convert(told, AuthDecided)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="how often the subjects take turns (default 3)")
    parser.add_argument(
        "--rate", type=float, default=1_000.0, help="requests a second of the paced part (default 1000)"
    )
    parser.add_argument("--waiting", type=int, default=64, help="tasks at once of the others (default 64)")
    parser.add_argument("--folder", type=Path, default=Path("var"), help="on whose disk to write (default var)")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    events = [event_at(number) for number in range(512)]
    host = machine()
    size = len(msgspec.msgpack.encode(events[0]))
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {host.processor}, {host.cores} cores, {host.system}, {host.python}")
    print(f"load before {host.load_before or 0:.1f}; events of {size:,} bytes; medians of {chosen.rounds} rounds\n")
    bench = Bench(events, chosen.folder, chosen.seconds, chosen.waiting)
    print(f"kept as fast as it goes, {chosen.waiting} waiting:")
    print(f"  {'':<22}{'events/s':>10}{'CPU us/event':>14}{'of the loop':>13}")
    subjects = {name: make for name, make in SUBJECTS.items() if name != "nothing kept"}
    for name, many in bench.rounds(chosen.rounds, subjects, bench.saturated):
        per_second, cpu, loop = map(statistics.median, zip(*many, strict=True))
        print(f"  {name:<22}{per_second:>10,.0f}{cpu:>14.1f}{loop:>13.1f}")
    work = f"{BURN_SECONDS * 1e6:.0f} us of work each"
    print(f"\nat {chosen.rate:,.0f} requests a second, {work}, ms from due to kept:")
    print(_HEADING)
    for name, many in bench.rounds(chosen.rounds, SUBJECTS, lambda make: bench.paced(make, chosen.rate)):
        _print(name, many)
    print(
        "\nhow long the writer waits for the interpreter lock when the disk is done, ms (median), and the loop's share:"
    )
    print(f"  {'':<22}" + "".join(f"{f'switch {ms:g} ms':>16}" for ms in SWITCH_MS))
    for turn in TURNS_MS:
        measure = partial(handed_over, turn_ms=turn, seconds=chosen.seconds / 4)
        found = bench.rounds(chosen.rounds, {f"{ms:g}": ms for ms in SWITCH_MS}, measure)
        line = "".join(f"{_median(many, 0) * 1e3:>9.2f} {_median(many, 1):>6.0%}" for _, many in found)
        print(f"  a turn of {turn:g} ms".ljust(24) + line)
    return 0


_HEADING: Final = f"  {'':<22}{'requests/s':>10}{'p50':>9}{'p99':>9}{'p99.9':>9}"


def _print(name: str, many: list[Any]) -> None:
    per_second, p50, p99, p999 = map(statistics.median, zip(*many, strict=True))
    print(f"  {name:<22}{per_second:>10,.0f}{p50 * 1e3:>9.2f}{p99 * 1e3:>9.2f}{p999 * 1e3:>9.2f}")


class Bench:
    """Runs subjects, each with a folder and an event loop of its own."""

    def __init__(self, events: list[JournalEvent], folder: Path, seconds: float, waiting: int) -> None:
        self._events = events
        self._folder = folder
        self._seconds = seconds
        self._waiting = waiting

    def rounds(
        self, count: int, subjects: dict[str, Any], measure: Callable[[Any], Any]
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yield each subject with what every round measured of it."""
        found: dict[str, list[Any]] = {name: [] for name in subjects}
        for turn in range(count):
            order = list(subjects) if turn % 2 == 0 else list(reversed(subjects))
            for name in order:
                found[name].append(measure(subjects[name]))
        yield from found.items()

    def saturated(self, make: Subject) -> Saturated:
        """Keep events with nothing else to do."""

        async def run(journal: Any) -> Saturated:
            kept, until = 0, time.perf_counter() + self._seconds

            async def task(own: Iterator[JournalEvent]) -> None:
                nonlocal kept
                while time.perf_counter() < until:
                    # As a request does, each gives way to the others before it is kept.
                    await asyncio.sleep(0)
                    try:
                        await journal.append(next(own))
                    except JournalUnavailable:
                        # Mode async waits for nothing, and so fills the queue: that is its limit.
                        await asyncio.sleep(0.001)
                        continue
                    kept += 1

            before = time.perf_counter(), time.process_time(), time.thread_time()
            await self._together(task)
            wall, cpu, loop = (
                now - then
                for now, then in zip(
                    (time.perf_counter(), time.process_time(), time.thread_time()), before, strict=True
                )
            )
            return Saturated(kept / wall, cpu / kept * 1e6, loop / kept * 1e6)

        saturated: Saturated = self._with(make, run)
        return saturated

    def paced(self, make: Subject, rate: float) -> Paced:
        """Keep an event of each request that is due at a constant rate, answered or not."""

        async def run(journal: Any) -> Paced:
            waits: list[float] = []
            events = itertools.cycle(self._events)

            async def request(due: float) -> None:
                _burn(BURN_SECONDS)
                await journal.append(next(events))
                waits.append(time.perf_counter() - due)

            begin, tasks = time.perf_counter(), set()
            for number in range(int(rate * self._seconds)):
                due = begin + number / rate
                while (early := due - time.perf_counter()) > 0:
                    # The loop's timers are a millisecond coarse: the last of the wait is spent looking at the sockets.
                    await asyncio.sleep(early - 0.002 if early > 0.003 else 0)
                task = asyncio.ensure_future(request(due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            while tasks:
                await asyncio.wait(tuple(tasks))
            return _quantiles(waits, time.perf_counter() - begin)

        paced: Paced = self._with(make, run)
        return paced

    async def _together(self, task: Callable[[Iterator[JournalEvent]], Awaitable[None]]) -> None:
        parts = [itertools.cycle(self._events[place :: self._waiting]) for place in range(self._waiting)]
        await asyncio.gather(*(task(part) for part in parts))

    def _with(self, make: Subject, run: Callable[[Any], Awaitable[Any]]) -> Any:
        async def whole(folder: Path) -> Any:
            journal = make(folder / "journal")
            gc.collect()
            try:
                return await run(journal)
            finally:
                await journal.close()

        with TemporaryDirectory(dir=self._folder) as folder:
            return uvloop.run(whole(Path(folder)))


def handed_over(switch_ms: float, turn_ms: float, seconds: float) -> tuple[float, float]:
    """Return how long a thread that is done with the disk waits for a busy loop, and how busy that could be.

    The disk is a sleep here, which gives the lock away as a write does; the loop looks at a pipe after every turn.
    """
    waits: list[float] = []
    is_over = threading.Event()

    def writer() -> None:
        while not is_over.is_set():
            begin = time.perf_counter()
            time.sleep(DISK_SECONDS)
            waits.append(time.perf_counter() - begin - DISK_SECONDS)

    before = sys.getswitchinterval()
    sys.setswitchinterval(switch_ms / 1000)
    reading, writing = os.pipe()
    thread = threading.Thread(target=writer)
    try:
        thread.start()
        turns, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            _burn(turn_ms / 1000)
            os.write(writing, b"x")
            os.read(reading, 1)
            turns += 1
    finally:
        is_over.set()
        thread.join()
        os.close(reading)
        os.close(writing)
        sys.setswitchinterval(before)
    return statistics.median(waits), turns * turn_ms / 1000 / seconds


def _median(many: list[Any], place: int) -> float:
    return float(statistics.median(each[place] for each in many))


def _burn(seconds: float) -> None:
    """Be busy without giving the interpreter lock away."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _quantiles(waits: list[float], seconds: float) -> Paced:
    p50, p99, p999 = np.quantile(waits, (0.5, 0.99, 0.999)).tolist()
    return Paced(len(waits) / seconds, p50, p99, p999)


if __name__ == "__main__":
    sys.exit(main())
