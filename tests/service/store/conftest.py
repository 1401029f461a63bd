"""Every store under one roof: a test that takes `tell` is told to each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from service.store import FeatureStore, open_store

Story = Callable[[FeatureStore], Awaitable[None]]


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


@pytest.fixture(params=["memory", "snapshot", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return "memory://" if request.param == "memory" else f"memory://{tmp_path}/state"


@pytest.fixture
def tell(store_url: str) -> Tell:
    return lambda story: asyncio.run(act(store_url, story))
