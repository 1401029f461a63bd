"""What it takes to write what the store missed: calls and turns of the loop, counted; what cannot be written is left out."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.event import AuthDecided
from contracts.outcome import Outcome
from service import arrears
from service.arrears import TOGETHER
from service.errors import StoreError, StoreUnavailable
from service.mark import Mark
from service.missed import signs
from service.record import attempt_event
from service.store.base import Claim, Decided, StateKeys, States, by_decision
from service.store.memory import MemoryStore
from tests.faults.parts import Lasting, counted, lasting, until
from tests.parts import auth, soon

AWAY = StoreUnavailable("it is away")
MANY = 3 * TOGETHER + 1


class Counting(MemoryStore):
    """A store that counts what it is asked, by call and turn of the loop, and may be away, or break on one event."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: StoreError | None = None
        self.bad: str | None = None
        self.calls: Counter[str] = Counter()
        self.turn = 0
        self.of_turn: Counter[int] = Counter()

    def _came(self, call: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.calls[call] += 1

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        self._came("read")
        return await super().read(keys, deadline=deadline)

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        self._came("holds")
        return await super().holds(groups, deadline=deadline)

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        is_probe = decided.event_id is None and decided.answer is None
        self._came("probe" if is_probe else "decided")
        self.of_turn[self.turn] += not is_probe
        if self.bad is not None and decided.event_id == self.bad:
            raise KeyError(self.bad)
        return await super().decided(decided, deadline=deadline)

    async def apply_many(self, batch: Any, *, deadline: float | None = None) -> list[bool]:
        self._came("apply_many")
        return await super().apply_many(batch, deadline=deadline)

    async def remember(self, keys: Any, *given: Any, **options: Any) -> None:
        self._came("probe" if keys == ["probe"] else "remember")
        await super().remember(keys, *given, **options)


async def ask(parts: Lasting, name: str, count: int) -> list[str]:
    """Ask about payments; return the ids of the decisions."""
    answers = [
        await parts.decide.auth(auth(payment_id=f"{name}_{number}", card_token=f"c{number}"), deadline=soon())
        for number in range(count)
    ]
    await parts.decide.settle()
    return [answer.decision_id for answer in answers]


def test_a_missed_decision_is_one_step_and_a_name_and_asked_about_with_many_others(
    bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            made = await ask(parts, "missed", MANY)
            store.fault = None
            await until(lambda: parts.store.is_well)
            store.calls.clear()
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            assert parts.work.written == {"decision": MANY, "outcome": 0}
            # Record, reservation, attempt and answer in one; the attempt's name follows when it turned out to be counted.
            assert (store.calls["decided"], store.calls["remember"]) == (MANY, MANY)
            assert 1 <= store.calls["holds"] <= -(-MANY // TOGETHER)
            assert await store.holds([[by_decision(each)] for each in made]) == [True] * MANY

    asyncio.run(story())


def test_of_what_the_store_has_nothing_is_written_again(bundle_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            await ask(parts, "there", MANY)
            reported = [
                Outcome(payment_id=f"there_{number}", kind="authorisation", status="approved", latency_ms=300)
                for number in range(MANY)
            ]
            assert (await parts.learn.report(reported)).results == ("applied",) * MANY
            store.fault = AWAY
            await ask(parts, "missed", 1)
            store.fault = None
            await until(lambda: parts.store.is_well)
            store.calls.clear()
            # Begun anew, all of it may be missing.
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            assert (store.calls["decided"], store.calls["remember"], store.calls["apply_many"]) == (1, 1, 0)
            shop = await counted(parts.store, "merchant", "shop_1")
            assert (shop["attempts"], shop["approved"]) == (MANY + 1, MANY)

    asyncio.run(story())


def test_the_answers_have_the_loop_between_a_few_events_and_the_next(bundle_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            await ask(parts, "missed", MANY)
            store.fault = None
            await until(lambda: parts.store.is_well)

            async def turn() -> None:
                while True:
                    store.turn += 1
                    await asyncio.sleep(0)

            turning = asyncio.create_task(turn())
            store.of_turn.clear()
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            turning.cancel()
            assert sum(store.of_turn.values()) == MANY
            assert max(store.of_turn.values()) <= TOGETHER

    asyncio.run(story())


def test_the_mark_keeps_what_was_written_before_the_store_went_away_again(
    bundle_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            await ask(parts, "missed", MANY)
            store.fault = None
            await until(lambda: parts.store.is_well)
            pay = arrears.Arrears.pay
            paid: list[int] = []

            async def once(self: arrears.Arrears, events: Sequence[Any]) -> None:
                if paid:
                    raise AWAY
                await pay(self, events)
                paid.append(len(events))

            monkeypatch.setattr(arrears.Arrears, "pay", once)
            parts.work.start()
            await until(lambda: bool(paid))
            await parts.work.close()
            assert Mark(tmp_path).load() == paid[0] < MANY
            assert parts.work.written["decision"] == paid[0]

    asyncio.run(story())


def test_an_event_that_cannot_be_written_is_left_out_and_holds_nothing_up(bundle_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            await ask(parts, "missed", TOGETHER + 2)
            store.fault, store.bad = None, attempt_event("missed_3", 1)
            await until(lambda: parts.store.is_well)
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            assert parts.work.written["decision"] == TOGETHER + 1
            assert parts.work.left_out == {"unreadable": 0, "gone": 0, "expired": 0, "unwritable": 1}

    asyncio.run(story())


def test_an_event_that_cannot_be_read_is_left_out_and_holds_nothing_up(
    bundle_shelf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Later(msgspec.Struct, tag="OfALaterBuild", tag_field="type"):
        answer: Any

    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            await ask(parts, "missed", 1)
            ((_, event),) = parts.journal.events()
            assert isinstance(event, AuthDecided)
            await parts.journal.append(Later(event.answer))  # type: ignore[arg-type]
            await ask(parts, "next", 1)
            store.fault = None
            await until(lambda: parts.store.is_well)
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            assert parts.work.written["decision"] == 2
            assert parts.work.left_out == {"unreadable": 1, "gone": 0, "expired": 0, "unwritable": 0}
            assert "event 2 of writer 0 cannot be read" in caplog.text

    asyncio.run(story())


def test_another_answer_to_a_question_keeps_nothing_from_being_counted(bundle_shelf: Path, tmp_path: Path) -> None:
    """Two workers may have answered one question differently while the store was away; the other one was first."""

    async def story() -> None:
        store = Counting()
        async with lasting(bundle_shelf, tmp_path, store, catch_up=False) as parts:
            store.fault = AWAY
            (made,) = await ask(parts, "missed", 1)
            store.fault = None
            ((_, event),) = parts.journal.events()
            assert isinstance(event, AuthDecided)
            # The other's answer, without a record of its own.
            store._answers.put("auth:1:missed_0", b"another answer", 3600)
            await until(lambda: parts.store.is_well)
            parts.work.start()
            await until(lambda: parts.work.is_clean)
            assert parts.work.written["decision"] == 1
            assert await store.holds([signs(event)]) == [True]
            assert signs(event)[0] == by_decision(made)
            assert store._answers.get("auth:1:missed_0") == b"another answer"
            assert (await counted(parts.store, "merchant", "shop_1"))["attempts"] == 1

    asyncio.run(story())
