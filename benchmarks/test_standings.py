"""Packed standings of five candidates to what the policy takes into account; floor: unpacking the same bytes."""

import random

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.incidents import EPOCH
from features.clock import SECOND
from service.policy.standings import standings_of
from service.standing import FORM, LEVELS, Note, add, read

PROCESSORS = ("a", "b", "c", "d", "e")
GAPS = (0.05, 0.2, 5.0)
"""Seconds between results, by level."""
GROUP = "standings of five candidates, three levels each"


@pytest.fixture(scope="module")
def standings() -> tuple[list[bytes], int]:
    """Standings after 3,000 results each, of which three in a hundred are faults, the last of them a while ago."""
    draw = random.Random(1)
    packed = []
    for _ in PROCESSORS:
        for gap in GAPS:
            blob: bytes | None = None
            for number in range(3000):
                at = EPOCH + int((number - 3000) * gap * SECOND)
                fault, approved, latency = draw.random() < 0.03, draw.random() < 0.8, int(draw.lognormvariate(5.0, 0.5))
                blob = add(blob, Note(at, fault, approved, 0.8, latency, 1000))
            assert blob is not None
            packed.append(blob)
    assert len(packed) == len(PROCESSORS) * len(LEVELS)
    return packed, EPOCH + 2 * SECOND


def test_conclude(benchmark: BenchmarkFixture, standings: tuple[list[bytes], int]) -> None:
    """Health, correction and volume of every candidate."""
    benchmark.group = GROUP
    packed, at = standings
    found = benchmark(standings_of, PROCESSORS, packed, at)
    assert [one.health for one in found] == ["up"] * len(PROCESSORS)


def test_read(benchmark: BenchmarkFixture, standings: tuple[list[bytes], int]) -> None:
    """Every sum decayed, nothing concluded: what the conclusion does without."""
    benchmark.group = GROUP
    packed, at = standings
    assert all(benchmark(lambda: [read(blob, at) for blob in packed]))


def test_floor(benchmark: BenchmarkFixture, standings: tuple[list[bytes], int]) -> None:
    """Unpacking alone."""
    benchmark.group = GROUP
    packed, _ = standings
    assert len(benchmark(lambda: [FORM.unpack(blob) for blob in packed])) == len(packed)
