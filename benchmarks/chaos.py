"""``python -m benchmarks.chaos``: every fault for real, under load, one after the other, and a table of what came of it.

The first row and the last have no fault: what the same load meets on this machine all the same. Exit code 1 when a promise
was broken: an answer of 5xx, one refused or missing, something lost or counted twice, or codes that a fault is not to blame for
and that the rows without one do not have. A slow answer or a late recovery is no reason, for the machine may not be quiet; the
table says of each row whether it met those targets.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.faults import FAULTS
from benchmarks.ordeal import WARM_SECONDS, ordeal
from benchmarks.results import Machine, machine
from benchmarks.rig import NotHere
from benchmarks.verdict import Floor, Result, floor_of, judged, result_of

CONTROL: Final = "none"
_HEADS: Final = (
    "fault",
    "load /s",
    "answered",
    "5xx",
    "asked again",
    "p99 before, ms",
    "p99 during, ms",
    "whole from, s",
    "recovered, s",
    "written later",
    "all written, s",
    "lost",
    "doubled",
    "p99 <= 50 ms",
    "codes",
    "<= 2 s",
    "what the answers said",
)
_WORDS: Final = frozenset({"fault", "p99 <= 50 ms", "codes", "<= 2 s", "what the answers said"})


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
    with ordeal(name, number=number, shelf=shelf) as one:
        one.run(rate, warm=warm, seconds=seconds, after=after)
        return result_of(one, rate)


def run(options: argparse.Namespace) -> Report:
    """Let every chosen fault happen between two rows without one; return what came of each, told as it is known."""
    report = Report(
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=machine(),
        seconds=options.seconds,
        results=(),
        left_out={},
    )
    chosen = [name for name in options.fault or FAULTS if name != CONTROL]
    for number, name in enumerate([CONTROL, *chosen, CONTROL]):
        try:
            result = provoke(name, rate=options.rate, seconds=options.seconds, after=options.after, number=number)
        except NotHere as error:
            report.left_out[name] = str(error)
            continue
        report = msgspec.structs.replace(report, results=(*report.results, result))
        print(row(result, floor_of(report.results)), file=sys.stderr, flush=True)
    return report


def row(each: Result, floor: Floor) -> str:
    """Return the row of one fault, judged beside the rows without one."""
    verdict = judged(each, floor)
    slow = "no, without a fault too" if floor.p99_ms > 50 and not each.is_control else "no"
    late = "no, without a fault too" if floor.recovered_s > 2 and not each.is_control else "no"
    cells: list[Any] = [
        each.title,
        f"{each.rate:g}",
        f"{each.answered:,}",
        each.server_errors,
        each.asked_again,
        f"{each.p99_before_ms:.1f}",
        f"{each.p99_ms:.1f}",
        f"{each.first_whole_s:.1f}",
        f"{each.recovered_s:.1f}",
        f"{each.written:,}",
        "never" if each.whole_s is None else f"{each.whole_s:.1f}",
        len(each.lost),
        each.doubled,
        "yes" if verdict.is_fast else slow,
        "yes" if verdict.says_right else "no",
        "yes" if verdict.is_back and verdict.is_written else late,
        _said(each),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _said(each: Result) -> str:
    """Return what answers said, with the seconds of what the fault is not to blame for."""
    parts = [f"`{code}` {count:,}" for code, count in each.codes.items() if code not in each.unexpected]
    said = ", ".join(parts)
    strange = [
        f"`{code}` {sum(seconds.values()):,} ({', '.join(f'second {at}: {count}' for at, count in sorted(seconds.items()))})"
        for code, seconds in each.unexpected.items()
    ]
    if strange:
        said += f"{'; ' if said else ''}not of the fault: {', '.join(strange)}"
    if each.unseen:
        said += f"; none of {', '.join(each.unseen)}"
    if each.unanswered or each.refused:
        said += f"; {each.unanswered} unanswered, {each.refused} refused"
    return said or "nothing missing"


def rendered(report: Report) -> str:
    """Return a report as a Markdown table to read."""
    host, floor = report.machine, floor_of(report.results)
    busy = "" if host.load_before is None else f", load {host.load_before:.1f} at the start"
    head = (
        f"{report.at}, {host.processor}, {host.cores} cores, {host.python}{busy}; each fault lasts {report.seconds:g} s"
    )
    lines = [head, "", "| " + " | ".join(_HEADS) + " |"]
    lines.append("|" + "|".join("---" if name in _WORDS else "--:" for name in _HEADS) + "|")
    lines += [row(each, floor) for each in report.results]
    lines += [f"\nleft out: {name}: {why}" for name, why in report.left_out.items()]
    lost = [loss for each in report.results for loss in each.lost]
    lines += [f"\nlost: {msgspec.json.encode(loss).decode()}" for loss in lost]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(argv)
    report = run(options)
    print(rendered(report))
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0 if is_kept(report) else 1


def is_kept(report: Report) -> bool:
    """Tell whether every promise that has nothing to do with time was kept."""
    floor = floor_of(report.results)
    verdicts = [judged(each, floor) for each in report.results]
    return all(
        each.keeps_promises and (each.says_right or result.is_control)
        for each, result in zip(verdicts, report.results, strict=True)
    )


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
