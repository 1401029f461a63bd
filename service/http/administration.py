"""What an administrator asks: activate a bundle, roll back, and who did so before.

Nobody is an administrator where nobody is asked who they are: an act without a name would be no use on record. The pointer
moves only to a bundle that this service can load, and the act is on disk before it does. This module must not know what
is in a bundle.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from contracts.activation import ActivateRequest, ActivationHistory, ActivationReceipt, AdminAct, RollbackRequest
from service import shelf
from service.access.gate import Gate
from service.errors import BundleRefused, Forbidden, RequestRefused, ServiceError, ShelfUnavailable
from service.http.answers import problem_response, response
from service.http.guard import caller_of, guarded, template
from service.http.messages import Message
from service.http.problems import challenge, problem_of
from service.http.reporter import Reporter
from service.http.wire import form_of, read_body
from service.ports import Bundles
from service.settings import Settings

log: Final = logging.getLogger(__name__)
BODY_LIMIT: Final = 4_096
"""Bytes of a request of an administrator."""
LONGEST_HISTORY: Final = 1_000
_LONGEST_CLAIM: Final = 200
_NEEDED: Final = "admin"

Examine = Callable[[str], object]
"""Loads the bundle of a version as the service would, and raises `BundleRefused` when it would not."""


class Administration:
    """Moves the pointer of a shelf on behalf of administrators, one act at a time.

    Parameters
    ----------
    folder
        The shelf.
    bundles
        Told to look at the pointer when it has moved.
    examine
        Says whether a bundle can be served.
    """

    def __init__(self, folder: Path, bundles: Bundles, examine: Examine) -> None:
        self._folder = folder
        self._bundles = bundles
        self._examine = examine

    async def move(
        self, act: AdminAct, version: str | None, by: str, source: str, claim: str | None
    ) -> ActivationReceipt:
        """Make `version` the active one, or for None the one before; return what is active now.

        Raises
        ------
        RequestRefused
            ``unknown_bundle``, ``bundle_refused`` or ``no_earlier_bundle``.
        ShelfUnavailable
            When the shelf cannot be written.
        """
        receipt = await asyncio.to_thread(self._move, act, version, by, source, claim)
        await self._bundles.refresh()
        fields = {"act": act, "version": receipt.active, "by": by, "source": source}
        log.info("a bundle was made the active one", extra={"fields": fields})
        return receipt

    def history(self) -> ActivationHistory:
        """Return the acts on record; blocks on the disk.

        Raises
        ------
        ShelfUnavailable
            When the shelf cannot be read.
        """
        try:
            acts = shelf.activations(self._folder)[-LONGEST_HISTORY:]
            return ActivationHistory(active=shelf.active(self._folder), activations=acts[::-1])
        except (OSError, UnicodeDecodeError) as error:
            raise _unavailable(error) from error

    def _move(self, act: AdminAct, version: str | None, by: str, source: str, claim: str | None) -> ActivationReceipt:
        if version is not None and not (self._folder / version).is_dir():
            raise RequestRefused(
                code="unknown_bundle", path="$.version", detail="no bundle of this version is on the shelf"
            )
        try:
            with shelf.alone(self._folder):
                chosen = shelf.previous(shelf.activations(self._folder)) if version is None else version
                if chosen is None:
                    detail = "there is no earlier activation to go back to"
                    raise RequestRefused(code="no_earlier_bundle", path="$", detail=detail)
                try:
                    self._examine(chosen)
                except BundleRefused as error:
                    path = "$" if version is None else "$.version"
                    raise RequestRefused(code="bundle_refused", path=path, detail=error.reason) from None
                done = shelf.point(self._folder, chosen, act=act, by=by, source=source, forwarded_for=claim)
        except OSError as error:
            raise _unavailable(error) from error
        return ActivationReceipt(active=chosen, activation=done)


def _unavailable(error: Exception) -> ShelfUnavailable:
    reason = error.strerror if isinstance(error, OSError) else None
    return ShelfUnavailable(reason or type(error).__name__)


def administration_handlers(
    settings: Settings,
    *,
    bundles: Bundles,
    examine: Examine,
    gate: Gate | None,
    reporter: Reporter,
    counted: Any,
) -> list[HTTPRouteHandler]:
    """Return the handlers of what administrators ask."""
    administration = Administration(settings.bundles, bundles, examine)
    asked: Message[ActivateRequest] = Message(ActivateRequest, _nothing, ())
    nothing: Message[RollbackRequest] = Message(RollbackRequest, _nothing, ())

    async def move(request: Request[Any, Any, Any], act: AdminAct) -> Response[bytes]:
        try:
            caller = caller_of(request.scope)
            if caller is None:
                raise Forbidden(_NEEDED)
            headers = dict(request.scope["headers"])
            body = await read_body(headers, request.receive, BODY_LIMIT)
            version = None
            if act == "activate":
                version = asked.read(form_of(headers), body).version
            elif body:
                nothing.read(form_of(headers), body)
            client = request.scope["client"]
            source = "unknown" if client is None else str(client[0])
            return response(await administration.move(act, version, caller.name, source, _claim(headers)))
        except ServiceError as error:
            return _refused(request, error, reporter)

    @post("/api/models/activate", status_code=200, middleware=[counted, *guarded(gate, _NEEDED, reporter)])
    async def activate(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await move(request, "activate")

    @post("/api/models/rollback", status_code=200, middleware=[counted, *guarded(gate, _NEEDED, reporter)])
    async def rollback(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await move(request, "rollback")

    @get("/api/models/history", middleware=[counted, *guarded(gate, "read", reporter)])
    async def history(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            return response(await asyncio.to_thread(administration.history))
        except ServiceError as error:
            return _refused(request, error, reporter)

    return [activate, rollback, history]


def _refused(request: Request[Any, Any, Any], error: ServiceError, reporter: Reporter) -> Response[bytes]:
    problem, retry_after = problem_of(error)
    if problem.status >= 500:
        reporter.report(template(request.scope), error, problem.status)
    extra = {name.decode(): value.decode() for name, value in challenge(error)}
    if problem.code == "body_too_large":
        extra["connection"] = "close"
    return problem_response(problem, retry_after=retry_after, extra=extra)


def _claim(headers: dict[bytes, bytes]) -> str | None:
    """Return what a proxy says of where a request came from, as far as it can be printed."""
    raw = headers.get(b"x-forwarded-for")
    text = "" if raw is None else raw[:_LONGEST_CLAIM].decode("ascii", "replace")
    return "".join(char for char in text if char.isprintable()) or None


def _nothing(_request: object) -> None:
    """Check nothing beyond the types."""
