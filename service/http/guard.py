"""The gate before an ordinary handler: who asks is known, or the answer is a refusal.

This module must not know how callers prove who they are, nor what a handler does.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from service.access.caller import Caller
from service.access.caller import Scope as Needed
from service.access.gate import Gate
from service.errors import AccessRefused
from service.http import answers
from service.http.problems import challenge, problem_of
from service.http.reporter import Reporter

_CALLER: Final = "pointsman.caller"


def guarded(gate: Gate | None, needs: Needed, reporter: Reporter) -> list[Any]:
    """Return the middleware that lets through whoever has the scope; none where everybody may ask."""
    if gate is None:
        return []

    def wrap(app: ASGIApp) -> ASGIApp:
        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                caller = gate.admit(needs, dict(scope["headers"]), time.monotonic())
            except AccessRefused as error:
                reporter.turned_away(template(scope), error)
                problem, retry_after = problem_of(error)
                # What there is of a body is not read.
                method = scope["method"]  # type: ignore[typeddict-item]
                extra = challenge(error) if method == "GET" else (*challenge(error), (b"connection", b"close"))
                await answers.send_reply(send, answers.problem_reply(problem, retry_after=retry_after, extra=extra))
                return
            members: Any = scope
            members[_CALLER] = caller
            await app(scope, receive, send)

        return admitted

    return [wrap]


def caller_of(scope: Mapping[str, Any]) -> Caller | None:
    """Return who was let through, None where nobody was asked."""
    return scope.get(_CALLER)


def template(scope: Mapping[str, Any]) -> str:
    """Return the path of a request as it stands in the API's document, which is all that is ever logged of it."""
    return str(scope.get("path_template", "unmatched")).replace(":str", "")
