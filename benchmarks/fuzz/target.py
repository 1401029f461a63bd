"""What is attacked: the whole service in process, over ASGI, with its own parts and everything in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.fuzz.corpus import Case
from service.app import Application, build
from service.settings import Settings

BUDGET_MS: Final = 5_000.0
"""Generous: this is about what is answered, not about how fast."""


class Seen(NamedTuple):
    """What came of a case: the answer, or what escaped; the processor time it took, and whether it was answered twice."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    escaped: BaseException | None
    cpu_seconds: float
    messages: int


@contextlib.asynccontextmanager
async def opened(shelf: Path) -> AsyncIterator[Application]:
    """Open a service over a shelf of bundles; close it at the end."""
    app = build(Settings(bundles=shelf, store="memory://", journal=None, budget_ms=BUDGET_MS))
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life = asyncio.create_task(app(scope, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    started = await told.get()
    if started["type"] != "lifespan.startup.complete":
        msg = f"the service did not start: {started}"
        raise RuntimeError(msg)
    try:
        yield app
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await told.get()
        await life


async def ask(app: Application, case: Case) -> Seen:
    """Send one case and return what came of it; nothing but the end of the process is raised."""
    waiting = list(case.parts)
    sent: list[Any] = []

    async def receive() -> Any:
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or case.gone}

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/api/decisioning/{case.kind}"
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": case.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"fuzz"), *case.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    escaped: BaseException | None = None
    began = time.thread_time()
    try:
        await app(scope, receive, send)
    except (Exception, RecursionError) as error:  # noqa: BLE001  (it is what is looked for)
        escaped = error
    spent = time.thread_time() - began
    if not sent:
        return Seen(0, {}, b"", escaped, spent, 0)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Seen(sent[0].get("status", 0), dict(sent[0].get("headers", ())), body, escaped, spent, len(sent))
