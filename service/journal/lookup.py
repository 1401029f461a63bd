"""Decisions and outcomes by id and by attempt, over the segments of all writers of a journal.

A sealed segment is asked through its index. One without is read from where it was left the last time: that of another worker
grows while it is looked at, and that of a worker that is gone has no index yet. The own worker tells the headers of its own.

All of it belongs to one thread. This module must not write.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeGuard

import msgspec

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled, RetryDecided
from service.errors import JournalUnavailable
from service.journal import index
from service.journal.frame import HEAD_SIZE, attempt_key, decision_key, event_in
from service.journal.index import Index, Place
from service.journal.segment import START_SIZE, Segment, blocks, content_at, segments_in, writers_in

_SETTLED_NS: Final = 100_000_000
"""A folder's listing is kept when the folder did not change for so long: its time stamp is no finer than the clock's tick."""


class Kept(NamedTuple):
    """An event, by when it came: moment, and number among those of its writer."""

    at: float
    number: int
    event: JournalEvent


class _Tail:
    """A segment without an index, as far as it was read."""

    def __init__(self, segment: Segment) -> None:
        self._descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self._end = START_SIZE
        self._heads = bytearray()

    def heads(self) -> bytes:
        """Read on; return the headers of all frames."""
        for offset, content, frames in blocks(self._descriptor, self._end):
            for at, _, _ in frames:
                self._heads += content[at : at + HEAD_SIZE]
            self._end = offset + frames[-1].end
        return bytes(self._heads)

    def close(self) -> None:
        os.close(self._descriptor)


class Lookup:
    """Finds events in a journal.

    Parameters
    ----------
    folder
        Of the journal.
    writer
        Name of the writer that this process is; None when it is none.
    own
        Tells the first number of the segment that this process writes, and the headers of its frames.
    """

    def __init__(
        self, folder: Path, writer: str | None = None, own: Callable[[], tuple[int, bytes]] | None = None
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._own = own
        self._tails: dict[Path, _Tail] = {}
        self._listed: dict[Path, tuple[int, list[Segment]]] = {}

    def find(self, decision_id: str) -> DecisionMade | None:
        """Return the decision of an id: the event of its answer, and one of a repeat only where there is no other.

        One worker has the answer, and another may have given it again.

        Raises
        ------
        JournalUnavailable
            When a folder cannot be read.
        OSError
            When a segment cannot be read.
        msgspec.DecodeError
            When this build cannot read an event.
        """
        repeats: list[Kept] = []
        for found in self._matches(decision_key(decision_id)):
            own = [kept for kept in found if _is_decision(kept.event) and kept.event.answer.decision_id == decision_id]
            answers = [kept for kept in own if not _decision(kept).repeat]
            if answers:
                return _decision(max(answers, key=_when))
            repeats += own
        return _decision(max(repeats, key=_when)) if repeats else None

    def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        """Return the latest decision about an attempt: its own, else the retry decision that planned it.

        Raises
        ------
        JournalUnavailable, OSError, msgspec.DecodeError
            As `find`.
        """
        own: list[Kept] = []
        planned: list[Kept] = []
        keys = (attempt_key(payment_id, attempt), attempt_key(payment_id, attempt - 1))
        for found in self._matches(*keys):
            for kept in found:
                event = kept.event
                if not _is_decision(event) or event.answer.payment_id != payment_id:
                    continue
                if isinstance(event, RetryDecided):
                    if event.answer.attempt == attempt - 1 and event.answer.should_retry:
                        planned.append(kept)
                elif event.answer.attempt == attempt:
                    own.append(kept)
        best = max(own or planned, key=lambda kept: (not _decision(kept).repeat, *_when(kept)), default=None)
        return None if best is None else _decision(best)

    def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        """Return the outcomes of an attempt, in order of their arrival.

        Raises
        ------
        JournalUnavailable, OSError, msgspec.DecodeError
            As `find`.
        """
        settled: list[tuple[float, int, OutcomeSettled]] = []
        for found in self._matches(attempt_key(payment_id, attempt)):
            for at, number, event in found:
                if not isinstance(event, OutcomeSettled):
                    continue
                if (event.outcome.payment_id, event.outcome.attempt) == (payment_id, attempt):
                    settled.append((at, number, event))
        return [event for _, _, event in sorted(settled, key=lambda each: each[:2])]

    def close(self) -> None:
        """Close what is open."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _matches(self, *keys: int) -> Iterator[list[Kept]]:
        """Yield the events that have one of the keys, segment by segment: the own writer first, the newest first."""
        live: set[Path] = set()
        writers = writers_in(self._folder)
        for writer in sorted(writers, key=lambda name: name != self._writer):
            for segment in reversed(self._segments(self._folder / writer)):
                try:
                    found = self._in(writer, segment, keys, live)
                except FileNotFoundError:
                    # Retention has deleted it since it was listed.
                    continue
                if found:
                    yield found
        for path in self._tails.keys() - live:
            self._tails.pop(path).close()

    def _segments(self, folder: Path) -> list[Segment]:
        try:
            changed = folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        known = self._listed.get(folder)
        if known is not None and known[0] == changed:
            return known[1]
        segments = segments_in(folder)
        if time.time_ns() - changed > _SETTLED_NS:
            self._listed[folder] = (changed, segments)
        return segments

    def _in(self, writer: str, segment: Segment, keys: tuple[int, ...], live: set[Path]) -> list[Kept]:
        """Return the events of one segment that have one of the keys."""
        heads: bytes | None = None
        if writer == self._writer and self._own is not None:
            first, own = self._own()
            # None at the moment between two segments: then it is asked as any other is.
            heads = own if own and first == segment.first else None
        if heads is None:
            sealed = Index.open(segment.path, segment.first)
            if sealed is not None:
                with sealed:
                    return _read(segment, [place for key in keys for place in sealed.places(key)])
            live.add(segment.path)
            tail = self._tails.get(segment.path)
            if tail is None:
                tail = self._tails[segment.path] = _Tail(segment)
            heads = tail.heads()
        return _read(segment, [place for key in keys for place in index.places(heads, key)])


def find_in(folder: Path, decision_id: str) -> DecisionMade | None:
    """Return the decision of an id in a journal's folder, whether anybody writes it or not.

    Raises
    ------
    JournalUnavailable
        When there is no journal, or it cannot be read.
    """
    lookup = Lookup(folder)
    try:
        return lookup.find(decision_id)
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror or error}"
        raise JournalUnavailable(reason) from error
    except msgspec.DecodeError as error:
        reason = f"{folder} holds an event that cannot be read: {error}"
        raise JournalUnavailable(reason) from error
    finally:
        lookup.close()


def _read(segment: Segment, places: list[Place]) -> list[Kept]:
    """Return the events at some places of a segment; one that is damaged is passed over."""
    if not places:
        return []
    kept: list[Kept] = []
    descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for ordinal, offset in dict.fromkeys(places):
            content = content_at(descriptor, offset)
            if content is not None:
                event = event_in(content)
                kept.append(Kept(_moment(event), segment.first + ordinal, event))
    finally:
        os.close(descriptor)
    return kept


def _moment(event: JournalEvent) -> float:
    return (event.received_at if isinstance(event, OutcomeSettled) else event.decided_at).timestamp()


def _when(kept: Kept) -> tuple[float, int]:
    return kept.at, kept.number


def _is_decision(event: JournalEvent) -> TypeGuard[DecisionMade]:
    return not isinstance(event, OutcomeSettled)


def _decision(kept: Kept) -> DecisionMade:
    assert _is_decision(kept.event)
    return kept.event
