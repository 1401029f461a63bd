"""The client that blocks."""

import time
from collections.abc import Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from client import calls
from client.calls import Call, Form
from client.deadline import DeadlineTransport, ending_at
from client.errors import TimedOut, Unavailable
from client.options import Key, Options
from client.seam import Body, failure_of
from client.trying import Tries
from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.health import Readiness
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest

T = TypeVar("T")


class Client:
    """Asks the service and blocks until it answers; one for a whole process, used by as many threads as there are.

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
        Another way to send requests, such as one through a proxy; `connections` and `verify` are then its own affair, and a
        server that sends its head byte by byte may hold a call for longer than it may take.
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
        transport: httpx.BaseTransport | None = None,
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
        self._http = httpx.Client(
            base_url=url,
            trust_env=False,
            follow_redirects=False,
            transport=DeadlineTransport(connections, verify) if transport is None else transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def auth(self, request: AuthRequest, *, timeout_seconds: float | None = None) -> Decision:
        """Ask whether and how to send a payment."""
        return self._ask(calls.auth(request, self._options.form), timeout_seconds)

    def routing(self, request: RoutingRequest, *, timeout_seconds: float | None = None) -> Decision:
        """Ask through which processor to send a payment."""
        return self._ask(calls.routing(request, self._options.form), timeout_seconds)

    def retry(self, request: RetryRequest, *, timeout_seconds: float | None = None) -> RetryDecision:
        """Ask whether a decline is worth another try, when, and through which processor."""
        return self._ask(calls.retry(request, self._options.form), timeout_seconds)

    def report(self, outcomes: Outcome | Sequence[Outcome], *, timeout_seconds: float | None = None) -> OutcomeReceipt:
        """Report what became of attempts; the receipt has one result for each, in their order.

        A long list is sent in parts, each with the whole time. When one fails the call fails: report all again, for what was
        taken already counts once.
        """
        told = (outcomes,) if isinstance(outcomes, Outcome) else outcomes
        return calls.receipt([self._ask(call, timeout_seconds) for call in calls.reports(told, self._options.form)])

    def decision(self, decision_id: str, *, timeout_seconds: float | None = None) -> AuditTrail:
        """Read a decision back as it was journalled, with the outcomes of its attempt."""
        return self._ask(calls.decision(decision_id), timeout_seconds)

    def models(self, *, timeout_seconds: float | None = None) -> Manifest:
        """Read the manifest of the active bundle."""
        return self._ask(calls.models(), timeout_seconds)

    def ready(self, *, timeout_seconds: float | None = None) -> Readiness:
        """Ask how the service is; not being ready is an answer, not an error."""
        return self._ask(calls.ready(), timeout_seconds)

    def _ask(self, call: Call[T], timeout_seconds: float | None) -> T:
        tries = Tries(call, self._options, timeout_seconds)
        while True:
            try:
                until, headers = tries.begin()
                return call.answer(*self._send(call, until, headers))
            except Unavailable as error:
                wait = tries.wait_after(error)
                if wait is None:
                    raise
            time.sleep(wait)

    def _send(self, call: Call[Any], until: float, headers: dict[str, str]) -> tuple[int, httpx.Headers, bytes]:
        try:
            with ending_at(until):
                request = self._http.build_request(
                    call.method,
                    call.path,
                    headers=headers,
                    content=call.content,
                    timeout=max(until - time.monotonic(), 0.001),
                )
                answer = self._http.send(request, stream=True)
                try:
                    body = Body(answer.status_code)
                    for part in (answer.content,) if answer.is_stream_consumed else answer.iter_raw():
                        body.add(part)
                        if time.monotonic() > until:
                            msg = "there was no whole answer in time"
                            raise TimedOut(msg)
                finally:
                    answer.close()
                return answer.status_code, answer.headers, body.content
        except httpx.RequestError as error:
            raise failure_of(error) from error
