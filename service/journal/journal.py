"""The journal of one process: events from the event loop to the disk, and back.

`append` makes an event bytes, which is most of what it costs the loop, and waits for the writer (`service.journal.writer`).
This module must not know how files are laid out.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled
from service.errors import JournalUnavailable
from service.journal.frame import frame_of
from service.journal.keeping import Keeping
from service.journal.lookup import Lookup
from service.journal.null import NullJournal
from service.journal.reader import JournalReader
from service.journal.writer import Writer
from service.metrics import Metrics
from service.ports import Journal

MOST_WAITING: Final = 10_000
"""Events that may wait for the writer; one more is refused, so that a slow disk cannot eat the memory."""
MOST_WAITING_BYTES: Final = 256 << 20
"""Bytes that may."""

T = TypeVar("T")
log: Final = logging.getLogger(__name__)


class LogJournal:
    """Events in segments of one writer's folder (`service.ports.Journal`).

    Parameters
    ----------
    folder
        Of the journal: writers have folders in it.
    writer
        Name of the writer, such as the number of the worker. One process at a time writes as one writer.
    sync
        ``full``: `append` returns when the disk has the event. ``async``: it returns at once; what the system has not yet
        written is lost when the machine fails, about a second of it, and what still waits in this process when that is killed.
    metrics
        Counts batches, waits and losses.
    keeping
        When segments are sealed and deleted, and how much space is left free.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be written, or another process writes as this writer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writer: str = "0",
        sync: Literal["full", "async"] = "full",
        metrics: Metrics | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._folder = folder
        self._name = writer
        self._waits_for_disk = sync == "full"
        self._metrics = metrics or Metrics()
        self._closed = False
        self._accepted_bytes = 0
        self._writer = Writer(
            folder, writer, durable=self._waits_for_disk, metrics=self._metrics, keeping=keeping or Keeping()
        )
        # The same two lists for ever: the hot path reaches them at once.
        self._frames, self._waiting = self._writer.frames, self._writer.waiting
        self._lookup = Lookup(folder, writer, self._writer.open_segment)
        self._reader = JournalReader(folder)
        self._shipping = threading.Lock()
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._metrics.journal_queue = lambda: len(self._waiting)
        self._metrics.journal_failing = lambda: self.failing is not None
        self._metrics.journal_free = lambda: self._writer.free_bytes

    @property
    def failing(self) -> str | None:
        """What is wrong with the journal; None when it is well."""
        return self._writer.failing or self._writer.stuck()

    async def append(self, event: JournalEvent) -> None:
        """Return when `event` is durable (mode ``async``: when it is on its way).

        Raises
        ------
        JournalUnavailable
            When it could not be made durable. At once while the journal is failing, is closed, or has too many events waiting.
        """
        future = self.put(event)
        if future is not None:
            await future

    def put(self, event: JournalEvent) -> "asyncio.Future[None] | None":
        """Take an event; return what is done once it is durable, None in mode ``async``; `append` says how it fails."""
        writer, waiting = self._writer, self._waiting
        if (
            writer.refusal is not None
            or writer.writing_since is not None
            or len(waiting) >= MOST_WAITING
            or self._closed
        ):
            self._refuse_if_need_be()
        frame = frame_of(event)
        self._frames += frame
        self._accepted_bytes += len(frame[1])
        loop = asyncio.get_running_loop()
        future = loop.create_future() if self._waits_for_disk else None
        # The writer takes as many frames as there are here: the frame is there first.
        waiting.append(future)
        if not writer.is_called:
            writer.call(loop)
        return future

    async def find(self, decision_id: str) -> DecisionMade | None:
        """Return the decision of an id: the event of its answer, and one of a repeat only where there is no other.

        Decisions of other workers are found too.

        Raises
        ------
        JournalUnavailable
            When the files cannot be read.
        """
        return await self._read(lambda: self._lookup.find(decision_id))

    async def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        """Return the latest decision about an attempt: its own, else the retry decision that planned it.

        Raises
        ------
        JournalUnavailable
            When the files cannot be read.
        """
        return await self._read(lambda: self._lookup.find_attempt(payment_id, attempt))

    async def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        """Return the outcomes reported for one attempt, in order of their arrival.

        Raises
        ------
        JournalUnavailable
            When the files cannot be read.
        """
        return await self._read(lambda: self._lookup.outcomes_of(payment_id, attempt))

    def events(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, JournalEvent]]:
        """Return up to `limit` events of this writer numbered above `after`, in order. Blocking; callable from any thread.

        What retention has deleted is passed over; `service.journal.reader` tells of it, and of other writers.

        Raises
        ------
        JournalUnavailable
            When the files cannot be read.
        """
        with self._shipping:
            # Open from page to page: whoever goes through it all does not look for each place anew.
            page = self._reader.read(self._name, after, limit)
            if self._closed:
                self._reader.close()
        return [(entry.number, entry.event()) for entry in page.entries]

    def end(self) -> int:
        """Return the number of this writer's last event that is durable; 0 when there is none."""
        return self._writer.last

    async def close(self) -> None:
        """Write what waits, then close. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._reading.shutdown)
        self._lookup.close()
        with self._shipping:
            self._reader.close()

    def _refuse_if_need_be(self) -> None:
        writer = self._writer
        reason = "it is closed" if self._closed else writer.refusal or writer.stuck()
        if reason is None and len(self._waiting) >= MOST_WAITING:
            reason = f"{MOST_WAITING} events wait already"
        if reason is None and self._accepted_bytes - writer.written_bytes >= MOST_WAITING_BYTES:
            reason = f"{MOST_WAITING_BYTES >> 20} MiB of events wait already"
        if reason is not None:
            self._metrics.journal_failed(1)
            raise JournalUnavailable(reason)

    async def _read(self, query: Callable[[], T]) -> T:
        if self._closed:
            reason = "it is closed"
            raise JournalUnavailable(reason)
        loop = asyncio.get_running_loop()
        if not self._waits_for_disk:
            # Whoever reads finds what was appended before: an empty frame waits for its turn.
            mark = loop.create_future()
            self._frames += (b"", b"")
            self._waiting.append(mark)
            self._writer.wake(loop)
            await mark
        return await loop.run_in_executor(self._reading, self._query, query)

    def _query(self, query: Callable[[], T]) -> T:
        try:
            return query()
        except OSError as error:
            raise JournalUnavailable(error.strerror or str(error)) from error
        except msgspec.DecodeError as error:
            # An event of a newer build: nothing is served from it, and nothing fails because of it.
            reason = f"an event cannot be read: {error}"
            raise JournalUnavailable(reason) from error


def open_journal(
    folder: Path | None,
    *,
    sync: Literal["full", "async"],
    metrics: Metrics,
    writer: str = "0",
    keeping: Keeping | None = None,
) -> Journal:
    """Return the journal in `folder` as `writer` writes it, or one that keeps nothing when there is no folder.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be written, or another process writes as this writer.
    """
    if folder is None:
        return NullJournal()
    old = folder / "events.sqlite"
    if old.exists():
        log.warning("%s is a journal of an earlier build: it is left as it is, and nothing in it is looked up", old)
    return LogJournal(folder, writer=writer, sync=sync, metrics=metrics, keeping=keeping)
