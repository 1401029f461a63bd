"""A small world shared by the tests, and a tiny service that answers every question."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from contracts.decision import Decision, RankedProcessor, RetryDecision
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest
from trainer.simulate.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return World.build(7, merchants=60, cards=8_000, days=30)


class TinyService:
    """Answers auth with the shop's last preference, retries once, and keeps what it was told."""

    def __init__(self) -> None:
        self.action = "approve"
        self.status = 200
        self.asked: list[AuthRequest] = []
        self.declines: list[RetryRequest] = []
        self.outcomes: list[Outcome] = []

    async def live(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def auth(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status)
        asked = msgspec.json.decode(await request.read(), type=AuthRequest)
        self.asked.append(asked)
        chosen = asked.processors[-1]
        ranked = RankedProcessor(
            processor=chosen,
            approval_probability=0.9,
            cost_minor=20,
            expected_value_minor=1.0,
            propensity=1.0,
            eligible=True,
        )
        answer = Decision(
            decision_id=f"d-{asked.payment_id}",
            payment_id=asked.payment_id,
            attempt=1,
            action=self.action,
            approval_probability=0.9,
            risk_score=0.1,
            risk_tier="LOW",
            processor=chosen,
            ranking=(ranked,),
            three_ds="challenge" if self.action == "challenge" else "none",
            exemption=None,
            reasons=(),
            degraded=("models:tiny",) if len(self.asked) == 1 else (),
            bundle_version="b",
            policy_version="p",
            latency_us=1,
        )
        return self._json(answer)

    async def retry(self, request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read(), type=RetryRequest)
        self.declines.append(asked)
        again = asked.attempt == 1
        answer = RetryDecision(
            decision_id=f"r-{asked.payment_id}-{asked.attempt}",
            payment_id=asked.payment_id,
            attempt=asked.attempt,
            should_retry=again,
            verdict="retry_later" if again else "stop",
            retry_at=None,
            wait_seconds=86_400 if again else None,
            processor=asked.processors[0] if again else None,
            success_probability=0.1,
            expected_value_minor=1.0,
            rules=(),
            quota=None,
            reasons=(),
            degraded=(),
            bundle_version="b",
            policy_version="p",
            latency_us=1,
        )
        return self._json(answer)

    async def outcome(self, request: web.Request) -> web.Response:
        self.outcomes.append(msgspec.json.decode(await request.read(), type=Outcome))
        return self._json(OutcomeReceipt(results=("applied",)))

    @staticmethod
    def _json(message: msgspec.Struct) -> web.Response:
        return web.Response(body=msgspec.json.encode(message), content_type="application/json")


Serve = Callable[[TinyService], AbstractAsyncContextManager[str]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def serving(service: TinyService) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/health/live", service.live)
        application.router.add_post("/api/decisioning/auth", service.auth)
        application.router.add_post("/api/decisioning/retry", service.retry)
        application.router.add_post("/api/decisioning/outcomes", service.outcome)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    return serving


@pytest.fixture
def service() -> TinyService:
    return TinyService()
