"""Every store under one roof: a test that takes `tell` is told to each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from service.store import FeatureStore, open_store
from service.store.base import Item
from service.store.bulk import put_many
from service.store.memory import MemoryStore
from tests.servers import opened

Story = Callable[[FeatureStore], Awaitable[None]]


Put = Callable[[FeatureStore, list[Item]], None]


class Tell(Protocol):
    def __call__(self, story: Story) -> None: ...


async def act(url: str, story: Story, timeout_ms: float = 5000) -> None:
    store = open_store(url, timeout_ms=timeout_ms)
    try:
        await opened(store)
        await story(store)
    finally:
        await store.close()
        await store.close()


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
