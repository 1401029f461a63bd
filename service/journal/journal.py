"""The journal of one process: events from the event loop to the disk, one batch at a time, and back.

`append` makes an event bytes and waits; a thread takes all that wait, writes them with one system call and wakes the loop once
for all of them. The thread needs the interpreter lock twice a batch: when it is woken and when the disk is done.

This module must not know how files are laid out.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Literal, TypeVar

import msgspec

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled
from service.errors import JournalUnavailable
from service.journal.frame import frame_of
from service.journal.log import Keeping, Log, WriteFailed
from service.journal.lookup import Lookup
from service.journal.null import NullJournal
from service.journal.reader import JournalReader
from service.journal.upkeep import Upkeep
from service.metrics import Metrics
from service.ports import Journal

MOST_WAITING: Final = 10_000
"""Events that may wait for the writer; one more is refused, so that a slow disk cannot eat the memory."""
MOST_WAITING_BYTES: Final = 256 << 20
"""Bytes that may."""
LARGEST_BATCH: Final = 512
"""Events in one write: the system takes at most 1,024 pieces, and an event is two."""
STUCK_SECONDS: Final = 1.0
"""A disk that has not taken a batch for so long is not waited for: what comes meanwhile is refused at once."""
TICK_SECONDS: Final = 0.25
"""How often the writer looks after disk space, age and place of its files."""
SYNC_SECONDS: Final = 1.0
"""How often mode ``async`` asks the disk to take what was written."""

T = TypeVar("T")
Waiting = asyncio.Future[None] | None
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
        When the folder cannot be written, or another process writes it.
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
        self._keeping = keeping or Keeping()
        self._waits_for_disk = sync == "full"
        self._metrics = metrics or Metrics()
        self._refusal: str | None = None
        self._failing: str | None = None
        self._closed = False
        self._frames: list[bytes] = []
        self._waiting: list[Waiting] = []
        self._accepted = self._written = 0
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._idle = False
        self._writing_since: float | None = None
        self._batch_since = 0.0
        self._log = Log(folder / writer, durable=self._waits_for_disk, keeping=self._keeping)
        self._broken = False
        self._free = self._log.free_bytes()
        self._upkeep = Upkeep(folder, writer, self._keeping)
        self._next_tick = 0.0
        self._next_sync = 0.0
        self._lookup = Lookup(folder, writer, self._open_segment)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._metrics.journal_queue = lambda: len(self._waiting)
        self._metrics.journal_failing = lambda: self.failing is not None
        self._metrics.journal_free = lambda: self._free
        self._check_space()
        self._writer = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._writer.start()

    @property
    def failing(self) -> str | None:
        """What is wrong with the journal; None when it is well."""
        return self._failing or self._stuck()

    async def append(self, event: JournalEvent) -> None:
        """Return when `event` is durable (mode ``async``: when it is on its way).

        Raises
        ------
        JournalUnavailable
            When it could not be made durable. At once while the journal is failing, is closed, or has too many events waiting.
        """
        waiting = self._waiting
        if self._refusal is not None or self._writing_since is not None or len(waiting) >= MOST_WAITING:
            self._refuse_if_need_be()
        frame = frame_of(event)
        self._frames += frame
        self._accepted += len(frame[1])
        future = asyncio.get_running_loop().create_future() if self._waits_for_disk else None
        # The writer takes as many frames as there are futures: the frames are there first.
        waiting.append(future)
        # The writer looks at the queue once more after it has said that it is idle, so that no wake-up is lost.
        if self._idle:
            self._idle = False
            self._batch_since = time.perf_counter()
            self._wake.put(None)
        if future is not None:
            await future

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
        with JournalReader(self._folder) as reader:
            return [(entry.number, entry.event()) for entry in reader.read(self._name, after, limit).entries]

    def end(self) -> int:
        """Return the number of this writer's last event that is durable; 0 when there is none."""
        return self._log.last

    async def close(self) -> None:
        """Write what waits, then close. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._refusal = "it is closed"
        self._wake.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._upkeep.close)
        await asyncio.to_thread(self._reading.shutdown)
        self._lookup.close()

    def _refuse_if_need_be(self) -> None:
        reason = self._refusal or self._stuck()
        if reason is None and len(self._waiting) >= MOST_WAITING:
            reason = f"{MOST_WAITING} events wait already"
        if reason is None and self._accepted - self._written >= MOST_WAITING_BYTES:
            reason = f"{MOST_WAITING_BYTES >> 20} MiB of events wait already"
        if reason is not None:
            self._metrics.journal_failed(1)
            raise JournalUnavailable(reason)

    def _stuck(self) -> str | None:
        since = self._writing_since
        if since is None or time.perf_counter() - since < STUCK_SECONDS:
            return None
        return f"the disk has taken nothing for {STUCK_SECONDS:g} s"

    async def _read(self, query: Callable[[], T]) -> T:
        if self._closed:
            reason = "it is closed"
            raise JournalUnavailable(reason)
        loop = asyncio.get_running_loop()
        if not self._waits_for_disk and self._refusal is None:
            # Whoever reads finds what was appended before: an empty frame waits for its turn.
            mark = loop.create_future()
            self._frames += (b"", b"")
            self._waiting.append(mark)
            self._idle = False
            self._wake.put(None)
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

    def _open_segment(self) -> tuple[int, bytes]:
        """Return the first number of the segment that is being written, and the headers of its frames. Any thread."""
        while True:
            first, heads = self._log.segment.first, bytes(self._log.heads)
            if self._log.segment.first == first:
                return first, heads

    # The writer's thread, from here on.

    def _run(self) -> None:
        while True:
            count = self._take()
            if count:
                self._commit(count)
            elif self._closed:
                break
            if time.perf_counter() >= self._next_tick:
                self._tick()
        try:
            self._log.close()
        except OSError as error:
            log.warning("the journal was not closed well: %s", error)
        self._upkeep.seal(self._log.sealed)

    def _take(self) -> int:
        """Return how many events to write, waiting for them if need be; 0 when nothing came until the next look around."""
        waiting = self._waiting
        if not waiting:
            self._idle = True
            if not waiting and not self._closed:
                with contextlib.suppress(Empty):
                    self._wake.get(timeout=TICK_SECONDS)
            self._idle = False
        return min(len(waiting), LARGEST_BATCH)

    def _commit(self, count: int) -> None:
        frames, waiting = self._frames[: 2 * count], self._waiting[:count]
        del self._frames[: 2 * count], self._waiting[:count]
        heads = b"".join(frames[::2])
        self._written += sum(map(len, frames)) - len(heads)
        kept, failure = len(waiting), None
        if heads:
            since, started = self._batch_since, time.perf_counter()
            # Whoever comes while this is written has waited no longer than since now when the next one is.
            self._batch_since = self._writing_since = started
            try:
                if self._failing is None:
                    self._log.write(frames, heads)
                else:
                    kept, failure = 0, self._failing
            except WriteFailed as error:
                kept, failure = error.kept, str(error)
                self._fail(failure, broken=True)
            except Exception as error:
                # A bug; but with the writer gone every later append would wait for ever.
                log.exception("the journal's writer failed on a batch")
                kept, failure = 0, f"the writer failed: {type(error).__name__}"
                self._fail(failure, broken=True)
            self._writing_since = None
            if kept:
                self._metrics.journal_committed(kept, time.perf_counter() - since)
            if kept < len(waiting):
                self._metrics.journal_failed(len(waiting) - kept)
        self._tell(waiting, kept, failure)

    def _tell(self, waiting: list[Waiting], kept: int, failure: str | None) -> None:
        """Wake the event loop once for all of a batch that wait in it."""
        if not self._waits_for_disk:
            # Only marks wait here, and they ask for no more than their turn.
            waiting, kept = [future for future in waiting if future is not None], len(waiting)
        if not waiting or waiting[0] is None:
            return
        # A closed loop: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            waiting[0].get_loop().call_soon_threadsafe(_settle, waiting, kept, failure)

    def _fail(self, reason: str, *, broken: bool) -> None:
        """Refuse everything from now on, until `_tick` finds that all is well again."""
        if self._failing is None:
            log.error("the journal takes nothing any more: %s", reason)
        self._failing = reason
        self._broken = self._broken or broken
        if not self._closed:
            self._refusal = reason

    def _recovered(self) -> None:
        log.warning("the journal takes events again")
        self._failing = None
        if not self._closed:
            self._refusal = None

    def _tick(self) -> None:
        """Look after the files: are they there, is there room, are they old, and is what failed well again?"""
        now = time.perf_counter()
        self._next_tick = now + TICK_SECONDS
        try:
            if self._broken:
                self._log.mend()
                self._broken = False
            elif not self._log.is_in_place():
                log.error("the journal's files were deleted under it: made again from what was open of them")
                self._log.restore()
            self._check_space()
            if self._log.is_old():
                self._log.rotate()
            if now >= self._next_sync:
                self._next_sync = now + SYNC_SECONDS
                self._log.sync()
        except JournalUnavailable as error:
            self._fail(error.reason, broken=True)
        except OSError as error:
            self._fail(error.strerror or str(error), broken=True)
        except Exception as error:
            log.exception("the journal's writer failed")
            self._fail(f"the writer failed: {type(error).__name__}", broken=True)
        sealed, self._log.sealed = self._log.sealed, []
        if sealed:
            self._upkeep.seal(sealed)

    def _check_space(self) -> None:
        """Refuse events in time, before the disk does: what else is on it needs room too, and reads go on."""
        self._free, floor = self._log.free_bytes(), self._keeping.floor_bytes
        if self._free < floor:
            reason = f"{self._free >> 20} MiB are free, less than the {floor >> 20} MiB that stay free"
            self._fail(reason, broken=False)
        elif self._failing is not None and not self._broken:
            self._recovered()


def _settle(waiting: list[Waiting], kept: int, failure: str | None) -> None:
    """Tell those who wait for a batch: the first ones that it is kept, the others why not."""
    for place, future in enumerate(waiting):
        if future is None or future.done():
            continue
        if place < kept:
            future.set_result(None)
        else:
            future.set_exception(JournalUnavailable(failure or "the disk did not take it"))


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
