"""The journal on disk: SQLite in WAL mode, one writer thread, group commit.

`append` hands a row to the writer and waits; the writer takes all that wait, commits them as one transaction and wakes
the event loop once for the whole batch. This module must not know what an event means.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled
from service.errors import JournalUnavailable
from service.journal import table
from service.journal.null import NullJournal
from service.metrics import Metrics
from service.ports import Journal

MOST_WAITING: Final = 10_000
"""Events that may wait for the writer; one more is refused, so that a slow disk cannot eat the memory."""
LARGEST_BATCH: Final = 1_024
EVENTS_BETWEEN_CHECKPOINTS: Final = 1_000
"""After so many events the log is moved into the table by a thread of its own: two fsyncs that no commit waits for."""

T = TypeVar("T")
log: Final = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A row on its way to the disk, and who waits for it; `row` is None for a mark that asks for nothing but its turn."""

    row: table.Row | None
    future: asyncio.Future[None] | None
    since: float


class SqliteJournal:
    """Events in one SQLite file, in the order in which they were committed.

    Parameters
    ----------
    folder
        Where the file is; made if need be.
    sync
        ``full``: `append` returns when the disk has the event. ``async``: it returns at once, and a crash of the
        machine may lose what was not yet written.
    metrics
        Counts batches, waits and losses.
    max_pages
        Largest size of the file in pages, for tests of a full disk; 0 is no limit.

    Raises
    ------
    JournalUnavailable
        When the folder or the file cannot be opened for writing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: Literal["full", "async"] = "full",
        metrics: Metrics | None = None,
        max_pages: int = 0,
    ) -> None:
        self._folder = folder
        self._waits_for_disk = sync == "full"
        self._metrics = metrics or Metrics()
        self._metrics.journal_queue = lambda: len(self._queue)
        self._max_pages = max_pages
        self._failing: str | None = None
        self._closed = False
        self._queue: deque[_Waiting] = deque()
        self._wake = threading.Semaphore(0)
        self._idle = False
        self._connection: sqlite3.Connection | None = None
        self._connect()
        self._reader: sqlite3.Connection | None = None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._unmoved = 0
        self._move = threading.Event()
        self._writer = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._writer.start()
        self._mover = threading.Thread(target=self._move_log, name="journal-mover", daemon=True)
        self._mover.start()

    @property
    def failing(self) -> str | None:
        """What is wrong with the journal; None when it is well."""
        return self._failing

    async def append(self, event: JournalEvent) -> None:
        """Return when `event` is durable (mode ``async``: when it is on its way).

        Raises
        ------
        JournalUnavailable
            When it could not be made durable, the journal is closed, or too many events wait already.
        """
        if self._closed:
            reason = "it is closed"
            raise JournalUnavailable(reason)
        if len(self._queue) >= MOST_WAITING:
            self._metrics.journal_failed(1)
            reason = f"{MOST_WAITING} events wait already"
            raise JournalUnavailable(reason)
        row = table.row_of(event)
        future = asyncio.get_running_loop().create_future() if self._waits_for_disk else None
        self._put(_Waiting(row, future, time.perf_counter()))
        if future is not None:
            await future

    async def find(self, decision_id: str) -> DecisionMade | None:
        """Return the decision of an id: the event of its answer, and one of a repeat only where there is no other.

        Raises
        ------
        JournalUnavailable
            When the file cannot be read.
        """
        return await self._read(lambda connection: table.find(connection, decision_id))

    async def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        """Return the latest decision about an attempt: its own, else the retry decision that planned it.

        Raises
        ------
        JournalUnavailable
            When the file cannot be read.
        """
        return await self._read(lambda connection: table.find_attempt(connection, payment_id, attempt))

    async def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        """Return the outcomes reported for one attempt, in order of their arrival.

        Raises
        ------
        JournalUnavailable
            When the file cannot be read.
        """
        return await self._read(lambda connection: table.outcomes_of(connection, payment_id, attempt))

    def events(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, JournalEvent]]:
        """Return up to `limit` events numbered above `after`, in order. Blocking; callable from any thread.

        Raises
        ------
        JournalUnavailable
            When the file cannot be read.
        """
        try:
            connection = table.open_for_reading(self._folder)
            try:
                return table.events(connection, after, limit)
            finally:
                connection.close()
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise JournalUnavailable(str(error)) from error

    async def close(self) -> None:
        """Write what waits, then close. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._wake.release()
        await asyncio.to_thread(self._writer.join)
        self._move.set()
        await asyncio.to_thread(self._mover.join)
        await asyncio.to_thread(self._reading.shutdown)
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _put(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        # The writer looks at the queue once more after it has said that it is idle, so that no wake-up is lost.
        if self._idle:
            self._idle = False
            self._wake.release()

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            reason = "it is closed"
            raise JournalUnavailable(reason)
        loop = asyncio.get_running_loop()
        if not self._waits_for_disk:
            mark = loop.create_future()
            self._put(_Waiting(None, mark, time.perf_counter()))
            await mark
        return await loop.run_in_executor(self._reading, self._query, query)

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._reader is None:
                self._reader = table.open_for_reading(self._folder)
            return query(self._reader)
        except sqlite3.Error as error:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            raise JournalUnavailable(str(error)) from error
        except msgspec.DecodeError as error:
            # A row of a newer build, or a damaged one: nothing is served from it, and nothing fails because of it.
            reason = f"an event cannot be read: {error}"
            raise JournalUnavailable(reason) from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = table.open_for_writing(self._folder, full=self._waits_for_disk)
            except (sqlite3.Error, OSError) as error:
                reason = f"{self._folder} cannot be opened for writing: {error}"
                raise JournalUnavailable(reason) from error
            if self._max_pages:
                self._connection.execute(f"PRAGMA max_page_count = {int(self._max_pages)}")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # The writer's thread, from here on.

    def _write(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                break
            self._commit(batch)
        self._disconnect()

    def _take(self) -> list[_Waiting]:
        """Return what waits, waiting for it if need be; nothing when the journal was closed and all is written."""
        queue = self._queue
        while not queue:
            self._idle = True
            if queue:
                break
            if self._closed:
                return []
            self._wake.acquire()
        self._idle = False
        return [queue.popleft() for _ in range(min(len(queue), LARGEST_BATCH))]

    def _commit(self, batch: list[_Waiting]) -> None:
        rows = [waiting.row for waiting in batch if waiting.row is not None]
        failure: JournalUnavailable | None = None
        try:
            if rows:
                table.insert(self._connect(), rows)
        except JournalUnavailable as error:
            failure = error
        except sqlite3.Error as error:
            failure = JournalUnavailable(str(error))
            # Some failures need a new connection, and for the others one is cheap beside a failed write.
            self._disconnect()
        except Exception as error:
            # A bug; but with the writer gone every later append would wait for ever.
            log.exception("the journal's writer failed on a batch")
            failure = JournalUnavailable(f"the writer failed: {type(error).__name__}")
            self._disconnect()
        if failure is None:
            now = time.perf_counter()
            self._failing = None if rows else self._failing
            if rows:
                self._unmoved += len(rows)
                if self._unmoved >= EVENTS_BETWEEN_CHECKPOINTS:
                    self._unmoved = 0
                    self._move.set()
                self._metrics.journal_committed([now - waiting.since for waiting in batch if waiting.row is not None])
        else:
            self._failing = failure.reason
            self._metrics.journal_failed(len(rows))
        self._tell(batch, failure)

    def _move_log(self) -> None:
        while not self._closed:
            self._move.wait()
            self._move.clear()
            with contextlib.suppress(sqlite3.Error):
                table.move_log_into_table(self._folder)

    def _tell(self, batch: list[_Waiting], failure: JournalUnavailable | None) -> None:
        """Wake each event loop once for all of the batch that waits in it."""
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for waiting in batch:
            if waiting.future is not None:
                by_loop.setdefault(waiting.future.get_loop(), []).append(waiting.future)
        for loop, futures in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, futures, failure)
            except RuntimeError:
                continue  # The loop is closed: nobody waits any more.


def _settle(futures: list[asyncio.Future[None]], failure: JournalUnavailable | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(JournalUnavailable(failure.reason))


def open_journal(folder: Path | None, *, sync: Literal["full", "async"], metrics: Metrics) -> Journal:
    """Return the journal in `folder`, or one that keeps nothing when there is none.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be written.
    """
    return NullJournal() if folder is None else SqliteJournal(folder, sync=sync, metrics=metrics)


def find_in(path: Path, decision_id: str) -> DecisionMade | None:
    """Return the decision of an id in a journal that nobody may be writing: its folder, or its file.

    Raises
    ------
    JournalUnavailable
        When there is no journal, or it cannot be read.
    """
    try:
        opened = table.open_for_reading(path) if path.is_dir() else table.open_file(path)
        with contextlib.closing(opened) as connection:
            return table.find(connection, decision_id)
    except (sqlite3.Error, msgspec.DecodeError) as error:
        reason = f"{path} cannot be read: {error}"
        raise JournalUnavailable(reason) from error
