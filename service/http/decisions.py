"""The hot path of the edge: the four questions under ``/api/decisioning``.

From a request's head and body to the bytes of its answer, for a server of our own or over ASGI.
This module must not know how an answer is found.
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
from service import stages
from service.access.caller import Scope as Needed
from service.access.gate import Gate
from service.errors import AccessRefused, NotReady, RequestRefused
from service.http import answers, checks
from service.http.messages import Message
from service.http.problems import challenge, problem_of
from service.http.reporter import Reporter
from service.http.turns import Turns
from service.http.wire import JSON, MSGPACK, ClientGone, Headers, answer_form, form_of, read_body
from service.metrics import Metrics
from service.ports import Bundles, Decider, Learner
from service.settings import Settings

T = TypeVar("T")
Answer = Callable[[T, float], Awaitable[Any]]

PREFIX: Final = "/api/decisioning"
BUDGET_HEADER: Final = b"x-pointsman-budget-ms"
TIMING_HEADER: Final = b"x-pointsman-timing"
"""A request with it is timed by stage, and its answer says so in a ``Server-Timing`` header."""
OUTCOMES_LIMIT_FACTOR: Final = 8
"""A list of a thousand outcomes does not fit where one request does: its limit is this many times larger."""
MOST_OUTCOMES: Final = 1000
LONG: Final = 16_384
"""Bytes from which a list is read in turns with other requests."""

_BUDGET: Final = re.compile(rb"[0-9]{1,6}(\.[0-9]{1,25})?")
_LEAST_MS: Final = 0.001
_CLIENT_GONE: Final = 499
_HEADS: Final = {form.media_type: answers.head(form.media_type) for form in (JSON, MSGPACK)}
_ALLOW: Final = ((b"allow", b"POST"),)
# The rest of a body that is too large is not read, so that the connection cannot be used again.
_CLOSE: Final = ((b"connection", b"close"),)


class Exchange(Generic[T]):
    """One question and its answer over HTTP.

    A server asks `admit` once it has a request's head, and `answer` once it has the body; `__call__` does both over ASGI.

    Parameters
    ----------
    name
        Last part of the path, and the name in metrics.
    message
        How to read the question.
    answer
        Answers it, given the moment (of `time.monotonic`) by which to do so.
    needs, gate
        The scope it takes to ask, and who finds out; without a gate everybody may.
    limit
        Largest body in bytes.
    turns
        How a long body is read, where one may be.
    settings
        The time a request has, and which requests are timed by stage.
    """

    def __init__(
        self,
        name: str,
        message: Message[T],
        answer: Answer[T],
        *,
        needs: Needed,
        gate: Gate | None,
        limit: int,
        turns: Turns[Any] | None = None,
        settings: Settings,
        bundles: Bundles,
        metrics: Metrics,
        reporter: Reporter,
    ) -> None:
        self.path = f"{PREFIX}/{name}"
        self._name = name
        self._read = message.read
        self._answer = answer
        self._needs = needs
        self._gate = gate
        self._limit = limit
        self._turns = turns
        self._budget = settings.budget_ms / 1000
        self._sample = self._untimed = settings.stage_sample
        self._every_answer_shows = settings.server_timing == "always"
        # No request has a header without a name.
        self._asks = TIMING_HEADER if settings.server_timing == "asked" else b""
        self._bundles = bundles
        self._report = reporter.report
        self._turned_away = reporter.turned_away
        self._observe = metrics.endpoint(self.path).observe
        self._observe_stages = metrics.stages_spent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is: this never raises but for a client that has gone."""
        started = time.monotonic()
        try:
            headers = dict(scope["headers"])
            limit = self.admit(scope["method"], headers)  # type: ignore[typeddict-item]
            body = await read_body(headers, receive, limit)
        except ClientGone:
            self.gone(started)
            return
        except Exception as error:  # noqa: BLE001
            reply = self.refused(error, started)
            if isinstance(error, AccessRefused) and _unread(headers) > self._limit:
                reply = reply._replace(head=reply.head.plus(*_CLOSE))
        else:
            reply = await self.answer(headers, body, started)
        await answers.send_reply(send, reply)

    def admit(self, method: str, headers: Headers) -> int:
        """Return how many bytes the body of a request with this head may have.

        Raises
        ------
        RequestRefused, AccessRefused
            When the request is not to be read any further; `refused` makes an answer of it.
        """
        if method != "POST":
            detail = "expected POST"
            raise RequestRefused(code="method_not_allowed", path="$", detail=detail)
        if self._gate is not None:
            self._gate.admit(self._needs, headers, time.monotonic())
        return self._limit

    async def answer(self, headers: Headers, body: bytes, started: float) -> answers.Reply:
        """Return the answer to an admitted request that came in at `started` (of `time.monotonic`); this never raises."""
        self._untimed -= 1
        if not self._untimed or self._every_answer_shows or self._asks in headers:
            return await self._timed(headers, body, started)
        try:
            reply = await self._reply(headers, body, started, stages.OFF)
        except Exception as error:  # noqa: BLE001
            return self.refused(error, started)
        self._observe(200, time.monotonic() - started)
        return reply

    async def _timed(self, headers: Headers, body: bytes, started: float) -> answers.Reply:
        """Do what `answer` does, with a clock."""
        if self._untimed <= 0:
            self._untimed = self._sample
        clock, token = stages.start()
        try:
            reply = await self._reply(headers, body, started, clock)
        except Exception as error:  # noqa: BLE001
            return self.refused(error, started)
        finally:
            stages.stop(token)
            self._observe_stages(self._name, clock.spent)
        self._observe(200, time.monotonic() - started)
        if self._every_answer_shows or self._asks in headers:
            return reply._replace(head=reply.head.plus((b"server-timing", clock.server_timing())))
        return reply

    async def _reply(self, headers: Headers, body: bytes, started: float, clock: stages.Clock) -> answers.Reply:
        form = form_of(headers)
        question: Any
        if self._turns is None or len(body) < LONG:
            question = self._read(form, body)
        else:
            question = await self._turns.read(form, body)
        seconds = _budget(headers[BUDGET_HEADER], self._budget) if BUDGET_HEADER in headers else self._budget
        if self._bundles.active is None:
            raise _not_ready(self._bundles)
        clock.done("decode")
        answer = await self._answer(question, started + seconds)
        form = answer_form(headers, form)
        reply = answers.Reply(200, _HEADS[form.media_type], form.encode(answer))
        clock.done("encode")
        return reply

    def gone(self, started: float) -> None:
        """Count a request whose client went away before it was complete."""
        self._observe(_CLIENT_GONE, time.monotonic() - started)

    def refused(self, error: Exception, started: float) -> answers.Reply:
        """Return the answer that an error becomes, counted and, for an answer of 5xx, logged."""
        problem, retry_after = problem_of(error)
        extra: tuple[tuple[bytes, bytes], ...] = ()
        if problem.status >= 500:
            self._report(self.path, error, problem.status)
        elif isinstance(error, AccessRefused):
            self._turned_away(self.path, error)
            extra = challenge(error)
        elif problem.code == "body_too_large":
            extra = _CLOSE
        elif problem.code == "method_not_allowed":
            extra = _ALLOW
        self._observe(problem.status, time.monotonic() - started)
        return answers.problem_reply(problem, retry_after=retry_after, extra=extra)


def _budget(raw: bytes, most: float) -> float:
    """Return the seconds a caller grants, never more than `most`."""
    milliseconds = float(raw) if _BUDGET.fullmatch(raw) else 0.0
    if milliseconds < _LEAST_MS:
        detail = (
            f"expected milliseconds from {_LEAST_MS} to 999999 as a plain decimal number in {BUDGET_HEADER.decode()}"
        )
        raise RequestRefused(code="bad_header", path="$", detail=detail)
    return min(milliseconds / 1000, most)


def _unread(headers: Headers) -> float:
    """Return how many bytes of a body are still to come, at most."""
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() and len(declared) <= 12 else float("inf")


def _not_ready(bundles: Bundles) -> NotReady:
    return NotReady("bundle", bundles.failing or "none is loaded yet")


def exchanges(
    settings: Settings,
    *,
    decider: Decider,
    learner: Learner,
    bundles: Bundles,
    metrics: Metrics,
    reporter: Reporter,
    gate: Gate | None = None,
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

    def exchange(
        name: str,
        kind: Any,
        check: Callable[[Any], None],
        answer: Answer[Any],
        needs: Needed = "decide",
        factor: int = 1,
        turns: Turns[Any] | None = None,
    ) -> Any:
        return Exchange(
            name,
            Message(kind, check, settings.pan_exempt),
            answer,
            needs=needs,
            gate=gate,
            limit=settings.body_limit * factor,
            turns=turns,
            settings=settings,
            bundles=bundles,
            metrics=metrics,
            reporter=reporter,
        )

    in_turns = Turns[Outcome](Message(Outcome, checks.check_outcomes, settings.pan_exempt), MOST_OUTCOMES)
    many = Outcome | OutcomeBatch
    return [
        exchange("auth", AuthRequest, checks.check_payment, auth),
        exchange("routing", RoutingRequest, checks.check_payment, routing),
        exchange("retry", RetryRequest, checks.check_retry, retry),
        exchange("outcomes", many, checks.check_outcomes, outcomes, "report", OUTCOMES_LIMIT_FACTOR, in_turns),
    ]


def handler(exchange: Exchange[Any]) -> ASGIRouteHandler:
    """Return the route of an exchange."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await exchange(scope, receive, send)

    return asgi(exchange.path, copy_scope=False)(handle)
