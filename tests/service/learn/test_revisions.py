"""An attempt is settled once; a timeout or an error that is resolved later counts as what it became."""

import asyncio
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.outcome import Outcome
from contracts.payment import Payment
from features.clock import micros
from features.increment import attempt_increment, result_increment, taken_back
from service.ledger import APPROVED, FAILED, Entry, attempt_id, entries, key_of
from service.record import TTL_SECONDS
from service.settlement import by_settlement
from service.standing import LEVELS, MEASURES, SCALES, Note, Sums, add, keys_of, read
from service.store.base import StateKeys
from service.store.memory import MemoryStore
from tests.parts import Parts, Tell, act, activate, add_bundle, retry, serving, soon
from tests.service.learn.hand import START, ByHand, ask, noted, report, settled, state, totals

LATER = START + timedelta(hours=2)
AFTER = START + timedelta(hours=3)


async def standings(parts: Parts, processor: str, at: int) -> tuple[Sums | None, ...]:
    keys = keys_of(processor, "visa", "shop_1")
    return tuple(read(blob, at) for blob in (await parts.store.read(StateKeys(standings=keys))).standings)


async def ledger(parts: Parts) -> tuple[Entry, ...]:
    return entries((await parts.store.read(StateKeys(ledger=key_of("visa", None, "shop_1", "tok_1")))).ledger)


def timeout(**fields: Any) -> Outcome:
    return settled(status="timeout", **{"latency_ms": 30_000, **fields})


def sums_of(*notes: Note) -> Sums:
    blob = None
    for note in notes:
        blob = add(blob, note)
    sums = read(blob, micros(AFTER))
    assert sums is not None
    return sums


def close(found: Sums | None, wanted: Sums) -> bool:
    assert found is not None
    return found.values == pytest.approx(wanted.values, rel=1e-9, abs=1e-9) and found.month_minor == pytest.approx(
        wanted.month_minor
    )


async def likely(parts: Parts, decision_id: str, processor: str) -> float:
    """Return what the model said of the way in which an answer sends."""
    event = await parts.journal.find(decision_id)
    assert event is not None
    assert event.inputs is not None
    answer: Any = event.answer
    place = 1 if answer.three_ds == "challenge" else 0
    return event.inputs.approval[place][event.inputs.processors.index(processor)]


# One result


@pytest.mark.parametrize("status", ["approved", "declined", "error", "timeout"])
@pytest.mark.parametrize("code", [None, "05", "96"])
def test_a_result_moves_state_standings_and_ledger_together(status: str, code: str | None, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        assert answer.processor is not None
        p = await likely(parts, answer.decision_id, answer.processor)
        assert await report(parts, settled(status=status, response_code=code, latency_ms=840)) == ("applied",)
        hand = ByHand()
        hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
        hand.add(asked, answer.processor, result_increment(micros(START + timedelta(seconds=3)), status, "visa", code))
        await hand.is_in(parts)
        fault = parts.bundle.policy.judge(
            "visa",
            processor=answer.processor,
            status=status,
            response_code=code,
            advice_code=None,
            country="DE",
            initiator=None,
            now=START,
        )
        assert fault == "processor" or code is not None or status not in ("error", "timeout")
        note = Note(
            at=micros(START + timedelta(seconds=3)),
            fault=status != "approved" and fault == "processor",
            approved=status == "approved",
            expected=p,
            latency_ms=None if status == "timeout" else 840,
            amount_minor=asked.amount_minor,
        )
        for found in await standings(parts, answer.processor, micros(AFTER)):
            assert close(found, sums_of(note))
        ended = APPROVED if status == "approved" else FAILED
        assert await ledger(parts) == (Entry(micros(START), attempt_id("pay_1", 1), asked.amount_minor, ended),)

    tell(story)


def test_nothing_is_noted_of_a_processor_that_nobody_named(store_url: str, bundle_shelf: Path, tmp_path: Path) -> None:
    def strict(manifest: Any) -> Any:
        return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, minimum_approval=1.0))

    add_bundle(tmp_path / "strict", bundle_shelf, "strict", strict)
    activate(tmp_path / "strict", "strict")

    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        assert answer.processor is None
        assert await report(parts, settled()) == ("applied",)
        for name in parts.bundle.processors:
            assert await standings(parts, name, micros(AFTER)) == (None,) * len(LEVELS)
        # It was sent all the same, and the card's ledger says so; when, its result alone tells.
        sent = micros(START + timedelta(seconds=3))
        assert await ledger(parts) == (Entry(sent, attempt_id("pay_1", 1), asked.amount_minor, APPROVED),)

    asyncio.run(act(story, tmp_path / "strict", tmp_path, store_url, timeout_ms=5000.0))


def test_of_another_processor_than_the_decided_one_nothing_was_expected(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        _, answer = await ask(parts)
        other = next(name for name in parts.bundle.processors if name != answer.processor)
        assert await report(parts, settled(processor=other)) == ("applied",)
        (found, *_) = await standings(parts, other, micros(START))
        assert found is not None
        measures = dict(zip(MEASURES, found.values[: len(MEASURES)], strict=True))
        assert (measures["results"], measures["expected"], measures["approved"]) == (1.0, 0.0, 0.0)
        assert len(found.values) == len(MEASURES) * len(SCALES)
        assert await standings(parts, str(answer.processor), micros(START)) == (None,) * len(LEVELS)

    tell(story)


def test_a_planned_retry_is_in_the_ledger_when_its_result_says(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.retry(retry("atlas", "51", occurred_at=START, declined_at=START), deadline=soon())
        assert answer.should_retry
        assert await report(parts, settled(attempt=2, status="declined", occurred_at=LATER)) == ("applied",)
        made = Entry(micros(LATER), attempt_id("pay_1", 2), 4990, FAILED)
        assert [entry for entry in await ledger(parts) if entry.attempt == made.attempt] == [made]
        assert answer.processor is not None
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.inputs is not None
        (found, *_) = await standings(parts, answer.processor, micros(LATER))
        assert found is not None
        # What the model said, not what the policy made of it.
        said = {p for row in event.inputs.success for p in row}
        assert found.values[MEASURES.index("expected")] in said

    tell(story)


# Resolved later


@pytest.mark.parametrize("first", ["timeout", "error"])
@pytest.mark.parametrize("second", ["approved", "declined"])
@pytest.mark.parametrize("apart", [timedelta(hours=2), timedelta(0), timedelta(seconds=-2)], ids=str)
def test_what_is_resolved_later_counts_as_if_it_had_been_so_from_the_first(
    first: str, second: str, apart: timedelta, tell: Tell
) -> None:
    async def story(parts: Parts) -> None:
        asked, answer = await ask(parts)
        assert answer.processor is not None
        p = await likely(parts, answer.decision_id, answer.processor)
        before = START + timedelta(seconds=3)
        resolved = settled(status=second, response_code="05", latency_ms=900, occurred_at=before + apart)
        assert await report(parts, settled(status=first, occurred_at=before, latency_ms=400)) == ("applied",)
        assert await report(parts, resolved) == ("revised",)
        assert await report(parts, resolved, settled(status=first, occurred_at=before)) == ("repeated", "repeated")
        assert await noted(parts) == ["applied", "revised", "repeated", "repeated"]
        hand = ByHand()
        hand.add(asked, answer.processor, attempt_increment(micros(START), asked.amount_minor))
        failed = result_increment(micros(before), first)
        hand.add(asked, answer.processor, failed)
        hand.add(asked, answer.processor, taken_back(failed))
        hand.add(asked, answer.processor, result_increment(micros(before + apart), second, "visa", "05"))
        await hand.is_in(parts)
        card = totals(await state(parts, "card", "tok_1"))
        assert card == {"attempts": 1, "amount_minor": asked.amount_minor, "results": 1, second: 1}
        assert "technical" not in totals(await state(parts, "merchant", "shop_1"), "merchant")
        wanted = sums_of(
            Note(
                at=micros(before + apart),
                approved=second == "approved",
                expected=p,
                latency_ms=900,
                amount_minor=asked.amount_minor,
            )
        )
        for found in await standings(parts, answer.processor, micros(AFTER)):
            assert close(found, wanted)
        ended = APPROVED if second == "approved" else FAILED
        assert await ledger(parts) == (Entry(micros(START), attempt_id("pay_1", 1), asked.amount_minor, ended),)

    tell(story)


def test_a_timeout_that_comes_after_its_approval_changes_nothing(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        assert await report(parts, settled()) == ("applied",)
        before = await everything(parts)
        assert await report(parts, timeout(occurred_at=LATER), settled(status="declined")) == ("repeated", "repeated")
        assert await everything(parts) == before

    tell(story)


async def everything(parts: Parts) -> Any:
    blobs = [
        await state(parts, kind, key) for kind, key in (("card", "tok_1"), ("merchant", "shop_1"), ("bin", "411111"))
    ]
    names = parts.bundle.processors
    keys = StateKeys(standings=tuple(key for name in names for key in keys_of(name, "visa", "shop_1")))
    return blobs, (await parts.store.read(keys)).standings, await ledger(parts)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_a_list_may_hold_a_timeout_and_what_became_of_it_in_any_order(order: tuple[int, ...], tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        outcomes = [timeout(), settled(occurred_at=LATER), settled(status="error")]
        results = await report(parts, *[outcomes[place] for place in order])
        first = outcomes[order[0]].status
        if first == "approved":
            assert results == ("applied", "repeated", "repeated")
        else:
            expected = ["revised" if outcomes[place].status == "approved" else "repeated" for place in order[1:]]
            assert results == ("applied", *expected)
        card = totals(await state(parts, "card", "tok_1"))
        assert (card["results"], card["approved"]) == (1, 1)
        assert [entry.status for entry in await ledger(parts)] == [APPROVED]

    tell(story)


def test_the_other_outcomes_of_a_list_are_not_held_up_by_a_revision(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for number in range(1, 7):
            await ask(parts, number)
        firsts = [timeout(payment=f"pay_{number}") for number in range(1, 7)]
        seconds = [settled(f"pay_{number}", occurred_at=LATER) for number in range(1, 7)]
        results = await report(parts, *firsts[:3], *seconds[:3], *firsts[3:], *seconds[3:])
        assert results == ("applied",) * 3 + ("revised",) * 3 + ("applied",) * 3 + ("revised",) * 3
        card = totals(await state(parts, "card", "tok_1"))
        assert (card["attempts"], card["results"], card["approved"]) == (6, 6, 6)

    tell(story)


def test_two_processes_told_of_it_at_once_revise_it_once(redis_url: str, eager_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            serving(eager_shelf, tmp_path / "one", redis_url, timeout_ms=5000.0) as one,
            serving(eager_shelf, tmp_path / "two", redis_url, timeout_ms=5000.0) as two,
        ):
            for number in range(10):
                await ask(one, number)
                name = f"pay_{number}"
                told = [timeout(payment=name), settled(name, occurred_at=LATER)] * 2
                receipts = await asyncio.gather(
                    *((one, two)[place % 2].learn.report([outcome]) for place, outcome in enumerate(told))
                )
                results = sorted(receipt.results[0] for receipt in receipts)
                assert results in (["applied", "repeated", "repeated", "revised"], ["applied"] + ["repeated"] * 3)
            card = totals(await state(one, "card", "tok_1"))
            assert (card["attempts"], card["results"], card["approved"]) == (10, 10, 10)

    asyncio.run(story())


def test_what_the_store_forgot_of_a_timeout_is_found_in_the_journal(tell: Tell, store_url: str) -> None:
    async def story(parts: Parts) -> None:
        await ask(parts)
        assert await report(parts, timeout()) == ("applied",)
        # The settlement alone is gone; the marks and the state are there.
        await parts.store.remember([by_settlement("pay_1", 1)], b"", TTL_SECONDS)
        assert await report(parts, settled(occurred_at=LATER)) == ("revised",)
        card = totals(await state(parts, "card", "tok_1"))
        assert (card["results"], card["approved"]) == (1, 1)
        assert await report(parts, settled(occurred_at=LATER)) == ("repeated",)

    tell(story)


def test_a_revision_through_another_processor_takes_the_timeout_from_the_first(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        _, answer = await ask(parts)
        other = next(name for name in parts.bundle.processors if name != answer.processor)
        assert await report(parts, timeout(), settled(processor=other, occurred_at=LATER)) == ("applied", "revised")
        first, second = str(answer.processor), other
        assert "results" not in totals(await state(parts, "processor", first), "processor")
        assert totals(await state(parts, "processor", second), "processor") == {"results": 1, "approved": 1}
        for found in await standings(parts, first, micros(AFTER)):
            assert close(found, Sums((0.0,) * len(MEASURES) * len(SCALES), 0.0))

    tell(story)


# Any order, any number of times


def final(told: list[str]) -> tuple[str, ...]:
    """Return what each report of one attempt should come to, by the rule alone."""
    results: list[str] = []
    settled_as: str | None = None
    for status in told:
        if settled_as is None:
            results.append("applied")
            settled_as = status
        elif settled_as in ("timeout", "error") and status in ("approved", "declined"):
            results.append("revised")
            settled_as = status
        else:
            results.append("repeated")
    return tuple(results)


STATUSES = st.sampled_from(["approved", "declined", "error", "timeout"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), STATUSES), max_size=14), st.integers(1, 5))
def test_any_order_and_number_of_reports_leaves_the_last_word_of_each_attempt(
    eager_shelf_for_laws: Path, tmp_path_factory: pytest.TempPathFactory, told: list[tuple[int, str]], together: int
) -> None:
    async def story() -> None:
        folder = tmp_path_factory.mktemp("laws")
        async with serving(eager_shelf_for_laws, folder, MemoryStore()) as parts:
            known: dict[int, Payment] = {}
            for number in (1, 2, 3):
                known[number], _ = await ask(parts, number)
            outcomes = [
                settled(f"pay_{number}", status, occurred_at=START + timedelta(seconds=5 * place))
                for place, (number, status) in enumerate(told)
            ]
            results: list[str] = []
            for start in range(0, len(outcomes), together):
                results += await report(parts, *outcomes[start : start + together])
            for number in known:
                mine = [place for place, (each, _) in enumerate(told) if each == number]
                assert tuple(results[place] for place in mine) == final([told[place][1] for place in mine])
            ended = {}
            for place, (number, status) in enumerate(told):
                if results[place] != "repeated":
                    ended[number] = status
            card = totals(await state(parts, "card", "tok_1"))
            assert card.get("results", 0) == len(ended)
            assert card.get("approved", 0) == list(ended.values()).count("approved")
            failed = [entry for entry in await ledger(parts) if entry.status == FAILED]
            assert len(failed) == len(ended) - list(ended.values()).count("approved")

    asyncio.run(story())
