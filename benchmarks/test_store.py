"""Reading and writing the state of one payment with five candidates, in memory and in a real Redis.

Floor of memory: the same lookups in a plain dict, and the additions to the five states alone, kept in that dict. Floor of Redis:
one PING on the store's own kind of connection, which is what a round trip costs. Redis is asked by one caller and by 32 at
once, which share a round trip. The times are per call.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import redis.asyncio
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import BATCH, PER_CALL_SECONDS, Loop, per_call
from benchmarks.material import Workload
from benchmarks.processes import Redis, redis_program
from features.clock import micros
from features.layout import LAYOUTS
from features.state import add
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, encode, of_payment
from service.store.base import FeatureStore, Item, StateKeys, by_attempt
from service.store.bulk import put_many
from service.store.memory import MemoryStore
from service.store.redis import RedisStore

AT_ONCE = 32


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
    return StateKeys(
        request.card_token, request.merchant_id, request.card_bin, request.issuer_country, request.processors
    )


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
        updates = record.updates([record.attempt()], record.processor)
        keys = (by_attempt(payment_id, 1),)
        return await self._store.decided(attempt_event(payment_id, 1), updates, keys, encode(record), TTL_SECONDS)


@pytest.mark.benchmark(group="store: read, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_memory(benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop) -> None:
    """One payment's nine states."""
    keys = _keys(asked)
    assert benchmark(loop.batch(lambda: memory.read(keys))).merchant is not None


@pytest.mark.benchmark(group="store: read, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_memory_floor(benchmark: BenchmarkFixture, items: list[Item], asked: Workload, loop: Loop) -> None:
    """Nine lookups in a dict."""
    held = {(kind, key): blob for kind, key, blob in items}
    keys = _keys(asked)

    async def read() -> list[bytes | None]:
        get = held.get
        return [
            get(("card", keys.card)),  # type: ignore[arg-type]
            get(("merchant", keys.merchant)),  # type: ignore[arg-type]
            get(("bin", keys.bin)),  # type: ignore[arg-type]
            get(("issuer", keys.issuer)),  # type: ignore[arg-type]
            *[get(("processor", name)) for name in keys.processors],
        ]

    assert len(benchmark(loop.batch(read))) == 9


@pytest.mark.benchmark(group="store: count an attempt, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_memory(
    benchmark: BenchmarkFixture, memory: MemoryStore, asked: Workload, loop: Loop, now_us: int
) -> None:
    """Five states, the mark of the event, the record."""
    assert benchmark(loop.batch(_Writer(memory, asked, "m", now_us).write)) is True


@pytest.mark.benchmark(group="store: count an attempt, memory", timer=per_call, max_time=PER_CALL_SECONDS)
def test_write_memory_floor(
    benchmark: BenchmarkFixture, items: list[Item], asked: Workload, loop: Loop, now_us: int
) -> None:
    """Five states alone."""
    held = {(kind, key): blob for kind, key, blob in items}
    request = asked.auths[0]
    record = of_payment(request, request.processors[0], now_us, counted=True)
    updates = record.updates([record.attempt()], record.processor)

    async def add_all() -> None:
        for kind, key, increment in updates:
            held[kind, key] = add(LAYOUTS[kind], held.get((kind, key)), increment)

    benchmark(loop.batch(add_all))


@pytest.mark.benchmark(group="store: read, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_redis(benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop) -> None:
    """One caller, one round trip for each."""
    keys = _keys(asked)
    assert benchmark(loop.batch(lambda: remote.read(keys))).merchant is not None


@pytest.mark.benchmark(group="store: read, Redis", timer=per_call, max_time=PER_CALL_SECONDS)
def test_read_redis_32_at_once(benchmark: BenchmarkFixture, remote: RedisStore, asked: Workload, loop: Loop) -> None:
    """32 callers share round trips."""
    keys = _keys(asked)

    async def together() -> Any:
        for _ in range(BATCH // AT_ONCE):
            answers = await asyncio.gather(*[remote.read(keys) for _ in range(AT_ONCE)])
        return answers[-1]

    assert benchmark(lambda: loop.runner.run(together())).merchant is not None


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
