"""Pointsman itself: the service's own `Decide` and `Learn` in process, on a memory store, in simulated time.

This module must not know what is true of the simulated world.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager, ExitStack
from time import monotonic
from typing import Any, Final, Self, TypeVar, cast

import msgspec

from benchmarks.policies.clock import Clock, simulated
from benchmarks.policies.policy import Again, Send
from benchmarks.policies.stage import Stage
from contracts.outcome import Outcome
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from service.decide import Decide
from service.journal.null import NullJournal
from service.learn import Learn
from service.models.active import ActiveBundles
from service.models.bundle import Bundle
from service.policy.policy import Policy as Chooser
from service.policy.rules import Rules
from service.store.base import Item
from service.store.memory import MemoryStore
from trainer.simulate.batch import fees
from trainer.simulate.gateway import Attempt

T = TypeVar("T")

PATIENCE_S: Final = 60.0
"""No decision is late here: the machine is shared, and time is simulated."""

States = Mapping[tuple[str, str], bytes]
"""Packed state of entities by kind and key."""


class _Bundles:
    """The bundle in use: the fitted one, with the fees that the contracts state at the time."""

    def __init__(self, bundle: Bundle) -> None:
        self.current = bundle


class Pointsman(AbstractContextManager["Pointsman"]):
    """The service as a policy; close it by leaving its context.

    Parameters
    ----------
    stage
        What is played.
    bundle, rules
        What it decides with. When fees change, or a processor joins, the fees in the manifest follow; nothing else does.
    states
        What online state holds when the stage begins.

    Attributes
    ----------
    best
        By payment, the processor that it held for the best, whether it was chosen or another was explored.
    degraded
        What any of its answers had to do without; nothing, unless something is wrong with the run.
    """

    name = "pointsman"

    def __init__(self, stage: Stage, bundle: Bundle, rules: Rules, states: States) -> None:
        self._stage = stage
        self._rules = rules
        self._bundles = _Bundles(bundle)
        self._store = MemoryStore()
        self._store.put_many(_touched(stage, states))
        journal = NullJournal()
        bundles = cast("ActiveBundles", self._bundles)
        self._decide = Decide(bundles, self._store, journal, log_vectors=False)
        self._learn = Learn(self._store, journal, bundles, self._decide.settle)
        self._changes = _changes(stage)
        self._exits = ExitStack()
        self._loop = asyncio.new_event_loop()
        self._clock: Clock | None = None
        self.best: list[str | None] = []
        self.degraded: set[str] = set()

    @property
    def bundle(self) -> Bundle:
        """What it decides with now."""
        return self._bundles.current

    def __enter__(self) -> Self:
        self._exits.callback(self._loop.close)
        self._clock = self._exits.enter_context(simulated())
        return self

    def __exit__(self, *exc: object) -> None:
        self._run(self._decide.close())
        self._exits.close()

    def decide(self, row: int, at_us: int) -> Send | None:
        """Ask for an auth decision; a review is sent as if a person had released it."""
        self._turn(at_us)
        request = self._stage.requests[row]
        decision = self._run(self._asked(self._decide.auth(request, deadline=monotonic() + PATIENCE_S)))
        self.best.append(decision.ranking[0].processor if decision.ranking else None)
        self.degraded.update(decision.degraded)
        if decision.action == "decline":
            return None
        challenge = decision.action == "challenge" or decision.three_ds == "challenge"
        return Send(decision.processor or self._stage.gateway.candidates(row, at_us)[0], challenge)

    def retry(self, attempts: list[Attempt], at_us: int) -> Again | None:
        """Ask for a retry decision."""
        self._turn(at_us)
        last = attempts[-1]
        request = self._stage.gateway.retry_request(attempts)
        answer = self._run(self._asked(self._decide.retry(request, deadline=monotonic() + PATIENCE_S)))
        self.degraded.update(answer.degraded)
        before = self._stage.gateway.names[last.processor]
        if answer.verdict == "authenticate":
            there = request.initiator != "merchant" and not last.with_3ds
            return Again(answer.processor or before, 1.0, authenticate=True) if there else None
        if not answer.should_retry:
            return None
        steps_up = answer.authentication == "three_ds"
        return Again(answer.processor or before, float(answer.wait_seconds or 0), steps_up)

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        """Report the outcome."""
        self._turn(at_us)
        self._run(self._learn.report((outcome,)))

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(what)

    async def _asked(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer and for the writes behind it: simulated time stands still meanwhile."""
        given = await answer
        await self._decide.settle()
        return given

    def _turn(self, at_us: int) -> None:
        """Set the clock; take over the fees that have changed by then."""
        assert self._clock is not None
        self._clock.moment = self._stage.gateway.moment(at_us)
        while self._changes and self._changes[0] <= at_us:
            bundle = self._bundles.current
            stated = fees(self._stage.world, self._changes.pop(0))
            manifest = msgspec.structs.replace(bundle.manifest, processors=stated)
            policy = Chooser.compile(manifest, self._rules)
            self._bundles.current = bundle._replace(manifest=manifest, policy=policy, processors=tuple(stated))


def _changes(stage: Stage) -> list[int]:
    """Return when fees change or a processor joins, in order."""
    processors = stage.world.processors
    return sorted({*processors.tariffs.since_us[1:].tolist(), *processors.joins_us[processors.joins_us > 0].tolist()})


def _touched(stage: Stage, states: States) -> list[Item]:
    """Return the states of the entities that the stage's payments name: a store needs no others."""
    named: set[tuple[str, str | None]] = set()
    for request in stage.requests:
        named.update(zip(PAYMENT_KINDS, payment_keys(request), strict=True))
        for processor in stage.gateway.names:
            named.update(zip(CANDIDATE_KINDS, candidate_keys(request, processor), strict=True))
    return [(kind, key, states[kind, key]) for kind, key in named if key is not None and (kind, key) in states]
