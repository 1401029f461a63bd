"""The client that awaits."""

import asyncio
import time
from collections.abc import Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from client import calls
from client.calls import Call, Form
from client.errors import TimedOut, Unavailable
from client.options import Key, Options
from client.seam import IDLE_SECONDS, Body, failure_of
from client.trying import Tries
from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.health import Readiness
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest

T = TypeVar("T")


class AsyncClient:
    """Asks the service, awaiting the answers; one for a whole process and event loop.

    Every method may raise `client.errors.Refused` (mend the request) or `client.errors.Unavailable` (go on without an
    answer). `timeout_seconds` of a method holds for that call instead of the client's own.

    Parameters
    ----------
    url, key, timeout_seconds, try_seconds, tries, budget_ms, form
        See `client.options.Options`.
    connections
        How many connections there may be at once.
    verify
        What the service's certificate is checked against; None: the public authorities that certifi lists.
    transport
        Another way to send requests, such as ``httpx.AsyncHTTPTransport(uds=...)``; `connections` and `verify` are then its own
        affair.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key = None,
        timeout_seconds: float = 1.0,
        try_seconds: float = 0.5,
        tries: int = 3,
        budget_ms: float | None = None,
        form: Form = "json",
        connections: int = 100,
        verify: SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._options = Options(
            url=url,
            key=key,
            timeout_seconds=timeout_seconds,
            try_seconds=try_seconds,
            tries=tries,
            budget_ms=budget_ms,
            form=form,
        )
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=None,  # noqa: S113  (every try is under `asyncio.timeout_at`, its body included)
            trust_env=False,
            follow_redirects=False,
            verify=verify or httpx.create_ssl_context(trust_env=False),
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE_SECONDS
            ),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def auth(self, request: AuthRequest, *, timeout_seconds: float | None = None) -> Decision:
        """Ask whether and how to send a payment."""
        return await self._ask(calls.auth(request, self._options.form), timeout_seconds)

    async def routing(self, request: RoutingRequest, *, timeout_seconds: float | None = None) -> Decision:
        """Ask through which processor to send a payment."""
        return await self._ask(calls.routing(request, self._options.form), timeout_seconds)

    async def retry(self, request: RetryRequest, *, timeout_seconds: float | None = None) -> RetryDecision:
        """Ask whether a decline is worth another try, when, and through which processor."""
        return await self._ask(calls.retry(request, self._options.form), timeout_seconds)

    async def report(
        self, outcomes: Outcome | Sequence[Outcome], *, timeout_seconds: float | None = None
    ) -> OutcomeReceipt:
        """Report what became of attempts; the receipt has one result for each, in their order.

        A long list is sent in parts, each with the whole time. When one fails the call fails: report all again, for what was
        taken already counts once.
        """
        told = (outcomes,) if isinstance(outcomes, Outcome) else outcomes
        return calls.receipt(
            [await self._ask(call, timeout_seconds) for call in calls.reports(told, self._options.form)]
        )

    async def decision(self, decision_id: str, *, timeout_seconds: float | None = None) -> AuditTrail:
        """Read a decision back as it was journalled, with the outcomes of its attempt."""
        return await self._ask(calls.decision(decision_id), timeout_seconds)

    async def models(self, *, timeout_seconds: float | None = None) -> Manifest:
        """Read the manifest of the active bundle."""
        return await self._ask(calls.models(), timeout_seconds)

    async def ready(self, *, timeout_seconds: float | None = None) -> Readiness:
        """Ask how the service is; not being ready is an answer, not an error."""
        return await self._ask(calls.ready(), timeout_seconds)

    async def _ask(self, call: Call[T], timeout_seconds: float | None) -> T:
        tries = Tries(call, self._options, timeout_seconds)
        while True:
            try:
                until, headers = tries.begin()
                return call.answer(*await self._send(call, until, headers))
            except Unavailable as error:
                wait = tries.wait_after(error)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def _send(self, call: Call[Any], until: float, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(loop.time() + until - time.monotonic()):
                request = self._http.build_request(call.method, call.path, headers=headers, content=call.content)
                answer = await self._http.send(request, stream=True)
                try:
                    body = Body(answer.status_code)
                    if answer.is_stream_consumed:
                        body.add(answer.content)
                    else:
                        async for part in answer.aiter_raw():
                            body.add(part)
                finally:
                    await answer.aclose()
                return answer.status_code, answer.headers, body.content
        except TimeoutError:
            msg = "there was no whole answer in time"
            raise TimedOut(msg) from None
        except httpx.RequestError as error:
            raise failure_of(error) from error
