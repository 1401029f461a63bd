"""One set of tests for both clients: a fake service, and a caller of either client that looks the same."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import AsyncClient, Client
from contracts.payment import AuthRequest
from tests.client.fake import Act, Fake
from tests.parts import PAYMENT

Play = Callable[..., Fake]
Ask = Callable[..., Any]

REQUEST = AuthRequest(**PAYMENT)


@pytest.fixture
def play() -> Iterator[Play]:
    """Start a fake with a script; all are closed at the end."""
    started: list[Fake] = []

    def start(*script: Act, certificate: Path | None = None) -> Fake:
        started.append(Fake(*script, certificate=certificate))
        return started[-1]

    yield start
    for fake in started:
        fake.close()


@pytest.fixture(params=["blocking", "asynchronous"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask something of a URL with a client of its own: ``ask(url, "auth", request, tries=1)``.

    The times are long: who waits for something that never comes says how long.
    """

    def blocking(url: str, method: str, *arguments: Any, **options: Any) -> Any:
        per_call = {name: options.pop(name) for name in ("call_seconds",) if name in options}
        with Client(url, **{"timeout_seconds": 30.0, "try_seconds": 20.0, **options}) as client:
            return getattr(client, method)(*arguments, timeout_seconds=per_call.get("call_seconds"))

    async def awaited(url: str, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        per_call = {name: options.pop(name) for name in ("call_seconds",) if name in options}
        async with AsyncClient(url, **{"timeout_seconds": 30.0, "try_seconds": 20.0, **options}) as client:
            return await getattr(client, method)(*arguments, timeout_seconds=per_call.get("call_seconds"))

    def asynchronous(url: str, method: str, *arguments: Any, **options: Any) -> Any:
        return asyncio.run(awaited(url, method, arguments, options))

    return blocking if request.param == "blocking" else asynchronous
