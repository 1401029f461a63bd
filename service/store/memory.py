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
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

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
from service.store.snapshot import NotOurs, Snapshot, SnapshotRefused, load, put_aside, write

MOST_EVENTS: Final = 1_000_000
"""The most marks of applied events, decision records, answers, ledgers and standings that are kept, of each."""
_SWEPT: Final = 8
"""Entries looked at for each one written."""
_PUTS_PER_SWEEP: Final = 16

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """A dict whose entries have an end; the one written longest ago is the first to be swept."""

    __slots__ = ("_clock", "_entries", "_most", "_puts")

    def __init__(self, clock: Callable[[], float], most: int | None = None) -> None:
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._most = most
        self._puts = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> OrderedDict[K, tuple[float, V]]:
        """Everything kept, each with its end."""
        return self._entries

    def get(self, key: K) -> V | None:
        """Return what is kept under `key` and has not ended."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._clock() else None

    def put(self, key: K, value: V, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; now and then sweep some entries that ended."""
        now = self._clock()
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
        entries[key] = (now + ttl, value)
        self._puts += 1
        # To look for the oldest takes as long as to put: many together.
        if self._puts % _PUTS_PER_SWEEP == 0 or (self._most is not None and len(entries) > self._most):
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        entries = self._entries
        for _ in range(_SWEPT * _PUTS_PER_SWEEP):
            oldest = next(iter(entries))
            if entries[oldest][0] > now and (self._most is None or len(entries) <= self._most):
                break
            del entries[oldest]
            if not entries:
                break

    def copy(self) -> list[tuple[K, tuple[float, V]]]:
        """Return every entry with its end, oldest first: one fast copy, to be looked through elsewhere."""
        return list(self._entries.items())


def fetched(
    tables: Sequence[Mapping[str, tuple[float, bytes]]], keys: Sequence[str | None], now: float
) -> tuple[bytes | None, ...]:
    """Return what each table keeps under the key in the same place and has not ended by `now`; None for none."""
    found = [None if key is None else table.get(key) for table, key in zip(tables, keys, strict=False)]
    return tuple([None if entry is None or entry[0] <= now else entry[1] for entry in found])


try:
    from service.store.memory_native import fetched as fetched_quickly
except ImportError:
    fetched_quickly = fetched


def _write(path: Path, snapshot: Callable[[], Snapshot]) -> None:
    write(path, snapshot())


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
        self._states: dict[str, Expiring[str, bytes]] = {kind: Expiring(clock) for kind in LAYOUTS}
        self._payment = [self._states[kind].entries for kind in PAYMENT_KINDS]
        self._candidate = [self._states[kind].entries for kind in CANDIDATE_KINDS]
        self._events: Expiring[str, bool] = Expiring(clock, most_events)
        self._records: Expiring[str, bytes] = Expiring(clock, most_events)
        self._standings: Expiring[str, bytes] = Expiring(clock, most_events)
        self._ledgers: Expiring[str, bytes] = Expiring(clock, most_events)
        self._answers: Expiring[str, bytes] = Expiring(clock, most_events)
        self._clock = clock
        self._changes = 0
        self._saved = 0
        self._saver: asyncio.Task[None] | None = None
        self._failing: str | None = None
        self._closed = False

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
            for kind, key, ttl, blob in snapshot.states:
                if kind in self._states:
                    self._states[kind].put(key, blob, ttl)
            for event_id, ttl, _ in snapshot.events:
                self._events.put(event_id, True, ttl)
            for kept, entries in (
                (self._records, snapshot.records),
                (self._standings, snapshot.standings),
                (self._ledgers, snapshot.ledgers),
                (self._answers, snapshot.answers),
            ):
                for key, ttl, blob in entries:
                    kept.put(key, blob, ttl)
        return None

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities."""
        self._check()
        payment, candidates, record, standings, ledger, answer = keys
        now = self._clock()
        return States(
            fetched_quickly(self._payment, payment, now),
            tuple([fetched_quickly(self._candidate, one, now) for one in candidates]),
            None if record is None else self._records.get(record),
            fetched_quickly((self._standings.entries,) * len(standings), standings, now),
            None if ledger is None else self._ledgers.get(ledger),
            None if answer is None else self._answers.get(answer),
        )

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
        blobs = self._added(updates) if counted else []
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

    async def ping(self) -> str | None:
        """Return None unless the store is closed or its snapshot could not be written."""
        return str(StoreUnavailable("it was closed")) if self._closed else self._failing

    async def close(self) -> None:
        """Write the snapshot. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
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
            _write(self._path, self._copy())
            self._saved = changes

    def _check(self) -> None:
        if self._closed:
            msg = "it was closed"
            raise StoreUnavailable(msg)

    def _apply(self, event: Applied) -> bool:
        if self._events.get(event.event_id):
            return False
        # Everything that can fail comes first: then all of it is put, or none.
        blobs = self._added(event.updates)
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

    def _added(self, updates: Sequence[Update]) -> list[Item]:
        """Return the states after some increments."""
        blobs = []
        for (kind, key), additions in grouped(updates).items():
            layout, blob = LAYOUTS[kind], self._states[kind].get(key)
            for increment, member in additions:
                blob = add(layout, blob, increment, member)
            if blob is not None:
                blobs.append((kind, key, blob))
        return blobs

    def _put(self, event_id: str, blobs: Sequence[Item]) -> None:
        """Put the states after an event, and its mark."""
        for kind, key, blob in blobs:
            self._states[kind].put(key, blob, LAYOUTS[kind].ttl_seconds)
        self._events.put(event_id, True, self._event_ttl)

    def _keep(self, records: Sequence[Kept]) -> None:
        for record in records:
            self._records.put(*record)

    def _copy(self) -> Callable[[], Snapshot]:
        """Return what makes a snapshot of this moment, wherever it is called; the copy alone is made here."""
        now, at = self._clock(), time.time()
        states = {kind: kept.copy() for kind, kept in self._states.items()}
        events, records = self._events.copy(), self._records.copy()
        standings, ledgers, answers = self._standings.copy(), self._ledgers.copy(), self._answers.copy()

        def left(entries: list[tuple[str, tuple[float, bytes]]]) -> list[tuple[str, float, bytes]]:
            return [(key, end - now, blob) for key, (end, blob) in entries if end > now]

        return lambda: Snapshot(
            saved_at=at,
            states=[
                (kind, key, end - now, blob) for kind, kept in states.items() for key, (end, blob) in kept if end > now
            ],
            events=[(event_id, end - now, None) for event_id, (end, _) in events if end > now],
            records=left(records),
            standings=left(standings),
            ledgers=left(ledgers),
            answers=left(answers),
        )

    async def _keep_saving(self, path: Path) -> None:
        while True:
            await asyncio.sleep(self._save_seconds)
            if self._changes == self._saved:
                continue
            changes = self._changes
            # Copied here, where nothing else writes; looked through, packed and written elsewhere: blobs never change.
            snapshot = self._copy()
            try:
                await asyncio.to_thread(_write, path, snapshot)
            except OSError as error:
                self._failing = f"the snapshot {path} could not be written: {error}"
            else:
                self._failing, self._saved = None, changes
