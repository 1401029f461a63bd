"""What every room's tests may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a real redis-server that lives as long as the session; see `redis_url` for an empty one."""
    server = RedisServer()
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of the session's redis-server, emptied for this test."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server for one test alone, which may stop, kill and restart it."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def bundle_shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with one small, active bundle of all four models, simulated and fitted once per session."""
    # Here: it loads polars and scikit-learn, which most tests do without.
    from benchmarks.material import make_shelf

    return make_shelf(tmp_path_factory.mktemp("bundles"), payments=20_000, max_rows=8_000)
