"""``python -m trainer features``: the catalog over a history; as a table; and as docs/features.md."""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from trainer import history as canonical
from trainer.errors import FeaturesError
from trainer.features.describe import page, table
from trainer.features.prerequisites import require_spark
from trainer.features.selection import Selection, select
from trainer.features.single import Done, compute
from trainer.features.slices import SLICE_ROWS, Slicing
from trainer.features.spill import scratch


def _up_to(most: int) -> Callable[[str], int]:
    def parsed(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            msg = f"expected a number from 1 to {most}, got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        return int(text)

    return parsed


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--history", metavar="DIR", help="folder of the canonical history (with Spark also a URL)")
    parser.add_argument("--out", metavar="DIR", help="new or empty folder for the features (with Spark also a URL)")
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="folder of a bundle, for the features that are priors"
    )
    parser.add_argument(
        "--engine", choices=("polars", "spark"), default="polars", help="one machine, or Spark (default: polars)"
    )
    parser.add_argument(
        "--partitions",
        type=_up_to(100_000),
        metavar="N",
        help="parts into which the attempts of a kind of entity are divided "
        "(default: one for each 250,000 attempts, with Spark for each million)",
    )
    parser.add_argument(
        "--slice-rows",
        type=_up_to(1_000_000_000),
        metavar="N",
        help=f"cut a part of more attempts by time, into slices of about N (default: {SLICE_ROWS})",
    )
    parser.add_argument(
        "--slice-days",
        type=_up_to(10_000),
        metavar="N",
        help="cut into slices of N days instead: every part, or with --slice-rows those of more attempts",
    )
    parser.add_argument(
        "--master", metavar="URL", help="which Spark, when it is not spark-submit that starts this (default: local[*])"
    )
    parser.add_argument("--describe", action="store_true", help="print the catalog as a table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the catalog to FILE as Markdown")


def run(arguments: argparse.Namespace) -> int:
    """Describe the catalog, or compute it."""
    if arguments.write is not None:
        arguments.write.write_text(page() + "\n", encoding="utf-8")
        return 0
    if arguments.describe:
        print(table())
        return 0
    if arguments.history is None or arguments.out is None:
        msg = "expected --history and --out, or --describe, or --write"
        raise FeaturesError(msg)
    selection = select(arguments.bundle)
    if selection.left_out:
        print(f"{len(selection.left_out)} prior features are left out: their encodings are in a bundle (--bundle DIR)")
    started = time.monotonic()
    run_engine = _on_spark if arguments.engine == "spark" else _on_one_machine
    rows, words = run_engine(arguments, selection)
    seconds = time.monotonic() - started
    print(
        f"{rows:,} attempts, {len(selection.specs)} features each, in {seconds:.1f} s ({rows / seconds:,.0f} attempts/s)"
        f"{words}; written to {arguments.out}"
    )
    return 0


def _on_one_machine(arguments: argparse.Namespace, selection: Selection) -> tuple[int, str]:
    out = Path(arguments.out)
    history = canonical.scan(Path(arguments.history))
    with _readable(arguments.history):
        rows = history.select(pl.len()).collect(engine="streaming").item()
        if rows == 0:
            msg = f"expected a history with attempts, {arguments.history} has none"
            raise FeaturesError(msg)
        canonical.check(history, repeats=False)
    with _writable(out), scratch(out / f".work-{os.getpid()}") as work:
        (work / "done").mkdir()
        done = compute(
            history,
            selection,
            work,
            work / "done",
            rows=rows,
            partitions=arguments.partitions,
            slicing=_slicing(arguments),
        )
        for file in sorted((work / "done").iterdir()):
            file.rename(out / file.name)
    return rows, _words(done)


def _slicing(arguments: argparse.Namespace) -> Slicing:
    return Slicing(arguments.slice_rows, arguments.slice_days)


def _words(done: Done) -> str:
    cut = f" of each kind ({done.cut} cut by time into {done.slices} slices)" if done.cut else ""
    return f", {done.partitions} parts{cut}, the largest ({done.largest_kind}) of {done.largest:,} attempts"


@contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{source} cannot be read as a history: {str(error).splitlines()[0]}"
        raise FeaturesError(msg) from error


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Refuse a folder that holds anything; say in one sentence why the work there failed; leave no folder that was not there."""
    there = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            msg = f"expected a new or empty folder for the features, {out} holds {min(path.name for path in out.iterdir())}"
            raise FeaturesError(msg)
        yield
    except (pl.exceptions.ComputeError, OSError) as error:
        msg = f"the features cannot be written to {out}: {str(error).splitlines()[0]}"
        raise FeaturesError(msg) from error
    finally:
        if not there and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def _on_spark(arguments: argparse.Namespace, selection: Selection) -> tuple[int, str]:
    require_spark()
    from trainer.features import spark  # what it needs is an extra of its own

    if spark.is_borrowed():
        with spark.session(arguments.master, None) as borrowed:
            done = spark.compute(
                borrowed,
                arguments.history,
                selection,
                arguments.out,
                partitions=arguments.partitions,
                slicing=_slicing(arguments),
                own=False,
            )
        return done.rows, _words(done)
    out = Path(arguments.out)
    with _writable(out), scratch(out / f".work-{os.getpid()}") as work:
        with spark.session(arguments.master, work) as own:
            done = spark.compute(
                own,
                arguments.history,
                selection,
                str(work / "done"),
                partitions=arguments.partitions,
                slicing=_slicing(arguments),
                own=True,
            )
        for file in sorted((work / "done").glob("*.parquet")):
            file.rename(out / file.name)
    return done.rows, _words(done)
