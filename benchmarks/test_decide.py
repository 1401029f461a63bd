"""A whole decision in process, memory store, no journal; floor: a coroutine that answers a constant.

The times are per decision: `benchmarks.conftest.per_call` says how. The writes a decision leaves behind are in them.
"""

import gc
import time
from collections.abc import Awaitable, Callable
from itertools import count, cycle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import PER_CALL_SECONDS, Loop, per_call
from benchmarks.material import Workload
from service.decide import Decide
from service.journal import NullJournal
from service.models.active import ActiveBundles
from service.policy.rules import Rules
from service.store.memory import MemoryStore

BUDGET_SECONDS = 10.0

Ask = Callable[[Any, float], Awaitable[Any]]


@pytest.fixture
def decide(shelf: Path, memory: MemoryStore, loop: Loop) -> Decide:
    """The decider as the service builds it, with warm state."""
    bundles = ActiveBundles(shelf, Rules.load())
    loop.runner.run(bundles.refresh())
    # As the service does after its start.
    gc.collect()
    gc.freeze()
    return Decide(bundles, memory, NullJournal())


def _asking(requests: tuple[Any, ...], ask: Ask) -> Callable[[], Awaitable[Any]]:
    """Return a function that asks about one payment after the other, each with an id never used before."""
    numbers, turn = count(), cycle(requests)

    def once() -> Awaitable[Any]:
        request = msgspec.structs.replace(next(turn), payment_id=f"bench_{next(numbers)}")
        return ask(request, time.monotonic() + BUDGET_SECONDS)

    return once


def _floor(answer: Any) -> Ask:
    async def ask(_request: Any, _deadline: float) -> Any:
        return answer

    return ask


@pytest.mark.benchmark(group="decide auth, 5 candidates", timer=per_call, max_time=PER_CALL_SECONDS)
def test_auth(benchmark: BenchmarkFixture, decide: Decide, asked: Workload, loop: Loop) -> None:
    """Read, assemble, score, choose, answer, count."""
    asking = _asking(asked.auths, lambda request, deadline: decide.auth(request, deadline=deadline))
    answer = benchmark(loop.batch(asking))
    assert len(answer.ranking) == 5
    assert answer.degraded == ()


@pytest.mark.benchmark(group="decide auth, 5 candidates", timer=per_call, max_time=PER_CALL_SECONDS)
def test_auth_floor(benchmark: BenchmarkFixture, asked: Workload, loop: Loop) -> None:
    """The loop, the deadline and the new id alone."""
    assert benchmark(loop.batch(_asking(asked.auths, _floor("an answer")))) == "an answer"


@pytest.mark.benchmark(group="decide retry, 5 candidates, all waits", timer=per_call, max_time=PER_CALL_SECONDS)
def test_retry(benchmark: BenchmarkFixture, decide: Decide, asked: Workload, loop: Loop) -> None:
    """The same for a decline, over every wait the rules permit."""
    asking = _asking(asked.retries, lambda request, deadline: decide.retry(request, deadline=deadline))
    assert benchmark(loop.batch(asking)).degraded == ()


@pytest.mark.benchmark(group="decide retry, 5 candidates, all waits", timer=per_call, max_time=PER_CALL_SECONDS)
def test_retry_floor(benchmark: BenchmarkFixture, asked: Workload, loop: Loop) -> None:
    """The loop, the deadline and the new id alone."""
    assert benchmark(loop.batch(_asking(asked.retries, _floor("an answer")))) == "an answer"
