"""A dict whose entries have an end, and the kernel that stands in for it.

Entries keep their place, so that writing one again costs one write and nothing has to be moved. A queue names each once, with
the end it had when it was put there: what has ended by then is looked at, and goes, or is put at the back with the end it has by
now. Beyond a limit the first in the queue goes, ended or not, unless it was written since: then it has a second chance.

This module must not know what is kept.
"""

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from service.store.base import StateKeys, States

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Table = dict[str, tuple[float, bytes]]
"""The entries of one, each with its end."""

PUTS_PER_SWEEP: Final = 16
SWEPT: Final = 8 * PUTS_PER_SWEEP
"""Entries looked at in a sweep at most."""


class Kept(Protocol[K, V]):
    """What `Expiring` and its kernel have in common."""

    def __init__(self, clock: Callable[[], float], most: int | None = None) -> None: ...
    def __len__(self) -> int: ...
    @property
    def entries(self) -> dict[K, tuple[float, V]]: ...  # noqa: D102
    def get(self, key: K) -> V | None: ...  # noqa: D102
    def put(self, key: K, value: V, ttl: float) -> None: ...  # noqa: D102


class Expiring(Generic[K, V]):
    """A dict whose entries have an end.

    Parameters
    ----------
    clock
        Seconds that only grow.
    most
        How many entries are kept at most; None for any number.
    """

    __slots__ = ("_clock", "_most", "_puts", "_queue", "entries")

    def __init__(self, clock: Callable[[], float], most: int | None = None) -> None:
        self._clock = clock
        self._most = most
        self._puts = 0
        self._queue: deque[tuple[float, K]] = deque()
        self.entries: dict[K, tuple[float, V]] = {}
        """Everything kept, each with its end."""

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, key: K) -> V | None:
        """Return what is kept under `key` and has not ended."""
        entry = self.entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._clock() else None

    def put(self, key: K, value: V, ttl: float) -> None:
        """Keep `value` for `ttl` seconds; now and then sweep some entries that ended."""
        now = self._clock()
        end = now + ttl
        if key not in self.entries:
            self._queue.append((end, key))
        self.entries[key] = (end, value)
        self._puts += 1
        if self._puts % PUTS_PER_SWEEP == 0 or (self._most is not None and len(self.entries) > self._most):
            sweep(self.entries, self._queue, now, self._most)


def sweep(
    entries: dict[K, tuple[float, V]], queue: "deque[tuple[float, K]]", now: float, most: int | None = None
) -> None:
    """Take away what ended by `now`, and the first ones beyond `most`; `SWEPT` are looked at."""
    for _ in range(min(SWEPT, len(queue))):
        end, key = queue[0]
        crowded = most is not None and len(entries) > most
        if end > now and not crowded:
            break
        queue.popleft()
        really = entries[key][0]
        if really > now and really > end:
            # It was written since.
            queue.append((really, key))
        else:
            del entries[key]


def fetched(
    tables: Sequence[Mapping[str, tuple[float, bytes]]], keys: Sequence[str | None], now: float
) -> tuple[bytes | None, ...]:
    """Return what each table keeps under the key in the same place and has not ended by `now`; None for none."""
    found = [None if key is None else table.get(key) for table, key in zip(tables, keys, strict=False)]
    return tuple([None if entry is None or entry[0] <= now else entry[1] for entry in found])


class Tables(NamedTuple):
    """Where the answers to a question lie: the tables of `entries` in the order of `service.store.base.StateKeys`."""

    payment: Sequence[Table]
    candidate: Sequence[Table]
    records: Table
    standings: Table
    ledgers: Table
    answers: Table


def states_of(tables: Tables, keys: StateKeys, now: float) -> States:
    """Return what is known of a question's keys by `now`."""
    payment, candidates, record, standings, ledger, answer = keys
    (own,) = fetched((tables.records,), (record,), now)
    ledger_found, answer_found = fetched((tables.ledgers, tables.answers), (ledger, answer), now)
    return States(
        fetched(tables.payment, payment, now),
        tuple([fetched(tables.candidate, one, now) for one in candidates]),
        own,
        fetched((tables.standings,) * len(standings), standings, now),
        ledger_found,
        answer_found,
    )


def table(clock: Callable[[], float], most: int | None = None) -> Kept[Any, Any]:
    """Return an empty one: of the kernel where it was built."""
    return _KEPT(clock, most)


try:
    from service.store import expiring_native

    states = expiring_native.states
    _KEPT: type[Kept[Any, Any]] = expiring_native.NativeExpiring
except ImportError:
    states = states_of
    _KEPT = Expiring
