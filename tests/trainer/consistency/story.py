"""A few days of a shop's questions and reports, told to a real service without HTTP."""

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from contracts.outcome import Outcome
from tests.parts import Parts, auth, retry, routing, soon

PROCESSORS = ("northpay", "southpay", "eastpay")


def fields(chance: random.Random, number: int) -> dict[str, Any]:
    """Return a payment of a small shop: few cards and devices, so that their states fill."""
    card = chance.randrange(14)
    return {
        "payment_id": f"pay_{number}",
        "merchant_id": f"shop_{chance.randrange(3)}",
        "amount_minor": chance.choice([990, 4990, 100_000, chance.randrange(1, 50_000)]),
        "currency": chance.choice(["EUR", "JPY"]),
        "card_token": f"tok_{card}",
        "customer_id": None if card % 3 == 0 else f"cust_{card // 2}",
        "device_id": chance.choice([None, "dev_1", "dev_2"]),
        "card_bin": chance.choice(["411111", "555555", None]),
        "card_network": chance.choice(["visa", "mastercard"]),
        "issuer_country": chance.choice(["DE", "FR"]),
        "processors": chance.choice([PROCESSORS, PROCESSORS[:2], ()]),
    }


class Shop:
    """Tells a story step by step; its clock is days ago and only moves on.

    Parameters
    ----------
    parts
        The service.
    seed
        Another number, another story.
    days
        How long ago it begins; zero leaves all times to the service.
    """

    def __init__(self, parts: Parts, seed: int, days: float = 20.0) -> None:
        self.parts = parts
        self.chance = random.Random(seed)
        self.now = datetime.now(UTC) - timedelta(days=days)
        self.tells_time = days > 0
        self.sent: list[tuple[dict[str, Any], int, str | None]] = []

    def move_on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def when(self) -> dict[str, Any]:
        return {"occurred_at": self.now} if self.tells_time else {}

    async def report(self, payment: dict[str, Any], attempt: int, status: str, **more: Any) -> str:
        """Report one outcome that happens now; return what was done with it."""
        known = {"payment_id": payment["payment_id"], "attempt": attempt, "status": status, **more}
        outcome = msgspec.convert({**known, **({} if "occurred_at" in more else self.when())}, Outcome)
        (result,) = (await self.parts.learn.report([outcome])).results
        return result

    async def pay(self, number: int) -> None:
        """One payment: asked, perhaps asked about again, settled, perhaps tried again and charged back."""
        chance = self.chance
        payment = fields(chance, number)
        ask = self.parts.decide.auth if chance.random() < 0.6 else self.parts.decide.routing
        make: Callable[..., Any] = auth if ask == self.parts.decide.auth else routing
        answer = await ask(make(**payment, **self.when()), deadline=soon())
        if chance.random() < 0.4:
            # The other question about the same attempt, some seconds or minutes later.
            self.move_on(chance.choice([0.0, 1.0, 45.0, 400.0]))
            again = routing if make is auth else auth
            asked = self.parts.decide.routing if again is routing else self.parts.decide.auth
            answer = await asked(again(**payment, **self.when()), deadline=soon())
        self.move_on(chance.choice([0.3, 2.0]))
        through = answer.processor or "northpay"
        status = chance.choice(["approved", "approved", "declined", "declined", "timeout"])
        code = chance.choice(["51", "05", "14", "91", None]) if status == "declined" else None
        more: dict[str, Any] = {"decision_id": answer.decision_id} if chance.random() < 0.5 else {}
        await self.report(payment, 1, status, response_code=code, processor=through, **more)
        if chance.random() < 0.1:
            assert await self.report(payment, 1, status, response_code=code, processor=through) == "repeated"
        if status == "declined":
            await self.try_again(payment, through, code)
        if chance.random() < 0.15:
            self.move_on(3600)
            await self.report(payment, 1, "approved", kind="chargeback")
        self.move_on(chance.choice([1.0, 40.0, 600.0, 4000.0, 30_000.0]))

    async def try_again(self, payment: dict[str, Any], through: str, code: str | None) -> None:
        self.move_on(1.0)
        question = retry(through, code, **payment, **self.when())
        planned = await self.parts.decide.retry(question, deadline=soon())
        if planned.should_retry and self.chance.random() < 0.8:
            # Sooner or later than planned.
            self.move_on(self.chance.choice([5.0, (planned.wait_seconds or 0) + 1.0]))
            status = self.chance.choice(["approved", "declined"])
            await self.report(payment, 2, status, response_code="51" if status == "declined" else None)


async def tell(parts: Parts, seed: int, payments: int, days: float = 20.0) -> Shop:
    """Tell a whole story."""
    shop = Shop(parts, seed, days)
    async for _ in steps(shop, payments):
        pass
    return shop


async def steps(shop: Shop, payments: int) -> AsyncIterator[int]:
    """Tell a story payment by payment."""
    for number in range(payments):
        await shop.pay(number)
        yield number
