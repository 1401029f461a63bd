"""State and request to the models' rows, five candidates; floor: NumPy taking ready Python numbers into such a matrix."""

from typing import NamedTuple

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Loop
from benchmarks.material import Workload
from contracts.payment import AuthRequest
from features.assemble import WIDTH, Matrix, Plan, open_view
from features.clock import micros
from service.models.bundle import Bundle
from service.store.base import StateKeys, States
from service.store.memory import MemoryStore

GROUP = "assemble the catalog for 5 candidates"


class Case(NamedTuple):
    """One request with the state of everything it names."""

    request: AuthRequest
    at: int
    states: States


@pytest.fixture
def case(memory: MemoryStore, asked: Workload, loop: Loop, bundle: Bundle) -> Case:
    """A request all of whose entities have been seen."""
    for request in asked.auths:
        keys = StateKeys(
            request.card_token, request.merchant_id, request.card_bin, request.issuer_country, request.processors
        )
        states = loop.runner.run(memory.read(keys))
        if None not in (*states[:4], *states.processors):
            return Case(request, micros(bundle.manifest.created_at), states)
    pytest.fail("no payment of the simulated world has a card, a merchant, a BIN and an issuer with a history")


def assemble(plan: Plan, case: Case) -> Matrix:
    """Open the packed state and return one row per candidate, as `service.decide` does."""
    states = case.states
    views = {
        "card": open_view("card", states.card),
        "merchant": open_view("merchant", states.merchant),
        "bin": open_view("bin", states.bin),
        "issuer": open_view("issuer", states.issuer),
    }
    pairs = zip(case.request.processors, states.processors, strict=True)
    return plan.rows(case.request, case.at, views, [(name, open_view("processor", blob)) for name, blob in pairs])


def test_known_entities(benchmark: BenchmarkFixture, bundle: Bundle, case: Case) -> None:
    """All entities have a history."""
    benchmark.group = GROUP
    assert benchmark(assemble, bundle.plan, case).shape == (5, WIDTH)


def test_nothing_known(benchmark: BenchmarkFixture, bundle: Bundle, case: Case) -> None:
    """No entity has been seen before."""
    benchmark.group = GROUP
    unknown = case._replace(states=States(processors=(None,) * 5))
    assert benchmark(assemble, bundle.plan, unknown).shape == (5, WIDTH)


def test_floor(benchmark: BenchmarkFixture, bundle: Bundle, case: Case) -> None:
    """NumPy alone."""
    benchmark.group = GROUP
    numbers = assemble(bundle.plan, case).tolist()

    def fill() -> Matrix:
        matrix = np.empty((5, WIDTH), dtype=np.float32)
        matrix[:] = numbers
        return matrix

    assert benchmark(fill).shape == (5, WIDTH)
