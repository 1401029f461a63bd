"""How the service is: what its health endpoints answer.

This module must not know how a part is examined.
"""

from typing import Literal

from contracts.base import Record


class Part(Record, frozen=True, kw_only=True):
    """How one part of the service is: `degraded` works with something missing, `not_ready` stops every answer."""

    state: Literal["ready", "degraded", "not_ready"]
    reason: str | None = None


class Readiness(Record, frozen=True, kw_only=True):
    """Whether decisions can be asked for, and how each part is."""

    ready: bool
    parts: dict[str, Part]


class Liveness(Record, frozen=True, kw_only=True):
    """The process answers."""

    live: bool = True
