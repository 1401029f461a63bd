"""Online state in a Redis Cluster: every entity in a slot of its own, an event as one script for each of its entities.

No script may touch two slots, so an event is not one step here: each entity counts it once by a mark in the entity's own
slot, and a repeat completes what a fault cut short (ADR 11). Within the caller's time what was redirected is sent again to
where it belongs, and a lost node is looked for anew. No exception of redis-py leaves this module.

A user of Redis' own needs the rights of `service.store.redis` and ``+asking +cluster|slots`` on every node.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from service.errors import StoreError, StoreTimeout, StoreUnavailable
from service.store.address import Address
from service.store.base import (
    EVENT_TTL_SECONDS,
    RECORD,
    Applied,
    StateKeys,
    States,
    Update,
    clustered,
    named,
    shaped,
)
from service.store.command import Arguments, in_full, parts, slot
from service.store.lane import CONNECT_SECONDS, Lane, sentence
from service.store.topology import Node, Reply, Topology
from service.store.trial import examine

_MOST_KEYS: Final = 1000
_MOST_COMMANDS: Final = 128
"""What one exchange with a node may hold; a command here is one entity, about an eighth of an event."""
_MOST_EVENTS: Final = 32
_PAUSE_SECONDS: Final = 0.002
"""Between two tries of a script whose keys are just on their way from one node to another."""

Question = str | Arguments
"""A key to read, or a command that writes."""

Place = tuple[int, str]
"""Slot and name of a key."""


@lru_cache(maxsize=8192)
def _state(kind: str, key: str) -> Place:
    """Return where a state lies. Cached: a merchant, a BIN or a processor comes again and again."""
    name = clustered(kind, key)
    return slot(name), name


def _record(key: str) -> Place:
    return slot(RECORD + key), RECORD + key


_PAYMENT: Final[list[Callable[[str], Place]]] = [partial(_state, kind) for kind in PAYMENT_KINDS]
_CANDIDATE: Final[list[Callable[[str], Place]]] = [partial(_state, kind) for kind in CANDIDATE_KINDS]


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
        self._topology = Topology(self._address.nodes, self._node)
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
        return shaped(keys, await self._values(named(keys, _PAYMENT, _CANDIDATE, _record), deadline))

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, each entity for itself; return False when all of them had counted it before."""
        return any(await self._write(parts(self._event_ttl_ms, event_id, updates), deadline))

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events; return for each what `apply` returns. One event's increments of an entity keep their order."""
        applied: list[bool] = []
        for start in range(0, len(batch), _MOST_EVENTS):
            events = [parts(self._event_ttl_ms, *event) for event in batch[start : start + _MOST_EVENTS]]
            replies = await self._write([part for event in events for part in event], deadline)
            first = 0
            for event in events:
                applied.append(any(replies[first : first + len(event)]))
                first += len(event)
        return applied

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
        """Apply a decision's increments and remember its record, together in time and each for itself."""
        event = parts(self._event_ttl_ms, event_id, updates)
        kept = _records(record_keys, record, ttl_seconds)
        return any((await self._write([*event, *kept], deadline))[: len(event)])

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        await self._write(_records(keys, record, ttl_seconds), deadline)

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one."""
        records = await self._values([_record(key) for key in keys], deadline)
        return next((record for record in records if record is not None), None)

    async def ping(self) -> str | None:
        """Return None when every node answers, else what is wrong with one."""
        nodes = self._topology.nodes
        if self._closed or not nodes:
            try:
                # Nothing is known yet: this learns the map, or says why not.
                await self._values([(slot("pm:ping"), "pm:ping")], None)
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
                return str(_of(node, answer))
            if isinstance(answer, BaseException):
                raise answer
            # To be sent elsewhere is an answer.
            if isinstance(answer[0], ResponseError) and not isinstance(answer[0], AskError):
                return str(StoreUnavailable(f"{node}: {sentence(answer[0])}"))
        return None

    async def close(self) -> None:
        """Drop every connection. A second call does nothing."""
        self._closed = True
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
        connection = node.connect()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
                trouble = await examine(connection, tag)
        except (AuthenticationError, NoPermissionError) as error:
            msg = f"{where} refuses these credentials: {sentence(error)}"
            raise StoreUnavailable(msg) from error
        except (RedisError, OSError) as error:
            late = isinstance(error, TimeoutError)
            return f"{where} cannot be reached yet: {f'no answer within {CONNECT_SECONDS:g} s' if late else sentence(error)}"
        finally:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
        if trouble is not None:
            return f"{where} is not well yet: {trouble}"
        try:
            await node.reads.ask([], timeout=CONNECT_SECONDS)
            await node.writes.ask((), timeout=CONNECT_SECONDS)
        except StoreError as error:
            return f"{where}: {error}"
        return None

    async def _values(self, names: Sequence[Place | None], deadline: float | None) -> list[bytes | None]:
        """Return the value of every name; None asks for nothing."""
        replies = iter(await self._round_trips([name for name in names if name is not None], deadline))
        values = [None if name is None else next(replies) for name in names]
        return [value if isinstance(value, bytes) else None for value in values]

    async def _write(self, commands: Sequence[tuple[int, Arguments]], deadline: float | None) -> list[bool]:
        return [bool(reply) for reply in await self._round_trips(commands, deadline)]

    async def _round_trips(self, questions: Sequence[tuple[int, Question]], deadline: float | None) -> list[Reply]:
        """Ask every question of the node that serves its slot, again and elsewhere while there is reason and time."""
        until = time.monotonic() + self._timeout
        if deadline is not None and deadline < until:
            until = deadline
        replies: list[Reply] = [None] * len(questions)
        pending: Sequence[int] = range(len(questions))
        while pending:
            if self._closed:
                msg = "it was closed"
                raise StoreUnavailable(msg)
            groups = await self._groups(questions, pending, until)
            answers = await self._ask(groups, questions, until)
            pending = []
            for (node, places), answer in zip(groups.items(), answers, strict=True):
                pending += await self._settle(node, places, answer, questions, replies, until)
        return replies

    async def _groups(
        self, questions: Sequence[tuple[int, Question]], places: Sequence[int], until: float
    ) -> dict[Node, list[int]]:
        """Return which questions go to which node."""
        groups: dict[Node, list[int]] = {}
        for place in places:
            node = self._topology.of(questions[place][0])
            if node is None:
                await self._topology.look(until)
                node = self._topology.of(questions[place][0])
            if node is None:
                msg = f"no node of the cluster is known to serve slot {questions[place][0]}"
                raise StoreUnavailable(msg)
            groups.setdefault(node, []).append(place)
        return groups

    async def _ask(
        self, groups: Mapping[Node, Sequence[int]], questions: Sequence[tuple[int, Question]], until: float
    ) -> list[list[Reply] | BaseException]:
        asks = []
        for node, places in groups.items():
            own = [questions[place][1] for place in places]
            # All questions of a round trip are keys, or all are commands.
            lane: Lane[Any, list[Reply]] = node.reads if isinstance(own[0], str) else node.writes
            asks.append(lane.ask(own, until))
        return await asyncio.gather(*asks, return_exceptions=True)

    async def _settle(
        self,
        node: Node,
        places: Sequence[int],
        answer: list[Reply] | BaseException,
        questions: Sequence[tuple[int, Question]],
        replies: list[Reply],
        until: float,
    ) -> list[int]:
        """Take over what a node answered; return the questions that are to be asked again."""
        if isinstance(answer, StoreTimeout):
            self._topology.look_soon(node)
        if isinstance(answer, StoreUnavailable):
            return await self._found_anew(node, places, questions, answer, until)
        if isinstance(answer, BaseException):
            raise answer
        again: list[int] = []
        pause = None
        for place, reply in zip(places, answer, strict=True):
            if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                reply = await self._elsewhere(node, reply, questions[place][1], until)
            if not isinstance(reply, ResponseError):
                replies[place] = reply
                continue
            again.append(place)
            if isinstance(reply, MovedError):
                self._topology.moved(reply.slot_id, reply.host or node.host, reply.port)
            elif isinstance(reply, ReadOnlyError):
                await self._found_anew(node, [place], questions, StoreUnavailable(sentence(reply)), until)
            elif isinstance(reply, TryAgainError | AskError):
                pause = reply
            elif not isinstance(reply, NoScriptError):
                self._topology.look_soon(node)
                raise StoreUnavailable(sentence(reply))
        await _rest(pause, until)
        return again

    async def _found_anew(
        self,
        node: Node,
        places: Sequence[int],
        questions: Sequence[tuple[int, Question]],
        error: StoreUnavailable,
        until: float,
    ) -> list[int]:
        """Look at the map without `node`; return what another one serves now, or raise what was wrong with this one."""
        await self._topology.look(until, node)
        if any(self._topology.of(questions[place][0]) in (node, None) for place in places):
            raise _of(node, error) from None
        return list(places)

    async def _elsewhere(self, node: Node, asked: AskError, question: Question, until: float) -> Reply:
        """Ask the node to which a slot is just moving."""
        to = self._topology.node(asked.host or node.host, asked.port)
        command: Arguments = ("MGET", question) if isinstance(question, str) else in_full(question)
        _, reply = await to.writes.ask((("ASKING",), command), until)
        return reply[0] if isinstance(question, str) and isinstance(reply, list) else reply


async def _rest(reason: ResponseError | None, until: float) -> None:
    """Wait a little, when there is a reason to."""
    if reason is not None:
        if time.monotonic() + _PAUSE_SECONDS >= until:
            raise StoreUnavailable(sentence(reason)) from reason
        await asyncio.sleep(_PAUSE_SECONDS)


def _of(node: Node, error: StoreUnavailable) -> StoreUnavailable:
    return StoreUnavailable(f"{node}: {error.reason}")


def _records(keys: Sequence[str], record: bytes, ttl_seconds: int) -> list[tuple[int, Arguments]]:
    places = [_record(key) for key in keys]
    return [(slot_of, ("SET", name, record, "EX", ttl_seconds)) for slot_of, name in places]
