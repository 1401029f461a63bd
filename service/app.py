"""The app: parts in, one ASGI application out.

`build` is the composition root, the only place that knows which part is which; `create_app` takes the parts as ports,
so that tests can hand in others. Nothing is imported or read on a request that could be at start.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException

from service.errors import NotReady, ServiceError
from service.http.answers import problem_response
from service.http.decisions import decision_handlers, report
from service.http.operations import operation_handlers
from service.http.problems import problem_of, problem_of_router
from service.metrics import Metrics
from service.ports import Bundles, Decider, Journal, Learner, Store
from service.settings import Settings

log: Final = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    decider: Decider,
    learner: Learner,
    journal: Journal,
    bundles: Bundles,
    store: Store,
    metrics: Metrics,
) -> Litestar:
    """Return the application made of these parts.

    At start it looks for a bundle and keeps looking at the pointer; at stop it closes the journal, then the store.
    """
    metrics.bundle = lambda: bundles.active

    @contextlib.asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        poll = _BundlePoll(bundles, settings.bundle_poll_seconds)
        await poll.look()
        wrong = await store.ping()
        if wrong is not None:
            log.warning("the store is not well at start: %s", wrong)
        polling = asyncio.create_task(poll.run())
        try:
            yield
        finally:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling
            try:
                await journal.close()
            finally:
                await store.close()

    def from_router(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        if error.status_code >= 500:
            return unexpected(request, error)
        scope: Mapping[str, Any] = request.scope
        if scope.get("route_handler") is None:
            metrics.endpoint("unmatched").observe(error.status_code, 0.0)
        allow = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return problem_response(problem_of_router(error.status_code), extra=allow)

    def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        problem, retry_after = problem_of(error)
        report(metrics, str(request.scope.get("path_template", "unmatched")), error, problem.status)
        return problem_response(problem, retry_after=retry_after)

    return Litestar(
        route_handlers=[
            *decision_handlers(settings, decider=decider, learner=learner, bundles=bundles, metrics=metrics),
            *operation_handlers(settings, journal=journal, bundles=bundles, store=store, metrics=metrics),
        ],
        exception_handlers={HTTPException: from_router, Exception: unexpected},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


class _BundlePoll:
    """Looks at the bundles' pointer again and again; says once what is wrong, not every time."""

    def __init__(self, bundles: Bundles, seconds: float) -> None:
        self._bundles = bundles
        self._seconds = seconds
        self._version: str | None = None
        self._said: str | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()

    async def look(self) -> None:
        try:
            await self._bundles.refresh()
        except ServiceError as error:
            self._say(str(error))
        except Exception as error:
            if self._said is None:
                log.error("looking for a bundle failed", exc_info=error)  # noqa: TRY400
            self._said = type(error).__name__
        else:
            self._say(self._bundles.failing)
        active = self._bundles.active
        if active is not None and active.version != self._version:
            self._version = active.version
            log.info("bundle %s is active", active.version)

    def _say(self, wrong: str | None) -> None:
        if wrong is not None and wrong != self._said:
            log.warning("bundle: %s", wrong)
        self._said = wrong


def build(settings: Settings) -> Litestar:
    """Return the application made of the real parts.

    Raises
    ------
    ServiceError
        When a part cannot work with these settings at all.
    """
    from service.journal import open_journal

    metrics = Metrics()
    journal = open_journal(settings.journal, sync=settings.journal_sync, metrics=metrics)
    # The decider, the learner, the bundles and the store are joined to these here.
    del journal
    missing = "the decider"
    reason = "it is not part of this build"
    raise NotReady(missing, reason)
