"""Attempts of a card are reserved in its ledger before an answer sends them, and a limit is never exceeded."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.payment import AuthRequest, Payment, RetryRequest
from features.clock import micros
from service.answer import MOST_TURNS
from service.errors import StoreTimeout
from service.ledger import FAILED, RESERVED, Entry, Limit, attempt_id, entries, key_of, settle
from service.store.base import Applied, Claim, Decided, LedgerMove, StateKeys
from service.store.memory import MemoryStore
from tests.parts import Parts, Tell, act, activate, add_bundle, auth, retry, routing, serving, soon

NOW = datetime.now(UTC)


async def ask(parts: Parts, question: Payment) -> Decision | RetryDecision:
    if isinstance(question, RetryRequest):
        return await parts.decide.retry(question, deadline=soon())
    if isinstance(question, AuthRequest):
        return await parts.decide.auth(question, deadline=soon())
    return await parts.decide.routing(question, deadline=soon())  # type: ignore[arg-type]


async def ledger(parts: Parts, network: str = "visa", card: str = "tok_1") -> tuple[Entry, ...]:
    key = key_of(network, None, "shop_1", card)
    return entries((await parts.store.read(StateKeys(ledger=key))).ledger)


def tightest(parts: Parts, question: Payment) -> Limit:
    return min(parts.bundle.policy.attempt_limits(question, NOW), key=lambda limit: limit.most)


async def fail(parts: Parts, question: Payment, times: int, at: datetime) -> None:
    """Enter failed attempts of the question's card, of other payments."""
    key = key_of(
        parts.bundle.network(question.card_network), question.initiator, question.merchant_id, question.card_token
    )
    for number in range(times):
        attempt = attempt_id(f"other {number}", 1)
        entry = Entry(micros(at) + number, attempt, question.amount_minor, FAILED)
        await parts.store.apply_many([Applied(f"e:{number}", ledger=LedgerMove(key, attempt, entry))])


@pytest.mark.parametrize("name", ["visa", "Visa", "VISA_ELECTRON"])
def test_an_attempt_that_is_sent_is_reserved_once_whatever_is_asked_about_it(name: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for question in (auth(card_network=name, occurred_at=NOW), routing(card_network=name, occurred_at=NOW)):
            answer = await ask(parts, question)
            assert answer.processor is not None
            assert await ledger(parts) == (Entry(micros(NOW), attempt_id("pay_1", 1), 4990, RESERVED),)

    tell(story)


def test_a_retry_is_reserved_for_its_moment_and_its_own_question_does_not_reserve_it_twice(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await ask(parts, retry("atlas", "51", occurred_at=NOW, declined_at=NOW))
        assert isinstance(answer, RetryDecision)
        assert answer.retry_at is not None
        planned = Entry(micros(answer.retry_at), attempt_id("pay_1", 2), 4990, RESERVED)
        assert planned in await ledger(parts)
        before = len(await ledger(parts))
        later = NOW + timedelta(minutes=1)
        assert (await ask(parts, auth(attempt=2, occurred_at=later))).processor is not None
        made = planned._replace(at=micros(later))
        assert made in await ledger(parts)
        assert len(await ledger(parts)) == before

    tell(story)


def test_what_is_not_sent_reserves_nothing(store_url: str, bundle_shelf: Path, tmp_path: Path) -> None:
    def strict(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, minimum_approval=1.0))

    add_bundle(tmp_path / "strict", bundle_shelf, "strict", strict)
    activate(tmp_path / "strict", "strict")

    async def story(parts: Parts) -> None:
        assert (await ask(parts, auth())).processor is None
        assert not (await ask(parts, retry("atlas", "04", payment_id="pay_2"))).should_retry  # type: ignore[union-attr]
        assert await ledger(parts) == ()

    asyncio.run(act(story, tmp_path / "strict", tmp_path, store_url, timeout_ms=5000.0))


# Limits


@pytest.mark.parametrize("kind", ["auth", "routing"])
def test_past_a_limit_nothing_is_sent(kind: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        make: Any = auth if kind == "auth" else routing
        limit = tightest(parts, auth())
        await fail(parts, auth(), limit.most - 1, NOW - timedelta(hours=1))
        last = await ask(parts, make(payment_id="last", occurred_at=NOW))
        assert last.processor is not None
        over = await ask(parts, make(payment_id="over", occurred_at=NOW))
        assert isinstance(over, Decision)
        assert (over.action, over.processor) == ("decline", None)
        assert "attempt_limit" in [reason.code for reason in over.reasons]
        assert len(await ledger(parts)) == limit.most
        # About the one that was reserved nothing changes: an attempt is not counted against itself.
        other: Any = routing if kind == "auth" else auth
        assert (await ask(parts, other(payment_id="last", occurred_at=NOW))).processor is not None

    tell(story)


def test_of_many_attempts_of_a_card_at_once_no_more_are_sent_than_a_limit_has_left(
    redis_url: str, eager_shelf: Path, tmp_path: Path
) -> None:
    """Two processes, none of which hears of the other's answers before its own are out."""

    async def story() -> None:
        async with (
            serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one,
            serving(eager_shelf, tmp_path / "two", redis_url, timeout_ms=5000.0) as two,
        ):
            limit = tightest(one, auth())
            await fail(one, auth(), limit.most - 3, NOW - timedelta(hours=1))
            asks = [
                ask(parts, auth(payment_id=f"p{number}", occurred_at=NOW))
                for number, parts in enumerate((one, two) * 8)
            ]
            answers = await asyncio.gather(*asks)
            sent = [answer for answer in answers if answer.processor is not None]
            assert len(sent) == 3
            for answer in answers:
                assert answer.degraded == ()
                if answer.processor is None:
                    assert isinstance(answer, Decision)
                    assert answer.action == "decline"
                    assert "attempt_limit" in [reason.code for reason in answer.reasons]
            assert len(await ledger(one)) == limit.most

    asyncio.run(story())


def test_retries_of_many_payments_at_once_do_not_exceed_a_limit_either(
    redis_url: str, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one,
            serving(eager_shelf, tmp_path / "two", redis_url, timeout_ms=5000.0) as two,
        ):
            asked = [
                retry("atlas", "51", payment_id=f"p{number}", occurred_at=NOW, declined_at=NOW) for number in range(40)
            ]
            answers = await asyncio.gather(
                *(ask(parts, each) for parts, each in zip((one, two) * 20, asked, strict=True))
            )
            planned = [answer for answer in answers if answer.should_retry]  # type: ignore[union-attr]
            assert 0 < len(planned) < 40
            attempts = await ledger(one)
            for limit in one.bundle.policy.attempt_limits(asked[0], NOW):
                for entry in attempts:
                    inside = [each for each in attempts if entry.at - limit.window_us < each.at <= entry.at]
                    assert len(inside) <= limit.most

    asyncio.run(story())


class Contended(MemoryStore):
    """A store in which another attempt is always faster, and is gone when one looks."""

    claims = 0

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        if decided.reservation is None:
            return await super().decided(decided, deadline=deadline)
        self.claims += 1
        return Claim(refused=True)


@pytest.mark.parametrize("question", [auth(), routing(), retry("atlas", "51")], ids=["auth", "routing", "retry"])
def test_after_so_many_refusals_nothing_is_sent(question: Payment, eager_shelf: Path, tmp_path: Path) -> None:
    store = Contended()

    async def story(parts: Parts) -> None:
        answer = await ask(parts, question)
        assert store.claims == 1 + MOST_TURNS
        assert answer.processor is None
        assert answer.reasons[0].code == "attempt_limit"
        assert len(answer.reasons) <= 5
        if isinstance(answer, Decision):
            assert (answer.action, answer.three_ds, answer.exemption, answer.liability) == (
                "decline",
                "none",
                None,
                None,
            )
        else:
            assert (answer.should_retry, answer.verdict, answer.retry_at, answer.wait_seconds) == (
                False,
                "stop",
                None,
                None,
            )
        # It is the answer: asked again it is the same.
        assert await ask(parts, question) == answer

    asyncio.run(act(story, eager_shelf, tmp_path, store))


# A store that is late


class Late(MemoryStore):
    """A store whose first claim comes too late; it was not made."""

    late = 1

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        if self.late:
            self.late -= 1
            raise StoreTimeout(10.0)
        return await super().decided(decided, deadline=deadline)


def test_an_answer_that_the_store_took_late_is_the_answer_all_the_same(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        answer = await ask(parts, auth(occurred_at=NOW))
        assert answer.degraded == ("ledger:store_timeout",)
        assert answer.processor is not None
        await parts.decide.settle()
        assert await ledger(parts) == (Entry(micros(NOW), attempt_id("pay_1", 1), 4990, RESERVED),)
        assert await ask(parts, auth(occurred_at=NOW)) == answer
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.answer == answer

    asyncio.run(act(story, eager_shelf, tmp_path, Late()))


def test_an_attempt_that_is_out_is_entered_whatever_the_limits_say_by_then(eager_shelf: Path, tmp_path: Path) -> None:
    class Overtaken(Late):
        async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
            if self.late and decided.reservation is not None:
                key = decided.reservation.key
                for number in range(30):
                    entry = Entry(micros(NOW), attempt_id(f"other {number}", 1), 4990, FAILED)
                    self._ledgers.put(key, settle(self._ledgers.get(key), entry), 60)
            return await super().decided(decided, deadline=deadline)

    async def story(parts: Parts) -> None:
        await ask(parts, auth(occurred_at=NOW))
        await parts.decide.settle()
        assert attempt_id("pay_1", 1) in [entry.attempt for entry in await ledger(parts)]

    asyncio.run(act(story, eager_shelf, tmp_path, Overtaken()))


PREVIOUS = {"processor": "cobalt", "status": "declined", "occurred_at": NOW - timedelta(days=2)}


def test_without_the_store_no_retry_spends_what_nobody_can_count(eager_shelf: Path, tmp_path: Path) -> None:
    store = Late()

    async def story(parts: Parts) -> None:
        asked = retry("atlas", "51", occurred_at=NOW, declined_at=NOW)
        answer = await ask(parts, asked)
        assert isinstance(answer, RetryDecision)
        assert answer.degraded == ("ledger:store_timeout",)
        assert (answer.should_retry, answer.verdict, answer.processor) == (False, "stop", None)
        assert answer.reasons[0].code == "ledger_unknown"
        await parts.decide.settle()
        assert await ledger(parts) == ()
        # It was not the last word: with the store back the same question is answered anew.
        again = await ask(parts, asked)
        assert isinstance(again, RetryDecision)
        assert again.should_retry
        assert again.degraded == ()

    asyncio.run(act(story, eager_shelf, tmp_path, store))


def test_without_the_store_a_retry_is_counted_from_the_question_that_names_the_attempts_before(
    eager_shelf: Path, tmp_path: Path
) -> None:
    async def story(parts: Parts) -> None:
        asked = retry("atlas", "51", occurred_at=NOW, declined_at=NOW, previous_attempts=[PREVIOUS])
        answer = await ask(parts, asked)
        assert isinstance(answer, RetryDecision)
        assert answer.degraded == ("ledger:store_timeout",)
        assert answer.should_retry
        await parts.decide.settle()
        assert attempt_id("pay_1", 2) in [entry.attempt for entry in await ledger(parts)]
        assert await ask(parts, asked) == answer

    asyncio.run(act(story, eager_shelf, tmp_path, Late()))
