"""The thread that writes: it takes all events that wait, gives them to the disk in one call, and wakes the loop once.

The loop says when: at the end of a turn in which something came, and not before the batch before is settled. A thread that
helped itself whenever the disk is free would find one event or two, and each batch costs a flush and two changes of the
interpreter lock, more than a whole decision does. Between batches it looks after its files. This module must not know what an
event means.
"""

import asyncio
import contextlib
import logging
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from service.errors import JournalUnavailable
from service.journal.keeping import Keeping
from service.journal.log import Log, WriteFailed
from service.journal.upkeep import Upkeep
from service.metrics import Metrics

LARGEST_BATCH: Final = 512
"""Events in one write: the system takes at most 1,024 pieces, and an event is two."""
STUCK_SECONDS: Final = 1.0
"""A disk that has not taken a batch for so long is not waited for: what comes meanwhile is refused at once."""
TICK_SECONDS: Final = 0.25
"""How often the writer looks after disk space, age and place of its files."""
GATHER_SECONDS: Final = 0.01
"""How long mode ``async``, in which nobody waits, gathers events for one write."""
SYNC_SECONDS: Final = 1.0
"""How often mode ``async`` asks the disk to take what was written."""
_SHARE: Final = 0.5
"""In so much of the time in which a segment is filled the next one is made."""

Waiting = asyncio.Future[None] | None
log: Final = logging.getLogger(__name__)


class Writer:
    """Writes what waits.

    Parameters
    ----------
    folder, name
        Of the journal, and of the writer.
    durable
        Whether somebody waits for each event.
    metrics
        Counts batches, waits and losses.
    keeping
        When segments are sealed and deleted, and how much space is left free.

    Attributes
    ----------
    frames
        What waits: header, content, header, content. The loop adds to the end, the thread takes from the beginning.
    waiting
        Who waits for each event; None for nobody. An event's frame is there before this is.
    is_called
        Whether the thread knows of what waits, or will be told; whoever adds something while it is not is to `call` it.
    writing_since
        When the thread began what it is at with the disk (`time.perf_counter`); None while it is not.
    refusal
        Why nothing is taken; None when all is well.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be written, or another process writes as this writer.
    """

    def __init__(self, folder: Path, name: str, *, durable: bool, metrics: Metrics, keeping: Keeping) -> None:
        self._durable = durable
        self._metrics = metrics
        self._keeping = keeping
        self.frames: list[bytes] = []
        self.waiting: list[Waiting] = []
        self.written_bytes = 0
        self.is_called = False
        self.writing_since: float | None = None
        self.refusal: str | None = None
        self.failing: str | None = None
        self._closed = False
        self._is_broken = False
        self._batch_since = 0.0
        self._next_tick = self._next_sync = 0.0
        self._signal: SimpleQueue[None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._log = Log(folder / name, durable=durable, keeping=keeping)
        self.free_bytes = 0
        self._check_space()
        self._upkeep = Upkeep(folder, name, keeping)
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def last(self) -> int:
        """Number of the last event that is durable; 0 before the first."""
        return self._log.last

    def call(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the thread woken at the end of this turn of the loop, for whatever waits by then."""
        self.is_called = True
        self._batch_since = time.perf_counter()
        if self._durable:
            loop.call_soon(self.wake, loop)
        else:
            loop.call_later(GATHER_SECONDS, self.wake, loop)

    def wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the thread now; `loop` is told what becomes of the batch."""
        self._loop = loop
        self.is_called = True
        self._signal.put(None)

    def stuck(self) -> str | None:
        """Return that the disk hangs, when it does."""
        since = self.writing_since
        if since is None or time.perf_counter() - since < STUCK_SECONDS:
            return None
        return f"the disk has taken nothing for {STUCK_SECONDS:g} s"

    def open_segment(self) -> tuple[int, bytes]:
        """Return the first number of the segment that is being written, and the headers of its frames. Any thread."""
        while True:
            first, heads = self._log.segment.first, bytes(self._log.heads)
            if self._log.segment.first == first:
                return first, heads

    def close(self) -> None:
        """Write what waits, then close. Blocking; no event may come any more."""
        self._closed = True
        self._signal.put(None)
        self._thread.join()
        self._upkeep.close()

    # The thread, from here on.

    def _run(self) -> None:
        while True:
            is_woken = self._is_woken()
            if is_woken or self._closed:
                # What comes while this is written is for the next turn.
                left = len(self.waiting)
                while left:
                    count = min(left, LARGEST_BATCH)
                    self._commit(count, is_last=count == left)
                    left -= count
            if self._closed and not self.waiting:
                break
            if time.perf_counter() >= self._next_tick:
                self._tick()
        try:
            self._log.close()
        except OSError as error:
            log.warning("the journal was not closed well: %s", error)
        self._hand_over_sealed()

    def _is_woken(self) -> bool:
        """Wait to be woken; return False when it was only time to look around."""
        try:
            self._signal.get(timeout=TICK_SECONDS)
        except Empty:
            return False
        return True

    def _commit(self, count: int, *, is_last: bool) -> None:
        frames, waiting = self.frames[: 2 * count], self.waiting[:count]
        del self.frames[: 2 * count], self.waiting[:count]
        heads = b"".join(frames[::2])
        self.written_bytes += sum(map(len, frames)) - len(heads)
        kept, failure = count, None
        if heads:
            self.writing_since = time.perf_counter()
            if self.failing is None:
                kept, failure = self._write(frames, heads, count)
            else:
                kept, failure = 0, self.failing
            self.writing_since = None
            if kept:
                self._metrics.journal_committed(kept, time.perf_counter() - self._batch_since)
            if kept < count:
                self._metrics.journal_failed(count - kept)
        self._tell(waiting, kept, failure, is_last=is_last)

    def _write(self, frames: list[bytes], heads: bytes, count: int) -> tuple[int, str | None]:
        """Return how many events of a batch the disk has, and why not all of them."""
        try:
            self._log.write(frames, heads)
        except WriteFailed as error:
            self._fail(str(error), is_broken=True)
            return error.kept, str(error)
        except Exception as error:
            # A bug; but with the writer gone every later append would wait for ever.
            log.exception("the journal's writer failed on a batch")
            failure = f"the writer failed: {type(error).__name__}"
            self._fail(failure, is_broken=True)
            return 0, failure
        return count, None

    def _tell(self, waiting: list[Waiting], kept: int, failure: str | None, *, is_last: bool) -> None:
        """Wake the event loop once for all of a batch."""
        if not self._durable:
            # Only marks wait here, and they ask for no more than their turn.
            waiting, kept = [future for future in waiting if future is not None], len(waiting)
        if self._loop is not None:
            # A closed loop: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, waiting, kept, failure, is_last)

    def _fail(self, reason: str, *, is_broken: bool) -> None:
        """Refuse everything from now on, until `_tick` finds that all is well again."""
        if self.failing is None:
            log.error("the journal takes nothing any more: %s", reason)
        self.failing = self.refusal = reason
        self._is_broken = self._is_broken or is_broken

    def _tick(self) -> None:
        """Look after the files: are they there, is there room, are they old, and is what failed well again?"""
        now = time.perf_counter()
        self._next_tick = now + TICK_SECONDS
        self.writing_since = now
        try:
            self._look_after_files()
            if now >= self._next_sync:
                self._next_sync = now + SYNC_SECONDS
                self._log.sync()
        except JournalUnavailable as error:
            self._fail(error.reason, is_broken=True)
        except OSError as error:
            self._fail(error.strerror or str(error), is_broken=True)
        except Exception as error:
            log.exception("the journal's writer failed")
            self._fail(f"the writer failed: {type(error).__name__}", is_broken=True)
        self.writing_since = None
        self._hand_over_sealed()

    def _look_after_files(self) -> None:
        if self._is_broken:
            self._log.mend()
            self._is_broken = False
        elif not self._log.is_in_place():
            log.error("the journal's files were deleted under it: made again from what was open of them")
            self._log.restore()
        self._check_space()
        if self._log.is_old() or self._log.is_improvised():
            self._log.rotate()
        if self.failing is None and self._log.wants_next():
            self._upkeep.prepare(self._log.fills_in * _SHARE)

    def _check_space(self) -> None:
        """Refuse events in time, before the disk does: what else is on it needs room too, and reads go on."""
        self.free_bytes, floor = self._log.free_bytes(), self._keeping.floor_bytes
        if self.free_bytes < floor:
            reason = f"{self.free_bytes >> 20} MiB are free, less than the {floor >> 20} MiB that stay free"
            self._fail(reason, is_broken=False)
        elif self.failing is not None:
            log.warning("the journal takes events again")
            self.failing = self.refusal = None

    def _hand_over_sealed(self) -> None:
        sealed, self._log.sealed = self._log.sealed, []
        self._upkeep.seal(sealed)

    # The loop, from here on.

    def _settle(self, waiting: list[Waiting], kept: int, failure: str | None, is_last: bool) -> None:
        """Tell those who wait for a batch: the first ones that it is kept, the others why not. Then the next one may go."""
        for place, future in enumerate(waiting):
            if future is None or future.done():
                continue
            if place < kept:
                future.set_result(None)
            else:
                future.set_exception(JournalUnavailable(failure or "the disk did not take it"))
        if is_last and self._loop is not None:
            self.is_called = False
            if self.waiting:
                self.call(self._loop)
