"""Online state in Redis: one MGET to read, one script to write.

With Sentinels the primary is asked for at every connect: a failover ends the connections, and the next ones lead to the new one.

Reads, what an answer waits for, and all other writes travel on a lane each (`service.store.lane`), so that none waits for the
others. The arithmetic of a
write is done by ``update.lua`` inside Redis, atomically (`service.store.command`). No exception of redis-py leaves this
module.

A user of Redis' own needs ``~pm:*`` and ``+eval +evalsha +mget +get +set +getrange +setrange`` (and ``+select`` for a
database other than 0).
"""

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from service.errors import StoreError, StoreUnavailable
from service.store import lines
from service.store.address import Address
from service.store.base import (
    EVENT_TTL_SECONDS,
    RECORD,
    Applied,
    Claim,
    Decided,
    StateKeys,
    States,
    Update,
)
from service.store.command import Arguments, applied, claim
from service.store.exchange import scripts
from service.store.lane import CONNECT_SECONDS, Ask, Lane, sentence
from service.store.trial import examine
from service.store.wire import Wire, dial

_MOST_KEYS: Final = 1000
_MOST_COMMANDS: Final = 32
"""What one exchange may hold, so that it stays well under any timeout: 32 updates keep Redis busy for 2 ms."""
_BEHIND_SECONDS: Final = 0.25
"""The most that a write behind an answer may take: nobody waits for it, and a record kept late is better than a lost one."""


_Asked = Sequence[str | None]
_Read = Lane[_Asked, list[bytes | None]]
_Write = Lane[Sequence[Arguments | bytes], list[Any]]


class RedisStore:
    """Online state in one Redis server, which may be the primary that Sentinels name.

    Parameters
    ----------
    url
        ``redis://``, ``rediss://``, ``unix://`` or ``sentinel://`` (`service.store.address`).
    timeout_ms
        The most that a call somebody waits for may take; `remember`, and `decided` without a deadline, have a quarter of a
        second.
    event_ttl_seconds
        How long an applied event is remembered.
    """

    def __init__(self, url: str, *, timeout_ms: float, event_ttl_seconds: int = EVENT_TTL_SECONDS) -> None:
        self._address = Address(url)
        self._pool = self._address.pool()
        self._event_ttl_ms = event_ttl_seconds * 1000
        seconds = timeout_ms / 1000
        self._reads: _Read = Lane(self._connection, _mget, timeout=seconds, weigh=len, most=_MOST_KEYS)
        self._seconds = seconds
        # A lane of their own: an answer waits for them, and must not wait for a batch of outcomes.
        self._claims: _Write = Lane(self._connection, _evalsha, timeout=seconds, weigh=len, most=_MOST_COMMANDS)
        behind = max(seconds, _BEHIND_SECONDS)
        self._writes: _Write = Lane(self._connection, _evalsha, timeout=behind, weigh=len, most=_MOST_COMMANDS)

    async def open(self) -> str | None:
        """Look at the server once: reachable, new enough, not in cluster mode, scripts and keys allowed."""
        wire = None
        try:
            wire = await dial(self._connection)
            trouble = await examine(wire)
        except (AuthenticationError, NoPermissionError) as error:
            msg = f"{self.describe()} refuses these credentials: {sentence(error)}"
            raise StoreUnavailable(msg) from error
        except (RedisError, OSError) as error:
            return str(StoreUnavailable(f"{self.describe()} cannot be reached yet: {sentence(error)}"))
        finally:
            if wire is not None:
                wire.close()
        if trouble is not None:
            return str(StoreUnavailable(f"{self.describe()} is not well yet: {trouble}"))
        try:
            # The first caller finds every lane connected.
            await self._reads.ask([], timeout=CONNECT_SECONDS)
            await self._claims.ask((), timeout=CONNECT_SECONDS)
            await self._writes.ask((), timeout=CONNECT_SECONDS)
        except StoreError as error:
            return str(error)
        return None

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities, in one round trip shared with concurrent callers."""
        return lines.shaped(keys, await self._reads.ask(lines.names(keys), deadline))

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, all or nothing; return False when the event had been applied before."""
        command = applied(self._event_ttl_ms, Applied(event_id, updates))
        (reply,) = await self._writes.ask((command,), deadline, self._seconds)
        return bool(reply)

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events in order, each all or nothing; return for each what `apply` returns.

        With a `deadline` nobody waits for it, and it has as long as a write behind an answer.
        """
        replies: list[Any] = []
        most = self._seconds if deadline is None else None
        for start in range(0, len(batch), _MOST_COMMANDS):
            part = [applied(self._event_ttl_ms, event) for event in batch[start : start + _MOST_COMMANDS]]
            replies += await self._writes.ask(part, deadline, most)
        return [bool(reply) for reply in replies]

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        """Keep an answer and what goes with it, in one script and one round trip.

        With a `deadline` an answer waits for this; without one it is a write behind an answer.
        """
        lane = self._writes if deadline is None else self._claims
        (reply,) = await lane.ask((lines.decided(self._event_ttl_ms, decided),), deadline)
        return claim(reply)

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        await self._writes.ask([("SET", RECORD + key, record, "EX", ttl_seconds) for key in keys], deadline)

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one.

        With a `deadline` nobody waits for it: it has as long as a write behind an answer, and keeps no answer's read waiting.
        """
        names = [RECORD + key for key in keys]
        records = await (self._reads.ask(names) if deadline is None else self._behind(names, deadline))
        return next((record for record in records if record is not None), None)

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        """Tell of each group of record keys whether all of them are there; what wrote them wrote all else with them."""
        records = await self._behind([RECORD + key for group in groups for key in group], deadline)
        there, start = [], 0
        for group in groups:
            there.append(None not in records[start : start + len(group)])
            start += len(group)
        return there

    async def ping(self) -> str | None:
        """Return None when the store answers, else what is wrong."""
        try:
            await self._reads.ask(["pm:ping"])
        except StoreError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """Drop every connection. A second call does nothing."""
        await self._reads.close()
        await self._claims.close()
        await self._writes.close()
        await self._address.close()

    def describe(self) -> str:
        """Return where the state is kept, without credentials."""
        return self._address.describe()

    async def _behind(self, names: Sequence[str], deadline: float | None) -> list[bytes | None]:
        """Return what is under some names, read between the writes that nobody waits for."""
        if not names:
            return []
        (values,) = await self._writes.ask((("MGET", *names),), deadline)
        return list(values)

    def _connection(self) -> AbstractConnection:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        return connection


async def _mget(wire: Wire, asks: Sequence[Ask[_Asked, list[bytes | None]]]) -> None:
    """Read the keys of all asks with one MGET; None asks for nothing."""
    line, places = lines.mget([ask.question for ask in asks])
    values: list[bytes | None] = []
    if line is not None:
        (reply,) = await wire.ask((line,), 1)
        if isinstance(reply, ReadOnlyError):
            raise reply
        if isinstance(reply, ResponseError):
            for ask in asks:
                ask.fail(StoreUnavailable(sentence(reply)))
            return
        values = reply
    for ask, mine in zip(asks, places, strict=True):
        ask.give(lines.taken(values, mine))


async def _evalsha(wire: Wire, asks: Sequence[Ask[Sequence[Arguments | bytes], list[Any]]]) -> None:
    """Send the commands of all asks in one go; a server that does not know the script yet is told it."""
    commands = [command for ask in asks for command in ask.question]
    replies = await scripts(wire, commands)
    failed = next((reply for reply in replies if isinstance(reply, ReadOnlyError)), None)
    if failed is not None:
        raise failed
    start = 0
    for ask in asks:
        own = replies[start : start + len(ask.question)]
        start += len(own)
        refused = next((reply for reply in own if isinstance(reply, ResponseError)), None)
        if refused is None:
            ask.give(own)
        else:
            ask.fail(StoreUnavailable(sentence(refused)))
