"""One process that serves: uvicorn's server, with the parts opened first, clients watched, and an end without haste.

It stops on SIGTERM and SIGINT, looks at everything that can change again on SIGHUP, and stops when its supervisor is gone.
This module must not know where its listener came from.
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import uvicorn

from service.app import Application
from service.http.connections import Edge, Limits
from service.http.protocol import Protocol
from service.listen import BACKLOG
from service.settings import Settings

log: Final = logging.getLogger(__name__)
_SPARE_FILES: Final = 256


class Place(NamedTuple):
    """Where a worker stands among others; all of it is nothing for a process that serves alone.

    Attributes
    ----------
    folder
        Where the workers find each other.
    lifeline
        File descriptor that reads the end of file once the supervisor is gone.
    restarts
        How often this worker was started before.
    """

    folder: Path | None = None
    lifeline: int | None = None
    restarts: int | None = None

    @classmethod
    def of(cls, arguments: Sequence[str]) -> "Place":
        """Return what the supervisor says on a worker's command line."""
        if not arguments:
            return cls()
        parser = argparse.ArgumentParser(prog="python -m service worker")
        parser.add_argument("--folder", type=Path, required=True)
        parser.add_argument("--lifeline", type=int, required=True)
        parser.add_argument("--restarts", type=int, required=True)
        return cls(**vars(parser.parse_args(arguments[1:])))


class Server(uvicorn.Server):
    """uvicorn, for one application of ours.

    Parameters
    ----------
    app
        What is served.
    settings
        How long clients are waited for, and how the server stops.
    place
        Where it stands among other workers.
    """

    def __init__(self, app: Application, settings: Settings, place: Place) -> None:
        self._lifeline = place.lifeline
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
                **({} if app.certificate is None else app.certificate.server_options()),
            )
        )
        metrics = app.metrics
        metrics.in_flight = lambda: len(self.server_state.tasks)
        metrics.connections = lambda: len(self.server_state.connections)
        metrics.let_go = self._edge.let_go
        metrics.restarts = place.restarts

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
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGHUP, self._app.reload)
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._orphaned, loop, self._lifeline)
        gc.collect()
        gc.freeze()
        # Nothing of a request refers to itself: looking for rings every 700 objects, twice a request, finds none. Nor too seldom:
        # 50,000 are looked through in 30 ms, and until then none of what the embedded store keeps is known to need no look.
        gc.set_threshold(10_000, 50, 50)

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

    def _orphaned(self, loop: asyncio.AbstractEventLoop, lifeline: int) -> None:
        """Stop: there is no supervisor any more."""
        loop.remove_reader(lifeline)
        self.should_exit = True

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


def serve(app: Application, settings: Settings, listener: socket.socket, place: Place) -> bool:
    """Serve until told to stop; return whether it ever began.

    Raises
    ------
    ServiceError
        When a part will never work as things are.
    """
    _allow_files(settings.connections + _SPARE_FILES)
    server = Server(app, settings, place)
    # uvicorn drains on these signals, then sends itself the signal once more: that one is to find a quiet handler.
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, _told_to_stop)
    server.run(sockets=[listener])
    return server.started


def _allow_files(wanted: int) -> None:
    """Raise this process's own limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("%d open files are allowed, %d would be needed for all connections that are", most, wanted)


def _told_to_stop(_signal: int, _frame: FrameType | None) -> None:
    log.info("stopped")
