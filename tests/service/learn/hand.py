"""State made by hand of the features' own increments, and questions and outcomes to compare it with."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts.decision import Decision
from contracts.outcome import Outcome
from contracts.payment import Payment
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from features.increment import Increment, member
from features.layout import LAYOUTS
from features.state import View, add
from service.store.base import StateKeys
from tests.parts import Parts, auth, soon

START = datetime.now(UTC) - timedelta(hours=30)


class ByHand:
    """State as `features.state` makes it of increments, one after the other."""

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}

    def add(self, payment: Payment, processor: str | None, increment: Increment) -> None:
        named = list(zip(PAYMENT_KINDS, payment_keys(payment), strict=True))
        if processor is not None:
            named += zip(CANDIDATE_KINDS, candidate_keys(payment, processor), strict=True)
        for kind, key in named:
            layout = LAYOUTS[kind]
            if key is not None and layout.takes(increment.deltas):
                value = member(getattr(payment, layout.distinct)) if layout.distinct and increment.is_attempt else None
                self.blobs[kind, key] = add(layout, self.blobs.get((kind, key)), increment, value)

    async def is_in(self, parts: Parts) -> None:
        """Compare with the store, entity by entity, byte by byte."""
        await parts.decide.settle()
        assert self.blobs
        for (kind, key), blob in self.blobs.items():
            assert await state(parts, kind, key) == blob, (kind, key, totals(blob, kind))


async def state(parts: Parts, kind: str, key: str) -> bytes | None:
    if kind in CANDIDATE_KINDS:
        states = await parts.store.read(
            StateKeys((), (tuple(key if kind == each else None for each in CANDIDATE_KINDS),))
        )
        return states.candidates[0][CANDIDATE_KINDS.index(kind)]
    states = await parts.store.read(StateKeys(tuple(key if kind == each else None for each in PAYMENT_KINDS)))
    return states.payment[PAYMENT_KINDS.index(kind)]


def totals(blob: bytes | None, kind: str = "card") -> dict[str, int]:
    """Return the sums of all time that are not zero."""
    if blob is None:
        return {}
    view = View(LAYOUTS[kind], blob)
    return {name: view.sums[place] for name, place in LAYOUTS[kind].place.items() if view.sums[place]}


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
