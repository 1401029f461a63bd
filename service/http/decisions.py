"""The hot path of the edge: the four questions under ``/api/decisioning``.

Raw ASGI, from the first byte to the last. This module must not know how an answer is found.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from litestar.handlers import ASGIRouteHandler, asgi
from litestar.types import Receive, Scope, Send

from contracts.decision import Decision, RetryDecision
from contracts.outcome import Outcome, OutcomeBatch, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest
from service.errors import NotReady, RequestRefused
from service.http import answers, checks
from service.http.messages import Message
from service.http.problems import problem_of
from service.http.reporter import Reporter
from service.http.wire import JSON, MSGPACK, ClientGone, answer_form, form_of, read_body
from service.metrics import Metrics
from service.ports import Bundles, Decider, Learner
from service.settings import Settings

T = TypeVar("T")
Answer = Callable[[T, float], Awaitable[Any]]

PREFIX: Final = "/api/decisioning"
BUDGET_HEADER: Final = b"x-pointsman-budget-ms"
OUTCOMES_LIMIT_FACTOR: Final = 8
"""A list of a thousand outcomes does not fit where one request does: its limit is this many times larger."""

_BUDGET: Final = re.compile(rb"[0-9]{1,6}(\.[0-9]{1,3})?")
_CLIENT_GONE: Final = 499
_HEADS: Final = {form.media_type: answers.head(form.media_type) for form in (JSON, MSGPACK)}
_ALLOW: Final = ((b"allow", b"POST"),)
# The rest of a body that is too large is not read, so that the connection cannot be used again.
_CLOSE: Final = ((b"connection", b"close"),)


class Exchange(Generic[T]):
    """One question and its answer over HTTP.

    Parameters
    ----------
    name
        Last part of the path, and the name in metrics.
    message
        How to read the question.
    answer
        Answers it, given the moment (of `time.monotonic`) by which to do so.
    limit
        Largest body in bytes.
    """

    def __init__(
        self,
        name: str,
        message: Message[T],
        answer: Answer[T],
        *,
        limit: int,
        budget_ms: float,
        bundles: Bundles,
        metrics: Metrics,
        reporter: Reporter,
    ) -> None:
        self.path = f"{PREFIX}/{name}"
        self._read = message.read
        self._answer = answer
        self._limit = limit
        self._budget = budget_ms / 1000
        self._bundles = bundles
        self._report = reporter.report
        self._observe = metrics.endpoint(self.path).observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is: this never raises but for a client that has gone."""
        started = time.monotonic()
        status = 200
        try:
            if scope["method"] != "POST":  # type: ignore[typeddict-item]
                detail = "expected POST"
                raise RequestRefused(code="method_not_allowed", path="$", detail=detail)  # noqa: TRY301
            headers = dict(scope["headers"])
            form = form_of(headers)
            body = await read_body(headers, receive, self._limit)
            question = self._read(form, body)
            seconds = _budget(headers[BUDGET_HEADER], self._budget) if BUDGET_HEADER in headers else self._budget
            if self._bundles.active is None:
                raise _not_ready(self._bundles)  # noqa: TRY301
            answer = await self._answer(question, started + seconds)
            form = answer_form(headers, form)
            await answers.send_answer(send, 200, _HEADS[form.media_type], form.encode(answer))
        except ClientGone:
            status = _CLIENT_GONE
        except Exception as error:  # noqa: BLE001
            status = await self._refuse(send, error)
        self._observe(status, time.monotonic() - started)

    async def _refuse(self, send: Send, error: Exception) -> int:
        problem, retry_after = problem_of(error)
        extra: tuple[tuple[bytes, bytes], ...] = ()
        if problem.status >= 500:
            self._report(self.path, error, problem.status)
        elif problem.code == "body_too_large":
            extra = _CLOSE
        elif problem.code == "method_not_allowed":
            extra = _ALLOW
        await answers.send_problem(send, problem, retry_after=retry_after, extra=extra)
        return problem.status


def _budget(raw: bytes, most: float) -> float:
    """Return the seconds a caller grants, never more than `most`."""
    milliseconds = float(raw) if _BUDGET.fullmatch(raw) else 0.0
    if milliseconds <= 0:
        detail = f"expected milliseconds above 0 as a plain decimal number in {BUDGET_HEADER.decode()}"
        raise RequestRefused(code="bad_header", path="$", detail=detail)
    return min(milliseconds / 1000, most)


def _not_ready(bundles: Bundles) -> NotReady:
    return NotReady("bundle", bundles.failing or "none is loaded yet")


def exchanges(
    settings: Settings, *, decider: Decider, learner: Learner, bundles: Bundles, metrics: Metrics, reporter: Reporter
) -> list[Exchange[Any]]:
    """Return the four questions, ready to be asked."""

    async def auth(request: AuthRequest, deadline: float) -> Decision:
        decision = await decider.auth(request, deadline=deadline)
        metrics.decision("auth", decision.action, decision.degraded)
        return decision

    async def routing(request: RoutingRequest, deadline: float) -> Decision:
        decision = await decider.routing(request, deadline=deadline)
        metrics.decision("routing", decision.action, decision.degraded)
        return decision

    async def retry(request: RetryRequest, deadline: float) -> RetryDecision:
        decision = await decider.retry(request, deadline=deadline)
        metrics.decision("retry", decision.verdict, decision.degraded)
        return decision

    async def outcomes(reported: Outcome | tuple[Outcome, ...], _deadline: float) -> OutcomeReceipt:
        batch = (reported,) if isinstance(reported, Outcome) else reported
        receipt = await learner.report(batch)
        for outcome, result in zip(batch, receipt.results, strict=True):
            metrics.outcome(outcome.kind, outcome.status, result)
        return receipt

    def exchange(name: str, kind: Any, check: Callable[[Any], None], answer: Answer[Any], factor: int = 1) -> Any:
        return Exchange(
            name,
            Message(kind, check, settings.pan_exempt),
            answer,
            limit=settings.body_limit * factor,
            budget_ms=settings.budget_ms,
            bundles=bundles,
            metrics=metrics,
            reporter=reporter,
        )

    return [
        exchange("auth", AuthRequest, checks.check_payment, auth),
        exchange("routing", RoutingRequest, checks.check_payment, routing),
        exchange("retry", RetryRequest, checks.check_retry, retry),
        exchange("outcomes", Outcome | OutcomeBatch, checks.check_outcomes, outcomes, OUTCOMES_LIMIT_FACTOR),
    ]


def handler(exchange: Exchange[Any]) -> ASGIRouteHandler:
    """Return the route of an exchange."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await exchange(scope, receive, send)

    return asgi(exchange.path, copy_scope=False)(handle)
