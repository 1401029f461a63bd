"""The hot path's figures as tables, with the targets they are held to.

This module must not know how anything was measured.
"""

from datetime import UTC, datetime
from statistics import median
from typing import Final

import msgspec

from benchmarks.documents import table
from benchmarks.results import FLOOR, JSON_FLOOR, Machine, Row

KINDS: Final = ("auth", "retry")
MEMORY: Final = "memory://"
REDIS: Final = "redis://"
RATE: Final = 1_000
"""Requests a second of the constant rate."""
WANTED: Final = {REDIS: 10_000, MEMORY: 12_000}
LEAST: Final = 6_000
"""Requests a second below which nothing is done yet."""
SHARE: Final = 0.5
P50_MS, P99_MS, P999_MS = 0.6, 3.0, 10.0
RETRY: Final = 1.3
READY_SECONDS: Final = 1.5
MOST_MIB: Final = 220.0
_QUIET: Final = 0.5


class Steady(msgspec.Struct, frozen=True, kw_only=True):
    """The constant rate, by one tool."""

    tool: str
    row: Row


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory of a worker that has answered the whole load."""

    subject: str
    mib: float


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """So many workers, saturated."""

    workers: int
    row: Row
    mib: tuple[float, ...]
    ready_seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    `runs` is how many ONNX runs a question of a kind makes. `memory_store_with_two` is what the service says to a memory store
    with two workers; None when it says nothing.
    """

    machine: Machine
    seconds: float
    turns: int
    connections: tuple[int, int]
    runs: dict[str, float]
    saturated: tuple[Row, ...]
    steady: tuple[Steady, ...]
    memory: tuple[Memory, ...]
    workers: tuple[Workers, ...]
    ready_seconds: tuple[float, ...]
    memory_store_with_two: str | None
    notes: tuple[str, ...] = ()
    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))

    def rate(self, kind: str, subject: str) -> float:
        """Return the answers a second of a kind when saturated."""
        return next(row.per_second for row in self.saturated if (row.phase, row.target) == (kind, subject))


def rendered(report: Report) -> str:
    """Return all tables as Markdown."""
    host = report.machine
    runs = report.runs
    parts = [
        f"{report.at:%Y-%m-%d %H:%M} UTC, {host.described()}. One worker "
        f"on the first core, client and Redis on the other; {report.connections[0]} connections, {report.connections[1]} at a "
        f"constant rate; {report.turns} turns of {report.seconds:g} s each. With ONNX Runtime a decision makes "
        f"{runs['auth']:.1f} runs for auth and {runs['retry']:.1f} for retry; so does the floor. "
        "Pointsman asks its kernels instead (ADR 27), so that it might come out above that floor.",
        _saturated(report),
        _steady(report),
        _workers(report),
        _targets(report),
        "\n".join(f"- {note}" for note in _notes(report)),
    ]
    return "\n\n".join(part for part in parts if part)


def _saturated(report: Report) -> str:
    rows = []
    for name in (JSON_FLOOR, FLOOR, MEMORY, REDIS):
        auth, retry = (_find(report, kind, name) for kind in KINDS)
        share = "" if name == JSON_FLOOR else f"{auth.per_second / report.rate('auth', FLOOR):.0%}"
        rows.append(
            [
                name if name in (JSON_FLOOR, FLOOR) else f"Pointsman, `{name}`",
                f"{auth.per_second:,.0f}",
                share,
                _number(auth.server_us),
                _number(auth.store_us),
                f"{auth.latency_ms.p50:.1f}",
                f"{auth.latency_ms.p99:.1f}",
                f"{retry.per_second:,.0f}",
                f"{auth.per_second / retry.per_second:.2f}" if retry.per_second else "",
                _count(auth, retry, "degraded"),
                _count(auth, retry, "errors"),
            ]
        )
    head = [
        *("saturated", "auth/s", "of the floor", "server us", "Redis us", "p50 ms", "p99 ms"),
        *("retry/s", "retry costs x auth", "degraded", "errors"),
    ]
    return table(head, rows)


def _steady(report: Report) -> str:
    rows = []
    for each in report.steady:
        row, latency = each.row, each.row.latency_ms
        rows.append(
            [
                row.target if row.target == FLOOR else f"Pointsman, `{row.target}`",
                "open loop, from the moment due" if each.tool == "ours" else "`h2load --rps`, from the moment sent",
                f"{row.per_second:,.0f}",
                *(f"{value:.2f}" for value in (latency.p50, latency.p95, latency.p99, latency.p999)),
                f"{sum(row.degraded.values()):,}" if each.tool == "ours" else "",
                f"{sum(row.errors.values()):,}",
            ]
        )
    head = [f"auth at {RATE:,}/s", "by", "answered/s", "p50 ms", "p95", "p99", "p99.9", "degraded", "errors"]
    return table(head, rows)


def _workers(report: Report) -> str:
    if not report.workers:
        return ""
    rows = []
    first = report.workers[0].row.per_second
    for each in report.workers:
        row = each.row
        busy = ((row.server_us or 0.0) + (row.store_us or 0.0)) * row.per_second / 1e6 + (row.client_busy or 0.0)
        rows.append(
            [
                str(each.workers),
                f"{row.per_second:,.0f}",
                f"{row.per_second / first:.2f}" if first else "",
                _number(row.server_us),
                f"{busy:.2f}",
                ", ".join(f"{mib:.0f}" for mib in each.mib),
                f"{each.ready_seconds:.2f}",
                f"{sum(row.degraded.values()):,}",
                f"{sum(row.errors.values()):,}",
            ]
        )
    head = [
        *("workers, `redis://`", "auth/s", "x one", "server us", "cores busy, all told"),
        *("MiB a worker", "ready s", "degraded", "errors"),
    ]
    return table(head, rows)


def _targets(report: Report) -> str:
    floor = report.rate("auth", FLOOR)
    rows = []
    for store, wanted in WANTED.items():
        rate = report.rate("auth", store)
        rows.append(
            [
                f"auth, `{store}`, saturated",
                f"{wanted:,}/s, at least {LEAST:,}",
                f"{rate:,.0f}/s",
                _met(rate >= wanted, rate >= LEAST),
            ]
        )
    for store in WANTED:
        share = report.rate("auth", store) / floor
        rows.append([f"of the floor's rate, `{store}`", f"{SHARE:.0%}", f"{share:.0%}", _met(share >= SHARE)])
    for each in report.steady:
        if each.row.target in WANTED:
            got = each.row.latency_ms
            met = got.p50 <= P50_MS and got.p99 <= P99_MS and got.p999 <= P999_MS
            rows.append(
                [
                    f"{RATE:,}/s, `{each.row.target}`, {'open loop' if each.tool == 'ours' else each.tool}: p50, p99, p99.9",
                    f"{P50_MS:g}, {P99_MS:g}, {P999_MS:g} ms",
                    f"{got.p50:.2f}, {got.p99:.2f}, {got.p999:.2f} ms",
                    _met(met),
                ]
            )
    for store in WANTED:
        ratio = report.rate("auth", store) / (report.rate("retry", store) or 1.0)
        rows.append([f"retry against auth, `{store}`", f"{RETRY:g} x", f"{ratio:.2f} x", _met(ratio <= RETRY)])
    ready = median(report.ready_seconds)
    told = f"{ready:.2f} s ({min(report.ready_seconds):.2f} to {max(report.ready_seconds):.2f})"
    rows.append(["ready, from its execution", f"{READY_SECONDS:g} s", told, _met(ready < READY_SECONDS)])
    of_each = {each.subject: [each.mib] for each in report.memory}
    of_each.setdefault(REDIS, []).extend(mib for each in report.workers for mib in each.mib)
    for store, mibs in of_each.items():
        if mibs:
            name = f"memory of a worker after the load, `{store}`" + (", state and answers in it" * (store == MEMORY))
            rows.append([name, f"{MOST_MIB:g} MiB", f"{max(mibs):.0f} MiB", _met(max(mibs) < MOST_MIB)])
    said = report.memory_store_with_two
    rows.append(
        [
            f"`{MEMORY}` with two workers",
            "refused",
            "not refused" if said is None else said.splitlines()[-1],
            _met(said is not None),
        ]
    )
    return table(["", "target", "measured", ""], rows)


def _notes(report: Report) -> list[str]:
    notes = list(report.notes)
    load = report.machine.load_before
    if load is not None and load > report.machine.cores * _QUIET:
        notes.append(f"the machine was not quiet: load {load:.1f} before the start")
    codes: dict[str, int] = {}
    for row in [*report.saturated, *(each.row for each in report.steady), *(each.row for each in report.workers)]:
        for code, count in row.degraded.items():
            codes[code] = codes.get(code, 0) + count
        if row.client_busy is not None and row.client_busy > 0.9:
            notes.append(
                f"{row.phase}, {row.target}: the client used {row.client_busy:.0%} of its core and was the limit"
            )
        notes += [f"{row.phase}, {row.target}: {count:,} x {why}" for why, count in row.errors.items()]
    if codes:
        told = ", ".join(f"{count:,} x {code}" for code, count in sorted(codes.items(), key=lambda each: -each[1]))
        notes.append(f"degraded answers, all phases: {told}")
    return notes


def _find(report: Report, kind: str, subject: str) -> Row:
    return next(row for row in report.saturated if (row.phase, row.target) == (kind, subject))


def _count(auth: Row, retry: Row, what: str) -> str:
    both = [sum(getattr(row, what).values()) for row in (auth, retry)]
    return " + ".join(f"{count:,}" for count in both) if any(both) else "0"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _met(met: bool, least: bool | None = None) -> str:
    if met:
        return "met"
    return "**missed**" if least is None else ("least met" if least else "**missed**")
