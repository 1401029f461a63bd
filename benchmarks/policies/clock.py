"""Simulated time for the service: what it takes for now is what the stage says.

The service asks ``datetime.now(UTC)`` and nothing else for the time of day; its deadlines run on the monotonic clock, which stays
as it is. This module must not know a policy.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any


class Clock:
    """Stands where a module of the service expects ``datetime``; everything but `now` is the real one's."""

    def __init__(self) -> None:
        self.moment = datetime(2000, 1, 1, tzinfo=UTC)

    def now(self, tz: tzinfo | None = None) -> datetime:
        """Return the simulated moment."""
        return self.moment.astimezone(tz)

    def __call__(self, *parts: Any, **named: Any) -> datetime:  # noqa: D102
        return datetime(*parts, **named)  # noqa: DTZ001  (as the caller has it)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


@contextmanager
def simulated() -> Iterator[Clock]:
    """Give every loaded module of the service a clock of its own, and the real one back in the end."""
    clock = Clock()
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("service.") and getattr(module, "datetime", None) is datetime
    ]
    for module in modules:
        module.datetime = clock  # type: ignore[attr-defined]
    try:
        yield clock
    finally:
        for module in modules:
            module.datetime = datetime  # type: ignore[attr-defined]
