"""Outcomes find the attempts they belong to, and each attempt counts once."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.clock import micros
from features.increment import attempt_increment, chargeback_increment, result_increment
from service.store.memory import MemoryStore
from tests.parts import Parts, Tell, activate, add_bundle, retry, routing, serving, soon
from tests.service.learn.hand import START, ByHand, ask, noted, report, settled, state, totals


@pytest.mark.parametrize("named", [True, False], ids=["by decision", "by attempt"])
def test_an_outcome_counts_for_the_entities_of_its_decision(named: bool, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        await parts.decide.settle()
        outcome = settled(decision_id=answer.decision_id if named else None)
        assert await report(parts, outcome) == ("applied",)
        hand = ByHand()
        hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
        hand.add(asked, answer.processor, result_increment(micros(START + timedelta(seconds=3)), "approved"))
        await hand.is_in(parts)
        assert await noted(parts) == ["applied"]

    tell(story)


def test_an_outcome_may_come_before_the_record_of_its_decision_is_written(tell: Tell) -> None:
    """The answer is out as soon as the journal has it; the store may still be writing."""

    async def story(parts: Parts) -> None:
        for number in range(20):
            asked, answer = await ask(parts, number)
            outcome = settled(asked.payment_id, decision_id=answer.decision_id if number % 2 else None)
            assert await report(parts, outcome) == ("applied",)
        await parts.decide.settle()
        card = totals(await state(parts, "card", "tok_1"))
        assert (card["attempts"], card["results"], card["approved"]) == (20, 20, 20)

    tell(story)


class SlowStore(MemoryStore):
    """A store that takes a moment to write."""

    async def decided(self, *args: Any, **options: Any) -> bool:
        await asyncio.sleep(0.05)
        return await super().decided(*args, **options)


def test_an_outcome_waits_for_the_write_behind_its_answer(eager_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "journal", SlowStore()) as parts:
            asked, answer = await ask(parts)
            assert await report(parts, settled()) == ("applied",)
            hand = ByHand()
            hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
            hand.add(asked, answer.processor, result_increment(micros(START + timedelta(seconds=3)), "approved"))
            await hand.is_in(parts)

    asyncio.run(story())


def test_an_outcome_reported_again_is_repeated_and_counts_once(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        await parts.decide.settle()
        assert await report(parts, settled()) == ("applied",)
        before = await state(parts, "card", "tok_1")
        assert await report(parts, settled()) == ("repeated",)
        # Another status of the same attempt is no second result.
        assert await report(parts, settled(status="declined")) == ("repeated",)
        assert await state(parts, "card", "tok_1") == before
        assert await noted(parts) == ["applied", "repeated", "repeated"]

    tell(story)


@pytest.mark.parametrize("decision_id", [None, "d_nobody"])
def test_an_outcome_of_nothing_known_is_kept(decision_id: str | None, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        outcome = settled("pay_never_asked", decision_id=decision_id)
        assert await report(parts, outcome) == ("kept",)
        assert await report(parts, outcome) == ("kept",)
        assert await noted(parts, "pay_never_asked") == ["kept", "kept"]

    tell(story)


def test_a_refund_is_kept_and_changes_nothing(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        _, answer = await ask(parts)
        await parts.decide.settle()
        before = await state(parts, "card", "tok_1")
        assert await report(parts, settled(kind="refund", decision_id=answer.decision_id)) == ("kept",)
        assert await state(parts, "card", "tok_1") == before
        assert await noted(parts) == ["kept"]

    tell(story)


def test_a_chargeback_counts_once_and_when_it_was_reported(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        await parts.decide.settle()
        late = START + timedelta(hours=29)
        charged = settled(kind="chargeback", status=None, occurred_at=late)
        assert await report(parts, settled(), charged) == ("applied", "applied")
        assert await report(parts, charged) == ("repeated",)
        hand = ByHand()
        hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
        hand.add(asked, answer.processor, result_increment(micros(START + timedelta(seconds=3)), "approved"))
        hand.add(asked, answer.processor, chargeback_increment(micros(late)))
        await hand.is_in(parts)
        assert totals(await state(parts, "merchant", "shop_1"), "merchant")["chargebacks"] == 1

    tell(story)


def test_a_chargeback_alone_counts_no_attempt(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        # Nothing was sent, so nothing was counted; a chargeback of it is still one.
        question = retry("atlas", "91", occurred_at=START)
        answer = await parts.decide.retry(question, deadline=soon())
        await parts.decide.settle()
        charged = settled(kind="chargeback", status=None, attempt=2, decision_id=answer.decision_id)
        assert await report(parts, charged) == ("applied",)
        assert totals(await state(parts, "card", "tok_1")) == {"chargebacks": 1}

    tell(story)


def test_a_processor_other_than_the_decided_one_gets_the_result(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        await parts.decide.settle()
        other = next(name for name in parts.bundle.processors if name != answer.processor)
        assert await report(parts, settled(processor=other, status="error")) == ("applied",)
        attempt = attempt_increment(micros(START), asked.amount_minor)
        result = result_increment(micros(START + timedelta(seconds=3)), "error")
        hand = ByHand()
        hand.add(asked, answer.processor, attempt)
        decided_for = hand.blobs["processor", str(answer.processor)]
        hand.add(asked, other, result)
        assert hand.blobs["processor", str(answer.processor)] == decided_for
        await hand.is_in(parts)

    tell(story)


# Attempts that were not counted when they were decided


def test_a_retry_counts_once_with_its_attempt_when_its_outcome_comes(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        question = retry("atlas", "91", occurred_at=START, declined_at=START)
        answer = await parts.decide.retry(question, deadline=soon())
        assert answer.should_retry
        assert answer.retry_at is not None
        await parts.decide.settle()
        assert totals(await state(parts, "card", "tok_1")) == {}
        outcome = settled(attempt=2, decision_id=answer.decision_id, occurred_at=START + timedelta(hours=1))
        assert await report(parts, outcome) == ("applied",)
        assert await report(parts, outcome, settled(attempt=2)) == ("repeated", "repeated")
        hand = ByHand()
        hand.add(question, answer.processor, attempt_increment(micros(answer.retry_at), question.amount_minor))
        hand.add(question, answer.processor, result_increment(micros(START + timedelta(hours=1)), "approved"))
        await hand.is_in(parts)
        assert totals(await state(parts, "card", "tok_1"))["attempts"] == 1

    tell(story)


def test_a_retry_made_sooner_than_planned_counts_when_it_was_made(tell: Tell) -> None:
    """Counted at the planned moment, days ahead, it would push the present out of every window."""

    async def story(parts: Parts) -> None:
        now = datetime.now(UTC)
        question = retry("atlas", "51", occurred_at=now, declined_at=now)
        answer = await parts.decide.retry(question, deadline=soon())
        assert answer.verdict == "retry_later"
        await parts.decide.settle()
        assert await report(parts, settled(attempt=2, occurred_at=now)) == ("applied",)
        hand = ByHand()
        hand.add(question, answer.processor, attempt_increment(micros(now), question.amount_minor))
        hand.add(question, answer.processor, result_increment(micros(now), "approved"))
        await hand.is_in(parts)

    tell(story)


def test_a_retry_asked_about_as_a_payment_of_its_own_counts_once(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.retry(retry("atlas", "91", occurred_at=START), deadline=soon())
        assert answer.should_retry
        await parts.decide.settle()
        asked, decided = await ask(parts, attempt=2, at=START + timedelta(minutes=1))
        await parts.decide.settle()
        later = START + timedelta(minutes=2)
        assert await report(parts, settled(attempt=2, occurred_at=later)) == ("applied",)
        hand = ByHand()
        attempt = attempt_increment(micros(START + timedelta(minutes=1)), asked.amount_minor)
        hand.add(asked, decided.processor, attempt)
        hand.add(asked, decided.processor, result_increment(micros(later), "approved"))
        await hand.is_in(parts)

    tell(story)


def test_a_payment_sent_in_spite_of_a_decline_counts_with_its_outcome(
    store_url: str, bundle_shelf: Path, tmp_path: Path
) -> None:
    def strict(manifest: Any) -> Any:
        return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, minimum_approval=1.0))

    add_bundle(tmp_path / "strict", bundle_shelf, "strict", strict)
    activate(tmp_path / "strict", "strict")

    async def story() -> None:
        async with serving(tmp_path / "strict", tmp_path / "journal", store_url, timeout_ms=5000.0) as parts:
            asked, answer = await ask(parts)
            assert (answer.action, answer.processor) == ("decline", None)
            await parts.decide.settle()
            assert totals(await state(parts, "card", "tok_1")) == {}
            assert await report(parts, settled(processor="atlas")) == ("applied",)
            hand = ByHand()
            hand.add(asked, "atlas", attempt_increment(micros(START), asked.amount_minor))
            hand.add(asked, "atlas", result_increment(micros(START + timedelta(seconds=3)), "approved"))
            await hand.is_in(parts)

    asyncio.run(story())


def test_auth_then_routing_of_one_attempt_counts_one_attempt(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked, _ = await ask(parts)
        await parts.decide.settle()
        question = routing(occurred_at=START, amount_minor=asked.amount_minor)
        sent = await parts.decide.routing(question, deadline=soon())
        await parts.decide.settle()
        assert await report(parts, settled(decision_id=sent.decision_id, processor=sent.processor)) == ("applied",)
        card = totals(await state(parts, "card", "tok_1"))
        assert (card["attempts"], card["results"]) == (1, 1)

    tell(story)
