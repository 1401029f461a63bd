"""Outcomes while the store has forgotten their decisions, or is late or gone."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from features.clock import micros
from features.increment import attempt_increment, chargeback_increment, result_increment
from features.layout import LAYOUTS
from features.state import View
from service.errors import StoreTimeout
from service.journal import LogJournal
from service.record import TTL_SECONDS
from service.store.base import by_attempt
from service.store.memory import MemoryStore
from tests.journals import Disk, hang
from tests.parts import Parts, Tell, retry, routing, serving, soon
from tests.servers import RedisServer
from tests.service.learn.hand import START, ByHand, ask, noted, report, settled, state, totals


def forget(parts: Parts, url: str) -> None:
    """Empty the store, as an eviction, a failover or a flush would."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    else:
        parts.store.__init__()  # type: ignore[misc]


def test_what_the_store_forgot_is_matched_through_the_journal(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        await parts.decide.settle()
        forget(parts, store_url)
        outcome = settled(decision_id=answer.decision_id)
        assert await report(parts, outcome) == ("applied",)
        assert await report(parts, outcome) == ("repeated",)
        # The attempt went with the store; it is counted again with its result.
        hand = ByHand()
        hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
        hand.add(asked, answer.processor, result_increment(micros(START + timedelta(seconds=3)), "approved"))
        await hand.is_in(parts)

    tell(story)


def test_a_chargeback_weeks_later_needs_no_decision_id(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts, at=START - timedelta(days=60))
        await report(parts, settled(occurred_at=START - timedelta(days=60)))
        await parts.decide.settle()
        forget(parts, store_url)
        assert await report(parts, settled(kind="chargeback", status=None, occurred_at=START)) == ("applied",)
        hand = ByHand()
        hand.add(asked, answer.processor, chargeback_increment(micros(START)))
        await hand.is_in(parts)

    tell(story)


def test_an_outcome_that_names_another_payments_decision_changes_nothing(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        _, answer = await ask(parts)
        await parts.decide.settle()
        assert await report(parts, settled(payment_id="foreign", decision_id=answer.decision_id)) == ("kept",)
        forget(parts, store_url)
        assert await report(parts, settled(payment_id="foreign", decision_id=answer.decision_id)) == ("kept",)
        assert await state(parts, "card", "tok_1") is None

    tell(story)


def test_a_forgotten_retry_is_found_by_the_attempt_it_planned(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        question = retry("atlas", "51", occurred_at=START, declined_at=START)
        answer = await parts.decide.retry(question, deadline=soon())
        assert answer.retry_at is not None
        await parts.decide.settle()
        forget(parts, store_url)
        at = answer.retry_at + timedelta(seconds=5)
        assert await report(parts, settled(attempt=2, occurred_at=at, status="declined")) == ("applied",)
        assert await report(parts, settled(attempt=3, occurred_at=at, status="declined")) == ("kept",)

    tell(story)


def test_a_forgotten_decision_from_the_future_is_counted_when_it_was_made(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        now = datetime.now(UTC)
        _, answer = await ask(parts, at=now + timedelta(days=200))
        assert answer.degraded == ("clock:occurred_in_future",)
        await parts.decide.settle()
        forget(parts, store_url)
        outcome = settled(decision_id=answer.decision_id, occurred_at=None)
        assert await report(parts, outcome) == ("applied",)
        blob = await state(parts, "card", "tok_1")
        assert blob is not None
        assert View(LAYOUTS["card"], blob).last_attempt <= micros(datetime.now(UTC))

    tell(story)


def test_a_forgotten_retry_is_matched_through_the_journal(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        question = retry("atlas", "51", occurred_at=START, declined_at=START)
        answer = await parts.decide.retry(question, deadline=soon())
        assert answer.retry_at is not None
        await parts.decide.settle()
        forget(parts, store_url)
        at = answer.retry_at + timedelta(seconds=5)
        outcome = settled(attempt=2, decision_id=answer.decision_id, occurred_at=at, status="declined")
        assert await report(parts, outcome) == ("applied",)
        hand = ByHand()
        hand.add(question, answer.processor, attempt_increment(micros(answer.retry_at), question.amount_minor))
        hand.add(question, answer.processor, result_increment(micros(at), "declined"))
        await hand.is_in(parts)

    tell(story)


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x98\xa1\xff", b"\x91\x01"])
def test_a_record_that_cannot_be_read_counts_as_forgotten(record: bytes, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        _, answer = await ask(parts)
        await parts.decide.settle()
        await parts.store.remember([by_attempt("pay_1", 1), f"i:{answer.decision_id}"], record, TTL_SECONDS)
        assert await report(parts, settled(decision_id=answer.decision_id)) == ("applied",)
        assert await report(parts, settled()) == ("repeated",)
        # A question finds it too, and is answered anew.
        again = await parts.decide.routing(routing(occurred_at=START, amount_minor=1001), deadline=soon())
        assert again.decision_id != answer.decision_id

    tell(story)


@pytest.mark.parametrize(("fault", "said"), [("pause", "state:store_timeout"), ("kill", "state:store_unavailable")])
def test_a_store_that_is_late_or_gone_leaves_outcomes_pending_in_the_journal(
    fault: str, said: str, own_redis: RedisServer, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "journal", own_redis.url, timeout_ms=50.0) as parts:
            known = [await ask(parts, number) for number in range(3)]
            await parts.decide.settle()
            (own_redis.pause if fault == "pause" else own_redis.kill)()
            outcomes = [
                settled(asked.payment_id, decision_id=answer.decision_id, occurred_at=None) for asked, answer in known
            ]
            refund = settled("pay_1", None, kind="refund")
            receipt = await parts.learn.report([outcomes[0], refund])
            assert receipt.results == ("kept", "kept")
            assert receipt.degraded == (said,)
            assert await noted(parts, "pay_0") == ["pending"]
            assert await noted(parts, "pay_1") == ["kept"]
            # A long list does not wait for every one of its outcomes.
            started = asyncio.get_running_loop().time()
            receipt = await parts.learn.report(outcomes * 100)
            assert asyncio.get_running_loop().time() - started < 3.0
            assert set(receipt.results) == {"kept"}
            assert receipt.degraded
            (own_redis.resume if fault == "pause" else own_redis.start)()
            until = asyncio.get_running_loop().time() + 5
            while (receipt := await parts.learn.report(outcomes)).degraded:
                assert asyncio.get_running_loop().time() < until
                await asyncio.sleep(0.05)
            # A write that timed out may have happened all the same: it is not done twice.
            assert set(receipt.results) <= {"applied", "repeated"}
            await parts.learn.report(outcomes)
            card = totals(await state(parts, "card", "tok_1"))
            assert (card["attempts"], card["results"]) == (3, 3)

    asyncio.run(story())


class LateStore(MemoryStore):
    """A store whose updates are late, while its records can be read."""

    async def apply_many(self, *_: Any, **__: Any) -> list[bool]:
        raise StoreTimeout(10.0)


def test_outcomes_that_need_no_update_are_not_pending_with_those_that_do(eager_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "journal", LateStore()) as parts:
            await ask(parts)
            await parts.decide.settle()
            receipt = await parts.learn.report(
                [settled("pay_unknown"), settled(), settled("pay_1", None, kind="refund")]
            )
            assert (receipt.results, receipt.degraded) == (("kept", "kept", "kept"), ("state:store_timeout",))
            assert await noted(parts, "pay_unknown") == ["kept"]
            assert await noted(parts) == ["pending", "kept"]

    asyncio.run(story())


def test_a_journal_that_cannot_keep_outcomes_is_told_and_they_count_all_the_same(
    eager_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        journal = LogJournal(tmp_path / "journal")
        async with serving(eager_shelf, tmp_path, journal=journal) as parts:
            known = [await ask(parts, number) for number in range(30)]
            await parts.decide.settle()
            Disk(monkeypatch, 0)
            receipt = await parts.learn.report([settled(asked.payment_id) for asked, _ in known])
            assert set(receipt.results) == {"applied"}
            assert receipt.degraded == ("journal",)
            # The store has forgotten and the journal cannot be read: kept, and no error.
            parts.store.__init__()  # type: ignore[misc]
            await journal.close()
            receipt = await parts.learn.report([settled(decision_id=known[0][1].decision_id)])
            assert (receipt.results, receipt.degraded) == (("kept",), ("journal",))

    asyncio.run(story())


def test_a_receipt_waits_for_a_disk_that_is_slow(
    eager_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes have no budget: they wait for the disk, and are durable when the receipt is out."""

    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "journal") as parts:
            await ask(parts)
            await parts.decide.settle()
            going_on = hang(monkeypatch)
            waiting = asyncio.create_task(parts.learn.report([settled()]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            going_on.set()
            assert (await waiting).results == ("applied",)
            assert await noted(parts) == ["applied"]

    asyncio.run(story())
