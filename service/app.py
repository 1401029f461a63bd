"""The app: parts in, one ASGI application out.

`build` is the composition root, the only place that knows which part is which; `create_app` takes the parts as ports,
so that tests can hand in others. Nothing is imported or read on a request that could be at start.
"""

import asyncio
import contextlib
import functools
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException

from service.access import open_gate
from service.access.certificate import Certificate, open_certificate
from service.access.gate import FOLLOW_SECONDS, Gate
from service.errors import BundleRefused, SettingsError
from service.gather import Gather
from service.http.administration import Examine, administration_handlers
from service.http.answers import problem_response
from service.http.decisions import Exchange, exchanges, handler
from service.http.operations import counted_by, operation_handlers
from service.http.problems import problem_of, problem_of_router
from service.http.reporter import Reporter
from service.metrics import Metrics
from service.models.poll import BundlePoll
from service.ports import Bundles, Decider, Journal, Learner, Store, Work
from service.settings import Settings

log: Final = logging.getLogger(__name__)
_DAY_SECONDS: Final = 86_400
SWITCH_SECONDS: Final = 0.0005
"""After so long a thread that waits for the interpreter lock gets it, whatever the one that has it is doing. For Python's own
5 ms the event loop would wait for a thread that looks something up, and the journal's writer for a loop with much to do."""


class Application(Litestar):
    """Litestar, with a lane of its own for the four questions of the hot path.

    A request for exactly one of their paths goes straight to its exchange, which answers whatever comes and raises
    nothing; our own server asks the exchanges of `lane` itself. Litestar's routing, scope state and two layers of exception
    handling cost 10 us of 66 on one core. The same exchanges are routes of Litestar too, so that a path with a trailing
    slash or below a mount is served all the same.
    """

    __slots__ = ("_by_path", "_parts", "certificate", "lane", "metrics", "reloads")

    def __init__(
        self,
        *,
        lane: Iterable[Exchange[Any]],
        parts: "_Parts",
        metrics: Metrics,
        certificate: Certificate | None,
        **options: Any,
    ) -> None:
        self.metrics = metrics
        self.certificate = certificate
        self.reloads: list[Callable[[], None]] = []
        self.lane = tuple(lane)
        self._by_path = {exchange.path: exchange for exchange in self.lane}
        self._parts = parts
        super().__init__(**options)

    async def open(self) -> None:
        """Open the parts in the running loop, unless they are open; the lifespan does so, and a server may do so before.

        Raises
        ------
        ServiceError
            When a part will never work as things are; all parts are closed again.
        """
        await self._parts.open()

    def reload(self) -> None:
        """Look again, now, at everything that may have changed outside."""
        log.info("told to look again at what may have changed")
        for look in self.reloads:
            look()

    def drain(self) -> None:
        """Say from now on, to whoever asks whether it is ready, that it is not: it is about to stop."""
        self._parts.draining = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, or the lifespan."""
        exchange = self._by_path.get(scope["path"]) if scope["type"] == "http" else None
        if exchange is None:
            await super().__call__(scope, receive, send)
        else:
            await exchange(scope, receive, send)


def create_app(
    settings: Settings,
    *,
    decider: Decider,
    learner: Learner,
    journal: Journal,
    bundles: Bundles,
    store: Store,
    metrics: Metrics,
    gather: Gather | None = None,
    gate: Gate | None = None,
    examine: Examine | None = None,
    certificate: Certificate | None = None,
    work: Work | None = None,
) -> Application:
    """Return the application made of these parts; without a `gate` everybody may ask everything but an administrator's acts.

    At start it opens the store, looks for a bundle and keeps looking at the pointer, and at the files of keys; at stop it
    closes the journal, then the store. With `gather` its metrics are those of all workers.
    """
    metrics.bundle = lambda: bundles.active
    reporter = Reporter(metrics)
    credentials = [part for part in (gate, certificate) if part is not None]
    parts = _Parts(decider, journal, store, work)
    poll = BundlePoll(bundles, settings.bundle_poll_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await parts.open()
        try:
            await poll.look()
            tasks = [asyncio.create_task(poll.run())]
            if credentials:
                tasks.append(asyncio.create_task(_follow(credentials)))
            try:
                if gather is not None:
                    await gather.open()
                yield
            finally:
                if gather is not None:
                    await gather.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await parts.close()

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
        reporter.report(str(request.scope.get("path_template", "unmatched")), error, problem.status)
        return problem_response(problem, retry_after=retry_after)

    lane = exchanges(
        settings, decider=decider, learner=learner, bundles=bundles, metrics=metrics, reporter=reporter, gate=gate
    )
    app = Application(
        lane=lane,
        parts=parts,
        metrics=metrics,
        certificate=certificate,
        route_handlers=[
            *map(handler, lane),
            *operation_handlers(
                settings,
                journal=journal,
                bundles=bundles,
                store=store,
                scrape=metrics.scrape_alone if gather is None else gather.all,
                metrics=metrics,
                draining=lambda: parts.draining,
                reporter=reporter,
                gate=gate,
            ),
            *administration_handlers(
                settings,
                bundles=bundles,
                examine=examine or _unexamined,
                gate=gate,
                reporter=reporter,
                counted=counted_by(metrics),
            ),
        ],
        exception_handlers={HTTPException: from_router, Exception: unexpected},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.reloads.append(poll.again)
    app.reloads.extend(functools.partial(part.look, anyway=True) for part in credentials)
    return app


async def _follow(credentials: Iterable[Gate | Certificate]) -> None:
    """Take up what changes of the files of keys; in a thread, for they may lie on a network that hangs."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            for part in credentials:
                await asyncio.to_thread(part.look)
        except Exception as error:
            log.error("looking at the files of keys failed", exc_info=error)  # noqa: TRY400


def _unexamined(version: str) -> None:
    """Refuse to activate where nothing can load a bundle."""
    raise BundleRefused(version, "nothing here can load it")


class _Parts:
    """What is opened before the first question and closed, in order, after the last answer."""

    def __init__(self, decider: Decider, journal: Journal, store: Store, work: Work | None) -> None:
        self._decider = decider
        self._work = work
        self._journal = journal
        self._store = store
        self._opened = False
        self.draining = False

    async def open(self) -> None:
        if self._opened:
            return
        try:
            wrong = await self._store.open()
        except BaseException:
            await self.close()
            raise
        self._opened = True
        if self._work is not None:
            self._work.start()
        if wrong is not None:
            log.warning("the store is not well at start: %s", wrong)

    async def close(self) -> None:
        await self._decider.close()
        if self._work is not None:
            await self._work.close()
        try:
            await self._journal.close()
        finally:
            await self._store.close()


def build(settings: Settings, folder: Path | None = None) -> Application:
    """Return the application made of the real parts.

    Parameters
    ----------
    settings
        All of them.
    folder
        Where the workers of one supervisor find each other.

    Raises
    ------
    ServiceError
        When a part cannot work with these settings at all.
    """
    # Here, not above: the parts load onnxruntime and redis, which `create_app` and its tests do without.
    from features.native import IS_NATIVE
    from service.catchup import CatchUp
    from service.decide import Decide
    from service.journal import Keeping, open_journal
    from service.journal.reader import JournalReader
    from service.learn import Learn
    from service.mark import Mark
    from service.missed import Refused
    from service.models.active import ActiveBundles
    from service.models.bundle import load
    from service.policy.errors import RuleError
    from service.policy.rules import Rules
    from service.store import FeatureStore, open_store
    from service.store.lasting import LastingStore
    from service.store.memory import MemoryStore

    try:
        rules = Rules.load(override=settings.rules)
    except RuleError as error:
        variable = "POINTSMAN_RULES"
        raise SettingsError(variable, expected="a rule file", came=f"one that is refused: {error}") from error
    gate = open_gate(settings)
    certificate = open_certificate(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    log.info("kernels: %s", "c" if IS_NATIVE else "python")
    metrics = Metrics()
    event_seconds, answer_seconds = settings.event_ttl_days * _DAY_SECONDS, settings.answer_hours * 3600
    inner = open_store(settings.store, timeout_ms=settings.store_timeout_ms, event_ttl_seconds=event_seconds)
    store: FeatureStore = inner
    if not isinstance(inner, MemoryStore):
        # What is in this process is never away.
        store = LastingStore(
            inner,
            timeout_ms=settings.store_timeout_ms,
            most=settings.last_known_entries,
            seconds=settings.last_known_seconds,
        )
    journal = open_journal(
        settings.journal,
        sync=settings.journal_sync,
        metrics=metrics,
        writer=str(settings.worker),
        keeping=Keeping(
            segment_bytes=settings.journal_segment_mib << 20,
            segment_seconds=settings.journal_segment_minutes * 60.0,
            days=settings.journal_days,
            most_bytes=settings.journal_most_gib << 30,
            floor_bytes=settings.journal_floor_mib << 20,
        ),
    )
    bundles = ActiveBundles(settings.bundles, rules, metrics.state_unreadable)
    metrics.engines = lambda: bundles.engines
    refused = Refused()
    decider = Decide(
        bundles,
        store,
        journal,
        log_vectors=settings.log_vectors,
        answer_hours=settings.answer_hours,
        refused=refused,
    )
    learner = Learn(store, journal, bundles, decider.settle, refused)
    work = None
    if isinstance(store, LastingStore) and settings.journal is not None:
        work = CatchUp(
            store,
            journal,
            JournalReader(settings.journal),
            Mark(settings.journal, str(settings.worker)),
            bundles,
            learner,
            writer=str(settings.worker),
            refused=refused,
            answer_seconds=answer_seconds,
            event_ttl_seconds=event_seconds,
        )
        lasting, metrics.store_written = store, lambda: work.written
        metrics.store_left_out = lambda: work.left_out
        metrics.store_refusing = lambda: lasting.refusing
        metrics.store_behind = lambda: lasting.is_behind
    gather = None if folder is None else Gather(folder, settings.worker, settings.workers, metrics.scrape)
    return create_app(
        settings,
        decider=decider,
        learner=learner,
        journal=journal,
        bundles=bundles,
        store=store,
        metrics=metrics,
        gather=gather,
        gate=gate,
        certificate=certificate,
        examine=lambda version: load(settings.bundles / version, rules),
        work=work,
    )
