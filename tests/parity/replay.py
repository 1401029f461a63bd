"""A history lived through online: every question sees what was known before its moment, in whatever order that arrived."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from features.catalog import CATALOG
from features.entity import CANDIDATE_KINDS, FIELDS, KINDS, PAYMENT_KINDS, key
from features.increment import Increment, attempt_increment, chargeback_increment, member, result_increment
from features.layout import LAYOUTS
from features.offline.plan import compute
from features.state import add
from service.store import FeatureStore
from service.store.base import StateKeys, Update
from tests.features.both import Both
from tests.parity.streams import ENCODINGS, Row, history, questions, request

PLAN: Final = Both(ENCODINGS)

Matrix = np.ndarray[Any, np.dtype[np.float32]]

DECAYED: Final = np.array([spec.operation == "decayed" for spec in CATALOG])
"""Which features are sums of floats in another order; all others agree bit for bit."""

TOLERANCE: Final = 1e-6


class Known(NamedTuple):
    """One event: when it became known, its id, and what it adds to whom."""

    at: int
    event_id: str
    updates: tuple[Update, ...]


def keys(row: Row, kinds: Sequence[str]) -> tuple[str | None, ...]:
    """Return the keys of a row's entities, also for a row that no gateway could send."""
    return tuple(key(*(row[name] for name in FIELDS[kind])) for kind in kinds)


def events(rows: Sequence[Row]) -> list[Known]:
    """Return everything that becomes known of the attempts."""
    found = []
    for number, row in enumerate(rows):
        named = list(zip(KINDS, keys(row, KINDS), strict=True))
        increments = {
            "attempt": attempt_increment(row["occurred_at"], row["amount_minor"]),
            "result": result_increment(row["settled_at"], row["status"], row["card_network"], row["response_code"]),
        }
        if row["chargeback_at"] is not None:
            increments["chargeback"] = chargeback_increment(row["chargeback_at"])
        for what, increment in increments.items():
            updates = tuple(
                Update(kind, name, increment, _member(kind, row, increment)) for kind, name in named if name is not None
            )
            found.append(Known(increment.at, f"{what}:{number}", updates))
    return found


def _member(kind: str, row: Row, increment: Increment) -> int | None:
    field = LAYOUTS[kind].distinct
    return member(row[field]) if field and increment.is_attempt else None


Steps = Iterator[tuple[int, list[Known]]]
"""The number of a row that is asked about, and the events that arrived since the row before."""


def in_order(rows: Sequence[Row], chance: random.Random) -> Steps:
    """Ask in order of time. What became known between two questions arrives in any order, and some of it twice."""
    waiting = sorted(events(rows), key=lambda event: event.at)
    position = 0
    arrived: list[Known] = []
    for number in sorted(range(len(rows)), key=lambda number: rows[number]["occurred_at"]):
        new = []
        while position < len(waiting) and waiting[position].at < rows[number]["occurred_at"]:
            new.append(waiting[position])
            position += 1
        again = chance.sample(arrived, min(len(arrived), 2)) if chance.random() < 0.2 else []
        arrived = (arrived + new)[-50:]
        arriving = [*new, *new[:1], *again]
        chance.shuffle(arriving)
        yield number, arriving


def one_question(rows: Sequence[Row], number: int, chance: random.Random) -> list[Known]:
    """Return all that is known to one question, in any order at all, some of it twice: what is late may be weeks late."""
    known = [event for event in events(rows) if event.at < rows[number]["occurred_at"]]
    arriving = known + chance.sample(known, len(known) // 3)
    chance.shuffle(arriving)
    return arriving


def answer(row: Row, number: int, states: Sequence[bytes | None], candidate: Sequence[bytes | None]) -> Matrix:
    """Return the whole vector of an attempt from the packed states of its entities."""
    ask, at = request(row, number), row["occurred_at"]
    processors = () if row["processor"] is None else (row["processor"],)
    base = PLAN.rows(ask, at, states, processors, [candidate] if processors else [])
    return PLAN.retry_rows(base, ask, at, processors, [row["wait_seconds"]])[0]


class Blobs:
    """The least store: blobs by kind and key, and events that count once."""

    def __init__(self) -> None:
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._seen: set[str] = set()

    def apply(self, arriving: Sequence[Known]) -> None:
        for event in arriving:
            if event.event_id in self._seen:
                continue
            self._seen.add(event.event_id)
            for kind, name, increment, value in event.updates:
                if LAYOUTS[kind].takes(increment.deltas):
                    self._blobs[kind, name] = add(LAYOUTS[kind], self._blobs.get((kind, name)), increment, value)

    def read(self, row: Row, kinds: Sequence[str]) -> list[bytes | None]:
        return [
            None if name is None else self._blobs.get((kind, name))
            for kind, name in zip(kinds, keys(row, kinds), strict=True)
        ]

    def answer(self, row: Row, number: int) -> Matrix:
        return answer(row, number, self.read(row, PAYMENT_KINDS), self.read(row, CANDIDATE_KINDS))


def online(rows: Sequence[Row], seed: int = 0) -> Matrix:
    """Return the matrix of a history replayed once through the state; rows in the order given, columns in catalog order."""
    blobs = Blobs()
    matrix = np.empty((len(rows), len(CATALOG)), dtype=np.float32)
    for number, arriving in in_order(rows, random.Random(seed)):
        blobs.apply(arriving)
        matrix[number] = blobs.answer(rows[number], number)
    return matrix


def online_from_nothing(rows: Sequence[Row], seed: int = 0) -> Matrix:
    """Return the same matrix, every question from a state of its own that all events reached in an order of their own."""
    chance = random.Random(seed)
    matrix = np.empty((len(rows), len(CATALOG)), dtype=np.float32)
    for number, row in enumerate(rows):
        blobs = Blobs()
        blobs.apply(one_question(rows, number, chance))
        matrix[number] = blobs.answer(row, number)
    return matrix


async def stored(store: FeatureStore, rows: Sequence[Row], seed: int = 0, life: str = "") -> Matrix:
    """Return the same matrix through a real store; `life` tells one replay's keys from another's.

    That a repeat says so and changes nothing is asserted on the way.
    """
    matrix = np.empty((len(rows), len(CATALOG)), dtype=np.float32)
    seen: set[str] = set()
    for number, arriving in in_order(rows, random.Random(seed)):
        for event in arriving:
            updates = [update._replace(key=life + update.key) for update in event.updates]
            assert await store.apply(life + event.event_id, updates) is (event.event_id not in seen)
            seen.add(event.event_id)
        row = rows[number]
        own, candidate = keys(row, PAYMENT_KINDS), keys(row, CANDIDATE_KINDS)
        prefixed: Callable[[str | None], str | None] = lambda name: None if name is None else life + name  # noqa: E731
        asked = StateKeys(tuple(map(prefixed, own)), (tuple(map(prefixed, candidate)),))
        states = await store.read(asked)
        matrix[number] = answer(row, number, states.payment, states.candidates[0])
    return matrix


def offline(rows: Sequence[Row], order: Sequence[int] | None = None) -> Matrix:
    """Return the offline matrix, rows in the order given, columns in catalog order; the history may have another order."""
    past = history([rows[number] for number in order] if order is not None else list(rows))
    result = compute(questions(list(rows)), past, ENCODINGS).sort("row").collect()
    return result.select(pl.col(f"f:{spec.name}") for spec in CATALOG).to_numpy()


def differences(left: Matrix, right: Matrix) -> list[str]:
    """Return every value that differs, by feature name: in any bit, or, of a decayed rate, by more than a millionth."""
    differs = left.view(np.uint32) != right.view(np.uint32)
    close = np.isclose(left, right, rtol=TOLERANCE, atol=1e-30)
    differs &= ~(close & DECAYED)
    return [
        f"row {row} {CATALOG[column].name}: {left[row, column]!r} != {right[row, column]!r}"
        for row, column in zip(*np.nonzero(differs), strict=True)
    ]
