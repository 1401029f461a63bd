"""``python -m trainer backfill``: write the state as of now from history into a store, and prove it."""

import argparse
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from features.clock import micros, moment
from trainer import history as canonical
from trainer.backfill import bookmark
from trainer.backfill.bookmark import Bookmark, Work
from trainer.backfill.check import check
from trainer.backfill.parts import Part, parts
from trainer.backfill.sample import Sample
from trainer.backfill.state import part_states
from trainer.backfill.target import Target, target
from trainer.errors import HistoryError
from trainer.progress import step

SAMPLE = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--history", type=Path, required=True, help="folder of the canonical history")
    parser.add_argument(
        "--store",
        required=True,
        help="memory:///path/to/snapshot, redis://, rediss://, unix://, cluster:// or sentinel://",
    )
    parser.add_argument(
        "--now",
        type=datetime.fromisoformat,
        help="as of when, UTC unless it says otherwise; what is later is left out (default: just after the history's end)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted backfill of the same stopped")
    parser.add_argument(
        "--check",
        type=_count,
        default=SAMPLE,
        metavar="N",
        help="states of each kind to read back, and payments whose vectors to compare (default %(default)s, 0 for none)",
    )
    parser.add_argument(
        "--progress", type=Path, metavar="FILE", help=f"where progress is kept (default: a file in {bookmark.FOLDER})"
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def run(arguments: argparse.Namespace) -> int:
    """Backfill, say how many states were written, check them; return 1 when they are not equal."""
    history = canonical.load(arguments.history)
    now = _now(arguments.now, history)
    rows = history.select(pl.len()).collect().item()
    work = bookmark.work_of(arguments.history, rows, now, arguments.store)
    place = Place(arguments.progress or bookmark.default_path(arguments.store), work)
    known = bookmark.load(place.path, work) if arguments.resume else None
    started = time.monotonic()
    with target(arguments.store) as store:
        sample = Sample(arguments.check, None if known is None else known.sample)
        written = write(history, store, now, sample, place, known)
        print(
            f"{written:,} states written in {time.monotonic() - started:.1f} s, as of {moment(now):%Y-%m-%d %H:%M:%S} UTC"
            + ("" if known is None else f", {known.written:,} of them before the interruption")
        )
        if not arguments.check:
            return 0
        with step("check"):
            checked = check(history, now, store.fetch, sample.chosen, arguments.check)
    for line in checked.lines():
        print(line)
    return 0 if checked.is_equal else 1


class Place(NamedTuple):
    """The file that keeps progress, and the work it is of."""

    path: Path
    work: Work


def write(
    history: pl.LazyFrame,
    store: Target,
    now: int,
    sample: Sample,
    place: Place | None = None,
    known: Bookmark | None = None,
) -> int:
    """Write the state of every entity as of `now` (microseconds), part by part; return how many were written.

    Parameters
    ----------
    history
        The canonical history with `settled_at` filled.
    store
        What takes the states.
    now
        What became known at this moment or later is left out.
    sample
        Shown all that is written.
    place
        Where progress is kept; without one a backfill that is interrupted starts anew.
    known
        How far an interrupted one has come.
    """
    with step("size up the history"):
        todo = parts(history)
    written = 0 if known is None else known.written
    done = 0 if known is None else known.done
    for number, part in islice(enumerate(todo), done, None):
        with step(_named(part)):
            written += store.put(sample.of(part_states(history, part, now)))
            kept = store.keep(final=number + 1 == len(todo))
        if place is not None and kept:
            mark = Bookmark(work=place.work, done=number + 1, written=written, sample=sample.chosen)
            bookmark.save(place.path, mark)
    if place is not None:
        place.path.unlink(missing_ok=True)
    return written


def backfill(history: pl.LazyFrame, store: str, now: int) -> int:
    """Write the state of every entity as of `now` (microseconds) into a store; return how many states were written.

    What the store holds of these entities is replaced; the service should not be taking outcomes meanwhile.

    Raises
    ------
    StoreRefused
        When the store cannot be written.
    """
    with target(store) as opened:
        return write(history, opened, now, Sample(0))


def _named(part: Part) -> str:
    return f"states of {part.kind}" + (f", part {part.number + 1} of {part.of}" if part.of > 1 else "")


def _now(given: datetime | None, history: pl.LazyFrame) -> int:
    """Return as of when: what was given, else the first microsecond after the last attempt and its result."""
    if given is not None:
        return micros(given if given.tzinfo else given.replace(tzinfo=UTC))
    last = history.select(pl.max_horizontal(pl.col("occurred_at").max(), pl.col("settled_at").max())).collect().item()
    if last is None:
        msg = "expected a history with attempts, it has none"
        raise HistoryError(msg)
    return micros(last) + 1
