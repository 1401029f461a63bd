"""Many outcomes: out of order, late, repeated, in long lists; the state is what the features say it is."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from contracts.payment import Payment
from features.clock import DAY, micros
from features.entity import KINDS
from features.increment import Increment, attempt_increment, chargeback_increment, result_increment
from features.layout import LAYOUTS
from features.state import View
from service.learn import TOGETHER
from service.store.memory import MemoryStore
from tests.parts import Parts, Tell, serving
from tests.service.learn.hand import START, ByHand, ask, report, settled, state


def test_a_sequence_leaves_the_state_that_the_features_describe(tell: Tell) -> None:
    """Many payments of few entities; results out of order, late, repeated; the list applies in its own order."""

    async def story(parts: Parts) -> None:
        hand = ByHand()
        outcomes: list[Outcome] = []
        results: list[tuple[Payment, str | None, Increment]] = []
        for number in range(60):
            at = START + timedelta(minutes=(number * 37) % 1500)
            card = f"tok_{number % 3}"
            named = {"customer_id": f"cus_{number % 4}", "device_id": (None, "dev_1")[number % 2]}
            named |= {"card_token": card, "card_bin": ("411111", None)[number % 2]}
            asked, answer = await ask(parts, number, at=at, **named)
            await parts.decide.settle()
            hand.add(asked, answer.processor, attempt_increment(micros(at), asked.amount_minor))
            status = ("approved", "declined", "error", "timeout")[number % 4]
            known = at + timedelta(seconds=(number * 7919) % 9000)
            through = parts.bundle.processors[number % 5] if number % 7 == 0 else None
            known_by = answer.decision_id if number % 2 else None
            outcomes.append(
                settled(asked.payment_id, status, occurred_at=known, processor=through, decision_id=known_by)
            )
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
            # The record of each decision, and what its attempt was settled as before.
            assert store.calls == {"recall": 2 * 2 * TOGETHER, "apply_many": 2}

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
        now = micros(datetime.now(UTC))
        assert View(LAYOUTS["card"], blob).window("attempts", 30 * DAY, DAY, now) == 1

    tell(story)
