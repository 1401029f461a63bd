"""Answers on the wire: the headers that every answer has, and how one is sent.

This module must not know who answers.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from litestar import Response
from litestar.types import Send

from contracts.problem import Problem
from service.http import problems

SECURITY_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
}
"""What every answer says, so that a browser that meets one neither keeps, guesses, frames nor runs it (OWASP REST security)."""
_RAW_SECURITY: Final = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_ENCODE: Final = msgspec.json.Encoder().encode


class Head:
    """The headers of an answer but for its length, made once in both forms that servers send.

    Attributes
    ----------
    fields
        Name and value of each, as ASGI wants them.
    raw
        The same as lines of HTTP/1.1.
    """

    __slots__ = ("fields", "raw")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self.fields = tuple(fields)
        self.raw = b"".join([b"%b: %b\r\n" % field for field in self.fields])

    def plus(self, *fields: tuple[bytes, bytes]) -> "Head":
        """Return one with more headers."""
        return Head((*self.fields, *fields))


def head(media_type: bytes) -> Head:
    """Return the headers that every answer of this type has."""
    return Head([(b"content-type", media_type), *_RAW_SECURITY])


_PROBLEM: Final = head(problems.MEDIA_TYPE.encode())


class Reply(NamedTuple):
    """One complete answer."""

    status: int
    head: Head
    body: bytes


async def send_reply(send: Send, reply: Reply) -> None:
    """Send one complete answer over ASGI."""
    length = (b"content-length", b"%d" % len(reply.body))
    await send(
        {"type": "http.response.start", "status": reply.status, "headers": [*reply.head.fields, length]},
    )
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def problem_reply(
    problem: Problem, *, retry_after: int | None = None, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> Reply:
    """Return the answer that states a problem."""
    if retry_after is not None:
        extra = (*extra, (b"retry-after", b"%d" % retry_after))
    return Reply(problem.status, _PROBLEM.plus(*extra) if extra else _PROBLEM, problems.encode(problem))


def reply_of(error: Exception) -> Reply:
    """Return the answer that an error becomes."""
    problem, retry_after = problems.problem_of(error)
    return problem_reply(problem, retry_after=retry_after)


def response(body: object, *, status: int = 200, media_type: str = "application/json") -> Response[bytes]:
    """Return an ordinary answer; what is not bytes becomes JSON."""
    content = body if isinstance(body, bytes) else _ENCODE(body)
    return Response(content, status_code=status, media_type=media_type, headers=SECURITY_HEADERS)


def problem_response(
    problem: Problem, *, retry_after: int | None = None, extra: dict[str, str] | None = None
) -> Response[bytes]:
    """Return a problem as an ordinary answer."""
    headers = {**SECURITY_HEADERS, **(extra or {})}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return Response(
        problems.encode(problem), status_code=problem.status, media_type=problems.MEDIA_TYPE, headers=headers
    )
