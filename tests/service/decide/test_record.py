"""What is kept of a decision: the rows its models saw, under the one bundle that answered."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, DecisionMade, RetryDecided, RoutingDecided
from contracts.outcome import Outcome
from contracts.payment import AuthRequest
from features.assemble import WIDTH, Matrix
from features.catalog import FINGERPRINT
from features.clock import micros
from features.effects import shifted
from features.entity import candidate_keys, payment_keys
from service.decide import Decide
from service.estimate import in_every_way
from service.store.base import StateKeys, States
from service.store.memory import MemoryStore
from tests.parts import (
    Parts,
    Tell,
    act,
    activate,
    add_bundle,
    auth,
    retry,
    routing,
    soon,
    without,
)


def rows_of(event: DecisionMade) -> Matrix:
    assert event.vectors is not None
    assert event.vectors.fingerprint == FINGERPRINT
    rows = np.frombuffer(event.vectors.rows, dtype="<f4").reshape(-1, WIDTH)
    assert len(rows) == max(1, len(event.vectors.processors))
    return rows


# What is logged


async def live(parts: Parts) -> None:
    """Leave some state behind: attempts, approvals and declines of the payment's own entities."""
    start = datetime.now(UTC) - timedelta(days=2)
    for number in range(12):
        at = start + timedelta(hours=3 * number)
        asked = auth(payment_id=f"before_{number}", occurred_at=at, amount_minor=1000 + number)
        answer = await parts.decide.auth(asked, deadline=soon())
        settled = Outcome(
            payment_id=asked.payment_id,
            decision_id=answer.decision_id,
            status="declined" if number % 3 else "approved",
            occurred_at=at + timedelta(seconds=2),
        )
        await parts.decide.settle()
        assert (await parts.learn.report([settled])).results == ("applied",)


def test_the_logged_rows_are_those_the_models_saw(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await live(parts)
        at = datetime.now(UTC)
        bundle = parts.bundle
        names = bundle.processors
        first = auth(occurred_at=at)
        candidates = tuple(candidate_keys(first, name) for name in names)
        states = await parts.store.read(StateKeys(payment_keys(first), candidates))
        for asked in (first, routing(payment_id="pay_2", card_token="tok_1", occurred_at=at)):
            expected = bundle.plan.rows(asked, micros(at), states.payment, names, states.candidates)
            assert (expected[:, : WIDTH // 2] != -1).any()
            model = "approval" if isinstance(asked, AuthRequest) else "routing"
            ask: Any = parts.decide.auth if isinstance(asked, AuthRequest) else parts.decide.routing
            answer = await ask(asked, deadline=soon())
            event = await parts.journal.find(answer.decision_id)
            assert isinstance(event, AuthDecided | RoutingDecided)
            assert event.answer == answer
            assert event.request == asked
            rows = rows_of(event)
            if model == "approval":
                # The routing question comes after it and sees its attempt.
                assert rows.tobytes() == expected.tobytes()
            assert event.inputs is not None
            # All ways of sending in one run: of another number of rows the last bit may be another.
            variants = event.inputs.variants
            said = bundle.scorer.probability(model, in_every_way(rows, asked, variants))
            offsets = bundle.effects[model].offsets(asked, names) * len(variants)
            again = [shifted(p, offset) for p, offset in zip(said, offsets, strict=True)]
            assert [p for row in event.inputs.approval for p in row] == again
            for one in answer.ranking:
                assert one.approval_probability in again[names.index(one.processor) :: len(names)]
            assert answer.risk_score == bundle.scorer.probability("risk", rows[:1])[0]

    tell(story)


def test_the_logged_rows_of_a_retry_give_its_probability_again(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        await live(parts)
        asked = retry("atlas", "51", payment_id="before_1", occurred_at=datetime.now(UTC))
        answer = await parts.decide.retry(asked, deadline=soon())
        assert answer.wait_seconds is not None
        assert answer.processor is not None
        assert asked.occurred_at is not None
        event = await parts.journal.find(answer.decision_id)
        assert isinstance(event, RetryDecided)
        assert event.answer == answer
        bundle = parts.bundle
        at = micros(asked.occurred_at)
        names = bundle.processors
        rows = bundle.plan.retry_rows(rows_of(event), asked, at, names, [answer.wait_seconds])
        probabilities = bundle.scorer.probability("retry", rows)
        assert probabilities[names.index(answer.processor)] == answer.success_probability

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_vectors_are_left_out_when_they_are_not_wanted(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        decide = Decide(parts.bundles, parts.store, parts.journal, log_vectors=False)
        answer = await decide.auth(auth(), deadline=soon())
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.vectors is None

    tell_memory(story)


# One answer, one bundle


class TurningStore(MemoryStore):
    """A store in whose reads, while a decision waits for them, the bundle is swapped."""

    turn: Callable[[], Awaitable[None]] | None = None

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        if self.turn is not None:
            await self.turn()
        return await super().read(keys, deadline=deadline)


def test_a_swap_in_the_midst_of_a_decision_does_not_mix_bundles(bundle_shelf: Path, tmp_path: Path) -> None:
    def other(manifest: Manifest) -> Manifest:
        fees = dict.fromkeys(("one", "two"), manifest.processors["atlas"])
        policy = msgspec.structs.replace(manifest.policy, version="other-1")
        bare = without("approval", "risk", "routing", "retry")(manifest)
        return msgspec.structs.replace(bare, processors=fees, policy=policy)

    shelf = tmp_path / "shelf"
    add_bundle(shelf, bundle_shelf, "old")
    add_bundle(shelf, bundle_shelf, "new", other)
    activate(shelf, "old")
    store = TurningStore()

    async def story(parts: Parts) -> None:
        asks: list[Callable[[], Awaitable[Decision | RetryDecision]]] = [
            lambda: parts.decide.auth(auth(payment_id="pay_a"), deadline=soon()),
            lambda: parts.decide.routing(routing(payment_id="pay_b"), deadline=soon()),
            lambda: parts.decide.retry(retry("atlas", "51", payment_id="pay_c"), deadline=soon()),
        ]
        for ask in asks:
            activate(shelf, "old")
            await parts.bundles.refresh()
            old = parts.bundle
            activate(shelf, "new")
            store.turn = parts.bundles.refresh
            answer = await ask()
            store.turn = None
            assert parts.bundle.manifest.version == "new"
            assert answer.bundle_version == "old"
            assert answer.policy_version == old.policy.policy_version
            event = await parts.journal.find(answer.decision_id)
            assert event is not None
            assert event.vectors is not None
            assert event.vectors.processors == old.processors
            if isinstance(answer, Decision):
                assert {one.processor for one in answer.ranking} == set(old.processors)
            after = await parts.decide.auth(auth(payment_id=answer.decision_id), deadline=soon())
            assert after.bundle_version == "new"
            assert {one.processor for one in after.ranking} == {"one", "two"}

    asyncio.run(act(story, shelf, tmp_path, store))
