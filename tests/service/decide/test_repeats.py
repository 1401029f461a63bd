"""A question asked twice: one answer, word for word, and nothing counted or reserved for it again."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.decision import Decision, RetryDecision
from contracts.payment import AuthRequest, Payment, RetryRequest
from features.entity import candidate_keys, payment_keys
from service import decide
from service.answered import Answered, decode, digest_of, encode
from service.decide import Decide
from service.errors import AlreadyAsked, JournalUnavailable
from service.http.wire import JSON, MSGPACK
from service.journal import LogJournal
from service.ledger import key_of
from service.store.base import StateKeys, by_question
from service.store.memory import MemoryStore
from tests.parts import Parts, Tell, act, auth, retry, routing, serving, soon
from tests.service.learn.hand import state, totals

DAY = 86_400.0


async def ask(parts: Parts, question: Payment, seconds: float = 5.0) -> Decision | RetryDecision:
    if isinstance(question, RetryRequest):
        return await parts.decide.retry(question, deadline=soon(seconds))
    if isinstance(question, AuthRequest):
        return await parts.decide.auth(question, deadline=soon(seconds))
    return await parts.decide.routing(question, deadline=soon(seconds))  # type: ignore[arg-type]


def written(answer: Decision | RetryDecision) -> tuple[bytes, bytes]:
    """Return the bytes of an answer's body in both forms."""
    return JSON.encode(answer), MSGPACK.encode(answer)


QUESTIONS = {
    "auth": auth(credentials=("network_token", "card_number"), cvv_result="M", fraud_score=1),
    "routing": routing(processors=("cobalt", "atlas", "nobody"), merchant_country="US"),
    "retry": retry(
        "atlas", "51", declined_at=datetime(2026, 5, 4, 12, 30, 15, 250_000, tzinfo=timezone(timedelta(hours=5)))
    ),
}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_the_same_question_has_the_same_answer_to_the_last_byte(kind: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        first = await ask(parts, QUESTIONS[kind])
        before = await parts.store.read(everything(parts))
        for _ in range(3):
            again = await ask(parts, QUESTIONS[kind])
            assert written(again) == written(first)
        await parts.decide.settle()
        assert await parts.store.read(everything(parts)) == before
        events = [event for _, event in parts.journal.events()]
        assert [event.repeat for event in events] == [False, True, True, True]  # type: ignore[union-attr]
        assert len({type(event) for event in events}) == 1
        assert all(event.answer == first for event in events)  # type: ignore[union-attr]
        # An audit shows the decision itself, with all that was logged of it.
        event = await parts.journal.find(first.decision_id)
        assert event is not None
        assert not event.repeat
        assert event.inputs is not None

    tell(story)


def everything(parts: Parts) -> StateKeys:
    """Return the keys of all that a question of these tests may move but its answer."""
    asked = auth()
    names = (*parts.bundle.processors, "nobody")
    return StateKeys(
        payment_keys(asked),
        tuple(candidate_keys(asked, name) for name in names),
        ledger=key_of("visa", None, asked.merchant_id, asked.card_token),
    )


@pytest.mark.parametrize("kind", QUESTIONS)
def test_an_answer_is_found_again_by_another_process_and_after_a_restart(
    kind: str, redis_url: str, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one:
            first = await ask(one, QUESTIONS[kind])
            async with serving(eager_shelf, tmp_path / "two", redis_url, timeout_ms=5000.0) as two:
                assert written(await ask(two, QUESTIONS[kind])) == written(first)
                # The other's journal has it as a repeat alone; its outcomes and audits find it all the same.
                event = await two.journal.find(first.decision_id)
                assert event is not None
                assert event.repeat
                if kind != "retry":
                    assert await two.journal.find_attempt("pay_1", 1) == event
        async with serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one:
            assert written(await ask(one, QUESTIONS[kind])) == written(first)

    asyncio.run(story())


@pytest.mark.parametrize("kind", QUESTIONS)
def test_two_processes_asked_at_once_give_one_answer(
    kind: str, redis_url: str, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one,
            serving(eager_shelf, tmp_path / "two", redis_url, timeout_ms=5000.0) as two,
        ):
            lost = 0
            for number in range(12):
                question = msgspec.structs.replace(QUESTIONS[kind], payment_id=f"p{number}", card_token=f"tok_{number}")
                answers = await asyncio.gather(*(ask(parts, question) for parts in (one, two) * 3))
                assert len({written(answer) for answer in answers}) == 1
                events = [
                    event
                    for parts in (one, two)
                    for _, event in parts.journal.events(limit=10_000)
                    if event.answer.payment_id == question.payment_id  # type: ignore[union-attr]
                ]
                assert sorted(event.repeat for event in events) == [False] + [True] * 5  # type: ignore[union-attr]
                lost += not answers[0].degraded
                if kind != "retry":
                    await one.decide.settle()
                    await two.decide.settle()
                    assert totals(await state(one, "card", f"tok_{number}"))["attempts"] == 1
            assert lost == 12

    asyncio.run(story())


def test_a_question_asked_at_once_in_one_process_is_found_once(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for question in QUESTIONS.values():
            answers = await asyncio.gather(*(ask(parts, question) for _ in range(20)))
            assert len({written(answer) for answer in answers}) == 1
        events = [event for _, event in parts.journal.events()]
        assert [event.repeat for event in events].count(False) == 3  # type: ignore[union-attr]
        assert len(events) == 60

    tell(story)


# Another question about the same attempt


@pytest.mark.parametrize("kind", QUESTIONS)
def test_another_question_about_the_same_attempt_is_refused_by_name(kind: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        question = QUESTIONS[kind]
        first = await ask(parts, question)
        other = msgspec.structs.replace(question, amount_minor=9990, card_token="tok_2")
        with pytest.raises(AlreadyAsked) as caught:
            await ask(parts, other)
        assert (caught.value.code, caught.value.path) == ("already_asked", "$.payment_id")
        assert caught.value.fields == ("amount_minor", "card_token")
        assert "9990" not in str(caught.value)
        assert "tok_2" not in str(caught.value)
        # It changed nothing: neither the answer nor the journal.
        assert written(await ask(parts, question)) == written(first)
        assert len(parts.journal.events()) == 2
        assert await state(parts, "card", "tok_2") is None

    tell(story)


def test_two_questions_about_one_attempt_at_once_have_one_answer_and_one_refusal(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        one, two = auth(), auth(amount_minor=1)
        results = await asyncio.gather(*(ask(parts, each) for each in (one, two, one, two)), return_exceptions=True)
        assert [type(result) for result in results] == [Decision, AlreadyAsked, Decision, AlreadyAsked]
        assert results[1].fields == ("amount_minor",)  # type: ignore[union-attr]

    tell(story)


def test_a_refusal_needs_no_journal(eager_shelf: Path, tmp_path: Path) -> None:
    class Unreadable(LogJournal):
        async def find(self, decision_id: str) -> Any:
            raise JournalUnavailable("a damaged page")

    async def story() -> None:
        journal = Unreadable(tmp_path / "journal")
        async with serving(eager_shelf, tmp_path, journal=journal) as parts:
            await ask(parts, auth())
            with pytest.raises(AlreadyAsked) as caught:
                await ask(parts, auth(amount_minor=1))
            assert caught.value.fields == ()

    asyncio.run(story())


def test_auth_routing_and_retry_of_one_attempt_are_different_questions(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        first = await ask(parts, auth())
        sent = await ask(parts, routing())
        again = await ask(parts, retry("atlas", "51"))
        next_one = await ask(parts, auth(attempt=2))
        assert len({first.decision_id, sent.decision_id, again.decision_id, next_one.decision_id}) == 4

    tell(story)


# How long, and with how little


def test_an_answer_ends_and_its_attempt_still_counts_once(eager_shelf: Path, tmp_path: Path) -> None:
    passed = [0.0]

    async def story(parts: Parts) -> None:
        first = await ask(parts, auth())
        passed[0] = DAY - 1
        assert await ask(parts, auth()) == first
        passed[0] = DAY + 1
        second = await ask(parts, auth(amount_minor=7))
        assert second.decision_id != first.decision_id
        await parts.decide.settle()
        assert totals(await state(parts, "card", "tok_1"))["attempts"] == 1

    store = MemoryStore(clock=lambda: passed[0])
    asyncio.run(act(story, eager_shelf, tmp_path, store))


def test_an_answer_is_kept_as_long_as_is_set(redis_url: str, eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        decide = Decide(parts.bundles, parts.store, parts.journal, answer_hours=3)
        await decide.auth(auth(), deadline=soon())
        with redis.Redis.from_url(redis_url) as client:
            assert 3 * 3600 - 60 < client.ttl("pm:q:" + by_question("auth", "pay_1", 1)) <= 3 * 3600

    asyncio.run(act(story, eager_shelf, tmp_path, redis_url, timeout_ms=5000.0))


@pytest.mark.parametrize("seconds", [0.0, 0.0001, -1.0])
def test_a_repeat_is_answered_word_for_word_however_little_time_there_is(
    seconds: float, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The least a question has for its own answer is 5 ms; shared cores may sleep through that.
    monkeypatch.setattr(decide, "LEAST_READ_SECONDS", 2.0)

    async def story(parts: Parts) -> None:
        for question in QUESTIONS.values():
            first = await ask(parts, question)
            assert written(await ask(parts, question, seconds)) == written(first)
        await parts.decide.settle()

    tell(story)


def test_a_repeat_needs_no_journal(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        first = await ask(parts, auth())
        await parts.journal.close()
        assert written(await ask(parts, auth())) == written(first)

    asyncio.run(act(story, eager_shelf, tmp_path))


# What cannot be read


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x93\xc4\x00\xa1\xff\x00"])
def test_an_answer_that_cannot_be_read_counts_as_not_there(content: bytes, tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts, auth())
        await parts.decide.settle()
        put(parts, store_url, by_question("routing", "pay_1", 1), content)
        answer = await ask(parts, routing())
        assert answer.degraded == ()
        await parts.decide.settle()
        assert totals(await state(parts, "card", "tok_1"))["attempts"] == 1

    tell(story)


def put(parts: Parts, url: str, key: str, content: bytes) -> None:
    """Write an answer past the store's own checks, as damage would."""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            client.set(f"pm:q:{key}", content)
    else:
        assert isinstance(parts.store, MemoryStore)
        parts.store._answers.put(key, content, 60)


def test_a_question_digested_by_another_build_is_the_same_question(tell: Tell, store_url: str) -> None:
    """A new field of the contract must not make other questions of those asked before it was there."""

    async def story(parts: Parts) -> None:
        first = await ask(parts, auth())
        old = Answered(b"of another build", first, 0)
        put(parts, store_url, by_question("auth", "pay_1", 1), msgspec.msgpack.encode(old))
        assert await ask(parts, auth()) == first
        with pytest.raises(AlreadyAsked):
            await ask(parts, auth(amount_minor=1))

    tell(story)


# The bytes


def test_how_a_question_was_written_down_makes_no_other_question_of_it() -> None:
    here = datetime(2026, 5, 4, 12, tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(hours=-7)))
    assert digest_of(auth(occurred_at=here)) == digest_of(auth(occurred_at=there))
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(auth(fraud_score=1)), type=AuthRequest)
    assert digest_of(packed) == digest_of(auth(fraud_score=1.0))
    assert digest_of(auth()) != digest_of(auth(processors=("atlas",)))


FLOATS = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-300])


@settings(max_examples=50)
@given(FLOATS, FLOATS, st.datetimes(timezones=st.just(UTC)) | st.none(), st.text(max_size=5))
def test_an_answer_kept_and_read_again_is_written_with_the_same_bytes(
    p: float, value: float, at: datetime | None, word: str
) -> None:
    answer = RetryDecision(
        decision_id=word,
        payment_id=word,
        attempt=1,
        should_retry=True,
        verdict="retry_now",
        retry_at=at,
        wait_seconds=0,
        processor=word,
        success_probability=p,
        expected_value_minor=-value,
        rules=(),
        quota=None,
        reasons=(),
        degraded=(word,),
        bundle_version=word,
        policy_version=word,
        latency_us=3,
    )
    kept = decode("retry", encode(retry("atlas"), answer, 1))
    assert kept is not None
    assert kept.answer == answer
    assert written(kept.answer) == written(answer)
