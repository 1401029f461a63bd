"""Where httpx ends and the client begins: its exceptions become the client's own, its answers plain bytes.

This module must not know what is asked.
"""

from typing import Final

import httpx

from client.errors import TimedOut, Unavailable, Unreachable, Unreadable

MOST_BYTES: Final = 32 * 1024 * 1024
"""The longest answer that is read: a decision has 3 kB, a manifest may have a few hundred."""
IDLE_SECONDS: Final = 4.0
"""How long an unused connection is kept: less than servers and proxies do, so that none is used as it is closed."""

_NOT_SENT: Final = (httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def failure_of(error: httpx.RequestError) -> Unavailable:
    """Return what an exception of httpx is to whoever asked. Its own words stay out: they may name hosts of a proxy."""
    sent = not isinstance(error, _NOT_SENT)
    if isinstance(error, httpx.TimeoutException):
        where = "no connection" if isinstance(error, _NOT_SENT) else "no whole answer"
        return TimedOut(f"there was {where} in time", sent=sent)
    if isinstance(error, httpx.DecodingError | httpx.TooManyRedirects):
        return Unreadable(0, type(error).__name__)
    return Unreachable(f"the connection failed ({type(error).__name__})", sent=sent)


class Body:
    """The bytes of an answer, gathered up to the most that is read."""

    def __init__(self, status: int) -> None:
        self._status = status
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Take the next part.

        Raises
        ------
        Unreadable
            When the answer is too long.
        """
        self._parts.append(part)
        self._size += len(part)
        if self._size > MOST_BYTES:
            raise Unreadable(self._status, f"it is longer than {MOST_BYTES} bytes")

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)
