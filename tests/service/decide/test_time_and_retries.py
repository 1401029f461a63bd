"""When things happen, and what a decline allows."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.payment import AuthRequest
from features.clock import SECOND, micros
from features.layout import LAYOUTS
from features.state import View
from service.store.base import StateKeys
from tests.parts import (
    Parts,
    Tell,
    act,
    auth,
    is_probability,
    retry,
    routing,
    soon,
)

# Time


def test_a_payment_from_the_future_counts_as_now(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        far = datetime.now(UTC) + timedelta(days=400)
        answer = await parts.decide.auth(auth(occurred_at=far), deadline=soon())
        assert answer.degraded == ("clock:occurred_in_future",)
        await parts.decide.settle()
        (card,) = (await parts.store.read(StateKeys(("tok_1",)))).payment
        assert card is not None
        seen = View(LAYOUTS["card"], card).last_attempt
        assert abs(seen - micros(datetime.now(UTC))) < 60 * SECOND
        asked = retry("atlas", "51", payment_id="pay_2", occurred_at=far)
        again = await parts.decide.retry(asked, deadline=soon())
        assert again.degraded == ("clock:occurred_in_future",)
        if again.retry_at is not None:
            assert again.retry_at < datetime.now(UTC) + timedelta(days=40)

    tell(story)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (timedelta(minutes=4), ()),
        (timedelta(days=-89), ()),
        (timedelta(days=-91), ("clock:occurred_long_ago",)),
        (timedelta(days=-3000), ("clock:occurred_long_ago",)),
    ],
)
def test_clocks_may_differ_and_payments_be_old(ahead: timedelta, said: tuple[str, ...], tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked = auth(occurred_at=datetime.now(UTC) + ahead)
        assert (await parts.decide.auth(asked, deadline=soon())).degraded == said

    tell_memory(story)


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z", "2199-12-31T23:59:59-12:00"])
def test_the_ends_of_time_are_answered(when: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for question in (auth(occurred_at=when), routing(occurred_at=when)):
            ask = parts.decide.auth if isinstance(question, AuthRequest) else parts.decide.routing
            assert (await ask(question, deadline=soon())).ranking  # type: ignore[arg-type]
        asked = retry("atlas", "51", occurred_at=when, declined_at=when)
        await parts.decide.retry(asked, deadline=soon())
        await parts.decide.settle()
        assert len(parts.journal.events()) == 3

    tell(story)


def test_the_latency_told_is_that_of_the_decision(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for ask in (
            lambda: parts.decide.auth(auth(), deadline=soon()),
            lambda: parts.decide.routing(routing(), deadline=soon()),
            lambda: parts.decide.retry(retry("atlas", "51"), deadline=soon()),
        ):
            started = time.perf_counter_ns()
            answer = await ask()
            assert 10 < answer.latency_us <= (time.perf_counter_ns() - started) // 1000

    tell(story)


# Retries


ASKED_AT = datetime(2026, 5, 4, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decline", "verdict"),
    [
        ({"response_code": "51"}, "retry_later"),
        ({"response_code": "54"}, "fix_data"),
        ({"response_code": "04"}, "stop"),
        ({"response_code": "1A"}, "authenticate"),
        ({"response_code": None, "decline_reason": "timeout"}, "verify_first"),
        ({"response_code": "91"}, "retry_now"),
        ({"response_code": "96"}, "retry_now"),
    ],
    ids=str,
)
def test_the_verdict_on_a_decline_is_that_of_its_class(
    decline: dict[str, Any], verdict: str, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story(parts: Parts) -> None:
        asked = retry("atlas", occurred_at=ASKED_AT, declined_at=ASKED_AT, **decline)
        answer = await parts.decide.retry(asked, deadline=soon())
        assert answer.verdict == verdict
        assert set(answer.degraded) <= {"clock:occurred_long_ago"}
        assert answer.rules
        # With an authentication the same payment is sent again.
        assert answer.should_retry == verdict.startswith(("retry", "authenticate"))
        if not answer.should_retry:
            assert (answer.retry_at, answer.wait_seconds, answer.processor) == (None, None, None)
            return
        assert answer.wait_seconds is not None
        assert answer.retry_at == ASKED_AT + timedelta(seconds=answer.wait_seconds)
        assert answer.processor in parts.bundle.processors
        assert is_probability(answer.success_probability)
        if verdict == "authenticate":
            assert (answer.authentication, answer.wait_seconds) == ("three_ds", 0)
        elif verdict == "retry_now":
            assert answer.wait_seconds == 0
            assert answer.processor != "atlas"
        else:
            assert answer.wait_seconds > 0

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_a_wait_counts_from_the_moment_asked_and_not_from_the_decline(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        first = await parts.decide.retry(
            retry("atlas", "51", occurred_at=ASKED_AT, declined_at=ASKED_AT), deadline=soon()
        )
        later = ASKED_AT + timedelta(minutes=30)
        second = await parts.decide.retry(
            retry("atlas", "51", payment_id="pay_2", card_token="tok_2", occurred_at=later, declined_at=ASKED_AT),
            deadline=soon(),
        )
        assert first.wait_seconds is not None
        assert second.wait_seconds is not None
        assert first.retry_at == ASKED_AT + timedelta(seconds=first.wait_seconds)
        assert second.retry_at == later + timedelta(seconds=second.wait_seconds)

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_after_a_technical_decline_the_only_processor_is_not_hurried(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.retry(retry("atlas", "91", processors=["atlas"]), deadline=soon())
        assert answer.processor in {"atlas", None}
        assert answer.verdict in {"retry_now", "retry_later", "stop"}

    asyncio.run(act(story, eager_shelf, tmp_path))
