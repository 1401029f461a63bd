"""Probabilities to a choice, five candidates; floor: making the parts of the very same answer, and a max over its estimates.

Standings and the attempts of the card are given, as the service has them by then. `auth` and `plan` together are what a payment
costs that is declined once.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.material import Workload
from contracts.inputs import Standing, Variant
from contracts.payment import AuthRequest, RetryRequest
from features.clock import HOUR, micros
from service.ledger import FAILED, Entry
from service.models.bundle import Bundle
from service.policy.permit import Permit
from service.policy.policy import Policy

NOW: Final = datetime(2026, 11, 2, 12, tzinfo=UTC)
WAITS: Final = 12
RISK: Final = 0.01

Rows = tuple[tuple[float, ...], ...]


class Question(NamedTuple):
    """Everything that a choice is made of."""

    policy: Policy
    request: AuthRequest
    processors: tuple[str, ...]
    standings: tuple[Standing, ...]
    ledger: tuple[Entry, ...]


class Decline(NamedTuple):
    """Everything that a plan is made of: the first decline that may be sent again after every wait of the grid."""

    policy: Policy
    request: RetryRequest
    processors: tuple[str, ...]
    standings: tuple[Standing, ...]
    permit: Permit
    waits: tuple[int, ...]
    rows: Rows


def _rows(count: int, width: int) -> Rows:
    random = Random(7)
    return tuple([tuple([random.uniform(0.6, 0.9) for _ in range(width)]) for _ in range(count)])


def _standings(count: int) -> tuple[Standing, ...]:
    return tuple([Standing(excess=0.01, slowdown=1.1, shift=0.1 * place, doubt=0.2) for place in range(count)])


@pytest.fixture
def asked_once(bundle: Bundle, asked: Workload) -> Question:
    """A customer's payment that may still be authenticated, of a card that was declined five times."""
    request = next(one for one in asked.auths if one.initiator == "customer" and not one.uses_3ds)
    attempts = tuple([Entry(micros(NOW) - (5 - place) * HOUR, 1_000 + place, 1_000, FAILED) for place in range(5)])
    count = len(request.processors)
    return Question(bundle.policy, request, request.processors, _standings(count), attempts)


@pytest.fixture
def declined_once(bundle: Bundle, asked: Workload) -> Decline:
    """A decline that leaves all twelve waits open."""
    for request in asked.retries:
        permit = bundle.policy.permit(request, NOW)
        waits = bundle.policy.waits(permit)
        if len(waits) == WAITS:
            count = len(request.processors)
            rows = _rows(WAITS, count)
            return Decline(bundle.policy, request, request.processors, _standings(count), permit, waits, rows)
    msg = f"expected a decline with {WAITS} waits in the workload, found none"
    raise AssertionError(msg)


def _choose(asked: Question, variants: tuple[Variant, ...], rows: Rows) -> Any:
    return asked.policy.choose(
        asked.request,
        asked.processors,
        rows,
        RISK,
        kind="auth",
        now=NOW,
        variants=variants,
        standings=asked.standings,
        ledger=asked.ledger,
    )


def _made_again(answer: Any) -> Any:
    """Return a function that makes the structs of an answer once more, with their values at hand."""
    parts = [(type(one), msgspec.structs.asdict(one)) for one in (*_modes(answer), *answer.reasons, answer)]

    def make() -> None:
        for kind, values in parts:
            kind(**values)

    return make


def _modes(answer: Any) -> list[Any]:
    ranking = getattr(answer, "ranking", ())
    return [mode for one in ranking for mode in one.modes] + list(ranking)


def _floor(answer: Any, rows: Sequence[Sequence[float]]) -> Any:
    make = _made_again(answer)

    def once() -> float:
        make()
        return max([max(row) for row in rows])

    return once


@pytest.mark.parametrize("ways", [1, 2])
def test_choose(benchmark: BenchmarkFixture, asked_once: Question, ways: int) -> None:
    """One way of sending, and two of them."""
    benchmark.group = f"choose, 5 candidates, {ways} way(s) of sending"
    variants = asked_once.policy.variants(asked_once.request, "auth")[:ways]
    rows = _rows(ways, len(asked_once.processors))
    choice = benchmark(_choose, asked_once, variants, rows)
    assert len(choice.ranking) == 5
    assert choice.reservation is not None


@pytest.mark.parametrize("ways", [1, 2])
def test_choose_floor(benchmark: BenchmarkFixture, asked_once: Question, ways: int) -> None:
    """The parts of the answer alone."""
    benchmark.group = f"choose, 5 candidates, {ways} way(s) of sending"
    variants = asked_once.policy.variants(asked_once.request, "auth")[:ways]
    rows = _rows(ways, len(asked_once.processors))
    assert benchmark(_floor(_choose(asked_once, variants, rows), rows)) > 0.0


def _plan(asked: Decline) -> Any:
    return asked.policy.plan(
        asked.request, asked.permit, asked.processors, asked.waits, asked.rows, NOW, standings=asked.standings
    )


@pytest.mark.benchmark(group="plan, 12 waits x 5 candidates")
def test_plan(benchmark: BenchmarkFixture, declined_once: Decline) -> None:
    """The permit given."""
    assert benchmark(_plan, declined_once).should_retry


@pytest.mark.benchmark(group="plan, 12 waits x 5 candidates")
def test_plan_floor(benchmark: BenchmarkFixture, declined_once: Decline) -> None:
    """The parts of the answer alone."""
    assert benchmark(_floor(_plan(declined_once), declined_once.rows)) > 0.0


@pytest.mark.benchmark(group="permit")
def test_permit(benchmark: BenchmarkFixture, declined_once: Decline) -> None:
    """What a decline means, and what the rules leave open."""
    assert benchmark(declined_once.policy.permit, declined_once.request, NOW).verdict is None
