"""Every store under one roof: a test that takes `tell` is told to each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from service.store import FeatureStore, open_store
from service.store.base import Item
from service.store.bulk import put_many
from service.store.memory import MemoryStore

Story = Callable[[FeatureStore], Awaitable[None]]


Put = Callable[[FeatureStore, list[Item]], None]


class Tell(Protocol):
    def __call__(self, story: Story) -> None: ...


async def act(url: str, story: Story, timeout_ms: float = 5000) -> None:
    store = open_store(url, timeout_ms=timeout_ms)
    try:
        assert await store.open() is None
        await story(store)
    finally:
        await store.close()
        await store.close()


URLS = {"redis": "redis_url", "tls": "tls_url", "cluster": "cluster_url", "sentinel": "sentinel_url"}
STORES = ["memory", "snapshot", "redis", "unix", "tls", "cluster", "sentinel"]


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "unix":
        request.getfixturevalue("redis_url")
        return f"unix://{request.getfixturevalue('redis_process').folder}/socket?db=0"
    if request.param in URLS:
        return str(request.getfixturevalue(URLS[request.param]))
    return "memory://" if request.param == "memory" else f"memory://{tmp_path}/state"


@pytest.fixture
def tell(store_url: str) -> Tell:
    return lambda story: asyncio.run(act(store_url, story))


@pytest.fixture
def put(store_url: str) -> Put:
    """Write states over what is there, as a backfill would."""

    def put(store: FeatureStore, items: list[Item]) -> None:
        if isinstance(store, MemoryStore):
            store.put_many(items)
        else:
            put_many(store_url, items)

    return put
