"""What the journal is measured against: the same events in an SQLite table in WAL mode, with a thread and group commit.

A table with an index by decision id and one by attempt, which is what looking up takes. Nothing here is part of the product.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.event import JournalEvent, OutcomeSettled

LARGEST_BATCH: Final = 1_024
LARGEST_INSERT: Final = 64
"""Rows of one statement: the interpreter lock is given away once for each statement."""
CHECKPOINT_PAGES: Final = 8_000

_SCHEMA: Final = """
CREATE TABLE events (seq INTEGER PRIMARY KEY, decision_id TEXT, payment_id TEXT NOT NULL, attempt INTEGER NOT NULL,
                     body BLOB NOT NULL);
CREATE INDEX decisions ON events (decision_id);
CREATE INDEX attempts ON events (payment_id, attempt);
"""
_INTO: Final = "INSERT INTO events (decision_id, payment_id, attempt, body) VALUES "
_INSERT: Final = [_INTO + ", ".join(["(?, ?, ?, ?)"] * rows) for rows in range(LARGEST_INSERT + 1)]
_encode: Final = msgspec.msgpack.Encoder().encode


class SqliteJournal:
    """Takes events as `service.journal.LogJournal` does, as far as `append` and `close` go."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._connection = sqlite3.connect(folder / "events.sqlite", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"wal_autocheckpoint = {CHECKPOINT_PAGES}"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_SCHEMA)
        self._queue: deque[tuple[tuple[Any, ...], asyncio.Future[None]]] = deque()
        self._wake = threading.Semaphore(0)
        self._idle = self._closed = False
        self._writer = threading.Thread(target=self._run, daemon=True)
        self._writer.start()

    async def append(self, event: JournalEvent) -> None:
        """Return when `event` is durable."""
        about = event.outcome if isinstance(event, OutcomeSettled) else event.answer
        future = asyncio.get_running_loop().create_future()
        self._queue.append(((about.decision_id, about.payment_id, about.attempt, _encode(event)), future))
        if self._idle:
            self._idle = False
            self._wake.release()
        await future

    async def close(self) -> None:
        """Write what waits, then close."""
        self._closed = True
        self._wake.release()
        await asyncio.to_thread(self._writer.join)
        self._connection.close()

    def _run(self) -> None:
        while True:
            while not self._queue:
                self._idle = True
                if self._queue:
                    break
                if self._closed:
                    return
                self._wake.acquire()
            self._idle = False
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_BATCH))]
            self._insert([row for row, _ in batch])
            futures = [future for _, future in batch]
            futures[0].get_loop().call_soon_threadsafe(_settle, futures)

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        if len(rows) > LARGEST_INSERT:
            self._connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(rows), LARGEST_INSERT):
            some = rows[start : start + LARGEST_INSERT]
            self._connection.execute(_INSERT[len(some)], [value for row in some for value in row])
        if len(rows) > LARGEST_INSERT:
            self._connection.execute("COMMIT")


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
