"""Fakes of the parts behind the edge, and a client that speaks ASGI to the app with nothing in between."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pytest

from contracts.bundle import DataWindow, Manifest, ModelEntry, PolicyParameters, RetryParameters
from contracts.decision import Decision, RankedProcessor, RetryDecision
from contracts.event import AuthDecided, DecisionMade, JournalEvent, OutcomeSettled
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, Payment, RetryRequest, RoutingRequest
from service.access import open_gate
from service.app import create_app
from service.errors import BundleRefused
from service.metrics import Metrics
from service.settings import Settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def make_decision(request: Payment) -> Decision:
    return Decision(
        decision_id=f"dec_{request.payment_id}_{request.attempt}",
        payment_id=request.payment_id,
        attempt=request.attempt,
        action="approve",
        approval_probability=0.9,
        risk_score=0.1,
        risk_tier="LOW",
        processor="adler",
        ranking=(
            RankedProcessor(
                processor="adler",
                approval_probability=0.9,
                cost_minor=10,
                expected_value_minor=100.0,
                propensity=1.0,
                eligible=True,
            ),
        ),
        three_ds="none",
        exemption=None,
        reasons=(),
        degraded=("features:redis_timeout",),
        bundle_version="b1",
        policy_version="p1",
        latency_us=100,
    )


def make_manifest() -> Manifest:
    retry = RetryParameters(
        waits_seconds=(0, 3600), minimum_probability=0.1, minimum_value_minor=1.0, horizon_seconds=86_400
    )
    policy = PolicyParameters(
        version="p1",
        margin_share=0.1,
        chargeback_fee_minor=1500,
        tier_medium=0.2,
        tier_high=0.6,
        challenge_from=0.3,
        review_from=0.5,
        decline_from=0.8,
        minimum_approval=0.05,
        exploration=0.02,
        low_value_minor={"EUR": 3000},
        retry=retry,
    )
    window = DataWindow(first=LONG_AGO, last=LONG_AGO, attempts=1, payments=1, train_until=LONG_AGO, test_from=LONG_AGO)
    entry = ModelEntry(algorithm="rf", inputs=("a",), prior=0.8, golden_rows=((1.0,),), golden_expected=(0.5,))
    return Manifest(
        format=1,
        version="b1",
        created_at=LONG_AGO,
        feature_fingerprint="f1",
        features=("a",),
        encodings={},
        models={"approval": entry},
        processors={},
        priors={},
        policy=policy,
        data=window,
    )


class FakeDecider:
    def __init__(self) -> None:
        self.asked: list[tuple[Payment, float]] = []
        self.raises: Exception | None = None
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1

    async def auth(self, request: AuthRequest, *, deadline: float) -> Decision:
        return self._decide(request, deadline)

    async def routing(self, request: RoutingRequest, *, deadline: float) -> Decision:
        return self._decide(request, deadline)

    async def retry(self, request: RetryRequest, *, deadline: float) -> RetryDecision:
        self._decide(request, deadline)
        return RetryDecision(
            decision_id="dec_r",
            payment_id=request.payment_id,
            attempt=request.attempt,
            should_retry=False,
            verdict="stop",
            retry_at=None,
            wait_seconds=None,
            processor=None,
            success_probability=0.0,
            expected_value_minor=0.0,
            rules=(),
            quota=None,
            reasons=(),
            degraded=(),
            bundle_version="b1",
            policy_version="p1",
            latency_us=1,
        )

    def _decide(self, request: Payment, deadline: float) -> Decision:
        if self.raises is not None:
            raise self.raises
        self.asked.append((request, deadline))
        return make_decision(request)


class FakeLearner:
    def __init__(self) -> None:
        self.reported: list[Outcome] = []
        self.raises: Exception | None = None

    async def report(self, outcomes: Sequence[Outcome]) -> OutcomeReceipt:
        if self.raises is not None:
            raise self.raises
        self.reported.extend(outcomes)
        return OutcomeReceipt(results=("applied",) * len(outcomes))


class FakeJournal:
    def __init__(self) -> None:
        self.kept: list[JournalEvent] = []
        self.failing: str | None = None
        self.closed = 0

    def put(self, event: JournalEvent) -> None:
        self.kept.append(event)

    async def append(self, event: JournalEvent) -> None:
        self.kept.append(event)

    async def find(self, decision_id: str) -> DecisionMade | None:
        for event in self.kept:
            if not isinstance(event, OutcomeSettled) and event.answer.decision_id == decision_id:
                return event
        return None

    async def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        for event in self.kept:
            if not isinstance(event, OutcomeSettled) and (event.answer.payment_id, event.answer.attempt) == (
                payment_id,
                attempt,
            ):
                return event
        return None

    async def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        return [
            event
            for event in self.kept
            if isinstance(event, OutcomeSettled)
            and (event.outcome.payment_id, event.outcome.attempt) == (payment_id, attempt)
        ]

    def events(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, JournalEvent]]:
        return list(enumerate(self.kept, start=1))[after : after + limit]

    def end(self) -> int:
        return len(self.kept)

    async def close(self) -> None:
        self.closed += 1


class FakeBundles:
    def __init__(self) -> None:
        self.active: Manifest | None = make_manifest()
        self.failing: str | None = None
        self.looks = 0
        self.raises: Exception | None = None

    async def refresh(self) -> None:
        self.looks += 1
        if self.raises is not None:
            raise self.raises


class FakeStore:
    def __init__(self) -> None:
        self.wrong: str | None = None
        self.raises: Exception | None = None
        self.opened = 0
        self.closed = 0

    async def open(self) -> str | None:
        if self.raises is not None:
            raise self.raises
        self.opened += 1
        return self.wrong

    async def ping(self) -> str | None:
        return self.wrong

    async def close(self) -> None:
        self.closed += 1


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:pointsman:problem:{problem['code']}"
        return str(problem["code"])

    @property
    def refusal(self) -> tuple[int, str, str]:
        return self.status, self.code, self.json["path"]


class Edge:
    """The app with fakes behind it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self.loop = loop
        self.decider = FakeDecider()
        self.learner = FakeLearner()
        self.journal = FakeJournal()
        self.bundles = FakeBundles()
        self.store = FakeStore()
        self.metrics = Metrics()
        self.examined: list[str] = []
        self.unfit: dict[str, str] = {}
        self.app = create_app(
            settings,
            decider=self.decider,
            learner=self.learner,
            journal=self.journal,
            bundles=self.bundles,
            store=self.store,
            metrics=self.metrics,
            gate=open_gate(settings),
            examine=self.examine,
        )

    def examine(self, version: str) -> None:
        """Look at a bundle as the service would, before it is activated."""
        self.examined.append(version)
        if version in self.unfit:
            raise BundleRefused(f"shelf/{version}", self.unfit[version])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Sequence[bytes] = b"",
        headers: dict[str, str] | None = None,
        *,
        declare_length: bool = True,
    ) -> Answer:
        """Send one request; a sequence of bodies comes in so many parts."""
        return self.loop.run_until_complete(self._ask(method, path, body, headers or {}, declare_length))

    def post(self, name: str, body: Any, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask("POST", f"/api/decisioning/{name}", raw, {"content-type": "application/json", **named})

    def post_packed(self, name: str, body: Any, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask("POST", f"/api/decisioning/{name}", raw, {"content-type": "application/msgpack", **named})

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    async def _ask(
        self, method: str, path: str, body: bytes | Sequence[bytes], headers: dict[str, str], declare_length: bool
    ) -> Answer:
        parts = [body] if isinstance(body, bytes) else list(body)
        if declare_length:
            headers = {"content-length": str(sum(map(len, parts))), **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"edge"), *((k.lower().encode(), v.encode("latin-1")) for k, v in headers.items())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        sent: list[Any] = []

        async def receive() -> Any:
            if not parts:
                return {"type": "http.disconnect"}
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)  # type: ignore[arg-type]
        if not sent:
            return Answer(0, {}, b"")
        assert [message["type"] for message in sent[:2]] == ["http.response.start", "http.response.body"]
        received = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        content = b"".join(message.get("body", b"") for message in sent[1:])
        assert received["x-content-type-options"] == "nosniff"
        assert received["cache-control"] == "no-store"
        assert int(received["content-length"]) == len(content)
        return Answer(sent[0]["status"], received, content)


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def edge(loop: asyncio.AbstractEventLoop) -> Edge:
    return Edge(loop, Settings())


@pytest.fixture
def edge_with(loop: asyncio.AbstractEventLoop) -> Any:
    return lambda **settings: Edge(loop, Settings(**settings))


@pytest.fixture
def payment() -> dict[str, Any]:
    return {
        "payment_id": "pay_1",
        "merchant_id": "shop_1",
        "amount_minor": 1299,
        "currency": "EUR",
        "card_token": "tok_1",
        "card_network": "visa",
        "issuer_country": "DE",
    }


@pytest.fixture
def retry(payment: dict[str, Any]) -> dict[str, Any]:
    return {**payment, "decline": {"processor": "adler", "response_code": "51"}}


@pytest.fixture
def auth_decided() -> Any:
    def make(payment_id: str = "pay_1", attempt: int = 1) -> AuthDecided:
        request = AuthRequest(
            payment_id=payment_id,
            merchant_id="shop_1",
            amount_minor=1299,
            currency="EUR",
            card_token="tok_1",
            card_network="visa",
            issuer_country="DE",
            attempt=attempt,
        )
        return AuthDecided(decided_at=LONG_AGO, request=request, answer=make_decision(request))

    return make


@pytest.fixture
def outcome_settled() -> Any:
    def make(payment_id: str = "pay_1", attempt: int = 1) -> OutcomeSettled:
        outcome = Outcome(payment_id=payment_id, attempt=attempt, status="approved")
        return OutcomeSettled(received_at=LONG_AGO, outcome=outcome, result="applied")

    return make
