"""How a client asks: where, with which key, how long and how often.

This module must not know what is asked.
"""

import math
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

Key = str | Callable[[], str] | None
"""An API key or token; a function is asked before every try, so that a key can be rotated under a running client."""

_SHORTEST_SECONDS: Final = 0.001


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a client asks.

    Attributes
    ----------
    url
        Where the service is, such as ``https://pointsman.internal:8443``; a path before ``/api`` is kept.
    key
        Sent as ``Authorization: Bearer``; None sends none.
    timeout_seconds
        How long one call may take in all, tries and waits included.
    try_seconds
        How long one try of it may take.
    tries
        How often a request may be sent, the first time included.
    budget_ms
        The most milliseconds the service may take for a decision; None: as long as the try has left, or its own default.
    form
        The form of bodies on the wire.
    """

    url: str
    key: Key = None
    timeout_seconds: float = 1.0
    try_seconds: float = 0.5
    tries: int = 3
    budget_ms: float | None = None
    form: Literal["json", "msgpack"] = "json"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            msg = "url: expected http://host[:port][/path] or https://host[:port][/path]"
            raise ValueError(msg)
        if parts.username or parts.password:
            msg = "url: expected no user and no password in it; a key is its own option"
            raise ValueError(msg)
        for name in ("timeout_seconds", "try_seconds", "budget_ms"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= _SHORTEST_SECONDS):
                msg = f"{name}: expected a finite number from {_SHORTEST_SECONDS:g}"
                raise ValueError(msg)
        if self.tries < 1:
            msg = "tries: expected at least 1"
            raise ValueError(msg)

    def bearer(self) -> str | None:
        """Return the key to send with the next try."""
        return self.key() if callable(self.key) else self.key

    def __repr__(self) -> str:
        key = "None" if self.key is None else "'***'"
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in {"key"})
        return f"Options({shown}, key={key})"
