"""What a load run saw, as figures with the machine and the date they belong to.

This module must not know how anything was measured.
"""

import os
import platform
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from benchmarks.client import Seen
from features.native import IS_NATIVE

QUANTILES: Final = (0.5, 0.95, 0.99, 0.999)
JSON_FLOOR: Final = "floor, JSON alone"
FLOOR: Final = "floor, JSON and ONNX"
_QUIET: Final = 0.3
"""Load average for each core above which others were at work."""


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles in milliseconds."""

    p50: float
    p95: float
    p99: float
    p999: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of one target.

    `client_busy` is the share of the client's core that the client used; near 1 the client was the limit, and
    `sent_late` says how late the open loop sent its requests. Both are about the measuring, not the measured. `server_us` and
    `store_us` are processor time of the server and of its Redis for one answer, with what they do behind it; to a hundredth of
    a second in all, so that short phases say little.
    """

    phase: str
    target: str
    requests: int
    per_second: float
    latency_ms: Latency
    by_kind: dict[str, Latency]
    errors: dict[str, int]
    degraded: dict[str, int]
    client_busy: float | None = None
    sent_late_p99_ms: float | None = None
    server_us: float | None = None
    store_us: float | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured, and how busy others kept it (load average of the last minute) when that began.

    `kernels` says whether what has a kernel in C ran on it; only the service has such.
    """

    processor: str
    cores: int
    system: str
    python: str
    load_before: float | None
    kernels: bool = False

    def described(self) -> str:
        """Return it in one line."""
        calm = "" if self.load_before is None else f", load {self.load_before:.1f} before the start"
        kernels = "kernels in C" if self.kernels else "without kernels in C"
        return f"{self.processor}, {self.cores} cores, {self.system}, {self.python}, {kernels}{calm}"


def machine() -> Machine:
    """Describe this machine."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_before=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        kernels=IS_NATIVE,
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    subject: str
    mix: str
    connections: int
    seconds: float
    rate: float
    cores: str
    rows: tuple[Row, ...]
    machine: Machine
    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


def measured(phase: str, target: str, seen: Seen) -> Row:
    """Turn what came back into figures."""
    every: array[float] = array("d")
    for latencies in seen.latencies.values():
        every.extend(latencies)
    return Row(
        phase=phase,
        target=target,
        requests=seen.answered + sum(seen.errors.values()),
        per_second=seen.answered / seen.seconds if seen.seconds else 0.0,
        latency_ms=_latency(every),
        by_kind={kind: _latency(latencies) for kind, latencies in sorted(seen.latencies.items())},
        errors=seen.errors,
        degraded=seen.degraded,
        client_busy=seen.busy_seconds / seen.seconds if seen.busy_seconds and seen.seconds else None,
        sent_late_p99_ms=float(np.quantile(seen.late, 0.99)) * 1000 if seen.late else None,
        server_us=_each(seen.server_seconds, seen.answered),
        store_us=_each(seen.store_seconds, seen.answered),
    )


def _each(seconds: float, answered: int) -> float | None:
    return seconds / answered * 1e6 if seconds and answered else None


def _latency(seconds: "array[float]") -> Latency:
    p50, p95, p99, p999 = (np.quantile(seconds, QUANTILES) * 1000).tolist() if seconds else (0.0,) * 4
    return Latency(p50=p50, p95=p95, p99=p99, p999=p999)


def rendered(report: Report) -> str:
    """Return a report as a table to read."""
    host = report.machine
    lines = [
        f"{report.at:%Y-%m-%d %H:%M} UTC, {host.processor}, {host.cores} cores, {host.system}, {host.python}",
        f"{report.subject}; {report.mix} over {report.connections} connections, {report.seconds:g} s a phase; "
        f"{report.cores}",
        "",
        f"{'':<34}{'requests/s':>11}{'p50 ms':>9}{'p95':>8}{'p99':>8}{'p99.9':>8}{'errors':>8}{'degraded':>10}"
        f"{'x floor':>9}{'cpu us':>8}",
    ]
    for phase in ("closed", "open"):
        rows = {row.target: row for row in report.rows if row.phase == phase}
        floor = rows[FLOOR]
        title = "closed loop" if phase == "closed" else f"open loop, {report.rate:,.0f}/s"
        for row in rows.values():
            # Throughput in the closed loop, the middle of the latencies in the open one.
            ratio = (
                floor.per_second / row.per_second
                if phase == "closed" and row.per_second
                else row.latency_ms.p50 / (floor.latency_ms.p50 or 1.0)
            )
            lines.append(_line(f"{title}: {row.target}", row, row.latency_ms, ratio))
            if len(row.by_kind) > 1:
                lines += [_kind(f"  {kind}", latency) for kind, latency in row.by_kind.items()]
    lines += ["", *_notes(report)]
    return "\n".join(lines)


def _line(name: str, row: Row, latency: Latency, ratio: float) -> str:
    return (
        f"{name:<34}{row.per_second:>11,.0f}{_quantiles(latency)}{sum(row.errors.values()):>8}{sum(row.degraded.values()):>10}"
        f"{ratio:>9.2f}{'' if row.server_us is None else f'{row.server_us:,.0f}':>8}"
    )


def _kind(name: str, latency: Latency) -> str:
    return f"{name:<45}{_quantiles(latency)}"


def _quantiles(latency: Latency) -> str:
    return f"{latency.p50:>9.2f}{latency.p95:>8.2f}{latency.p99:>8.2f}{latency.p999:>8.2f}"


def _notes(report: Report) -> list[str]:
    notes = []
    before = report.machine.load_before
    if before is not None and before > report.machine.cores * _QUIET:
        notes.append(
            f"THE MACHINE WAS NOT QUIET (load {before:.1f} before the start): repeat it before believing a figure"
        )
    for row in report.rows:
        if row.client_busy is not None:
            limit = ": the client was the limit, the server can do more" if row.client_busy > 0.9 else ""
            notes.append(f"client busy, {row.phase} loop, {row.target}: {row.client_busy:.0%}{limit}")
        if row.sent_late_p99_ms is not None:
            notes.append(f"sent late, open loop, {row.target}: p99 {row.sent_late_p99_ms:.2f} ms")
        notes += [f"error, {row.phase} loop, {row.target}: {why}: {count:,}" for why, count in row.errors.items()]
        notes += [
            f"degraded, {row.phase} loop, {row.target}: {codes}: {count:,}" for codes, count in row.degraded.items()
        ]
    return notes
