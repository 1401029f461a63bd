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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
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
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, encode, of_payment
from service.store.base import FeatureStore, Item, StateKeys, Update, by_attempt
from service.store.bulk import put_many
from service.store.memory import MemoryStore
from service.store.redis import RedisStore

AT_ONCE = 32
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


class _Writer:
    """Counts one attempt after the other, as `service.decide` does after each answer."""

    def __init__(self, store: FeatureStore, asked: Workload, prefix: str, at: int) -> None:
        self._store = store
        self._prefix = prefix
        self._numbers = count()
        request = asked.auths[0]
        self._record: DecisionRecord = of_payment(request, request.processors[0], at, counted=True)

    async def write(self) -> bool:
        record = self._record
        payment_id = f"{self._prefix}_{next(self._numbers)}"
        updates = record.updates(record.attempt(), record.processor)
        keys = (by_attempt(payment_id, 1),)
        return await self._store.decided(attempt_event(payment_id, 1), updates, keys, encode(record), TTL_SECONDS)


@pytest.mark.benchmark(group="store: read, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_memory(benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop) -> None:
    """One payment's states: up to seven of its own and three with each of five processors."""
    keys = _keys(asked)
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
def test_write_memory(
    benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop, now_us: int
) -> None:
    """The states of its entities, the mark of the event, the record."""
    assert benchmark(loop.batch(_Writer(memory, asked, "m", now_us).write)) is True


@pytest.mark.benchmark(group="store: count an attempt, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_memory_floor(
    benchmark: BenchmarkFixture, items: list[Item], asked: Workload, loop: Loop, now_us: int
) -> None:
    """The states alone."""
    held = {(kind, key): blob for kind, key, blob in items}
    request = asked.auths[0]
    record = of_payment(request, request.processors[0], now_us, counted=True)
    updates = record.updates(record.attempt(), record.processor)

    async def add_all() -> None:
        for kind, key, increment, of in updates:
            held[kind, key] = add(LAYOUTS[kind], held.get((kind, key)), increment, of)

    benchmark(loop.batch(add_all))


@pytest.mark.benchmark(group="store: read, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_redis(benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop) -> None:
    """One caller, one round trip for each."""
    keys = _keys(asked)
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


@pytest.mark.benchmark(group="store: count an attempt, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_redis(benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop, now_us: int) -> None:
    """One caller, one script call in one round trip."""
    assert benchmark(loop.batch(_Writer(remote, asked, "r", now_us).write)) is True


@pytest.mark.benchmark(group="store: count an attempt, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_redis_32_at_once(
    benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop, now_us: int
) -> None:
    """32 callers share round trips."""
    writer = _Writer(remote, asked, "t", now_us)

    async def together() -> bool:
        for _ in range(BATCH // AT_ONCE):
            answers = await asyncio.gather(*[writer.write() for _ in range(AT_ONCE)])
        return answers[-1]

    assert benchmark(lambda: loop.runner.run(together())) is True


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
