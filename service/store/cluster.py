"""Online state in a Redis Cluster: everything in a slot of its own, an event as one script for each thing that it moves.

No script may touch two slots, so an event is not one step here: each thing moves once by a mark in its own slot, and a repeat
completes what a fault cut short (ADR 11). An answer is claimed step by step (ADR 13). No exception of redis-py leaves this
module.

A user of Redis' own needs the rights of `service.store.redis` and ``+asking +cluster|slots +del`` on every node.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final

from redis.exceptions import AskError, AuthenticationError, NoPermissionError, RedisError, ResponseError

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from service.errors import StoreError, StoreTimeout, StoreUnavailable
from service.store.address import Address
from service.store.base import (
    ANSWER,
    EVENT_TTL_SECONDS,
    LEDGER,
    RECORD,
    STANDING,
    Applied,
    Claim,
    Decided,
    Kept,
    Names,
    StateKeys,
    States,
    Update,
    clustered,
    clustered_lock,
    named,
    shaped,
)
from service.store.command import Sent, claim, kept, parts, reserved, slot
from service.store.lane import CONNECT_SECONDS, sentence
from service.store.topology import Node, Topology
from service.store.trial import examine
from service.store.trips import PAUSE_SECONDS, Trips, at_node
from service.store.wire import dial

_MOST_KEYS: Final = 1000
_MOST_COMMANDS: Final = 128
"""What one exchange with a node may hold; a command here is one entity, about an eighth of an event."""
_MOST_EVENTS: Final = 32
Place = tuple[int, str]
"""Slot and name of a key."""


def _place(kind: str, key: str) -> Place:
    """Return where something lies."""
    name = clustered(kind, key)
    return slot(name), name


_state = lru_cache(maxsize=8192)(_place)
"""Cached: a merchant, a BIN or a processor comes again and again."""

_RECORD, _LEDGER, _ANSWER = (partial(_place, prefix) for prefix in (RECORD, LEDGER, ANSWER))
_NAMES: Final = Names[Place](
    [partial(_state, kind) for kind in PAYMENT_KINDS],
    [partial(_state, kind) for kind in CANDIDATE_KINDS],
    _RECORD,
    partial(_state, STANDING),
    _LEDGER,
    _ANSWER,
)


class ClusterStore:
    """Online state in a Redis Cluster.

    Parameters
    ----------
    url
        ``cluster://`` or ``clusters://`` (`service.store.address`).
    timeout_ms
        The most that any call may take.
    event_ttl_seconds
        How long an applied event is remembered.
    """

    def __init__(self, url: str, *, timeout_ms: float, event_ttl_seconds: int = EVENT_TTL_SECONDS) -> None:
        self._address = Address(url)
        self._event_ttl_ms = event_ttl_seconds * 1000
        self._timeout = timeout_ms / 1000
        # Whoever holds it is at work for no longer than the timeout.
        self._lock_ms = max(1, round(2 * timeout_ms))
        self._topology = Topology(self._address.nodes, self._node)
        self._trips = Trips(self._topology)
        self._closed = False

    async def open(self) -> str | None:
        """Learn the map and look at every node once: reachable, new enough, scripts and keys allowed."""
        try:
            await self._topology.look(time.monotonic() + 2 * CONNECT_SECONDS)
        except StoreTimeout as error:
            return str(StoreUnavailable(f"{self.describe()} cannot be reached yet: {error}"))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, AuthenticationError | NoPermissionError):
                msg = f"{self.describe()} refuses these credentials: {error.reason}"
                raise StoreUnavailable(msg) from error
            if "cluster support disabled" in error.reason:
                msg = (
                    f"a Redis in cluster mode is expected at {self.describe()}, this is a single one: name it redis://"
                )
                raise StoreUnavailable(msg) from error
            return str(StoreUnavailable(f"{self.describe()} cannot be reached yet: {error.reason}"))
        # All of them end before one is told of: whoever hears of a refusal closes the store, and none may be at work then.
        troubles = await asyncio.gather(*[self._examine(node) for node in self._topology.nodes], return_exceptions=True)
        said: str | None = None
        for trouble in troubles:
            if isinstance(trouble, BaseException):
                raise trouble
            said = said or trouble
        return None if said is None else str(StoreUnavailable(said))

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities: one exchange with each node concerned, all at once."""
        names = named(keys, _NAMES)
        return shaped(keys, await self._values(names, self._until(deadline)))

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, each entity for itself; return False when all of them had counted it before."""
        (applied,) = await self.apply_many([Applied(event_id, updates)], deadline=deadline)
        return applied

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events; return for each what `apply` returns. What one event does to one thing keeps its order."""
        applied: list[bool] = []
        for start in range(0, len(batch), _MOST_EVENTS):
            events = [parts(self._event_ttl_ms, event) for event in batch[start : start + _MOST_EVENTS]]
            replies = await self._trips.ask([part for event in events for part in event], self._until(deadline))
            first = 0
            for event in events:
                applied.append(any(replies[first : first + len(event)]))
                first += len(event)
        return applied

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        """Keep an answer and what goes with it: the question first, then the ledger, then all else at once (ADR 13).

        Nobody is told an answer whose reservation was refused: until it is entered in the ledger only a lock says that
        somebody is about to answer, and others wait for that.
        """
        until = self._until(deadline)
        events = []
        if decided.event_id is not None:
            events = parts(self._event_ttl_ms, Applied(decided.event_id, decided.updates))
        if decided.answer is None:
            return await self._claimed(decided, events, until)
        question = decided.answer.key
        there = await self._lock(question, until)
        if there is not None:
            return Claim(answer=there)
        try:
            claimed = await self._claimed(decided, events, until)
        except StoreUnavailable:
            with contextlib.suppress(StoreError):
                await self._trips.ask([_unlocked(question)], until)
            raise
        if claimed.refused:
            # Asked again under the ledger as it is, the question must not wait for this.
            await self._trips.ask([_unlocked(question)], until)
        return claimed

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        await self._trips.ask([kept(Kept(key, record, ttl_seconds)) for key in keys], self._until(deadline))

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one."""
        records = await self._values([_RECORD(key) for key in keys], self._until(deadline))
        return next((record for record in records if record is not None), None)

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        """Tell nothing of any: what is on one node says nothing of the others."""
        return [False] * len(groups)

    async def ping(self) -> str | None:
        """Return None when every node answers, else what is wrong with one."""
        nodes = self._topology.nodes
        if self._closed or not nodes:
            try:
                # Nothing is known yet: this learns the map, or says why not.
                await self._values([(slot("pm:ping"), "pm:ping")], self._until(None))
            except StoreError as error:
                return str(error)
            return None
        answers = await asyncio.gather(*[node.reads.ask(["pm:ping"]) for node in nodes], return_exceptions=True)
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, StoreTimeout):
                self._topology.look_soon(node)
                return f"{answer} ({node})"
            if isinstance(answer, StoreUnavailable):
                self._topology.look_soon(node)
                return str(at_node(node, answer))
            if isinstance(answer, BaseException):
                raise answer
            # To be sent elsewhere is an answer.
            if isinstance(answer[0], ResponseError) and not isinstance(answer[0], AskError):
                return str(StoreUnavailable(f"{node}: {sentence(answer[0])}"))
        return None

    async def close(self) -> None:
        """Drop every connection. A second call does nothing."""
        self._closed = True
        self._trips.close()
        await self._topology.close()

    def describe(self) -> str:
        """Return the nodes that were named, without credentials."""
        return self._address.describe()

    def _node(self, host: str, port: int) -> Node:
        pool = self._address.pool_of(host, port)
        return Node(
            host,
            port,
            pool.make_connection,
            timeout=self._timeout,
            most_keys=_MOST_KEYS,
            most_commands=_MOST_COMMANDS,
        )

    async def _examine(self, node: Node) -> str | None:
        """Look at one node; return what is wrong for now, or None, and leave its lanes connected."""
        where = f"the node {node} of {self.describe()}"
        tag = self._topology.tag_of(node)
        if tag is None:
            return f"{where} serves no slot any more"
        wire = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                wire = await dial(node.connect)
                trouble = await examine(wire, tag)
        except (AuthenticationError, NoPermissionError) as error:
            msg = f"{where} refuses these credentials: {sentence(error)}"
            raise StoreUnavailable(msg) from error
        except (RedisError, OSError) as error:
            late = isinstance(error, TimeoutError)
            return f"{where} cannot be reached yet: {f'no answer within {CONNECT_SECONDS:g} s' if late else sentence(error)}"
        finally:
            if wire is not None:
                wire.close()
        if trouble is not None:
            return f"{where} is not well yet: {trouble}"
        try:
            await node.reads.ask([], timeout=CONNECT_SECONDS)
            await node.writes.ask((), timeout=CONNECT_SECONDS)
        except StoreError as error:
            return f"{where}: {error}"
        return None

    async def _claimed(self, decided: Decided, events: Sequence[Sent], until: float) -> Claim:
        """Enter a reservation, then write all else; the lock is held, if there is an answer."""
        ledger = None
        if decided.reservation is not None:
            (reply,) = await self._trips.ask([reserved(decided.reservation)], until)
            found = claim(reply)
            if found.refused:
                return found
            ledger = found.ledger
        sent = [*events, *map(kept, decided.records)]
        if decided.answer is None:
            replies = await self._trips.ask(sent, until)
        else:
            *replies, written = await self._trips.ask([*sent, _answered(decided.answer)], until)
            if written is None:
                # The lock ended before this came to pass, and another one answered.
                (there,) = await self._values([_ANSWER(decided.answer.key)], until)
                return Claim(answer=there)
        return Claim(counted=any(replies[: len(events)]), ledger=ledger)

    async def _values(self, names: Sequence[Place | None], until: float) -> list[bytes | None]:
        """Return the value of every name; None asks for nothing."""
        replies = iter(await self._trips.ask([name for name in names if name is not None], until))
        values = [None if name is None else next(replies) for name in names]
        return [value if isinstance(value, bytes) else None for value in values]

    async def _lock(self, question: str, until: float) -> bytes | None:
        """Return a question's answer; None when there is none, and until the lock ends nobody else will give one."""
        place, name = _ANSWER(question)
        ask: list[Sent] = [
            (place, ("SET", clustered_lock(question), b"1", "NX", "PX", self._lock_ms)),
            # After the lock: whoever held it before has answered, or will not.
            (place, ("MGET", name)),
        ]
        while True:
            locked, values = await self._trips.ask(ask, until)
            there = values[0] if isinstance(values, list) else None
            if isinstance(there, bytes):
                return there
            if locked is not None:
                return None
            left = until - time.monotonic()
            if left <= PAUSE_SECONDS:
                raise StoreTimeout(round(self._timeout * 1000))
            await asyncio.sleep(PAUSE_SECONDS)

    def _until(self, deadline: float | None) -> float:
        until = time.monotonic() + self._timeout
        return until if deadline is None else min(until, deadline)


def _answered(answer: Kept) -> Sent:
    place, name = _ANSWER(answer.key)
    return place, ("SET", name, answer.content, "NX", "EX", answer.ttl_seconds)


def _unlocked(question: str) -> Sent:
    return _ANSWER(question)[0], ("DEL", clustered_lock(question))
