"""Reading and writing the state of one payment with five candidates, in memory and in a real Redis; and what Redis itself takes.

Floor of memory: the same lookups in a plain dict, and the additions to the five states alone, kept in that dict. Floor of Redis:
one PING on the store's own kind of connection, which is what a round trip costs. Redis is asked by one caller and by 32 at
once, which share a round trip. The times are per call.

What the script takes inside the server bounds how many events a second one Redis can count: `usec_per_call` of
``INFO commandstats``, in the table's extra_info (``--benchmark-json``) and printed. Its floor is a script that does nothing.
Eight entities with a history of many tiles each; "newest tile" is what a busy entity sees, "new tiles" what one sees that
is seen once in a while, and there nearly all of a state is written anew.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import Any

import pytest
import redis
import redis.asyncio
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import BATCH, PER_CALL_SECONDS, Loop, per_call
from benchmarks.material import Workload
from benchmarks.processes import Redis, redis_program
from features.clock import DAY, HOUR, MINUTE, micros
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from features.increment import Increment, attempt_increment, chargeback_increment, member, result_increment
from features.layout import LAYOUTS
from features.state import add
from service.ledger import APPROVED, FAILED, Entry, Limit
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, encode, of_payment, outcome_event
from service.standing import Note, keys_of
from service.store.base import (
    Applied,
    Decided,
    FeatureStore,
    Item,
    Kept,
    LedgerMove,
    Reservation,
    StandingUpdate,
    StateKeys,
    Update,
    by_attempt,
    by_decision,
    by_question,
)
from service.store.bulk import put_many
from service.store.memory import MemoryStore
from service.store.redis import RedisStore

AT_ONCE = 32
LEDGER = "visa:c:3:m_1tok_1"
LIMITS = (Limit(30 * DAY, 15), Limit(DAY, 3, 4200))
ANSWER = b"a" * 1_500
KeysOf = Callable[[Workload], StateKeys]
MERCHANT = PAYMENT_KINDS.index("merchant")


@pytest.fixture(scope="session")
def redis_url(items: list[Item]) -> Iterator[str]:
    """URL of a redis-server of the benchmarks' own that holds the warm state."""
    if redis_program() is None:
        pytest.skip("no redis-server on PATH")
    with Redis() as server:
        put_many(server.url, items)
        yield server.url


@pytest.fixture
def remote(redis_url: str, loop: Loop) -> Iterator[RedisStore]:
    """The store in that server, opened."""
    store = RedisStore(redis_url, timeout_ms=5_000)
    assert loop.runner.run(store.open()) is None
    yield store
    loop.runner.run(store.close())


def _keys(asked: Workload) -> StateKeys:
    request = asked.auths[0]
    return StateKeys(payment_keys(request), tuple(candidate_keys(request, name) for name in request.processors))


def _all_keys(asked: Workload) -> StateKeys:
    """Return what a decision asks for: states, and how each candidate does, the ledger, the record, the answer before."""
    request = asked.auths[0]
    standings = [keys_of(name, request.card_network, request.merchant_id) for name in request.processors]
    return _keys(asked)._replace(
        record=by_attempt("p_0", 1),
        standings=tuple(key for keys in standings for key in keys),
        ledger=LEDGER,
        answer=by_question("auth", "p_0", 1),
    )


class _Writer:
    """Writes one attempt after the other: counted alone, claimed with its answer, or settled by its outcome."""

    def __init__(self, store: FeatureStore, asked: Workload, prefix: str, at: int) -> None:
        self._store = store
        self._prefix = prefix
        self._numbers = count()
        request = asked.auths[0]
        network = request.card_network
        self._record: DecisionRecord = of_payment(request, request.processors[0], at, counted=True, network=network)
        self._standings = keys_of(request.processors[0], network, request.merchant_id)
        self._at = at

    async def fill(self) -> None:
        """Put ten attempts into the ledger, and a result into each standing."""
        entries = [Entry(self._at - n * DAY // 2, n, 4200, FAILED) for n in range(10)]
        batch = [Applied(f"{self._prefix}_{n}", ledger=LedgerMove(LEDGER, n, entry)) for n, entry in enumerate(entries)]
        notes = [StandingUpdate(key, self._note) for key in self._standings]
        await self._store.apply_many([*batch, Applied(f"{self._prefix}_notes", standings=notes)])

    async def write(self) -> bool:
        """Count an attempt and keep its record, and nothing else."""
        payment_id, record = self._next(), self._record
        kept = Kept(by_attempt(payment_id, 1), encode(record), TTL_SECONDS)
        event = attempt_event(payment_id, 1)
        return (await self._store.decided(Decided(event, self._updates(), [kept]), deadline=monotonic() + 5)).counted

    async def claim(self) -> bool:
        """Do the same with an answer, a record under two keys, and a reservation under two limits."""
        payment_id, record = self._next(), encode(self._record)
        keys = (by_decision(payment_id), by_attempt(payment_id, 1))
        decided = Decided(
            attempt_event(payment_id, 1),
            self._updates(),
            [Kept(key, record, TTL_SECONDS) for key in keys],
            Kept(by_question("auth", payment_id, 1), ANSWER, 86_400),
            Reservation(LEDGER, Entry(self._at, 99, 4200), LIMITS),
        )
        return (await self._store.decided(decided, deadline=monotonic() + 5)).counted

    async def settle(self) -> bool:
        """Count a result, note it at three levels, settle the reservation, keep what it was settled as."""
        payment_id, record = self._next(), self._record
        event = Applied(
            outcome_event("authorisation", payment_id, 1),
            record.updates(result_increment(self._at, "approved"), record.processor),
            [StandingUpdate(key, self._note) for key in self._standings],
            LedgerMove(LEDGER, 99, Entry(self._at, 99, 4200, APPROVED)),
            [Kept(f"s:1:{payment_id}", b"x" * 40, TTL_SECONDS)],
        )
        return (await self._store.apply_many([event]))[0]

    @property
    def _note(self) -> Note:
        return Note(self._at, approved=True, expected=0.9, latency_ms=180, amount_minor=4200)

    def _next(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"

    def _updates(self) -> list[Update]:
        return self._record.updates(self._record.attempt(), self._record.processor)


WRITES: dict[str, Callable[[_Writer], Callable[[], Awaitable[bool]]]] = {
    "count an attempt": lambda writer: writer.write,
    "claim an answer": lambda writer: writer.claim,
    "settle an outcome": lambda writer: writer.settle,
}


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.benchmark(timer=per_call, max_time=PER_CALL_SECONDS)
def test_writes_memory(
    benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop, now_us: int, what: str
) -> None:
    """What an answer and what an outcome writes, beside counting an attempt alone."""
    benchmark.group = f"store: {what}, memory"
    writer = _Writer(memory, asked, f"m {what}", now_us)
    loop.runner.run(writer.fill())
    assert benchmark(loop.batch(WRITES[what](writer))) is True


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
@pytest.mark.parametrize("what", WRITES)
@pytest.mark.benchmark(timer=per_call, max_time=PER_CALL_SECONDS)
def test_writes_redis(
    benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop, now_us: int, what: str, at_once: int
) -> None:
    """The same in Redis, by one caller or by 32 at once, and what the script takes inside the server."""
    benchmark.group = f"store: {what}, Redis"
    writer = _Writer(remote, asked, f"r {what} {at_once}", now_us)
    write = WRITES[what](writer)

    async def together() -> bool:
        answers = [False]
        for _ in range(BATCH // at_once):
            answers = await asyncio.gather(*[write() for _ in range(at_once)])
        return answers[-1]

    loop.runner.run(writer.fill())
    with redis.Redis.from_url(remote.describe()) as client:
        client.config_resetstat()
        assert benchmark(loop.batch(write) if at_once == 1 else lambda: loop.runner.run(together())) is True
        inside = client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    benchmark.extra_info["server_usec_per_call"] = inside
    print(f"{what}, {at_once} at once: {inside:.1f} us inside Redis")


@pytest.mark.parametrize("keys_of_payment", [_keys, _all_keys], ids=["states", "all"])
@pytest.mark.benchmark(group="store: read, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_memory(
    benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop, keys_of_payment: KeysOf
) -> None:
    """One payment's states: up to seven of its own and three with each of five processors; and all that a decision asks for."""
    keys = keys_of_payment(asked)
    assert benchmark(loop.batch(lambda: memory.read(keys))).payment[MERCHANT] is not None


@pytest.mark.benchmark(group="store: read, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_memory_floor(benchmark: BenchmarkFixture, items: list[Item], asked: Workload, loop: Loop) -> None:
    """As many lookups in a dict."""
    held = {(kind, key): blob for kind, key, blob in items}
    keys = _keys(asked)
    names = [*zip(PAYMENT_KINDS, keys.payment, strict=True)]
    for candidate in keys.candidates:
        names += zip(CANDIDATE_KINDS, candidate, strict=True)

    async def read() -> list[bytes | None]:
        get = held.get
        return [get(name) for name in names]  # type: ignore[arg-type]

    assert len(benchmark(loop.batch(read))) == len(names)


@pytest.mark.benchmark(group="store: count an attempt, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_memory_floor(
    benchmark: BenchmarkFixture, items: list[Item], asked: Workload, loop: Loop, now_us: int
) -> None:
    """The states alone."""
    held = {(kind, key): blob for kind, key, blob in items}
    request = asked.auths[0]
    record = of_payment(request, request.processors[0], now_us, counted=True, network=request.card_network)
    updates = record.updates(record.attempt(), record.processor)

    async def add_all() -> None:
        for kind, key, increment, of in updates:
            held[kind, key] = add(LAYOUTS[kind], held.get((kind, key)), increment, of)

    benchmark(loop.batch(add_all))


@pytest.mark.parametrize("keys_of_payment", [_keys, _all_keys], ids=["states", "all"])
@pytest.mark.benchmark(group="store: read, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_redis(
    benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop, now_us: int, keys_of_payment: KeysOf
) -> None:
    """One caller, one round trip for each."""
    loop.runner.run(_Writer(remote, asked, "read", now_us).fill())
    keys = keys_of_payment(asked)
    assert benchmark(loop.batch(lambda: remote.read(keys))).payment[MERCHANT] is not None


@pytest.mark.benchmark(group="store: read, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_redis_32_at_once(benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop) -> None:
    """32 callers share round trips."""
    keys = _keys(asked)

    async def together() -> Any:
        for _ in range(BATCH // AT_ONCE):
            answers = await asyncio.gather(*[remote.read(keys) for _ in range(AT_ONCE)])
        return answers[-1]

    assert benchmark(lambda: loop.runner.run(together())).payment[MERCHANT] is not None


@pytest.mark.parametrize("what", ["read", "count an attempt"])
@pytest.mark.benchmark(timer=per_call, max_time=PER_CALL_SECONDS)
def test_redis_floor(benchmark: BenchmarkFixture, redis_url: str, loop: Loop, what: str) -> None:
    """A round trip that asks nothing."""
    benchmark.group = f"store: {what}, Redis"

    async def connect() -> redis.asyncio.Connection:
        connection = redis.asyncio.Connection(port=int(redis_url.rsplit(":", 1)[1].split("/")[0]))
        await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    connection = loop.runner.run(connect())

    async def ping() -> Any:
        await connection.send_command("PING", check_health=False)
        return await connection.read_response()

    assert benchmark(loop.batch(ping)) == b"PONG"
    loop.runner.run(connection.disconnect())


@pytest.fixture
def now_us() -> int:
    """The present, in microseconds."""
    return micros(datetime.now(UTC))


OF_ONE_EVENT = (
    "card",
    "merchant",
    "merchant_card",
    "bin",
    "issuer",
    "processor",
    "processor_bin",
    "processor_issuer",
)
NOON = 1_780_000_000_000_000 // DAY * DAY + 12 * HOUR + 90_000_000
"""A moment in the middle of a tile of every hop, so that what comes a little later falls into the same one."""
EVENTS: dict[str, Callable[[int], Increment | None]] = {
    "floor: no entity": lambda n: None,
    "attempt, newest tile": lambda n: attempt_increment(NOON + n, 4200),
    "approval, newest tile": lambda n: result_increment(NOON + n, "approved"),
    "decline, newest tile": lambda n: result_increment(NOON + n, "declined", "visa", "51"),
    "chargeback, newest tile": lambda n: chargeback_increment(NOON + n),
    "approval, late, its tile has a row": lambda n: result_increment(NOON - 5 * MINUTE, "approved"),
    "approval, late by an hour and a bit": lambda n: result_increment(NOON - HOUR - 70_000_000 - n, "approved"),
    "attempt, new tiles of 5 minutes": lambda n: attempt_increment(NOON + n * 5 * MINUTE, 4200),
    "approval, new tiles of a day": lambda n: result_increment(NOON + n * DAY, "approved"),
}


def _lived(kind: str) -> bytes:
    """Return the state of an entity of this kind with rows in each of its rings."""
    chance = random.Random(kind)
    layout = LAYOUTS[kind]
    times = {NOON - int(chance.random() ** 3 * layout.horizon) for _ in range(60 if "card" in kind else 3_000)}
    blob = add(layout, None, result_increment(min(times), "approved"))
    for at in sorted({*times, NOON - 5 * MINUTE, NOON}):
        status = "approved" if chance.random() < 0.8 else "declined"
        for increment in (attempt_increment(at, 5_000), result_increment(at, status, "visa", "51")):
            of = member(f"m_{chance.randrange(5)}") if increment.is_attempt else None
            blob = add(layout, blob, increment, of)
    return blob


@pytest.fixture(scope="module")
def lived() -> list[Item]:
    """The states of one event's entities."""
    return [(kind, "k", _lived(kind)) for kind in OF_ONE_EVENT]


@pytest.fixture(scope="module")
def bare_redis() -> Iterator[str]:
    """URL of a redis-server of the benchmarks' own that is given its state by each benchmark."""
    if redis_program() is None:
        pytest.skip("no redis-server on PATH")
    with Redis() as server:
        yield server.url


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.benchmark(group="store: one event on 8 entities, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_server_time(benchmark: BenchmarkFixture, bare_redis: str, lived: list[Item], loop: Loop, event: str) -> None:
    """One caller; the script's own time goes into extra_info."""
    put_many(bare_redis, lived)
    store = RedisStore(bare_redis, timeout_ms=5_000)
    assert loop.runner.run(store.open()) is None
    numbers = count(1)

    async def write() -> bool:
        number = next(numbers)
        increment = EVENTS[event](number)
        of = member("m_1") if increment is not None and increment.is_attempt else None
        updates = [] if increment is None else [Update(kind, "k", increment, of) for kind in OF_ONE_EVENT]
        return await store.apply(f"{event} {number}", updates)

    with redis.Redis.from_url(bare_redis) as client:
        assert loop.runner.run(write()) is True
        client.config_resetstat()
        assert benchmark(loop.batch(write)) is True
        stats = client.info("commandstats")["cmdstat_evalsha"]
        client.flushall()
    loop.runner.run(store.close())
    increment = EVENTS[event](1)
    entities = [] if increment is None else [kind for kind in OF_ONE_EVENT if LAYOUTS[kind].takes(increment.deltas)]
    benchmark.extra_info["entities"] = len(entities)
    benchmark.extra_info["server_usec_per_call"] = stats["usec_per_call"]
    print(f"{event}: {stats['usec_per_call']:.1f} us inside Redis for {len(entities)} entities")
