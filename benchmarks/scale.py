"""``python -m benchmarks.scale``: how time and memory of the features command grow with the history.

Each size is a history of its own (``benchmarks.synthetic``) and a process of its own, whose peak memory the kernel counts.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import synthetic

GIB: Final = 1 << 30
LIMIT_SECONDS: Final = 7_200
LINEAR: Final = 1.5
"""Time a row may grow by so much from the smallest to the largest history and still be called linear."""


class Shape(NamedTuple):
    """What the history is like: the share of all attempts that one merchant has on top, and the days they are spread over."""

    hot: float
    days: int


class Run(NamedTuple):
    """One size: seconds of wall clock, seconds of processor, and the largest resident memory in bytes."""

    rows: int
    seconds: float
    cpu_seconds: float
    peak: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every size, print the table, write the plot; return 1 when a run failed."""
    arguments = _arguments(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    shape = Shape(arguments.hot, arguments.days)
    runs: list[Run] = []
    for rows in sorted(arguments.rows):
        run = measure(rows, arguments.out, shape, options=_options(arguments), keep=arguments.keep)
        if run is None:
            return 1
        runs.append(run)
    print(table(runs))
    if arguments.engine == "spark":
        print("processor and memory are those of the driver's Python alone: Java and its workers are not counted")
    if len(runs) > 1:
        print(verdict(runs))
    if arguments.plot is not None:
        plot(runs, arguments.plot)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000], help="sizes to measure"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("var/scale"), help="where histories and features go (default: var/scale)"
    )
    parser.add_argument(
        "--hot", type=float, default=0.0, help="share of all attempts that one merchant has on top (default: 0)"
    )
    parser.add_argument(
        "--days", type=int, default=synthetic.DAYS, help="over which attempts are spread (default: %(default)s)"
    )
    parser.add_argument("--engine", choices=("polars", "spark"), default="polars")
    parser.add_argument("--partitions", type=int, help="handed on to the command")
    parser.add_argument("--slice-rows", type=int, help="handed on to the command")
    parser.add_argument("--slice-days", type=int, help="handed on to the command")
    parser.add_argument("--master", help="handed on to the command")
    parser.add_argument("--plot", type=Path, help="PNG file to draw time and memory into")
    parser.add_argument(
        "--keep", action="store_true", help="keep histories and features, and take histories that are there"
    )
    return parser.parse_args(argv)


def _options(arguments: argparse.Namespace) -> list[str]:
    options = ["--engine", arguments.engine]
    for name in ("partitions", "slice_rows", "slice_days", "master"):
        value = getattr(arguments, name)
        if value is not None:
            options += [f"--{name.replace('_', '-')}", str(value)]
    return options


def machine() -> str:
    """Return what was measured on, when, and how busy it was before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, CPython "
        f"{platform.python_version()}, {datetime.now(tz=UTC):%Y-%m-%d}, load {load}"
    )


def measure(rows: int, folder: Path, shape: Shape, *, options: Sequence[str], keep: bool) -> Run | None:
    """Run the command over a history of `rows` attempts; None, with its words printed, when it failed."""
    name = f"{rows}-{shape.hot:g}-{shape.days}"
    history, out = folder / f"history-{name}", folder / f"features-{name}"
    if not (keep and history.exists()):
        shutil.rmtree(history, ignore_errors=True)
        synthetic.write(history, rows, hot=shape.hot, days=shape.days)
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "trainer", "features", "--history", str(history), "--out", str(out), *options]
    try:
        return _timed(rows, command, folder / f"log-{name}.txt")
    finally:
        if not keep:
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(history, ignore_errors=True)


def _timed(rows: int, command: Sequence[str], log: Path) -> Run | None:
    """Run one child and wait for it alone, so that its usage is not mixed with that of earlier ones."""
    started = time.monotonic()
    with log.open("wb") as words:
        # Nobody but `measure` makes the command.
        child = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT)  # noqa: S603
        until = started + LIMIT_SECONDS
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                child.kill()
            time.sleep(0.05)
    seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")
    print(said, flush=True)
    if child.returncode:
        print(f"{rows:,} rows failed with code {child.returncode}", flush=True)
        return None
    # The kernel counts kibibytes, on macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(rows, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def table(runs: Sequence[Run]) -> str:
    """Return the runs as a Markdown table."""
    lines = ["| rows | seconds | of processor | rows/s | peak GiB |", "|---|---|---|---|---|"]
    lines += [
        f"| {run.rows:,} | {run.seconds:.1f} | {run.cpu_seconds:.1f} | {run.rows / run.seconds:,.0f} | {run.peak / GIB:.2f} |"
        for run in runs
    ]
    return "\n".join(lines)


def verdict(runs: Sequence[Run]) -> str:
    """Return whether time grew with the rows and no faster: processor time a row, the largest against the smallest."""
    first, last = runs[0], runs[-1]
    ratio = (last.cpu_seconds / last.rows) / (first.cpu_seconds / first.rows)
    word = "linear" if ratio <= LINEAR else "not linear"
    return f"a row of {last.rows:,} costs {ratio:.2f} times the processor time of one of {first.rows:,}: {word}"


def plot(runs: Sequence[Run], path: Path) -> None:
    """Draw seconds and peak memory over rows."""
    import matplotlib as mpl  # loaded only when something is drawn

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [run.rows / 1e6 for run in runs]
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), dpi=90, layout="constrained")
    left.plot(rows, [run.seconds for run in runs], marker="o", color="#2b6cb0")
    left.set_ylabel("seconds")
    right.plot(rows, [run.peak / GIB for run in runs], marker="o", color="#c05621")
    right.set_ylabel("peak memory, GiB")
    for axis in (left, right):
        axis.set_xlabel("million attempts")
        axis.set_xlim(0)
        axis.set_ylim(0)
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    raise SystemExit(main())
