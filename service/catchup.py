"""Writes to the store what it missed while it was away, from the journal, once each, also after a restart.

A mark beside the journal says how far everything is known to be in the store. While all is well it follows the journal's
end, a few seconds behind. After a failure the journal is gone through from the mark on as soon as the store is well: what an
event says the store may lack is written again. Events have ids and count once, so that a write that had happened after all
changes nothing.

Of the last seconds before a failure, and of those before this process began, everything is written again: a server that
failed over, or came back from its own log, may have lost what it had acknowledged.

This module must not know what an event moves.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, TypeVar

from contracts.event import JournalEvent
from service.arrears import PASSING, TOGETHER, Arrears
from service.errors import JournalUnavailable
from service.journal.reader import Entry, JournalReader
from service.learn import Learn
from service.logs import Seldom
from service.mark import Mark
from service.missed import Refused, came_at, is_missed, is_written
from service.models.active import ActiveBundles
from service.ports import Journal
from service.store.lasting import LastingStore

T = TypeVar("T")

log: Final = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
LOOK_BACK_SECONDS: Final = 3.0
"""How far behind the journal's end the mark stays: more than replication or a server's own log ever lose."""
GRACE_SECONDS: Final = 2.0
"""An event is in the journal at the latest so long after the write that it could not make."""
SAVE_SECONDS: Final = 1.0
_PAGE: Final = 256
_PART: Final = 32
"""How many events of a page are taken apart in one turn of the loop, and asked about in one round trip."""
_MARGIN: Final = timedelta(hours=1)


class CatchUp:
    """Keeps one worker's mark, and writes what the store missed of its events.

    Parameters
    ----------
    store
        Knows whether it is well and when something was not written.
    journal, reader, mark
        The worker's journal, what reads it, and how far its events are known to be in the store.
    bundles
        Whose rules know a card's network.
    learn
        Takes outcomes in once more.
    writer
        The worker's name in the journal.
    refused
        What the journal did not take either.
    answer_seconds, event_ttl_seconds
        How long an answer is given again, and how long an event is known as applied: an older one is left out.
    """

    def __init__(
        self,
        store: LastingStore,
        journal: Journal,
        reader: JournalReader,
        mark: Mark,
        bundles: ActiveBundles,
        learn: Learn,
        *,
        writer: str = "0",
        refused: Refused | None = None,
        answer_seconds: int,
        event_ttl_seconds: int,
    ) -> None:
        self._store = store
        self._journal = journal
        self._reader = reader
        self._mark = mark
        self._writer = writer
        self._refused = Refused() if refused is None else refused
        self._arrears = Arrears(store, bundles, learn, answer_seconds=answer_seconds)
        self._oldest = max(timedelta(0), timedelta(seconds=event_ttl_seconds) - _MARGIN)
        self._seldom = Seldom(10.0)
        self._ends: deque[tuple[float, int]] = deque()
        self._done = self._saved = 0
        self._saved_at = float("-inf")
        # Until this number everything is written again, not only what says that it was missed.
        self._all_until: int | None = None
        self._is_clean = False
        self._was_away = False
        self._running: asyncio.Task[None] | None = None
        # One thread, and one after the other: the reader is for one at a time, and what each of many threads allocates for a
        # page stays with it.
        self._files: ThreadPoolExecutor | None = None
        self._left_out = {"unreadable": 0, "gone": 0, "expired": 0}

    @property
    def written(self) -> dict[str, int]:
        """Events, by kind, that were written after all and that the store had not counted before."""
        return self._arrears.written

    @property
    def left_out(self) -> dict[str, int]:
        """Events that the store may lack and will not have, by why.

        ``unreadable`` by this build, ``gone`` from the journal or damaged there, ``expired``: too old to be written exactly
        once, ``unwritable``: writing it failed for a reason of its own.
        """
        return {**self._left_out, "unwritable": self._arrears.unwritable}

    @property
    def is_clean(self) -> bool:
        """Whether the store has everything that the journal has."""
        return self._is_clean and self._store.missed_at is None

    def start(self) -> None:
        """Begin; what was missed before this process began comes first."""
        if self._running is None:
            self._files = ThreadPoolExecutor(1, thread_name_prefix="catch-up")
            self._done = self._saved = self._mark.load()
            # Whatever the last process had under way may not be written.
            self._store.missed_at = monotonic() - GRACE_SECONDS
            self._store.is_followed = True
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave the mark at the journal's end when all is there. A second call does nothing."""
        running, self._running = self._running, None
        if running is None:
            return
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        is_whole = self.is_clean and self._store.is_well
        await self._save(self._journal.end() if is_whole else self._mark_at())
        self._reader.close()
        if self._files is not None:
            self._files.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            try:
                await self._tick()
            except PASSING as error:
                self._say("what the store missed could not be written yet", error)
            except Exception as error:
                # A bug; but without this task the mark would stay for ever.
                log.exception("catching up failed")
                self._say("catching up failed", error)
            await asyncio.sleep(TICK_SECONDS)

    async def _tick(self) -> None:
        missed_at, now = self._store.missed_at, monotonic()
        if not self._store.is_well:
            # From here on the ends are remembered as they were when it went away.
            self._was_away = True
        elif missed_at is None:
            self._note(now)
            self._done = self._ends[0][1]
        else:
            if self._was_away or self._is_clean or self._all_until is None:
                if self._ends:
                    self._done = min(self._done, self._ends[0][1])
                self._all_until = self._journal.end()
            self._was_away = self._is_clean = False
            await self._write_all()
            self._note(now)
            if self._store.missed_at == missed_at and now - missed_at >= GRACE_SECONDS:
                self._store.missed_at = None
                self._is_clean = True
                log.info("the store has all that it missed", extra={"fields": dict(self.written)})
        if now - self._saved_at >= SAVE_SECONDS and self._mark_at() != self._saved:
            self._saved_at = now
            await self._save(self._mark_at())

    def _note(self, now: float) -> None:
        """Remember where the journal ends while the store is well, for as long as is looked back."""
        ends = self._ends
        ends.append((now, self._journal.end()))
        while len(ends) > 1 and ends[1][0] <= now - LOOK_BACK_SECONDS:
            ends.popleft()

    def _mark_at(self) -> int:
        """Return where the next process is to begin: it looks back as far as this one."""
        return min(self._done, self._ends[0][1]) if self._ends else self._done

    async def _write_all(self) -> None:
        """Write what is missing from the mark to the journal's end; the mark follows page by page."""
        if self._done > self._journal.end():
            # Another journal has begun in its place.
            self._done = 0
        while events := self._refused.first(TOGETHER):
            await self._arrears.pay(events)
            self._refused.done(events)
        while True:
            page = await self._in_thread(lambda: self._reader.read(self._writer, self._done, _PAGE))
            for gap in page.gaps:
                self._left_out["gone"] += max(0, gap.last + 1 - gap.first)
                log.warning("events %d to %d of the journal cannot be read (%s)", gap.first, gap.last, gap.reason)
            is_end = page.after == self._done
            await self._write_page(page.entries)
            self._done = page.after
            if is_end:
                return

    async def _write_page(self, entries: Sequence[Entry]) -> None:
        """Write what is missing of some events, a part of them in a turn of the loop.

        They are taken apart here and not in the thread that read them: it would take the interpreter from the answers for
        milliseconds.
        """
        oldest = datetime.now(UTC) - self._oldest
        for start in range(0, len(entries), _PART):
            part = entries[start : start + _PART]
            await self._arrears.pay([event for entry in part if (event := self._due(entry, oldest)) is not None])
            # Should the store be away again, it is gone on with from here.
            self._done = part[-1].number
            await asyncio.sleep(0)

    def _due(self, entry: Entry, oldest: datetime) -> JournalEvent | None:
        """Return the event of an entry if it is to be written."""
        try:
            event = entry.event()
        except JournalUnavailable as error:
            self._left_out["unreadable"] += 1
            self._say("an event that the store may lack is left out", error)
            return None
        if not is_written(event) or not (entry.number <= (self._all_until or 0) or is_missed(event)):
            return None
        if came_at(event) < oldest:
            self._left_out["expired"] += 1
            return None
        return event

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)

    async def _save(self, applied: int) -> None:
        try:
            await self._in_thread(lambda: self._mark.save(applied))
        except OSError as error:
            self._say("the mark of what the store has could not be written", error)
        else:
            self._saved = applied

    def _say(self, what: str, error: Exception) -> None:
        kept_back = self._seldom.kept_back((what, type(error).__name__))
        if kept_back is not None:
            log.warning("%s: %s", what, error, extra={"fields": {"kept_back": kept_back}})
