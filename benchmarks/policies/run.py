"""One stage with every policy on it: what a worker process does, and what it hands back.

This module must not know how results are shown.
"""

from typing import Final

import msgspec
import numpy as np

from benchmarks.policies.baselines import BASELINES
from benchmarks.policies.material import Material
from benchmarks.policies.oracle import AllKnowing, Oracle
from benchmarks.policies.play import Played, play
from benchmarks.policies.pointsman import Pointsman
from benchmarks.policies.policy import Policy
from benchmarks.policies.score import Loss, Score, loss, score
from benchmarks.policies.stage import Stage, build
from benchmarks.policies.suspicion import suspicion
from trainer.simulate.facts import Array

POINTS: Final = 60
SHARE_GONE: Final = 0.05
_SLIDE_US: Final = 10_000_000
_STEP_US: Final = 1_000_000
_SLIDE: Final = 100
FAIR: Final = 0.5
"""A newcomer has its fair share when it has this part of the share that the oracle gives it."""


class Result(msgspec.Struct, frozen=True):
    """What one policy made of one stage; margins in euro cents a payment.

    Attributes
    ----------
    regret
        Cumulated margin behind the oracle after each of `POINTS` equal parts of the payments, euro cents a payment in all.
    leaves_after_s
        Seconds from the beginning of an outage until the share that is sent to the dead processor is below `SHARE_GONE`, over
        the ten seconds that follow; None without an outage, infinite when that never happens.
    fair_after
        Payments from the joining of a processor until its share of the latest hundred is fair; None without one, infinite
        when that never happens.
    lost
        Where Pointsman lost against the oracle; None for the others.
    """

    policy: str
    margin: float
    first: float
    approval: float
    first_approval: float
    retries: float
    recovered: float
    unsent: float
    challenged: float
    by_cause: tuple[float, ...]
    violations: tuple[str, ...]
    regret: tuple[float, ...]
    leaves_after_s: float | None = None
    fair_after: float | None = None
    lost: Loss | None = None


class Outcome(msgspec.Struct, frozen=True):
    """All results of one stage, in the order in which policies are shown."""

    scenario: str
    seed: int
    payments: int
    results: tuple[Result, ...]


def run(material: Material, name: str, seed: int, *, quick: bool) -> Outcome:
    """Let every policy play one scenario with one seed."""
    stage = build(material.world, name, seed, quick=quick)
    fraud = suspicion(stage.world, stage.payments, material.strangers)
    others: list[Policy] = [make(stage, material.tail) for make in BASELINES]
    others.append(AllKnowing(stage))
    oracle = play(stage, Oracle(stage, fraud))
    results: list[tuple[str, Played, Loss | None]] = [(policy.name, play(stage, policy), None) for policy in others]
    with Pointsman(stage, material.bundle, material.rules, material.states) as pointsman:
        played = play(stage, pointsman)
    if pointsman.degraded:
        msg = f"expected no degraded answer where nothing fails, got {sorted(pointsman.degraded)}"
        raise RuntimeError(msg)
    results.append((Pointsman.name, played, loss(stage, oracle, played, pointsman.best)))
    results.append((Oracle.name, oracle, None))
    best = score(stage, oracle)
    return Outcome(
        name,
        seed,
        len(stage),
        tuple(_result(stage, who, done, best, oracle, lost) for who, done, lost in results),
    )


def _result(stage: Stage, name: str, played: Played, best: Score, oracle: Played, lost: Loss | None) -> Result:
    made = score(stage, played)
    count = len(stage)
    ends = (np.arange(1, POINTS + 1) * count // POINTS) - 1
    return Result(
        policy=name,
        margin=float(made.margin.mean()),
        first=float(made.first.mean()),
        approval=float(made.approval.mean()),
        first_approval=float(made.first_approval.mean()),
        retries=made.retries,
        recovered=made.recovered,
        unsent=made.unsent,
        challenged=made.challenged,
        by_cause=tuple(made.by_cause.tolist()),
        violations=tuple(made.violations),
        regret=tuple((np.cumsum(best.margin - made.margin)[ends] / count).tolist()),
        leaves_after_s=leaves_after(stage, played) if stage.name == "processor_outage" else None,
        fair_after=fair_after(stage, played, oracle) if stage.name == "new_processor" else None,
        lost=lost,
    )


def leaves_after(stage: Stage, played: Played) -> float:
    """Return ``Result.leaves_after_s`` of an outage."""
    (mark,) = stage.marks
    name = stage.gateway.names[mark.subject]
    there = _through(played, name)
    at_us = stage.payments.at_us
    for start_us in range(mark.begins_us, mark.ends_us - _SLIDE_US, _STEP_US):
        sliding = (at_us >= start_us) & (at_us < start_us + _SLIDE_US)
        if sliding.any() and there[sliding].mean() < SHARE_GONE:
            return (start_us - mark.begins_us) / 1e6
    return float("inf")


def fair_after(stage: Stage, played: Played, oracle: Played) -> float:
    """Return ``Result.fair_after`` of a newcomer."""
    (mark,) = stage.marks
    name = stage.gateway.names[mark.subject]
    since = stage.payments.at_us >= mark.begins_us
    fair = FAIR * _through(oracle, name)[since].mean()
    shares = np.convolve(_through(played, name)[since], np.full(_SLIDE, 1.0 / _SLIDE), mode="valid")
    reached = np.flatnonzero(shares >= fair)
    return float(reached[0] + _SLIDE) if len(reached) else float("inf")


def _through(played: Played, name: str) -> Array:
    return np.array([send is not None and send.processor == name for send in played.sent])
