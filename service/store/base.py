"""The port of online state: what is asked of a store, and how keys are named.

A store keeps three things, each under its own prefix and each with a time to live:

==========================  ==============================================================================
``pm:s:<kind>:<key>``       packed state of an entity (`features.state`), such as ``pm:s:card:tok_1``
``pm:e:<event id>``         the mark of an event that was applied, so that it counts once
``pm:d:<record key>``       the record of a decision, under every key of `by_decision` and `by_attempt`
==========================  ==============================================================================

Keys hold identifiers exactly as they were given. This module must not know where anything is kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from features.increment import Increment
from features.layout import LAYOUTS

STATE: Final = "pm:s:"
EVENT: Final = "pm:e:"
RECORD: Final = "pm:d:"

EVENT_TTL_SECONDS: Final = 7 * 86_400
"""How long an applied event is remembered by default: a week, past the repeats of a slow gateway.

Every attempt and every outcome leaves a mark, which takes about 90 bytes in Redis: 100 of them a second come to 5 GB in a week.
"""

Item = tuple[str, str, bytes]
"""Kind, key and packed state of one entity, for bulk writes."""


class StateKeys(NamedTuple):
    """The entities of one payment; an entity that the payment does not name is None.

    `record` asks for a decision record in the same round trip (a key of `by_decision` or `by_attempt`).
    """

    card: str | None = None
    merchant: str | None = None
    bin: str | None = None
    issuer: str | None = None
    processors: Sequence[str] = ()
    record: str | None = None


class States(NamedTuple):
    """Packed states in the shape of `StateKeys`; None where nothing is known."""

    card: bytes | None = None
    merchant: bytes | None = None
    bin: bytes | None = None
    issuer: bytes | None = None
    processors: tuple[bytes | None, ...] = ()
    record: bytes | None = None


class Update(NamedTuple):
    """One increment of one entity."""

    kind: str
    key: str
    increment: Increment


class Applied(NamedTuple):
    """One event and all it adds, for `FeatureStore.apply_many`."""

    event_id: str
    updates: Sequence[Update]


def by_decision(decision_id: str) -> str:
    """Return the record key of a decision.

    >>> by_decision("d_1")
    'i:d_1'
    """
    return f"i:{decision_id}"


def by_attempt(payment_id: str, attempt: int) -> str:
    """Return the record key of an attempt of a payment.

    >>> by_attempt("p:1", 2)
    'a:2:p:1'
    """
    return f"a:{attempt}:{payment_id}"


def grouped(updates: Iterable[Update]) -> Mapping[tuple[str, str], list[Increment]]:
    """Return the increments of each entity, in order; an unknown kind raises ``KeyError``."""
    groups: dict[tuple[str, str], list[Increment]] = {}
    for kind, key, increment in updates:
        group = groups.get((kind, key))
        if group is None:
            LAYOUTS[kind]
            group = groups[kind, key] = []
        group.append(increment)
    return groups


class FeatureStore(Protocol):
    """Online state of entities, events applied to it, and records of decisions.

    Every call may raise `service.errors.StoreTimeout` (it was not done in the time it had; a write may still happen) or
    `service.errors.StoreUnavailable`; nothing else leaks. `deadline` is a value of `time.monotonic()`; the store's
    own timeout holds as well. All writes may be repeated: an event id counts once.
    """

    async def open(self) -> str | None:
        """Get ready; return None when all is well, else one sentence on what is wrong for now.

        Raises
        ------
        StoreUnavailable
            When waiting will not help: refused credentials or rights, a server too old or in cluster mode.
        """
        ...

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities, in one round trip."""
        ...

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, all or nothing; return False when the event had been applied before."""
        ...

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events in order, each all or nothing; return for each what `apply` returns."""
        ...

    async def decided(
        self,
        event_id: str,
        updates: Sequence[Update],
        record_keys: Sequence[str],
        record: bytes,
        ttl_seconds: int,
        *,
        deadline: float | None = None,
    ) -> bool:
        """Apply a decision's increments and remember its record in one atomic step.

        The record is written even when the event had been applied before: the latest answer is the one that counts.
        """
        ...

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        ...

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one."""
        ...

    async def ping(self) -> str | None:
        """Return None when the store answers, else what is wrong."""
        ...

    async def close(self) -> None:
        """Release connections and write snapshots. A second call does nothing."""
        ...

    def describe(self) -> str:
        """Return where the state is kept, without credentials."""
        ...
