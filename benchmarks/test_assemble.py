"""State and request to the models' rows, five candidates; floor: NumPy taking ready Python numbers into such a matrix.

Each round takes the next of many payments with their own states, as packed as they come from the store.
"""

from itertools import cycle
from typing import NamedTuple

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Loop
from benchmarks.material import Workload
from contracts.payment import AuthRequest
from features.assemble import WIDTH, Matrix, Plan
from features.clock import micros
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from features.increment import result_increment
from features.layout import LAYOUTS
from features.native import Rows
from features.state import add
from service.models.bundle import Bundle
from service.store.base import StateKeys, States
from service.store.memory import MemoryStore

GROUP = "assemble the catalog for 5 candidates"
MOST = 64


class Case(NamedTuple):
    """One request with the state of everything it names."""

    request: AuthRequest
    at: int
    states: States


def known(case: Case) -> int:
    """Return how many entities of a case have a state."""
    return sum(blob is not None for blobs in (case.states.payment, *case.states.candidates) for blob in blobs)


@pytest.fixture
def cases(memory: MemoryStore, asked: Workload, loop: Loop, bundle: Bundle) -> list[Case]:
    """The requests most of whose entities have been seen."""
    found = []
    for request in asked.auths:
        candidates = tuple(candidate_keys(request, name) for name in request.processors)
        states = loop.runner.run(memory.read(StateKeys(payment_keys(request), candidates)))
        found.append(Case(request, micros(bundle.manifest.created_at), states))
    found.sort(key=known, reverse=True)
    assert known(found[0]) >= len(PAYMENT_KINDS) - 2 + 5 * len(CANDIDATE_KINDS)
    return found[:MOST]


def assemble(plan: Rows, case: Case) -> Matrix:
    """Return one row per candidate, as `service.decide` does."""
    states = case.states
    return plan.rows(case.request, case.at, states.payment, case.request.processors, states.candidates)


def changed(cases: list[Case], most: int) -> list[Case]:
    """Return the cases with an outcome more, from one to the next, in the states of `most` of the processors.

    One of five is what a payment sees when the one before it was decided and settled. With all five nothing can be kept.
    """
    made = []
    shared = [blobs[0] for blobs in cases[0].states.candidates]
    for number, case in enumerate(cases * 4):
        known = result_increment(case.at - 5_000_000 + number, "approved")
        candidates = []
        for place, own in enumerate(case.states.candidates):
            blobs = (shared[place], *own[1:])
            if place in {(number * most + turn) % len(shared) for turn in range(most)}:
                blobs = tuple(add(LAYOUTS[kind], was, known) for kind, was in zip(CANDIDATE_KINDS, blobs, strict=True))
                shared[place] = blobs[0]
            candidates.append(blobs)
        made.append(case._replace(states=case.states._replace(candidates=tuple(candidates))))
    return made


@pytest.mark.parametrize("most", [0, 1, 5], ids=["none", "one", "all"])
def test_known_entities(benchmark: BenchmarkFixture, bundle: Bundle, cases: list[Case], most: int) -> None:
    """Entities with a history, and the states of none, one or all of the candidates changed."""
    benchmark.group = GROUP
    turn = cycle(changed(cases, most) if most else cases).__next__
    benchmark.extra_info["features"] = len(bundle.manifest.features)
    benchmark.extra_info["states"] = known(cases[-1])
    assert benchmark(lambda: assemble(bundle.plan, turn())).shape == (5, WIDTH)


def test_reference(benchmark: BenchmarkFixture, bundle: Bundle, cases: list[Case]) -> None:
    """The plan in Python, which the kernel stands in for where it could be built."""
    benchmark.group = GROUP
    turn, plan = cycle(cases).__next__, Plan(bundle.manifest.encodings)
    assert benchmark(lambda: assemble(plan, turn())).shape == (5, WIDTH)


def test_nothing_known(benchmark: BenchmarkFixture, bundle: Bundle, cases: list[Case]) -> None:
    """No entity has been seen before."""
    benchmark.group = GROUP
    unknown = cases[0]._replace(states=States())
    assert benchmark(assemble, bundle.plan, unknown).shape == (5, WIDTH)


def test_floor(benchmark: BenchmarkFixture, bundle: Bundle, cases: list[Case]) -> None:
    """NumPy alone."""
    benchmark.group = GROUP
    numbers = assemble(bundle.plan, cases[0]).tolist()

    def fill() -> Matrix:
        matrix = np.empty((5, WIDTH), dtype=np.float32)
        matrix[:] = numbers
        return matrix

    assert benchmark(fill).shape == (5, WIDTH)
