"""What can be asked of the service, as bytes, and what its answers mean.

A call is made once and may be sent several times: the same bytes each time, so that the service knows it again. This module
must not know sockets, clocks or how often a call is sent.
"""

import email.utils
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from client.errors import AlreadyAsked, Failed, NotAllowed, NotFound, Overloaded, Refused, Unreadable
from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.health import Readiness
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest
from contracts.problem import Problem

T = TypeVar("T")
Form = Literal["json", "msgpack"]

MOST_OUTCOMES: Final = 1000
"""The longest list the service takes."""
MOST_BYTES: Final = 400_000
"""Where a list of outcomes is split: the service takes eight times its limit of a request, 524,288 bytes by default."""

_MEDIA: Final[dict[Form, str]] = {"json": "application/json", "msgpack": "application/msgpack"}
_ENCODE: Final[dict[Form, Callable[[Any], bytes]]] = {
    "json": msgspec.json.Encoder().encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}
_PROBLEM: Final = msgspec.json.Decoder(Problem).decode
_OVERLOADED: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_REFUSALS: Final[dict[int, type[Refused]]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: AlreadyAsked}


class Read(NamedTuple, Generic[T]):
    """How an answer is read from JSON and from MessagePack."""

    json: Callable[[bytes], T]
    msgpack: Callable[[bytes], T]


def _read(kind: type[T]) -> Read[T]:
    return Read(msgspec.json.Decoder(kind).decode, msgspec.msgpack.Decoder(kind).decode)


_DECISION: Final = _read(Decision)
_RETRY: Final = _read(RetryDecision)
_RECEIPT: Final = _read(OutcomeReceipt)
_TRAIL: Final = _read(AuditTrail)
_MANIFEST: Final = _read(Manifest)
_READINESS: Final = _read(Readiness)


class Call(NamedTuple, Generic[T]):
    """One thing asked.

    Attributes
    ----------
    method, path, content, media
        What goes over the wire.
    read
        How the answer is read.
    idempotent
        Whether sending it twice is the same as sending it once. So it is for every question (its payment and attempt name
        it) and for outcomes (each counts once).
    budgeted
        Whether the service is to be told how long it may take.
    good
        The statuses whose body is the answer.
    """

    method: str
    path: str
    read: Read[T]
    media: str
    content: bytes | None = None
    idempotent: bool = True
    budgeted: bool = False
    good: frozenset[int] = frozenset({200})

    def headers(self, bearer: str | None, budget_ms: float | None) -> dict[str, str]:
        """Return the headers of one try.

        Parameters
        ----------
        bearer
            The key to send, if any.
        budget_ms
            How long the service may take.
        """
        headers = {"accept": self.media, "accept-encoding": "identity"}
        if self.content is not None:
            headers["content-type"] = self.media
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        if self.budgeted and budget_ms is not None:
            headers["x-pointsman-budget-ms"] = f"{min(max(budget_ms, 0.001), 999_999.0):.3f}"
        return headers

    def answer(self, status: int, headers: Mapping[str, str], content: bytes) -> T:
        """Return the answer.

        Raises
        ------
        ClientError
            Every answer that is not a good one is an error of `client.errors`.
        """
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Unreadable(status, "it is compressed, which nobody asked for")
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status in self.good:
            # A proxy's page may have the status of an answer.
            decode = {_MEDIA["json"]: self.read.json, _MEDIA["msgpack"]: self.read.msgpack}.get(media)
            if decode is None:
                raise Unreadable(status, "it is neither JSON nor MessagePack")
            try:
                return decode(content)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                # The error's own words may repeat a value.
                raise Unreadable(status, "its body is not of the contract") from None
        problem = _problem(content) if media == "application/problem+json" else None
        if status in _OVERLOADED:
            raise Overloaded(status, _seconds(headers.get("retry-after")), problem)
        if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
            raise Failed(status, problem)
        if 400 <= status < 500:
            raise _REFUSALS.get(status, Refused)(problem or _unexplained(status))
        raise Unreadable(status, "no such status is expected")


def _problem(content: bytes) -> Problem | None:
    try:
        return _PROBLEM(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _unexplained(status: int) -> Problem:
    """Return the problem of an answer without one: a proxy's, not the service's (RFC 9457, 4.2.1: about:blank)."""
    title = next((known.phrase for known in HTTPStatus if known == status), "Refused")
    return Problem(
        type="about:blank", title=title, status=status, code=f"http_{status}", detail="the answer does not say why"
    )


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(date.timestamp() - time.time(), 0.0)


def auth(request: AuthRequest, form: Form) -> Call[Decision]:
    """Return the call that asks whether and how to send a payment."""
    return _question("auth", request, _DECISION, form)


def routing(request: RoutingRequest, form: Form) -> Call[Decision]:
    """Return the call that asks through which processor to send a payment."""
    return _question("routing", request, _DECISION, form)


def retry(request: RetryRequest, form: Form) -> Call[RetryDecision]:
    """Return the call that asks whether a decline is worth another try."""
    return _question("retry", request, _RETRY, form)


def _question(name: str, request: Any, read: Read[T], form: Form) -> Call[T]:
    path = f"/api/decisioning/{name}"
    return Call("POST", path, read, _MEDIA[form], _ENCODE[form](request), budgeted=True)


def reports(outcomes: Sequence[Outcome], form: Form) -> Iterator[Call[OutcomeReceipt]]:
    """Yield the calls that report outcomes, in order: as few lists as the service's limits allow.

    Raises
    ------
    ValueError
        For no outcome at all.
    """
    if not outcomes:
        msg = "outcomes: expected at least one"
        raise ValueError(msg)
    encode = _ENCODE[form]
    batch: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        own = len(encode(outcome)) + 1
        if batch and (len(batch) == MOST_OUTCOMES or size + own > MOST_BYTES):
            yield _report(batch, form)
            batch, size = [], 0
        batch.append(outcome)
        size += own
    yield _report(batch, form)


def _report(batch: list[Outcome], form: Form) -> Call[OutcomeReceipt]:
    return Call("POST", "/api/decisioning/outcomes", _RECEIPT, _MEDIA[form], _ENCODE[form](batch))


def receipt(parts: Sequence[OutcomeReceipt]) -> OutcomeReceipt:
    """Return the receipts of several lists as one."""
    results = tuple(result for part in parts for result in part.results)
    return OutcomeReceipt(
        results=results, degraded=tuple(dict.fromkeys(code for part in parts for code in part.degraded))
    )


def decision(decision_id: str) -> Call[AuditTrail]:
    """Return the call that reads a decision back, with the outcomes reported for it."""
    return Call("GET", f"/api/decisions/{quote(decision_id, safe='')}", _TRAIL, _MEDIA["json"])


def models() -> Call[Manifest]:
    """Return the call that reads the manifest of the active bundle."""
    return Call("GET", "/api/models", _MANIFEST, _MEDIA["json"])


def ready() -> Call[Readiness]:
    """Return the call that asks how the service is; that it is not ready is an answer too."""
    return Call("GET", "/health/ready", _READINESS, _MEDIA["json"], good=frozenset({200, 503}))
