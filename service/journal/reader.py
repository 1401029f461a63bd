"""The journal as others read it: who ships it elsewhere, follows it, or judges by it afterwards.

A position is a writer and a number; numbers of one writer go up by one, from 1 on. Reading never blocks a writer, and what it
returns is on the disk, so that it is the same after whatever failure. Segments may be begun, sealed and deleted meanwhile; what
can no longer be read is reported as a gap. This module must not write.
"""

import contextlib
import heapq
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contracts.event import JournalEvent
from service.errors import JournalUnavailable
from service.journal import lock
from service.journal.cursor import Cursor, count_in
from service.journal.frame import event_in
from service.journal.segment import Segment, segments_in, writers_in

POLL_SECONDS: Final = 0.1
_PAGE: Final = 1_000
_TURNS: Final = 10
"""How often a log is listed anew because one of its segments is gone."""


class Entry(NamedTuple):
    """One event and its position.

    Attributes
    ----------
    writer, number
        The position.
    content
        The event as MessagePack, as it was written.
    """

    writer: str
    number: int
    content: bytes

    def event(self) -> JournalEvent:
        """Return the event.

        Raises
        ------
        JournalUnavailable
            When this build cannot read it.
        """
        try:
            return event_in(self.content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = f"event {self.number} of writer {self.writer} cannot be read: {error}"
            raise JournalUnavailable(reason) from error


class Gap(NamedTuple):
    """Events that cannot be read any more.

    Attributes
    ----------
    writer
        Whose they were.
    first, last
        Their numbers. ``last`` is below ``first`` when the writer's log ends before the position that was asked for: it was
        begun anew, and `last` is where it ends.
    reason
        ``deleted`` (kept long enough, or by somebody's hand), ``damaged`` or ``behind``.
    """

    writer: str
    first: int
    last: int
    reason: str


class Page(NamedTuple):
    """Some events of one writer, in order.

    Attributes
    ----------
    entries
        The events.
    gaps
        What is missing before or between them.
    after
        The position from which to go on reading.
    """

    entries: list[Entry]
    gaps: list[Gap]
    after: int


class Log(NamedTuple):
    """What there is of one writer.

    Attributes
    ----------
    writer
        Its name.
    segments
        Its segments, in order.
    is_live
        Whether a process writes it now.
    """

    writer: str
    segments: list[Segment]
    is_live: bool


class JournalReader:
    """Reads a journal's folder beside those who write it. Not for several threads at once.

    Parameters
    ----------
    folder
        Of the journal (``POINTSMAN_JOURNAL``).

    Raises
    ------
    JournalUnavailable
        When the folder cannot be read.

    Examples
    --------
    Ship everything, and remember how far::

        with JournalReader(folder) as reader:
            for writer in reader.writers():
                page = reader.read(writer, after=shipped.get(writer, 0))
                send(entry.content for entry in page.entries)
                shipped[writer] = page.after
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Per writer: the segment that was read last, open, and the number and the offset of what comes next in it.
        self._open: dict[str, Cursor] = {}
        writers_in(folder)

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; reading opens it again."""
        for cursor in self._open.values():
            cursor.close()
        self._open.clear()

    def writers(self) -> list[str]:
        """Return the names of all writers, those that are gone too.

        Raises
        ------
        JournalUnavailable
            When the folder cannot be read.
        """
        return writers_in(self._folder)

    def logs(self) -> list[Log]:
        """Return what there is of each writer.

        Raises
        ------
        JournalUnavailable
            When a folder cannot be read.
        """
        return [
            Log(writer, segments_in(self._folder / writer), lock.is_taken(self._folder / writer))
            for writer in self.writers()
        ]

    def read(self, writer: str, after: int = 0, limit: int = _PAGE) -> Page:
        """Return up to `limit` events of a writer numbered above `after`, in order. None are there yet: an empty page.

        Parameters
        ----------
        writer
            Its name.
        after
            Number of the last event that was read.
        limit
            Most events to return.

        Raises
        ------
        JournalUnavailable
            When a segment cannot be read.
        """
        turn = 0
        while True:
            turn += 1
            try:
                return self._page(writer, after, limit)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and turn < _TURNS:
                    # Retention has deleted it since it was listed: what is left of the log tells what is missing.
                    continue
                reason = f"the log of writer {writer} cannot be read: {error.strerror or error}"
                raise JournalUnavailable(reason) from error

    def walk(self, writer: str, after: int = 0) -> Iterator[Entry | Gap]:
        """Yield the events of a writer numbered above `after`, and the gaps between them, up to where its log ends now.

        Raises
        ------
        JournalUnavailable
            As `read`.
        """
        while True:
            page = self.read(writer, after)
            yield from _in_order(page)
            if page.after == after:
                return
            after = page.after

    def follow(
        self, after: Mapping[str, int] | None = None, *, poll_seconds: float = POLL_SECONDS
    ) -> Iterator[Entry | Gap | None]:
        """Yield the events of all writers as they come, for ever; None whenever there is nothing new for now.

        Writers that come later are followed from their first event on, and so is a log that was begun anew: the gap says
        ``behind``.

        Parameters
        ----------
        after
            Positions from which to go on: numbers by writer.
        poll_seconds
            How long to wait after each None.

        Raises
        ------
        JournalUnavailable
            As `read`.
        """
        positions = dict(after or {})
        while True:
            quiet = True
            for writer in self.writers():
                page = self.read(writer, positions.get(writer, 0))
                if page.entries or page.gaps:
                    quiet = False
                    yield from _in_order(page)
                    is_behind = bool(page.gaps) and page.gaps[-1].reason == "behind"
                    positions[writer] = 0 if is_behind else page.after
            if quiet:
                yield None
                time.sleep(poll_seconds)

    def merged(self) -> Iterator[Entry]:
        """Yield the events of all writers up to now, by the moment at which they were decided or received.

        Events of one writer stay in their order. Gaps are passed over.

        Raises
        ------
        JournalUnavailable
            As `read`.
        """
        writers = self.writers()
        if len(writers) == 1:
            yield from self._entries(writers[0])
        else:
            logs = [_timed(self._entries(writer)) for writer in writers]
            yield from (entry for _, entry in heapq.merge(*logs, key=lambda timed: timed[0]))

    def _entries(self, writer: str) -> Iterator[Entry]:
        return (found for found in self.walk(writer) if isinstance(found, Entry))

    def _page(self, writer: str, after: int, limit: int) -> Page:
        page = Page([], [], after)
        segments = segments_in(self._folder / writer)
        if not segments and after:
            page.gaps.append(Gap(writer, after + 1, 0, "behind"))
        place = max(0, sum(segment.first <= after + 1 for segment in segments) - 1)
        while place < len(segments) and len(page.entries) < limit:
            segment = segments[place]
            if page.after + 1 < segment.first:
                reason = "damaged" if place else "deleted"
                page.gaps.append(Gap(writer, page.after + 1, segment.first - 1, reason))
                page = page._replace(after=segment.first - 1)
            is_last = place == len(segments) - 1
            bound = limit if is_last else min(limit, len(page.entries) + segments[place + 1].first - page.after - 1)
            page = self._read_on(segment, page, bound, writer, is_last=is_last)
            place += 1
        return page

    def _read_on(self, segment: Segment, page: Page, limit: int, writer: str, *, is_last: bool) -> Page:
        """Return the page with the events of one segment added, until it has `limit` of them."""
        cursor = self._open.get(writer)
        if cursor is None or not cursor.is_at(segment, page.after + 1):
            if cursor is not None:
                cursor.close()
            cursor = self._open[writer] = Cursor(segment)
            if not cursor.seek(page.after + 1):
                if is_last:
                    page.gaps.append(Gap(writer, page.after + 1, cursor.number - 1, "behind"))
                return page
        for number, content in cursor.read(limit - len(page.entries)):
            if content is None:
                page.gaps.append(Gap(writer, number, number, "damaged"))
            else:
                page.entries.append(Entry(writer, number, content))
        if is_last and page.entries:
            cursor.sync()
        return page._replace(after=cursor.number - 1)


class _Moment(msgspec.Struct):
    """When an event came, whichever kind it is."""

    decided_at: datetime | None = None
    received_at: datetime | None = None


_moment_in: Final = msgspec.msgpack.Decoder(_Moment).decode


def _timed(entries: Iterator[Entry]) -> Iterator[tuple[float, Entry]]:
    """Yield events with the moment at which they came; one that cannot be read counts as come with the one before it."""
    at = 0.0
    for entry in entries:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            found = _moment_in(entry.content)
            moment = found.decided_at or found.received_at
            at = at if moment is None else moment.timestamp()
        yield at, entry


def _in_order(page: Page) -> Iterator[Entry | Gap]:
    """Yield the events and the gaps of a page by their numbers."""
    return heapq.merge(
        page.gaps, page.entries, key=lambda found: found.first if isinstance(found, Gap) else found.number
    )


def count(folder: Path) -> tuple[int, int]:
    """Return how many events a journal holds, and how many of them are decisions.

    Raises
    ------
    JournalUnavailable
        When it cannot be read.
    """
    events = decisions = 0
    try:
        for writer in writers_in(folder):
            for segment in segments_in(folder / writer):
                own = count_in(segment)
                events, decisions = events + own[0], decisions + own[1]
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror or error}"
        raise JournalUnavailable(reason) from error
    return events, decisions
