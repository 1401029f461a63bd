"""Outcomes into state: matched, counted once, in any order, over every store; the state is what the features say it is."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from contracts.decision import Decision
from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from contracts.payment import Payment
from features.clock import micros
from features.increment import Increment, attempt_increment, chargeback_increment, result_increment
from features.layout import INDEX, LAYOUTS
from features.state import View, add
from service.errors import StoreTimeout
from service.journal.sqlite import SqliteJournal
from service.learn import TOGETHER
from service.record import TTL_SECONDS
from service.store.base import StateKeys, by_attempt
from service.store.memory import MemoryStore
from tests.parts import Parts, activate, add_bundle, auth, eager, retry, routing, serving, soon
from tests.servers import RedisServer

Story = Callable[[Parts], Awaitable[None]]
Tell = Callable[[Story], None]
START = datetime.now(UTC) - timedelta(hours=30)
KINDS = ("card", "merchant", "bin", "issuer", "processor")


@pytest.fixture
def eager_shelf(bundle_shelf: Path, tmp_path: Path) -> Path:
    add_bundle(tmp_path / "shelf", bundle_shelf, "eager", eager)
    activate(tmp_path / "shelf", "eager")
    return tmp_path / "shelf"


@pytest.fixture(params=["memory", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def tell(store_url: str, eager_shelf: Path, tmp_path: Path) -> Tell:
    """Tell a story over the embedded store and over a real Redis."""

    async def act(story: Story) -> None:
        async with serving(eager_shelf, tmp_path / "journal", store_url, timeout_ms=5000.0) as parts:
            await story(parts)

    return lambda story: asyncio.run(act(story))


class ByHand:
    """State as `features.state` makes it of increments, one after the other."""

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}

    def add(self, payment: Payment, processor: str | None, increment: Increment) -> None:
        keys = (payment.card_token, payment.merchant_id, payment.card_bin, payment.issuer_country, processor)
        for kind, key in zip(KINDS, keys, strict=True):
            if key is not None:
                self.blobs[kind, key] = add(LAYOUTS[kind], self.blobs.get((kind, key)), increment)

    async def is_in(self, parts: Parts) -> None:
        """Compare with the store, entity by entity, byte by byte."""
        await parts.decide.settle()
        assert self.blobs
        for (kind, key), blob in self.blobs.items():
            assert await state(parts, kind, key) == blob, (kind, key, totals(blob, kind))


async def state(parts: Parts, kind: str, key: str) -> bytes | None:
    if kind == "processor":
        return (await parts.store.read(StateKeys(processors=(key,)))).processors[0]
    blob: bytes | None = getattr(await parts.store.read(StateKeys(**{kind: key})), kind)
    return blob


def totals(blob: bytes | None, kind: str = "card") -> dict[str, int]:
    """Return the sums of all time that are not zero."""
    if blob is None:
        return {}
    view = View(LAYOUTS[kind], blob)
    return {name: view.totals[place] for name, place in INDEX.items() if view.totals[place]}


async def ask(parts: Parts, number: int = 1, *, at: datetime = START, **fields: Any) -> tuple[Payment, Decision]:
    question = auth(payment_id=f"pay_{number}", occurred_at=at, amount_minor=1000 + number, **fields)
    return question, await parts.decide.auth(question, deadline=soon())


def settled(payment: str = "pay_1", status: str | None = "approved", **fields: Any) -> Outcome:
    given = {"payment_id": payment, "status": status, "occurred_at": START + timedelta(seconds=3), **fields}
    return msgspec.convert(given, Outcome)


async def report(parts: Parts, *outcomes: Outcome) -> tuple[str, ...]:
    receipt = await parts.learn.report(outcomes)
    assert receipt.degraded == ()
    return receipt.results


async def noted(parts: Parts, payment: str = "pay_1", attempt: int = 1) -> list[str]:
    return [event.result for event in await parts.journal.outcomes_of(payment, attempt)]


# Matching


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
        assert totals(await state(parts, "card", "tok_1")) == {"events": 1, "chargebacks": 1}

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


# Order, lateness, lists


def test_a_sequence_leaves_the_state_that_the_features_describe(tell: Tell) -> None:
    """Many payments of few entities; results out of order, late, repeated; the list applies in its own order."""

    async def story(parts: Parts) -> None:
        hand = ByHand()
        outcomes: list[Outcome] = []
        results: list[tuple[Payment, str | None, Increment]] = []
        for number in range(60):
            at = START + timedelta(minutes=(number * 37) % 1500)
            card = f"tok_{number % 3}"
            asked, answer = await ask(parts, number, at=at, card_token=card, card_bin=("411111", None)[number % 2])
            await parts.decide.settle()
            hand.add(asked, answer.processor, attempt_increment(micros(at), asked.amount_minor))
            status = ("approved", "declined", "error", "timeout")[number % 4]
            known = at + timedelta(seconds=(number * 7919) % 9000)
            through = parts.bundle.processors[number % 5] if number % 7 == 0 else None
            named = answer.decision_id if number % 2 else None
            outcomes.append(settled(asked.payment_id, status, occurred_at=known, processor=through, decision_id=named))
            results.append((asked, through or answer.processor, result_increment(micros(known), status)))
            if number % 10 == 0:
                charged = at + timedelta(hours=4)
                outcomes.append(settled(asked.payment_id, None, kind="chargeback", occurred_at=charged))
                results.append((asked, answer.processor, chargeback_increment(micros(charged))))
        # Neither the order of the payments nor that of their times.
        order = sorted(range(len(outcomes)), key=lambda place: (place * 31) % 67)
        shuffled = [outcomes[place] for place in order]
        for place in order:
            hand.add(*results[place])
        unknown, refund = settled("pay_unknown"), settled("pay_3", None, kind="refund")
        told = await report(parts, unknown, *shuffled, refund, shuffled[5])
        assert told == ("kept", *["applied"] * len(shuffled), "kept", "repeated")
        await hand.is_in(parts)
        assert {kind for kind, _ in hand.blobs} == set(KINDS)

    tell(story)


def test_a_list_of_a_thousand_is_one_receipt_in_order_and_leaves_decisions_their_turn(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        known = [await ask(parts, number) for number in range(40)]
        await parts.decide.settle()
        outcomes = []
        for number in range(1000):
            asked, _ = known[number % 40]
            outcomes.append(settled("pay_unknown") if number % 5 == 4 else settled(asked.payment_id))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(others())
        results = await report(parts, *outcomes)
        beside.cancel()
        assert turns >= len(outcomes) // TOGETHER
        seen: set[str] = set()
        for outcome, result in zip(outcomes, results, strict=True):
            first = outcome.payment_id not in seen
            seen.add(outcome.payment_id)
            expected = "kept" if outcome.payment_id == "pay_unknown" else "applied" if first else "repeated"
            assert result == expected
        journalled = [event for _, event in parts.journal.events(limit=2000) if isinstance(event, OutcomeSettled)]
        assert [event.outcome for event in journalled] == outcomes
        assert [event.result for event in journalled] == list(results)

    tell(story)


class CountingStore(MemoryStore):
    """A store that counts the calls it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    async def recall(self, *args: Any, **options: Any) -> bytes | None:
        self.calls["recall"] += 1
        return await super().recall(*args, **options)

    async def apply_many(self, batch: Any, **options: Any) -> list[bool]:
        self.calls["apply_many"] += 1
        return await super().apply_many(batch, **options)


def test_a_list_is_written_in_few_calls(eager_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        store = CountingStore()
        async with serving(eager_shelf, tmp_path / "journal", store) as parts:
            known = [await ask(parts, number) for number in range(2 * TOGETHER)]
            await parts.decide.settle()
            assert set(await report(parts, *[settled(asked.payment_id) for asked, _ in known])) == {"applied"}
            assert store.calls == {"recall": 2 * TOGETHER, "apply_many": 2}

    asyncio.run(story())


def test_the_same_outcome_twice_in_a_list_is_applied_and_repeated(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        await parts.decide.settle()
        assert await report(parts, settled(), settled(), settled(kind="chargeback", status=None)) == (
            "applied",
            "repeated",
            "applied",
        )

    tell(story)


def test_an_outcome_from_the_future_counts_as_now(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        await parts.decide.settle()
        receipt = await parts.learn.report([settled(occurred_at=datetime.now(UTC) + timedelta(days=9))])
        assert (receipt.results, receipt.degraded) == (("applied",), ("clock:occurred_in_future",))
        blob = await state(parts, "card", "tok_1")
        assert blob is not None
        window = View(LAYOUTS["card"], blob).window(2, LAYOUTS["card"].rings[2].reach, micros(datetime.now(UTC)))
        assert window[INDEX["attempts"]] == 1

    tell(story)


# A store that has forgotten, or is gone


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
        assert await report(parts, settled()) == ("kept",)
        assert await report(parts, settled(decision_id=answer.decision_id)) == ("applied",)
        # A question finds it too, and is answered anew.
        again = await parts.decide.auth(auth(occurred_at=START, amount_minor=1001), deadline=soon())
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
    eager_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        journal = SqliteJournal(tmp_path / "journal", max_pages=12)
        async with serving(eager_shelf, tmp_path, journal=journal) as parts:
            known = [await ask(parts, number) for number in range(30)]
            await parts.decide.settle()
            receipt = await parts.learn.report([settled(asked.payment_id) for asked, _ in known])
            assert set(receipt.results) == {"applied"}
            assert receipt.degraded == ("journal",)
            # The store has forgotten and the journal cannot be read: kept, and no error.
            parts.store.__init__()  # type: ignore[misc]
            await journal.close()
            receipt = await parts.learn.report([settled(decision_id=known[0][1].decision_id)])
            assert (receipt.results, receipt.degraded) == (("kept",), ("journal",))

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


def test_nothing_is_counted_while_the_journal_s_file_is_only_locked(eager_shelf: Path, tmp_path: Path) -> None:
    """Outcomes have no budget: they wait for the disk, and are durable when the receipt is out."""

    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "journal") as parts:
            await ask(parts)
            await parts.decide.settle()
            holder = sqlite3.connect(tmp_path / "journal" / "events.sqlite", isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(parts.learn.report([settled()]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            holder.execute("ROLLBACK")
            holder.close()
            assert (await waiting).results == ("applied",)
            assert await noted(parts) == ["applied"]

    asyncio.run(story())
