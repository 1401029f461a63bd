"""What the micro-benchmarks share: a bundle, warm state, and a way to time what runs in an event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import uvloop

from benchmarks.material import Workload, kept_shelf, warm_states, workload
from service.models.active import POINTER
from service.models.bundle import Bundle, load
from service.policy.rules import Rules
from service.store.base import Item
from service.store.memory import MemoryStore

collect_ignore_glob = ["peers/servers/*"]
"""They need packages that only the peers' own environments have."""

BATCH: Final = 64
"""How often a coroutine is awaited per entry into the event loop, so that entering it does not count."""

PER_CALL_SECONDS: Final = 1.0 / BATCH
"""`max_time` for benchmarks on the slower clock: one second of real time."""


def per_call() -> float:
    """Seconds on a clock that runs `BATCH` times slower, so that a batch shows the time of one call."""
    return time.perf_counter() / BATCH


class Loop(NamedTuple):
    """An event loop that runs a coroutine function `BATCH` times."""

    runner: asyncio.Runner

    def batch(self, call: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
        """Return a function that awaits `call` `BATCH` times, and then what it left to do; the last answer comes back."""

        async def often() -> Any:
            answer = None
            for _ in range(BATCH):
                answer = await call()
            await asyncio.sleep(0)
            return answer

        return lambda: self.runner.run(often())


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The event loop the service runs in."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield Loop(runner)


@pytest.fixture(scope="session")
def shelf() -> Path:
    """The shelf with the benchmarks' own bundle."""
    return kept_shelf()


@pytest.fixture(scope="session")
def bundle(shelf: Path) -> Bundle:
    """The bundle itself, loaded as the service loads it."""
    return load(shelf / (shelf / POINTER).read_text().strip(), Rules.load())


@pytest.fixture(scope="session")
def asked() -> Workload:
    """Requests of the simulated world."""
    return workload()


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """The state of every entity of the simulated world, after sixty days of payments."""
    return list(warm_states())


@pytest.fixture
def memory(items: list[Item]) -> MemoryStore:
    """A memory store that holds this state."""
    store = MemoryStore()
    store.put_many(items)
    return store
