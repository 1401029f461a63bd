"""The vector served from each real store, embedded, Redis, cluster or behind Sentinel, is the one of the plan over history."""

import asyncio
import itertools
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.store import open_store
from tests.parity.replay import Matrix, differences, offline, stored
from tests.parity.streams import Row, attempts, dense
from tests.servers import opened

SLOW: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
TIMEOUT_MS: Final = 10_000.0

lives = itertools.count()
"""One Redis sees many replays: each has keys of its own."""


def replayed(url: str, rows: list[Row], seed: int) -> Matrix:
    """Return the matrix of a history lived through by a store."""

    async def live() -> Matrix:
        store = open_store(url, timeout_ms=TIMEOUT_MS)
        await opened(store)
        try:
            return await stored(store, rows, seed, f"{next(lives)}/")
        finally:
            await store.close()

    return asyncio.run(live())


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(st.lists(attempts(), min_size=1, max_size=12), st.integers(0, 9))
def test_memory_serves_what_the_plan_computes(rows: list[Row], seed: int) -> None:
    assert differences(replayed("memory://", rows, seed), offline(rows)) == []


@settings(max_examples=6, deadline=None, suppress_health_check=SLOW)
@given(rows=st.lists(attempts(), min_size=1, max_size=8), seed=st.integers(0, 9))
def test_redis_serves_what_the_plan_computes(redis_url: str, rows: list[Row], seed: int) -> None:
    assert differences(replayed(redis_url, rows, seed), offline(rows)) == []


def test_a_busy_stream_through_any_store_agrees(store_url: str) -> None:
    rows = dense(400, 5)
    assert differences(replayed(store_url, rows, 5), offline(rows)) == []
