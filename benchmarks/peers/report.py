"""What the peers' run found: a table, and a picture of it.

This module must not know how anything was measured.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.documents import table
from benchmarks.peers.forest import CANDIDATES, DEPTH, FEATURES, TREES
from benchmarks.peers.measure import Absent, Result
from benchmarks.results import Machine
from features.assemble import WIDTH

_QUIET: Final = 0.5
_OURS: Final = "Pointsman"
_BIAS: Final = (
    f"""The work is not the same, and Pointsman does more of it. Peers are handed ready rows (the one with Redis reads state
    of three entities, and computes nothing of it), run one model and answer its numbers. Pointsman checks every field, looks
    for card numbers, reads up to 22 states, computes {WIDTH} features a candidate, runs its own forest of as many trees and a
    risk model, chooses under rules with reasons, counts the attempt, keeps the answer for repeats and syncs its journal before
    it answers.""",
    """In the peers' favour also: their log of requests is off where that is a setting, they run on the fastest event loop they
    come with, and MLServer without its pool of processes. Against them: one core, so that those which work in several processes
    (MLflow, BentoML, LitServe) pay for changing between them; no batching, which would trade waiting for throughput; and we
    know our own service better than theirs.""",
    """scikit-learn takes some 3 ms for a few rows of such a forest, whoever serves it: those peers differ by little else.""",
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `idle` is the share of the servers' core that those used which were not asked at the moment."""

    machine: Machine
    connections: int
    seconds: float
    rounds: int
    results: tuple[Result, ...]
    absent: tuple[Absent, ...]
    idle: float | None
    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


def rendered(report: Report) -> str:
    """Return the table as Markdown, with where and when, and what it does not say."""
    host = report.machine
    intro = (
        f"{report.at:%Y-%m-%d %H:%M} UTC, {host.described()}. Every server "
        f"has one worker and is kept to the first core, client and Redis to the other; {report.connections} connections in a "
        f"closed loop, {report.rounds} rounds of {report.seconds:g} s in turns, median of the rounds with least and most."
    )
    ranked = sorted(report.results, key=lambda each: -_middle(each))
    rows = [
        [
            f"**{each.name}**" if each.name.startswith(_OURS) else each.name,
            each.does,
            f"{_middle(each):,.0f} ({min(each.rates):,.0f} to {max(each.rates):,.0f})",
            f"{each.row.latency_ms.p50:.1f}",
            f"{each.row.latency_ms.p99:.1f}",
            "" if each.row.server_us is None else f"{each.row.server_us:,.0f}",
            "" if each.mib is None else f"{each.mib:,.0f} in {each.processes}",
            f"{each.ready_seconds:.1f}",
            f"{sum(each.row.errors.values()):,}" + _degraded(each),
        ]
        for each in ranked
    ]
    head = [
        *("", "what one request does", "requests/s", "p50 ms", "p99 ms", "server us a request"),
        *("MiB, processes", "ready s", "errors"),
    ]
    return "\n\n".join([intro, table(head, rows), "\n".join(f"- {note}" for note in _notes(report))])


def _middle(result: Result) -> float:
    rates = sorted(result.rates)
    half = len(rates) // 2
    return rates[half] if len(rates) % 2 else (rates[half - 1] + rates[half]) / 2


def _degraded(result: Result) -> str:
    count = sum(result.row.degraded.values())
    return f" ({count:,} degraded)" if count else ""


def _notes(report: Report) -> list[str]:
    versions = sorted({package for each in report.results for package in each.runs})
    notes = [
        f"One payment is {CANDIDATES} rows of {FEATURES} numbers, about as many bytes of JSON as a question to Pointsman. All "
        f"peers serve the same forest of {TREES} trees of depth {DEPTH}, and are held to its answers "
        "before they are measured.",
        *(" ".join(each.split()) for each in _BIAS),
    ]
    if report.idle is not None:
        notes.append(f"Those that were not asked used {report.idle:.1%} of the core together meanwhile.")
    if versions:
        notes.append(f"Measured: {', '.join(versions)}.")
    notes += [f"Not measured: {each.name}: {each.why}" for each in report.absent]
    load = report.machine.load_before
    if load is not None and load > report.machine.cores * _QUIET:
        notes.append(f"The machine was not quiet: load {load:.1f} before the start.")
    return notes


def plot(report: Report, path: Path) -> None:
    """Draw the rates as bars, on a logarithmic axis: they lie two decades apart."""
    import matplotlib as mpl  # loaded only when something is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ranked = sorted(report.results, key=_middle)
    names = [each.name.replace("`", "") for each in ranked]
    rates = [_middle(each) for each in ranked]
    colours = ["#c05621" if each.name.startswith(_OURS) else "#2b6cb0" for each in ranked]
    figure, axis = plt.subplots(figsize=(7, 0.4 + 0.32 * len(ranked)), dpi=90, layout="constrained")
    bars = axis.barh(names, rates, color=colours)
    axis.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3)
    axis.set_xscale("log")
    axis.set_xlim(min(rates) / 2, max(rates) * 3)
    axis.set_xlabel(f"requests a second on one core, {report.connections} connections")
    axis.grid(axis="x", alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
