"""Online state in the memory of one process: the embedded default, with an optional snapshot on disk.

The semantics are those of Redis: the same blobs, all-or-nothing updates, events that count once, times to live. One
event loop calls it, so nothing here needs a lock. What expired is swept a few entries at a time with each write; of marks,
records, answers, ledgers and standings a million each are kept, and beyond that the oldest go first, whatever their time to
live (half a million decisions and their outcomes; a million answers take 1.6 GB). States are bounded by their time to live
alone. A busy shop wants Redis.

This module must not know the format of a snapshot.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.layout import LAYOUTS
from features.state import add
from service import ledger as ledgers
from service import standing as standings
from service.errors import StoreUnavailable
from service.ledger import release, reserve, settle
from service.standing import add as add_note
from service.store.base import (
    EVENT_TTL_SECONDS,
    Applied,
    Claim,
    Decided,
    Item,
    Kept,
    StateKeys,
    States,
    Update,
    grouped,
)
from service.store.expiring import Kept as Table
from service.store.expiring import Tables, states, table
from service.store.snapshot import REST_SECONDS, Copy, NotOurs, SnapshotRefused, load, put_aside, write

MOST_EVENTS: Final = 1_000_000
"""The most marks of applied events, decision records, answers, ledgers and standings that are kept, of each."""


def added(states: Mapping[str, Table[str, bytes]], updates: Sequence[Update]) -> list[Item]:
    """Return the states after some increments."""
    blobs = []
    for (kind, key), additions in grouped(updates).items():
        layout, blob = LAYOUTS[kind], states[kind].get(key)
        for increment, member in additions:
            blob = add(layout, blob, increment, member)
        if blob is not None:
            blobs.append((kind, key, blob))
    return blobs


def put_all(states: Mapping[str, Table[str, bytes]], blobs: Sequence[Item]) -> None:
    """Put states over whatever is there."""
    for kind, key, blob in blobs:
        states[kind].put(key, blob, LAYOUTS[kind].ttl_seconds)


try:
    from service.store.memory_native import added as add_quickly
    from service.store.memory_native import put_all as put_quickly
except ImportError:
    add_quickly, put_quickly = added, put_all


class MemoryStore:
    """Online state in one process.

    Parameters
    ----------
    path
        File of the snapshot; None keeps nothing on disk.
    event_ttl_seconds
        How long an applied event is remembered.
    save_seconds
        Time between two snapshots.
    clock
        Seconds that only grow, for times to live.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        event_ttl_seconds: int = EVENT_TTL_SECONDS,
        save_seconds: float = 30.0,
        most_events: int = MOST_EVENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._event_ttl = event_ttl_seconds
        self._save_seconds = save_seconds
        # One dict for each kind: within it everything lives equally long, so that the oldest write ends first.
        self._states: dict[str, Table[str, bytes]] = {kind: table(clock) for kind in LAYOUTS}
        self._events: Table[str, bool] = table(clock, most_events)
        self._records: Table[str, bytes] = table(clock, most_events)
        self._standings: Table[str, bytes] = table(clock, most_events)
        self._ledgers: Table[str, bytes] = table(clock, most_events)
        self._answers: Table[str, bytes] = table(clock, most_events)
        self._tables = Tables(
            [self._states[kind].entries for kind in PAYMENT_KINDS],
            [self._states[kind].entries for kind in CANDIDATE_KINDS],
            self._records.entries,
            self._standings.entries,
            self._ledgers.entries,
            self._answers.entries,
        )
        self._clock = clock
        self._changes = 0
        self._saved = 0
        self._saver: asyncio.Task[None] | None = None
        self._failing: str | None = None
        self._closed = False
        self._writing = threading.Lock()
        self._hurry = threading.Event()

    async def open(self) -> str | None:
        """Load the snapshot, if there is one, and start to write it; a snapshot that cannot be used is set aside."""
        if self._path is None:
            return None
        trouble = await asyncio.to_thread(self.load)
        if self._saver is None:
            self._saver = asyncio.get_running_loop().create_task(self._keep_saving(self._path))
        return trouble

    def load(self) -> str | None:
        """Take over the snapshot; return one sentence when it could not be used and was set aside."""
        if self._path is None:
            return None
        try:
            snapshot = load(self._path)
        except NotOurs as error:
            raise StoreUnavailable(str(error)) from error
        except SnapshotRefused as error:
            aside = put_aside(self._path)
            return (
                f"the snapshot {self._path} cannot be used ({error}): state starts empty, the file is kept as {aside}"
            )
        if snapshot is not None:
            # What ends first is put first: a sweep goes no further than the first entry that has time left.
            for kind, key, ttl, blob in sorted(snapshot.states, key=itemgetter(2)):
                if kind in self._states:
                    self._states[kind].put(key, blob, ttl)
            for event_id, ttl, _ in sorted(snapshot.events, key=itemgetter(1)):
                self._events.put(event_id, True, ttl)
            for kept, entries in (
                (self._records, snapshot.records),
                (self._standings, snapshot.standings),
                (self._ledgers, snapshot.ledgers),
                (self._answers, snapshot.answers),
            ):
                for key, ttl, blob in sorted(entries, key=itemgetter(1)):
                    kept.put(key, blob, ttl)
        return None

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities."""
        self._check()
        return states(self._tables, keys, self._clock())

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, all or nothing; return False when the event had been applied before."""
        self._check()
        return self._apply(Applied(event_id, updates))

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events in order, each all or nothing; return for each what `apply` returns."""
        self._check()
        return [self._apply(event) for event in batch]

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        """Keep an answer and what goes with it, unless the question has one or a limit is used up."""
        self._check()
        event_id, updates, records, answer, reservation = decided
        if answer is not None and (there := self._answers.get(answer.key)) is not None:
            return Claim(answer=there)
        ledger = None
        if reservation is not None:
            there = self._ledgers.get(reservation.key)
            ledger = reserve(there, reservation.entry, reservation.limits)
            if ledger is None:
                return Claim(refused=True, ledger=there)
        # Everything that can fail comes before the first write.
        counted = event_id is not None and not self._events.get(event_id)
        blobs = add_quickly(self._states, updates) if counted else []
        if reservation is not None and ledger is not None:
            self._ledgers.put(reservation.key, ledger, ledgers.TTL_SECONDS)
        if answer is not None:
            self._answers.put(*answer)
        self._keep(records)
        if event_id is not None and counted:
            self._put(event_id, blobs)
        self._changes += 1
        return Claim(counted=counted, ledger=ledger)

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        self._check()
        for key in keys:
            self._records.put(key, record, ttl_seconds)
        self._changes += 1

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one."""
        self._check()
        return next((record for key in keys if (record := self._records.get(key)) is not None), None)

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        """Tell of each group of record keys whether all of them are there."""
        self._check()
        return [all(self._records.get(key) is not None for key in group) for group in groups]

    async def ping(self) -> str | None:
        """Return None unless the store is closed or its snapshot could not be written."""
        return str(StoreUnavailable("it was closed")) if self._closed else self._failing

    async def close(self) -> None:
        """Write the snapshot. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._hurry.set()
        if self._saver is not None:
            self._saver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saver
        if self._path is not None and self._changes != self._saved:
            try:
                await asyncio.to_thread(self.save)
            except OSError as error:
                msg = f"the snapshot {self._path} could not be written: {error}"
                raise StoreUnavailable(msg) from error

    def describe(self) -> str:
        """Return where the state is kept."""
        return "memory://" if self._path is None else f"memory://{self._path.absolute()}"

    def put_many(self, items: Iterable[Item]) -> int:
        """Write packed states over whatever is there; return how many. Blocking, for backfills."""
        count = 0
        for kind, key, blob in items:
            self._states[kind].put(key, blob, LAYOUTS[kind].ttl_seconds)
            count += 1
        self._changes += 1
        return count

    def fetch_many(self, items: Iterable[tuple[str, str]]) -> Iterator[bytes | None]:
        """Yield the packed state of each (kind, key). Blocking, for bulk work."""
        for kind, key in items:
            yield self._states[kind].get(key)

    def save(self) -> None:
        """Write the snapshot now; blocking, for backfills. Without a path it does nothing."""
        if self._path is not None:
            changes = self._changes
            with self._writing:
                write(self._path, self._copy())
            self._saved = changes

    def _check(self) -> None:
        if self._closed:
            msg = "it was closed"
            raise StoreUnavailable(msg)

    def _apply(self, event: Applied) -> bool:
        if self._events.get(event.event_id):
            return False
        # Everything that can fail comes first: then all of it is put, or none.
        blobs = add_quickly(self._states, event.updates)
        notes: dict[str, bytes] = {}
        for key, note in event.standings:
            notes[key] = add_note(notes.get(key) or self._standings.get(key), note)
        move = event.ledger
        if move is not None:
            there = self._ledgers.get(move.key)
            ledger = release(there, move.attempt) if move.entry is None else settle(there, move.entry)
            # A release leaves no trace where there was nothing.
            if there is not None or move.entry is not None:
                self._ledgers.put(move.key, ledger, ledgers.TTL_SECONDS)
        self._keep(event.records)
        for key, standing in notes.items():
            self._standings.put(key, standing, standings.TTL_SECONDS)
        self._put(event.event_id, blobs)
        self._changes += 1
        return True

    def _put(self, event_id: str, blobs: Sequence[Item]) -> None:
        """Put the states after an event, and its mark."""
        put_quickly(self._states, blobs)
        self._events.put(event_id, True, self._event_ttl)

    def _keep(self, records: Sequence[Kept]) -> None:
        for record in records:
            self._records.put(*record)

    def _copy(self) -> Copy:
        """Return everything of this moment; a dict is copied as a whole, without looking at what is in it."""
        return Copy(
            time.time(),
            self._clock(),
            {kind: kept.entries.copy() for kind, kept in self._states.items()},
            self._events.entries.copy(),
            self._records.entries.copy(),
            self._standings.entries.copy(),
            self._ledgers.entries.copy(),
            self._answers.entries.copy(),
        )

    def _write(self, path: Path, copy: Copy) -> None:
        """Write a snapshot with rests, until the store is closed. One after the other: the later one is to stay."""
        with self._writing:
            write(path, copy, lambda: self._hurry.wait(REST_SECONDS))

    async def _keep_saving(self, path: Path) -> None:
        while True:
            await asyncio.sleep(self._save_seconds)
            if self._changes == self._saved:
                continue
            changes = self._changes
            try:
                # Copied here, where nothing else writes; packed and written elsewhere: blobs never change.
                await asyncio.to_thread(self._write, path, self._copy())
            except OSError as error:
                self._failing = f"the snapshot {path} could not be written: {error}"
            else:
                self._failing, self._saved = None, changes
