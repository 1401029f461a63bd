"""The port of online state: what is asked of a store, and how keys are named.

A store keeps six things, each under its own prefix and each with a time to live:

==========================  ==============================================================================
``pm:s:<kind>:<key>``       packed state of an entity (`features.state`), such as ``pm:s:card:tok_1``
``pm:e:<event id>``         the mark of an event that was applied, so that it counts once
``pm:d:<record key>``       the record of a decision, under every key of `by_decision` and `by_attempt`
``pm:g:<standing key>``     how a processor has been doing (`service.standing`)
``pm:l:<ledger key>``       the attempts of a card at a merchant (`service.ledger`)
``pm:q:<question>``         the answer that a question was given (`by_question`)
==========================  ==============================================================================

In a Redis Cluster, where a script may touch one slot only, everything has a slot of its own and marks its events itself (ADR
11 and 13):

========================================  ================================================================
``pm:s:{<h>}:<kind>:<key>``               packed state; h is the crc32 of ``<kind>:<key>`` as 8 hex digits
``pm:g:{<h>}:<key>``, so too d, l, q      standing, record, ledger, answer; h is the crc32 of ``pm:g::<key>``
``pm:e:{<h>}:<kind>:<key>:<event id>``    the mark of an event in the slot of what it moves
``pm:c:{<h>}:<question>``                 held by whoever is about to answer, in the slot of the answer
========================================  ================================================================

Keys hold identifiers exactly as they were given. This module must not know where anything is kept.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar
from zlib import crc32

from features.increment import Increment
from features.layout import LAYOUTS
from service.ledger import Entry, Limit
from service.standing import Note

STATE: Final = "pm:s:"
EVENT: Final = "pm:e:"
RECORD: Final = "pm:d:"
STANDING: Final = "pm:g:"
LEDGER: Final = "pm:l:"
ANSWER: Final = "pm:q:"
LOCK: Final = "pm:c:"

EVENT_TTL_SECONDS: Final = 7 * 86_400
"""How long an applied event is remembered by default: a week, past the repeats of a slow gateway.

Every attempt and every outcome leaves a mark, which takes about 90 bytes in Redis: 100 of them a second come to 5 GB in a week.
"""

T = TypeVar("T")

Item = tuple[str, str, bytes]
"""Kind, key and packed state of one entity, for bulk writes."""


class StateKeys(NamedTuple):
    """The entities of one payment; an entity that the payment does not name is None.

    Attributes
    ----------
    payment
        Keys in the order of `features.entity.PAYMENT_KINDS`.
    candidates
        For each processor that is asked about, keys in the order of `features.entity.CANDIDATE_KINDS`.
    record
        Asks for a decision record in the same round trip (a key of `by_decision` or `by_attempt`).
    standings
        Keys of `service.standing.keys_of`, three for each candidate, one candidate after the other.
    ledger
        A key of `service.ledger.key_of`.
    answer
        Asks for the answer that a question was given (a key of `by_question`).
    """

    payment: tuple[str | None, ...] = ()
    candidates: tuple[tuple[str | None, ...], ...] = ()
    record: str | None = None
    standings: tuple[str, ...] = ()
    ledger: str | None = None
    answer: str | None = None


class States(NamedTuple):
    """Packed states in the shape of `StateKeys`; None where nothing is known."""

    payment: tuple[bytes | None, ...] = ()
    candidates: tuple[tuple[bytes | None, ...], ...] = ()
    record: bytes | None = None
    standings: tuple[bytes | None, ...] = ()
    ledger: bytes | None = None
    answer: bytes | None = None


class Update(NamedTuple):
    """One increment of one entity; `member` is what a distinct count remembers of an attempt (`features.increment.member`)."""

    kind: str
    key: str
    increment: Increment
    member: int | None = None


Addition = tuple[Increment, int | None]
"""An increment and its member."""


class StandingUpdate(NamedTuple):
    """One note about a processor, for one of its standings."""

    key: str
    note: Note


class LedgerMove(NamedTuple):
    """What becomes of an attempt in a ledger: it is settled as `entry`; without one, its reservation is released."""

    key: str
    attempt: int
    entry: Entry | None


class Reservation(NamedTuple):
    """An attempt that is to be entered in a ledger, unless one of `limits` is used up."""

    key: str
    entry: Entry
    limits: tuple[Limit, ...]


class Kept(NamedTuple):
    """Bytes to be kept under a key for some seconds: a record of a decision, or an answer."""

    key: str
    content: bytes
    ttl_seconds: int


class Applied(NamedTuple):
    """One event and all it moves, for `FeatureStore.apply_many`: all of it once, or nothing.

    `records` are written with it, each under its record key.
    """

    event_id: str
    updates: Sequence[Update] = ()
    standings: Sequence[StandingUpdate] = ()
    ledger: LedgerMove | None = None
    records: Sequence[Kept] = ()


class Decided(NamedTuple):
    """What one answer writes; see `FeatureStore.decided`.

    Without an `event_id` nothing is counted: the attempt is still to come.
    """

    event_id: str | None
    updates: Sequence[Update] = ()
    records: Sequence[Kept] = ()
    answer: Kept | None = None
    reservation: Reservation | None = None


class Claim(NamedTuple):
    """What came of it.

    Attributes
    ----------
    counted
        The event was applied now; False when it had been before, or when nothing was written.
    answer
        The question had been answered already, with this: nothing was written.
    refused
        A limit was used up: nothing was written.
    ledger
        The ledger as it is, when it was asked about.
    """

    counted: bool = False
    answer: bytes | None = None
    refused: bool = False
    ledger: bytes | None = None


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


def by_question(kind: str, payment_id: str, attempt: int) -> str:
    """Return the key of the answer to a question: "auth", "routing" or "retry" about an attempt.

    >>> by_question("auth", "p:1", 2)
    'auth:2:p:1'
    """
    return f"{kind}:{attempt}:{payment_id}"


def grouped(updates: Iterable[Update]) -> Mapping[tuple[str, str], list[Addition]]:
    """Return what each entity gets, in order, without what its layout does not take; an unknown kind raises ``KeyError``."""
    groups: dict[tuple[str, str], list[Addition]] = {}
    for kind, key, increment, member in updates:
        if LAYOUTS[kind].takes(increment.deltas):
            group = groups.get((kind, key))
            if group is None:
                groups[kind, key] = [(increment, member)]
            else:
                group.append((increment, member))
    return groups


class Names(NamedTuple, Generic[T]):
    """How a store names what is asked for: a function for each kind of entity and for each other sort of key."""

    payment: Sequence[Callable[[str], T]]
    candidate: Sequence[Callable[[str], T]]
    record: Callable[[str], T]
    standing: Callable[[str], T]
    ledger: Callable[[str], T]
    answer: Callable[[str], T]


def named(keys: StateKeys, of: Names[T]) -> list[T | None]:
    """Return the name of every key of a question; None where there is none."""
    names: list[T | None] = [
        name(key) if key is not None else None for name, key in zip(of.payment, keys.payment, strict=False)
    ]
    for one in keys.candidates:
        names += [name(key) if key is not None else None for name, key in zip(of.candidate, one, strict=False)]
    names += map(of.standing, keys.standings)
    names.append(of.record(keys.record) if keys.record is not None else None)
    names.append(of.ledger(keys.ledger) if keys.ledger is not None else None)
    names.append(of.answer(keys.answer) if keys.answer is not None else None)
    return names


def shaped(keys: StateKeys, blobs: Sequence[bytes | None]) -> States:
    """Return the answers to `named` in the shape of the question."""
    place = len(keys.payment)
    payment = tuple(blobs[:place])
    candidates = []
    for one in keys.candidates:
        candidates.append(tuple(blobs[place : place + len(one)]))
        place += len(one)
    *standings, record, ledger, answer = blobs[place:]
    return States(payment, tuple(candidates), record, tuple(standings), ledger, answer)


def clustered(kind: str, key: str) -> str:
    """Return the name in a cluster of an entity's state, or of what a prefix of this module stands for.

    The tag in braces chooses the slot, so that a state and its marks share one whatever characters a key has.

    >>> clustered("card", "tok_1"), clustered(LEDGER, "visa:c:3:m_1tok_1")
    ('pm:s:{e1475c08}:card:tok_1', 'pm:l:{abfd1fd0}:visa:c:3:m_1tok_1')
    """
    if kind in LAYOUTS:
        return f"{STATE}{{{_tag(kind, key)}}}:{kind}:{key}"
    return f"{kind}{{{_tag(kind, key)}}}:{key}"


def clustered_mark(kind: str, key: str, event_id: str) -> str:
    """Return the name of the mark of an event applied to one of these in a cluster."""
    return f"{EVENT}{{{_tag(kind, key)}}}:{kind}:{key}:{event_id}"


def clustered_lock(question: str) -> str:
    """Return the name of the lock in a cluster that whoever is about to answer a question holds meanwhile."""
    return f"{LOCK}{{{_tag(ANSWER, question)}}}:{question}"


def _tag(kind: str, key: str) -> str:
    return f"{crc32(f'{kind}:{key}'.encode()):08x}"


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
        """Apply events in order, each all or nothing; return for each what `apply` returns.

        With a `deadline` nobody waits for it, and it may take longer than what somebody does wait for.
        """
        ...

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        """Keep an answer, its record and its reservation, and count its attempt, in one atomic step.

        In this order: a question that has an answer changes nothing and is told it; a limit that is used up changes
        nothing and is told; else everything is written, the updates once for each event id. Without a `deadline` it is a
        write behind an answer and may take longer. In a cluster it is several steps (ADR 13).
        """
        ...

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        ...

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one; with a `deadline` it may take longer, as `apply_many`."""
        ...

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        """Tell of each group of record keys whether all are there for certain, and with each what was written in the same step.

        A cluster, where an event is several steps, tells so of none.
        """
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
