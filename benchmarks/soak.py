"""``python -m benchmarks.soak --minutes 30``: the same load for a long time, and whether memory and latency stay as they are.

The beginning fills what is meant to be filled and is bounded: what was last known of the store, the answers given lately,
caches, the open segment's headers. So that this is soon full and stays so, each pass through the workload has cards of its
own: cards that come again for ever have ledgers and states that grow for half an hour, to a bound of theirs. The warm-up is a
fifth of the run, or two minutes where that is more, but never more than two fifths. Of what comes after it, growth is the
middle of the memory seen in the last fifth against that in the first. Exit code 1 when that is 2 % or more, or an answer was
a 5xx; latency is told and not judged, for the machine may not be quiet.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec
import numpy as np
import uvloop

from benchmarks import processes
from benchmarks.caller import CONNECTIONS, Call, Caller
from benchmarks.material import FOLDER
from benchmarks.results import Machine, machine
from benchmarks.rig import Rig
from benchmarks.traffic import Traffic

PARTS: Final = 10
WARM_SECONDS: Final = 120.0
WARM_SHARES: Final = (0.2, 0.4)
"""The least and the most of a run that is warm-up."""
COMPARED: Final = 0.2
"""Share of what comes after the warm-up that is compared, at either end of it."""
MOST_GROWTH: Final = 0.02
_SAMPLE_SECONDS: Final = 1.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part: the middle of the memory of all processes of the service, and the latencies of its requests."""

    rss_mib: float
    answered: int
    degraded: int
    server_errors: int
    p50_ms: float
    p99_ms: float


class Sample(NamedTuple):
    """The memory of all processes of the service, in MiB, at a second of the run."""

    at: float
    mib: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes
    ----------
    warm_s
        Seconds of warm-up.
    parts
        The whole run in ten parts, the warm-up too.
    growth
        Of memory after the warm-up: the middle of the last fifth against that of the first, less one.
    trend_mib
        MiB an hour, the slope of a straight line through all that was seen after the warm-up.
    """

    at: str
    machine: Machine
    minutes: float
    rate: float
    warm_s: float
    parts: tuple[Part, ...]
    growth: float
    trend_mib: float

    @property
    def slowdown(self) -> float:
        """Of the p99: the middle of the last four parts against that of the four from the third on."""
        late = float(np.median([part.p99_ms for part in self.parts[-4:]]))
        return late / float(np.median([part.p99_ms for part in self.parts[2:6]])) - 1


def warm_up(seconds: float) -> float:
    """Return how much of a run of so many seconds is warm-up."""
    least, most = WARM_SHARES
    return min(max(WARM_SECONDS, least * seconds), most * seconds)


def growth(samples: Sequence[Sample], warm: float, seconds: float) -> tuple[float, float]:
    """Return by which share memory grew after the warm-up of a run, and the trend in MiB an hour."""
    length = COMPARED * (seconds - warm)
    after = [each for each in samples if each.at >= warm]
    first = [each.mib for each in after if each.at < warm + length]
    last = [each.mib for each in after if each.at >= seconds - length]
    slope = float(np.polyfit([each.at for each in after], [each.mib for each in after], 1)[0])
    return float(np.median(last)) / float(np.median(first)) - 1, slope * 3600


class _Fewer(Traffic):
    """Traffic of which nothing is kept but the present part."""

    def part(self) -> list[Call]:
        """Return what is over since the last time, and forget it."""
        calls, self.calls, self.payments = self.calls, [], []
        return calls


def memory_mib(pid: int) -> float:
    """Return the memory that a process and its children have resident."""
    total = 0
    for path in (Path(f"/proc/{each}/status") for each in _family(pid)):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue  # It has ended.
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total / 1024


def _family(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        try:
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
        except OSError:
            continue
    return found


def run(minutes: float, rate: float, shelf: Path | None = None) -> Report:
    """Load the service for so long, with a bundle of `shelf` or the benchmarks' own; return what was seen."""
    host = machine()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="soak-"))).absolute()
        rig = Rig(folder, stack, shelf)
        rig.start_redis()
        seconds = minutes * 60
        warm = warm_up(seconds)
        rig.start_service()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            parts, samples = runner.run(_parts(rig, rate, seconds / PARTS))
    grown, trend = growth(samples, warm, seconds)
    return Report(
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=host,
        minutes=minutes,
        rate=rate,
        warm_s=warm,
        parts=tuple(parts),
        growth=grown,
        trend_mib=trend,
    )


async def _parts(rig: Rig, rate: float, seconds: float) -> tuple[list[Part], list[Sample]]:
    processes.keep_to(0, rig.client_cores)
    traffic = _Fewer("shop_soak", "sx", turns_over=True)
    caller = Caller(rig.target, CONNECTIONS, traffic.told)
    await caller.connect()
    driving = asyncio.create_task(caller.drive(traffic.next, rate, seconds * PARTS + 60.0))
    began = time.perf_counter()
    parts: list[Part] = []
    samples: list[Sample] = []
    for number in range(PARTS):
        first = len(samples)
        while time.perf_counter() < began + (number + 1) * seconds:
            await asyncio.sleep(min(_SAMPLE_SECONDS, seconds / 4))
            samples.append(Sample(time.perf_counter() - began, memory_mib(rig.pid)))
        parts.append(_part(traffic.part(), [sample.mib for sample in samples[first:]]))
        print(
            f"part {number + 1}: {parts[-1].rss_mib:.1f} MiB, p99 {parts[-1].p99_ms:.1f} ms",
            file=sys.stderr,
            flush=True,
        )
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    await caller.drain()
    await caller.close()
    return parts, samples


def _part(calls: Sequence[Call], samples: Sequence[float]) -> Part:
    seconds = [call.seconds for call in calls if call.status]
    p50, p99 = np.quantile(seconds, (0.5, 0.99)) * 1000
    return Part(
        rss_mib=float(np.median(samples)),
        answered=sum(call.status == 200 for call in calls),
        degraded=sum(call.answer is not None and bool(call.answer.degraded) for call in calls),
        server_errors=sum(call.status >= 500 for call in calls),
        p50_ms=float(p50),
        p99_ms=float(p99),
    )


def rendered(report: Report) -> str:
    """Return a report as a Markdown table to read."""
    host = report.machine
    lines = [
        f"{report.at}, {host.processor}, {host.cores} cores, {host.python}; "
        f"{report.rate:g} requests/s for {report.minutes:g} min",
        "",
        "| until, min | memory, MiB | answered | degraded | 5xx | p50, ms | p99, ms |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for number, part in enumerate(report.parts, 1):
        lines.append(
            f"| {number * report.minutes / PARTS:.1f} | {part.rss_mib:.1f} | {part.answered:,} | {part.degraded:,} | "
            f"{part.server_errors} | {part.p50_ms:.2f} | {part.p99_ms:.2f} |"
        )
    lines += [
        "",
        f"warm-up {report.warm_s:.0f} s; after it memory {report.growth:+.1%} (last fifth against first, middles), "
        f"trend {report.trend_mib:+.1f} MiB/h; p99 {report.slowdown:+.1%} from the third part on",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="The same load for a long time: does memory grow, does latency?"
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second (default 500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    options = parser.parse_args(argv)
    report = run(options.minutes, options.rate)
    print(rendered(report))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if report.growth >= MOST_GROWTH or any(part.server_errors for part in report.parts) else 0


if __name__ == "__main__":
    sys.exit(main())
