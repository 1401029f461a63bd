"""``python -m benchmarks.chaos``: every fault for real, under load, one after the other, and a table of what came of it.

Each fault has a service of its own, with Redis and journal, on one core; the gateway and all servers are on the other. The
load is open: requests are due at fixed moments, and a lost connection is a reason to ask again. Exit code 1 when a promise
was broken: an answer of 5xx, a wrong code, something lost or counted twice. A slow answer is no reason, for the machine may
not be quiet.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.request import urlopen

import msgspec
import numpy as np
import uvloop

from benchmarks import kept, processes
from benchmarks.caller import Call, Caller
from benchmarks.faults import FAULTS, UNTAKEN, Fault, Skewed
from benchmarks.material import FOLDER
from benchmarks.results import Machine, machine
from benchmarks.rig import NotHere, Rig, figures
from benchmarks.traffic import Traffic

CONNECTIONS: Final = 64
WARM_SECONDS: Final = 3.0
BEFORE_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 60.0
_WINDOW: Final = 0.1
_WHOLE: Final = 0.95
_LASTING: Final = 5
"""Windows of a tenth of a second, one after the other, that make a recovery."""
_BEHIND: Final = "pointsman_store_behind"
_WRITTEN: Final = "pointsman_store_written_later_total"
_LOOK_SECONDS: Final = 0.2


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one fault.

    Attributes
    ----------
    answered, asked_again
        Requests due during the fault that were answered with 200, and those of all that were asked again because their
        connection was lost.
    server_errors, unanswered, refused
        Over the whole run: answers of 5xx, requests without an answer, and answers of 4xx.
    p99_before_ms, p99_ms, worst_ms
        Of requests due before and during the fault, from due to answered.
    recovered_s
        From the end of the fault until half a second began in every tenth of which 95 % of the requests due were answered with
        nothing missing.
    written_s
        From the end of the fault until the last update that had been missed was written; 0 without any.
    written
        Updates that had been missed.
    lost
        Answers and receipts of which the journal or the store has nothing.
    doubled
        Updates that the store has counted more than once, and results said to be applied twice.
    codes
        What answers said they had to do without during the fault, and how often.
    wrong
        Codes that they should not have said, or should have.
    """

    fault: str
    title: str
    rate: float
    answered: int
    asked_again: int
    server_errors: int
    unanswered: int
    refused: int
    p99_before_ms: float
    p99_ms: float
    worst_ms: float
    recovered_s: float
    written_s: float
    written: int
    lost: int
    doubled: int
    codes: dict[str, int]
    wrong: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """Whether every promise that has nothing to do with time was kept."""
        return not (self.server_errors or self.unanswered or self.refused or self.lost or self.doubled or self.wrong)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of some faults; `left_out` says which and why."""

    at: str
    machine: Machine
    seconds: float
    results: tuple[Result, ...]
    left_out: dict[str, str]


def provoke(
    name: str,
    *,
    rate: float,
    seconds: float,
    after: float,
    warm: float = WARM_SECONDS,
    number: int = 0,
    shelf: Path | None = None,
) -> Result:
    """Set up all there is to one fault, let it happen under load, and count.

    Parameters
    ----------
    name
        One of `benchmarks.faults.FAULTS`.
    rate
        Requests a second.
    seconds, after, warm
        How long the fault lasts, how long the load goes on after it, and how long it goes on before anything is counted.
    number
        Makes the payment ids those of this run.
    shelf
        With an active bundle; None for the benchmarks' own.

    Raises
    ------
    NotHere
        When this machine does not have what it takes.
    """
    fault = FAULTS[name]()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="chaos-"))).absolute()
        rig = Rig(folder, stack, shelf)
        fault.prepare(rig)
        rig.start_service()
        traffic = Traffic(f"shop_{name}", f"{chr(97 + number % 26)}x")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(_under_load(rig, fault, traffic, rate, (warm, seconds, after)))
        return _counted(name, fault, rig, traffic, rate, seen)


class _Seen(msgspec.Struct):
    """Moments of a run, and the updates written later that were seen meanwhile, with when."""

    began: float = 0.0
    wrong_at: float = 0.0
    well_at: float = 0.0
    ended: float = 0.0
    written: list[tuple[float, int]] = []


async def _under_load(
    rig: Rig, fault: Fault, traffic: Traffic, rate: float, lengths: tuple[float, float, float]
) -> _Seen:
    warm, seconds, after = lengths
    processes.keep_to(0, rig.client_cores)
    caller = Caller(rig.target, CONNECTIONS, traffic.told)
    await caller.connect()
    # The gateway's own collections of garbage would count as the service's latency.
    gc.collect()
    gc.freeze()
    await caller.drive(traffic.next, rate, warm)
    seen = _Seen(began=time.perf_counter())
    watching = asyncio.create_task(_watch(rig, seen))
    driving = asyncio.create_task(caller.drive(traffic.next, rate, 3_600.0))
    await asyncio.sleep(BEFORE_SECONDS)
    traffic.poisoned = fault.poisons
    seen.wrong_at = time.perf_counter()
    await asyncio.to_thread(fault.begin, rig)
    await asyncio.sleep(seconds / 2)
    if isinstance(fault, Skewed):
        fault.middle()
    await asyncio.sleep(seconds / 2)
    await asyncio.to_thread(fault.end, rig)
    traffic.poisoned = False
    seen.well_at = time.perf_counter()
    await asyncio.sleep(after)
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    seen.ended = time.perf_counter()
    await caller.drain()
    await caller.close()
    until = time.perf_counter() + SETTLE_SECONDS
    while await asyncio.to_thread(is_behind, rig):
        if time.perf_counter() > until:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return seen


async def _watch(rig: Rig, seen: _Seen) -> None:
    """Look at the service's own figures again and again; it may be gone meanwhile."""
    while True:
        found = await asyncio.to_thread(_figures, rig)
        written = _written(found)
        if found and (not seen.written or seen.written[-1][1] != written):
            seen.written.append((time.perf_counter(), written))
        await asyncio.sleep(_LOOK_SECONDS)


def _figures(rig: Rig) -> dict[str, float]:
    try:
        with urlopen(f"{rig.url}/metrics", timeout=2) as answer:  # noqa: S310  (this machine's loopback)
            return dict(figures(answer.read().decode()))
    except OSError:
        return {}


def _written(found: Mapping[str, float]) -> int:
    return sum(int(value) for name, value in found.items() if name.startswith(_WRITTEN))


def written_later(rig: Rig) -> int:
    """Return how many updates that were missed this process of the service has written."""
    return _written(_figures(rig))


def is_behind(rig: Rig) -> bool:
    """Tell whether a worker of the service has updates that its store may lack, or cannot be asked."""
    told = [value for name, value in _figures(rig).items() if name.startswith(_BEHIND)]
    return len(told) < int(rig.settings.get("WORKERS", "1")) or any(told)


def _counted(name: str, fault: Fault, rig: Rig, traffic: Traffic, rate: float, seen: _Seen) -> Result:
    during = list(traffic.during(seen.wrong_at, seen.well_at))
    before = list(traffic.during(seen.began, seen.wrong_at))
    codes = Counter(code for call in during if call.answer is not None for code in call.answer.degraded)
    assert rig.redis is not None
    with rig.redis.client() as client:
        store = kept.counted(client, traffic.shop, traffic.payments)
    # A store that came back empty has lost what it had acknowledged before, and that is not the service's to keep.
    since = seen.wrong_at if fault.empties else 0.0
    journal = kept.journalled(kept.events(rig.journal))
    told = [call for call in traffic.calls if call.done >= since]
    lost, doubled = promises(told, journal, store, dies=fault.kills)
    later = [(at, written) for at, written in seen.written if at > seen.wrong_at]
    first = seen.written[0][1] if seen.written else 0
    statuses = Counter(call.status for call in traffic.calls)
    return Result(
        fault=name,
        title=fault.title,
        rate=rate,
        answered=sum(call.status == 200 for call in during),
        asked_again=sum(call.tries > 1 for call in traffic.calls),
        server_errors=sum(count for status, count in statuses.items() if status >= 500),
        unanswered=statuses[0],
        refused=sum(count for status, count in statuses.items() if 400 <= status < 500),
        p99_before_ms=_quantile(before, 0.99),
        p99_ms=_quantile(during, 0.99),
        worst_ms=_quantile(during, 1.0),
        recovered_s=_recovered(traffic, seen),
        written_s=max(0.0, later[-1][0] - seen.well_at) if later else 0.0,
        written=max(0, later[-1][1] - (first if later[-1][1] >= first else 0)) if later else 0,
        lost=lost,
        doubled=doubled,
        codes=dict(codes.most_common()),
        wrong=_wrong(fault, codes),
    )


def unpromised(calls: Iterable[Call]) -> set[str]:
    """Return the payments whose answer said that neither the journal nor the store had it yet.

    Such an answer promises nothing that outlives the process.
    """
    return {
        call.name
        for call in calls
        if call.kind == "auth"
        and call.answer is not None
        and "journal" in call.answer.degraded
        and not UNTAKEN.isdisjoint(call.answer.degraded)
    }


def promises(
    calls: Sequence[Call], journal: kept.Journalled, store: kept.Counted, *, dies: bool = False
) -> tuple[int, int]:
    """Return how many promises were not kept, and how many were kept twice.

    Parameters
    ----------
    calls
        What was answered.
    journal, store
        What there is of it.
    dies
        Whether the process that answered was ended meanwhile, so that `unpromised` answers may be gone.
    """
    lost = 0
    gone = unpromised(calls) if dies else set[str]()
    for call in calls:
        if call.status != 200 or call.answer is None or call.name in gone:
            continue
        unkept = "journal" in call.answer.degraded
        if call.kind == "auth":
            lost += not unkept and call.answer.decision_id not in journal.decisions
            lost += call.answer.processor is not None and call.name not in store.attempts
        else:
            lost += not unkept and call.name not in journal.reported
            lost += call.name not in store.results
    return lost, abs(store.doubled) + sum(count - 1 for count in journal.settled.values() if count > 1)


def _recovered(traffic: Traffic, seen: _Seen) -> float:
    """Return how long after the fault's end the first half second begins in every tenth of which nearly all was whole.

    The last that was not whole would say more of a machine with others at work than of the service.
    """
    windows: dict[int, list[bool]] = {}
    for call in traffic.during(seen.well_at, seen.ended):
        windows.setdefault(int((call.due - seen.well_at) / _WINDOW), []).append(call.is_whole)
    run = 0
    for place, whole in sorted(windows.items()):
        run = run + 1 if sum(whole) >= _WHOLE * len(whole) else 0
        if run == _LASTING:
            return (place + 1 - _LASTING) * _WINDOW
    return seen.ended - seen.well_at


def _wrong(fault: Fault, codes: Counter[str]) -> tuple[str, ...]:
    wrong = [code for code in codes if code not in fault.allowed and not _is_noise(codes, code)]
    if fault.expected and fault.expected.isdisjoint(codes):
        wrong.append("none of " + ", ".join(sorted(fault.expected)))
    return tuple(sorted(wrong))


def _is_noise(codes: Counter[str], code: str) -> bool:
    """Tell whether a code is what a shared core costs now and then, whatever the fault: a millisecond too late."""
    return code.endswith(("_timeout", "last_known")) or (code == "journal" and codes[code] < 10)


def _quantile(calls: Sequence[Call], share: float) -> float:
    seconds = [call.seconds for call in calls if call.status]
    return float(np.quantile(seconds, share)) * 1000 if seconds else 0.0


def run(options: argparse.Namespace) -> Report:
    """Let every chosen fault happen, and print what came of each as it is known; return all of it."""
    report = Report(
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=machine(),
        seconds=options.seconds,
        results=(),
        left_out={},
    )
    print(heading(report), flush=True)
    for number, name in enumerate(options.fault or FAULTS):
        try:
            result = provoke(name, rate=options.rate, seconds=options.seconds, after=options.after, number=number)
        except NotHere as error:
            report.left_out[name] = str(error)
            continue
        report = msgspec.structs.replace(report, results=(*report.results, result))
        print(row(result), flush=True)
    for name, why in report.left_out.items():
        print(f"\nleft out: {name}: {why}")
    return report


def heading(report: Report) -> str:
    """Return what stands above the rows."""
    host = report.machine
    busy = "" if host.load_before is None else f", load {host.load_before:.1f} at the start"
    return (
        f"{report.at}, {host.processor}, {host.cores} cores, {host.python}{busy}; each fault lasts {report.seconds:g} s\n\n"
        "| fault | load /s | answered | 5xx | asked again | p99 before, ms | p99 during, ms | recovered, s | "
        "written later | within, s | lost | doubled | what the answers said |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    )


def row(each: Result) -> str:
    """Return the row of one fault."""
    codes = ", ".join(f"`{code}` {count:,}" for code, count in each.codes.items()) or "nothing missing"
    if each.wrong:
        codes += f"; unexpected: {', '.join(each.wrong)}"
    if each.unanswered or each.refused:
        codes += f"; {each.unanswered} unanswered, {each.refused} refused"
    cells: list[Any] = [
        each.title,
        f"{each.rate:g}",
        f"{each.answered:,}",
        each.server_errors,
        each.asked_again,
        f"{each.p99_before_ms:.1f}",
        f"{each.p99_ms:.1f}",
        f"{each.recovered_s:.1f}",
        f"{each.written:,}",
        f"{each.written_s:.1f}",
        each.lost,
        each.doubled,
        codes,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def rendered(report: Report) -> str:
    """Return a report as a Markdown table to read."""
    left_out = [f"\nleft out: {name}: {why}" for name, why in report.left_out.items()]
    return "\n".join([heading(report), *map(row, report.results), *left_out])


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(argv)
    report = run(options)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0 if all(result.is_kept for result in report.results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description="Let every fault happen under load and count what came of it."
    )
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS), help="this one alone; may be repeated")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second (default 500)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a fault lasts (default 5)")
    parser.add_argument("--after", type=float, default=6.0, help="how long the load goes on after it (default 6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
