"""``python -m trainer backfill``: write the state as of now from history into a store."""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from features.clock import micros
from service.errors import ServiceError
from service.store import open_store
from service.store.bulk import put_many
from service.store.memory import MemoryStore
from trainer import history as canonical
from trainer.backfill.state import states
from trainer.errors import HistoryError, StoreRefused


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--history", type=Path, required=True, help="folder of the canonical history")
    parser.add_argument(
        "--store", required=True, help="memory:///path/to/snapshot, redis://host:6379/0, rediss://... or unix://..."
    )
    parser.add_argument(
        "--now", type=datetime.fromisoformat, help="as of when (default: just after the history's last event)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Backfill and print how many states were written."""
    history = canonical.scan(arguments.history)
    moment = arguments.now or _end(history)
    now = micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    started = time.monotonic()
    written = backfill(history, arguments.store, now)
    print(f"{written:,} states written in {time.monotonic() - started:.1f} s, as of {moment:%Y-%m-%d %H:%M:%S} UTC")
    return 0


def backfill(history: pl.LazyFrame, store: str, now: int) -> int:
    """Write the state of every entity as of `now` (microseconds) into a store; return how many states were written.

    What the store holds of these entities is replaced; the service should not be taking outcomes meanwhile.

    Raises
    ------
    StoreRefused
        When the store cannot be written.
    """
    try:
        opened = open_store(store, timeout_ms=1000)
        items = states(history, now)
        if isinstance(opened, MemoryStore):
            if store.rstrip("/") == "memory:":
                msg = "memory:// is gone when this command ends; expected memory:///path/to/snapshot or a redis:// URL"
                raise StoreRefused(msg)
            opened.load()
            written = opened.put_many(items)
            opened.save()
            return written
        return put_many(store, items)
    except ServiceError as error:
        raise StoreRefused(str(error)) from error


def _end(history: pl.LazyFrame) -> datetime:
    last = history.select(pl.max_horizontal(pl.col("occurred_at").max(), pl.col("settled_at").max())).collect().item()
    if last is None:
        msg = "expected a history with attempts, it has none"
        raise HistoryError(msg)
    end: datetime = last
    return end
