"""One request to one of the four questions, from its head to its answer, as the connection sees it.

This module must not know how bytes become a request.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from service.http.answers import Reply
from service.http.decisions import Exchange


class Head(NamedTuple):
    """The head of a request to one of the four questions."""

    exchange: Exchange[Any]
    headers: Mapping[bytes, bytes]
    length: int


class _NoEvent:
    """In the place of an event nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


class Call:
    """One request on the lane, with as much of uvicorn's cycle as a connection asks of its latest one."""

    __slots__ = ("body", "disconnected", "head", "keep_alive", "refused", "response_complete", "started", "task")

    message_event: Final = _NoEvent()
    response_started: Final = False
    more_body: Final = False

    def __init__(self, head: Head, started: float, *, keep_alive: bool) -> None:
        self.head = head
        self.started = started
        self.keep_alive = keep_alive
        self.body = b""
        self.refused: Reply | None = None
        self.disconnected = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
