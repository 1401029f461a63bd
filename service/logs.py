"""Structured logs: one JSON object a line, to standard error.

This module must not know requests: no body, no header and no message of a foreign exception is ever logged, because any
of them may carry what a gateway sent. A traceback is logged as frames (file, line, function), with exception types only.
"""

import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from service.errors import ServiceError

_ENCODE: Final = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; what is in ``extra={"fields": {...}}`` joins the line.

    Parameters
    ----------
    common
        What every line says besides.
    """

    def __init__(self, **common: Any) -> None:
        super().__init__()
        self._common = common

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._common,
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        return _ENCODE(line).decode()


def describe(error: BaseException) -> list[dict[str, Any]]:
    """Return an exception and its causes as type and frames, innermost cause last; messages only of our own errors."""
    chain: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 8:
        frames = traceback.extract_tb(current.__traceback__)[-30:]
        entry: dict[str, Any] = {
            "type": f"{type(current).__module__}.{type(current).__qualname__}",
            "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        if isinstance(current, ServiceError):
            entry["message"] = str(current)
        chain.append(entry)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


class Seldom:
    """Lets a line of one kind through once in so many seconds, and counts those it kept back.

    Parameters
    ----------
    seconds
        Shortest time between two lines of a kind.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def kept_back(self, kind: tuple[str, str]) -> int | None:
        """Return None when a line of this kind is to be kept back, else how many were since the last."""
        now = time.monotonic()
        last, count = self._kinds.get(kind, (-self._seconds, 0))
        if now - last < self._seconds:
            self._kinds[kind] = (last, count + 1)
            return None
        self._kinds[kind] = (now, 0)
        return count


def configure(level: str, **common: Any) -> None:
    """Send everything at `level` and above to standard error as JSON lines; the servers' access log stays off.

    What is in `common` is in every line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(**common))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("asyncio").setLevel("WARNING")
