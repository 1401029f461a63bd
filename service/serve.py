"""One process that serves: uvicorn's server, with the parts opened first, clients watched, and an end without haste.

This module must not know where its listener came from, nor whether it is one of several workers.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import socket
import time
from types import FrameType
from typing import Any, Final

import uvicorn

from service.app import Application
from service.http.connections import Edge, Limits
from service.http.protocol import Protocol
from service.settings import Settings

BACKLOG: Final = 2048
log: Final = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn, for one application of ours.

    Parameters
    ----------
    app
        What is served.
    settings
        How long clients are waited for, and how the server stops.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self._app = app
        self._edge = Edge(app.lane, limits_of(settings))
        self._delay = settings.drain_delay_seconds
        http: Any = functools.partial(Protocol, self._edge)
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=http,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                # An address that a client gives itself is not believed.
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=settings.drain_seconds,  # type: ignore[arg-type]
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the parts, then start the app and freeze what it made: a full collection has little to look at then.

        Raises
        ------
        ServiceError
            When a part will never work as things are: of the app's own lifespan it would become text in uvicorn's log.
        """
        await self._app.open()
        await super().startup(sockets)
        connections: Any = self.server_state.connections
        self._watching = asyncio.create_task(self._edge.watch(connections))
        gc.collect()
        gc.freeze()

    async def main_loop(self) -> None:
        """Serve until told to stop; then say so to whoever asks, and go on for as long as others need to hear of it."""
        await super().main_loop()
        self._app.drain()
        self._edge.draining = True
        if signal.SIGTERM not in self._captured_signals:
            # Somebody at a keyboard.
            return
        until = time.monotonic() + self._delay
        while time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(min(0.1, self._delay))
            # The date in the answers goes on.
            await self.on_tick(0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, answer what is under way, close the parts."""
        try:
            await super().shutdown(sockets)
        finally:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching


def limits_of(settings: Settings) -> Limits:
    """Return what connections are held to."""
    return Limits(
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        idle_seconds=settings.idle_seconds,
        write_seconds=settings.write_seconds,
        head_bytes=settings.head_limit,
        connections=settings.connections,
        in_flight=settings.in_flight,
    )


def serve(app: Application, settings: Settings, listener: socket.socket) -> bool:
    """Serve until told to stop; return whether it ever began.

    Raises
    ------
    ServiceError
        When a part will never work as things are.
    """
    server = Server(app, settings)
    # uvicorn drains on these signals, then sends itself the signal once more: that one is to find a quiet handler.
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, _told_to_stop)
    server.run(sockets=[listener])
    return server.started


def _told_to_stop(_signal: int, _frame: FrameType | None) -> None:
    log.info("stopped")
