"""How processors have been doing is read with the state, and moves what is decided."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.inputs import PolicyInputs, Standing, Variant
from contracts.outcome import Outcome
from features.catalog import POSITION
from service.estimate import in_every_way
from service.record import decode
from service.standing import keys_of
from service.store.base import StateKeys, by_attempt
from tests.parts import Parts, Tell, act, activate, add_bundle, auth, exploring, retry, routing, soon

NOW = datetime.now(UTC)


async def inputs_of(parts: Parts, decision_id: str) -> PolicyInputs:
    event = await parts.journal.find(decision_id)
    assert event is not None
    assert event.inputs is not None
    return event.inputs


async def settle(parts: Parts, number: int, processor: str, at: datetime, **fields: Any) -> None:
    asked = auth(
        payment_id=f"{processor} {number}",
        card_token=f"tok_{processor}_{number}",
        processors=(processor,),
        amount_minor=1000,
        occurred_at=at,
    )
    answer = await parts.decide.auth(asked, deadline=soon())
    assert answer.processor == processor
    outcome = Outcome(
        payment_id=asked.payment_id, occurred_at=at, **{"status": "approved", "latency_ms": 400, **fields}
    )
    assert (await parts.learn.report([outcome])).results == ("applied",)


@pytest.mark.parametrize("kind", ["auth", "routing", "retry"])
def test_the_standings_of_every_candidate_are_what_the_policy_is_told(kind: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for number in range(40):
            at = NOW - timedelta(seconds=60 - number)
            await settle(parts, number, "atlas", at)
            await settle(parts, number, "cobalt", at, status="declined", response_code="05")
        names = ("cobalt", "harbor", "atlas")
        make: Any = {"auth": auth, "routing": routing, "retry": lambda **fields: retry("atlas", "51", **fields)}[kind]
        question = make(processors=names, occurred_at=NOW)
        answer = await getattr(parts.decide, kind)(question, deadline=soon())
        inputs = await inputs_of(parts, answer.decision_id)
        keys = tuple(key for name in names for key in keys_of(name, "visa", "shop_1"))
        blobs = (await parts.store.read(StateKeys(standings=keys))).standings
        assert all(blob is not None for blob in (*blobs[:3], *blobs[6:]))
        assert inputs.standings == parts.bundle.policy.standings(names, blobs, inputs.moment_us)
        cobalt, harbor, atlas = inputs.standings
        assert cobalt.shift < 0.0 < atlas.shift
        assert (atlas.month_minor, cobalt.month_minor) == (40_000.0, 0.0)
        assert harbor.doubt >= atlas.doubt

    tell(story)


def test_a_processor_that_fails_by_its_own_fault_is_down_within_seconds(
    store_url: str, bundle_shelf: Path, tmp_path: Path
) -> None:
    add_bundle(tmp_path / "calm", bundle_shelf, "calm", exploring(0.0))
    activate(tmp_path / "calm", "calm")

    async def story(parts: Parts) -> None:
        names = ("atlas", "cobalt")
        for number in range(60):
            at = NOW - timedelta(seconds=30 - number / 2)
            await settle(parts, number, "atlas", at, status="timeout", latency_ms=None)
        answer = await parts.decide.routing(routing(processors=names, occurred_at=NOW), deadline=soon())
        (atlas,) = [one for one in answer.ranking if one.processor == "atlas"]
        assert (await inputs_of(parts, answer.decision_id)).standings[0].health == "down"
        assert (atlas.eligible, atlas.reasons) == (False, ("down",))
        assert answer.processor == "cobalt"

    asyncio.run(act(story, tmp_path / "calm", tmp_path, store_url, timeout_ms=5000.0))


def test_without_the_store_nothing_is_known_of_any_candidate(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.auth(auth(processors=("atlas", "nobody")), deadline=soon())
        atlas, nobody = (await inputs_of(parts, answer.decision_id)).standings
        assert atlas == Standing(doubt=atlas.doubt)
        assert nobody == Standing(doubt=nobody.doubt)
        assert nobody.doubt > atlas.doubt

    tell_memory(story)


# Ways of sending


def test_every_way_of_sending_is_estimated_from_its_own_rows() -> None:
    rows = np.arange(2 * len(POSITION), dtype=np.float32).reshape(2, -1)
    three_ds, token = POSITION["uses_3ds"], POSITION["is_network_token"]
    ways = (
        Variant(),
        Variant("three_ds"),
        Variant("none", "network_token"),
        Variant("three_ds", "card_number"),
    )
    matrix = in_every_way(rows, auth(), ways).reshape(4, 2, -1)
    assert (matrix[0] == rows).all()
    rest = [place for place in range(rows.shape[1]) if place not in (three_ds, token)]
    assert (matrix[:, :, rest] == rows[:, rest]).all()
    assert (matrix[1:, :, three_ds] == [[1.0, 1.0], list(rows[:, three_ds]), [1.0, 1.0]]).all()
    assert (matrix[1:, :, token] == [list(rows[:, token]), [1.0, 1.0], [0.0, 0.0]]).all()
    # Of a payment that was authenticated already, a way without is another one.
    (before, without) = in_every_way(rows, auth(uses_3ds=True), (Variant("three_ds"), Variant("none"))).reshape(
        2, 2, -1
    )
    assert (before == rows).all()
    assert (without[:, three_ds] == 0.0).all()
    assert in_every_way(rows, auth(), (Variant(),)) is rows


def test_the_ways_that_are_estimated_are_those_of_the_policy(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        question = auth(credentials=("network_token", "card_number"), is_network_token=False)
        answer = await parts.decide.auth(question, deadline=soon())
        inputs = await inputs_of(parts, answer.decision_id)
        policy = parts.bundle.policy
        assert inputs.risk is not None
        assert inputs.variants == policy.needed(
            question,
            inputs.processors,
            policy.variants(question, "auth"),
            inputs.risk,
            kind="auth",
            at=inputs.moment_us,
            ledger=inputs.ledger,
        )
        assert set(inputs.variants) <= set(policy.variants(question, "auth"))
        assert len(inputs.variants) > 1
        assert len(inputs.approval) == len(inputs.variants)
        assert {len(row) for row in inputs.approval} == {len(inputs.processors)}
        assert len(set(inputs.approval)) > 1

    tell(story)


def test_what_was_expected_is_of_the_way_in_which_the_payment_is_sent(tell: Tell) -> None:
    """What the record says goes into the standings: there it must be of the way that was sent."""

    async def story(parts: Parts) -> None:
        challenged = 0
        for number in range(12):
            score = number / 12
            question = auth(payment_id=f"p{number}", card_token=f"t{number}", fraud_score=score, amount_minor=40_000)
            answer = await parts.decide.auth(question, deadline=soon())
            if answer.processor is None:
                continue
            inputs = await inputs_of(parts, answer.decision_id)
            content = await parts.store.recall([by_attempt(question.payment_id, 1)])
            assert content is not None
            record = decode(content)
            assert record is not None
            challenged += answer.three_ds == "challenge"
            way = [variant.authentication for variant in inputs.variants].index(
                "three_ds" if answer.three_ds == "challenge" else "none"
            )
            assert record.expected == inputs.approval[way][inputs.processors.index(answer.processor)]
        assert challenged

    tell(story)
