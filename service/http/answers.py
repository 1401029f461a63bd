"""Answers on the wire: the headers that every answer has, and how one is sent.

This module must not know who answers.
"""

from typing import Final

import msgspec
from litestar import Response
from litestar.types import Send

from contracts.problem import Problem
from service.http import problems

SECURITY_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}
_RAW_SECURITY: Final = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_ENCODE: Final = msgspec.json.Encoder().encode


def head(media_type: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer of this type, all but its length; built once, copied for each answer."""
    return [(b"content-type", media_type), *_RAW_SECURITY]


async def send_answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send one complete answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_problem(
    send: Send, problem: Problem, *, retry_after: int | None = None, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send a problem."""
    headers = [*head(problems.MEDIA_TYPE.encode()), *extra]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    await send_answer(send, problem.status, headers, problems.encode(problem))


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
