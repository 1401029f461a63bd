"""Errors as RFC 9457 problems: the one place where an error gets an HTTP status.

This module must not know where an error came from. Nothing of a request, and nothing of a foreign exception, is in what
it writes.
"""

from typing import Final, NamedTuple

import msgspec

from contracts.problem import Problem
from service import errors
from service.errors import Forbidden, RateLimited, RefusalCode, RequestRefused, ServiceError, Unauthenticated

MEDIA_TYPE: Final = "application/problem+json"
_ENCODE: Final = msgspec.json.Encoder().encode
_UNPROCESSABLE: Final = 422


class Mapping(NamedTuple):
    """How a class of errors is shown; a `detail` of None shows the error's own sentence."""

    status: int
    code: str
    title: str
    detail: str | None = None
    retry_after: int | None = None


REFUSALS: Final[dict[RefusalCode, tuple[int, str]]] = {
    "already_asked": (409, "The attempt was asked about before, with another body"),
    "bad_header": (400, "A header is not what it should be"),
    "body_too_large": (413, "The body is too large"),
    "bundle_refused": (409, "The bundle is not one to activate"),
    "duplicate_processor": (_UNPROCESSABLE, "A processor is named twice"),
    "head_too_large": (431, "The head is too large"),
    "malformed_body": (400, "The body cannot be read"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "missing_field": (_UNPROCESSABLE, "A required field is missing"),
    "no_earlier_bundle": (409, "There is nothing to go back to"),
    "not_allowed": (_UNPROCESSABLE, "A value is not one of those allowed"),
    "out_of_range": (_UNPROCESSABLE, "A value is out of its range"),
    "pan_detected": (_UNPROCESSABLE, "A card number was sent"),
    "request_timeout": (408, "The request came too slowly"),
    "status_required": (_UNPROCESSABLE, "An authorisation needs a status"),
    "unknown_bundle": (404, "No such bundle"),
    "unknown_currency": (_UNPROCESSABLE, "The currency is unknown"),
    "unknown_field": (_UNPROCESSABLE, "A field is not part of the contract"),
    "unsupported_media_type": (415, "The media type is not supported"),
    "wrong_format": (_UNPROCESSABLE, "A value has the wrong format"),
    "wrong_type": (_UNPROCESSABLE, "A value has the wrong type"),
}
"""Status and title of every code a request can be refused with."""

MAPPINGS: Final[dict[type[ServiceError], Mapping]] = {
    errors.ServiceError: Mapping(500, "internal", "An error inside", "the service failed; it is logged"),
    errors.SettingsError: Mapping(500, "internal", "An error inside", "the service failed; it is logged"),
    errors.BundleRefused: Mapping(503, "not_ready", "Not ready yet", "the model bundle was refused", 1),
    errors.ModelFailed: Mapping(500, "internal", "An error inside", "the service failed; it is logged"),
    errors.NotReady: Mapping(503, "not_ready", "Not ready yet", None, 1),
    errors.StoreError: Mapping(503, "store_unavailable", "Online state is unavailable", "try again", 1),
    errors.StoreTimeout: Mapping(503, "store_unavailable", "Online state is unavailable", "it was late; try again", 1),
    errors.StoreUnavailable: Mapping(503, "store_unavailable", "Online state is unavailable", "try again", 1),
    errors.JournalUnavailable: Mapping(503, "journal_unavailable", "The journal is unavailable", "try again", 1),
    errors.Overloaded: Mapping(429, "overloaded", "Too much at once", None, 1),
    errors.DecisionNotFound: Mapping(404, "decision_not_found", "No such decision"),
    errors.ShelfUnavailable: Mapping(503, "shelf_unavailable", "The shelf of bundles is unavailable", None, 1),
    errors.CredentialsRefused: Mapping(500, "internal", "An error inside", "the service failed; it is logged"),
    errors.AccessRefused: Mapping(403, "forbidden", "Not for this key or token"),
    errors.Unauthenticated: Mapping(401, "unauthenticated", "Who asks is not known"),
    errors.Forbidden: Mapping(403, "forbidden", "Not for this key or token"),
    errors.RateLimited: Mapping(429, "rate_limited", "Too many requests"),
}
"""Every other error of the service; `RequestRefused` is mapped by its code in `REFUSALS`."""

INTERNAL: Final = MAPPINGS[errors.ServiceError]
HTTP_CODES: Final[dict[int, tuple[str, str, str]]] = {
    404: ("not_found", "Not found", "nothing is served at this path"),
    405: ("method_not_allowed", "The method is not allowed here", "this path is served for another method"),
}
"""Code, title and detail for what the router refuses; any other 4xx of it is a ``bad_request``."""


def urn(code: str) -> str:
    """Return the identifier of a problem type."""
    return f"urn:pointsman:problem:{code}"


def problem_of(error: Exception) -> tuple[Problem, int | None]:
    """Return the problem an error becomes, and after how many seconds to try again, if that helps.

    Anything that is not a `ServiceError` is a bug: 500, ``internal``, and not a word of the exception.
    """
    if isinstance(error, RequestRefused):
        status, title = REFUSALS[error.code]
        return _problem(status, error.code, title, error.detail, error.path), None
    mapping = next((MAPPINGS[kind] for kind in type(error).__mro__ if kind in MAPPINGS), INTERNAL)
    detail = str(error) if mapping.detail is None else mapping.detail
    retry_after = error.retry_after if isinstance(error, RateLimited) else mapping.retry_after
    return _problem(mapping.status, mapping.code, mapping.title, detail), retry_after


def challenge(error: Exception) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header by which a refused caller learns how to ask (RFC 9110, 11.6.1, and RFC 6750, 3)."""
    if isinstance(error, Unauthenticated):
        why = b', error="invalid_token"' if error.presented else b""
    elif isinstance(error, Forbidden):
        why = b', error="insufficient_scope", scope="%b"' % error.scope.encode()
    else:
        return ()
    return ((b"www-authenticate", b'Bearer realm="pointsman"' + why),)


def problem_of_router(status: int) -> Problem:
    """Return the problem for a status with which the router itself refused a request."""
    fallback = ("bad_request", "The request cannot be served", "the request line or a header is not acceptable")
    code, title, detail = HTTP_CODES.get(status, fallback)
    return _problem(status, code, title, detail)


def encode(problem: Problem) -> bytes:
    """Return a problem as JSON; problems are JSON whatever the request was."""
    return _ENCODE(problem)


def _problem(status: int, code: str, title: str, detail: str, path: str = "$") -> Problem:
    return Problem(type=urn(code), title=title, status=status, code=code, detail=detail, path=path)
