"""``python -m benchmarks.violations``: does any decision, out of millions that race for the same cards, break a rule?

The policy and the ledger are driven as the service drives them (`benchmarks.racing`); what was sent is judged by a checker
that shares no table with them (``tests/service/policy/violations.py``).
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from typing import Final

import msgspec

from benchmarks.racing import Mix, World
from contracts.bundle import DataWindow, Manifest
from contracts.terms import FeeSchedule
from service.policy.defaults import default_parameters
from service.policy.policy import Policy
from service.policy.rules import Rules
from tests.service.policy.violations import Violation, check

_CARDS_A_TASK: Final = 50
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What came of some cards: decisions, attempts sent, answers given, and rules broken."""

    decisions: int
    attempts: int
    answers: int
    violations: tuple[Violation, ...]


def eager_policy(rules: Rules | None = None, horizon_seconds: int | None = None) -> Policy:
    """Return a policy under which every permitted retry is worth making: only rules hold it back."""
    parameters = default_parameters()
    retry = msgspec.structs.replace(
        parameters.retry,
        minimum_probability=0.0,
        minimum_value_minor=-1e9,
        horizon_seconds=parameters.retry.horizon_seconds if horizon_seconds is None else horizon_seconds,
    )
    manifest = Manifest(
        format=1,
        version="violations",
        created_at=_NOW,
        feature_fingerprint="",
        features=(),
        encodings={},
        models={},
        processors={"north": FeeSchedule(failed_fixed_minor=5)},
        priors={},
        policy=msgspec.structs.replace(parameters, retry=retry, quota_value_minor=20.0),
        data=DataWindow(first=_NOW, last=_NOW, attempts=0, payments=0, train_until=_NOW, test_from=_NOW),
    )
    return Policy.compile(manifest, Rules.load() if rules is None else rules)


def judge(make: Callable[[int], World], first: int, cards: int) -> Judged:
    """Let cards have their history, and check it."""
    decisions = attempts = answers = 0
    found: list[Violation] = []
    for seed in range(first, first + cards):
        world = make(seed)
        world.run()
        decisions += world.decisions
        attempts += len(world.attempts)
        answers += len(world.answers)
        found += check(world.attempts, world.answers)
    return Judged(decisions=decisions, attempts=attempts, answers=answers, violations=tuple(found))


@lru_cache(maxsize=1)
def _policy() -> Policy:
    return eager_policy()


def _task(first: int) -> Judged:
    policy = _policy()
    mix = Mix()
    return judge(lambda seed: World(policy, mix, seed), first, _CARDS_A_TASK)


def main(arguments: list[str] | None = None) -> int:
    """Run until enough decisions were made; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.violations", description=__doc__)
    parser.add_argument("--decisions", type=int, default=200_000, help="how many, at least (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first card (default %(default)s)")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    decisions = attempts = answers = tasks = 0
    broken: Counter[str] = Counter()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        running: list[Future[Judged]] = []
        seed = options.seed
        while decisions < options.decisions or running:
            while decisions < options.decisions and len(running) < 2 * options.processes:
                running.append(pool.submit(_task, seed))
                seed += _CARDS_A_TASK
            judged = running.pop(0).result()
            tasks += 1
            decisions += judged.decisions
            attempts += judged.attempts
            answers += judged.answers
            for violation in judged.violations:
                broken[violation.rule] += 1
                print(f"{violation.rule}: {violation.payment} attempt {violation.number}: {violation.detail}")
    seconds = time.perf_counter() - started
    print(
        f"decisions={decisions} violations={sum(broken.values())} attempts={attempts} answers={answers} "
        f"cards={tasks * _CARDS_A_TASK} seconds={seconds:.0f}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
