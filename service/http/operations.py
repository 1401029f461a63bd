"""What is asked beside decisions: health, metrics, the active bundle, the audit of one decision, the API's own schema.

Ordinary Litestar handlers. This module must not know how any part does its work.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from contracts.audit import AuditTrail
from contracts.health import Liveness, Part, Readiness
from service.access.gate import Gate
from service.errors import DecisionNotFound, JournalUnavailable, NotReady
from service.http.answers import problem_response, response
from service.http.guard import guarded, template
from service.http.openapi import document
from service.http.problems import problem_of
from service.http.reporter import Reporter
from service.metrics import CONTENT_TYPE, Metrics
from service.ports import Bundles, Journal, Store
from service.settings import Settings

_PING_SECONDS: Final = 1.0
_LONGEST_ID: Final = 128


def operation_handlers(
    settings: Settings,
    *,
    journal: Journal,
    bundles: Bundles,
    store: Store,
    metrics: Metrics,
    scrape: Callable[[], Awaitable[bytes]],
    draining: Callable[[], bool],
    reporter: Reporter,
    gate: Gate | None = None,
) -> list[HTTPRouteHandler]:
    """Return the handlers of everything that is neither a decision nor an act of an administrator.

    Health and the schema are for everybody: a probe has no key, and the schema is no secret.
    """
    schema = msgspec.json.encode(
        document(settings.body_limit, guarded=gate is not None, metrics_open=settings.metrics_open)
    )
    counted = counted_by(metrics)
    reading = [counted, *guarded(gate, "read", reporter)]
    scraping = [counted] if settings.metrics_open else reading

    @get("/health/live", sync_to_thread=False, middleware=[counted])
    def live() -> Response[bytes]:
        return response(Liveness())

    @get("/health/ready", middleware=[counted])
    async def ready() -> Response[bytes]:
        parts = {"bundle": _bundle_part(bundles), "store": await _store_part(store), "journal": _journal_part(journal)}
        if draining():
            parts["server"] = Part(state="not_ready", reason="it is about to stop")
        if gate is not None:
            parts["keys"] = Part(state="ready") if gate.failing is None else Part(state="degraded", reason=gate.failing)
        well = all(part.state != "not_ready" for part in parts.values())
        return response(Readiness(ready=well, parts=parts), status=200 if well else 503)

    @get("/metrics", middleware=scraping)
    async def figures() -> Response[bytes]:
        return response(await scrape(), media_type=CONTENT_TYPE)

    @get("/api/models", sync_to_thread=False, middleware=reading)
    def models() -> Response[bytes]:
        manifest = bundles.active
        if manifest is None:
            return _refused(NotReady("bundle", bundles.failing or "none is loaded yet"))
        bare = {
            name: msgspec.structs.replace(entry, golden_rows=(), golden_expected=())
            for name, entry in manifest.models.items()
        }
        return response(msgspec.structs.replace(manifest, models=bare))

    @get("/api/decisions/{decision_id:str}", middleware=reading)
    async def audit(decision_id: FromPath[str]) -> Response[bytes]:
        try:
            decision = await journal.find(decision_id) if len(decision_id) <= _LONGEST_ID else None
            if decision is None:
                return _refused(DecisionNotFound())
            request = decision.request
            outcomes = await journal.outcomes_of(request.payment_id, request.attempt)
        except JournalUnavailable as error:
            return _refused(error)
        return response(AuditTrail(decision=decision, outcomes=outcomes))

    @get(["/schema", "/schema/openapi.json"], sync_to_thread=False, middleware=[counted])
    def openapi() -> Response[bytes]:
        return response(schema)

    return [live, ready, figures, models, audit, openapi]


def _refused(error: Exception) -> Response[bytes]:
    problem, retry_after = problem_of(error)
    return problem_response(problem, retry_after=retry_after)


def _bundle_part(bundles: Bundles) -> Part:
    if bundles.active is None:
        return Part(state="not_ready", reason=bundles.failing or "none is loaded yet")
    return Part(state="ready") if bundles.failing is None else Part(state="degraded", reason=bundles.failing)


def _journal_part(journal: Journal) -> Part:
    return Part(state="ready") if journal.failing is None else Part(state="degraded", reason=journal.failing)


async def _store_part(store: Store) -> Part:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            wrong = await store.ping()
    except TimeoutError:
        wrong = f"no answer within {_PING_SECONDS:g} s"
    return Part(state="ready") if wrong is None else Part(state="degraded", reason=wrong)


def counted_by(metrics: Metrics) -> Any:
    """Return a middleware that counts requests by the template of their path."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            started = time.monotonic()
            status = 500

            async def watch(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, watch)
            finally:
                metrics.endpoint(template(scope)).observe(status, time.monotonic() - started)

        return counted

    return wrap
