"""``python -m service``: reads the settings, binds the port, serves until it is told to stop.

Whatever prevents that is one sentence on standard error and exit code 2. ``python -m service replay`` makes one decision
again instead (`service.replay`), ``python -m service journal`` looks at a journal (`service.journal.command`).
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service import logs, settings
from service.errors import ServiceError

DRAIN_SECONDS: Final = 10
_BACKLOG: Final = 2048
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Server(uvicorn.Server):
    """uvicorn, which opens the app's parts itself and leaves what start has made out of every garbage collection.

    Parameters
    ----------
    config
        As uvicorn takes it.
    opening
        Called before the app is started. An error of it leaves `run` as it is; one of the app's own lifespan would become
        text in uvicorn's log.
    """

    def __init__(self, config: uvicorn.Config, opening: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(config)
        self._opening = opening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app; then freeze its objects, so that a full collection on the hot path has little to look at."""
        if self._opening is not None:
            await self._opening()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 for clients that offer an upgrade (Java's and curl's h2c): the offer is not taken, the request is answered.

    httptools ends a message at the head of an offered upgrade and drops its body. A server may ignore the offer (RFC 9110,
    7.8), so the parser does not get to see it.
    """

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if b"pgrade" in data and (self.cycle is None or self.cycle.response_complete):
            head, end, body = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-upgrade-offered:", head) + end + body
        super().data_received(data)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises
    ------
    OSError
        When the host has no address or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.set_inheritable(True)
    except OSError:
        listener.close()
        raise
    return listener


def main() -> int:
    """Serve, or replay one decision; return the exit code."""
    if sys.argv[1:2] == ["replay"]:
        from service import replay

        return replay.main(sys.argv[2:])
    if sys.argv[1:2] == ["journal"]:
        from service.journal import command

        return command.main(sys.argv[2:])
    if sys.argv[1:]:
        return _refuse(
            "expected no arguments, replay or journal; settings are POINTSMAN_ variables, such as POINTSMAN_PORT (see README.md)"
        )
    try:
        chosen = settings.load(os.environ)
    except ServiceError as error:
        return _refuse(str(error))
    logs.configure(chosen.log_level)
    logging.getLogger("service").info("starting", extra={"fields": {"settings": chosen.redacted()}})
    try:
        listener = bind(chosen.host, chosen.port)
    except OSError as error:
        return _refuse(f"cannot listen on {chosen.host} port {chosen.port}: {error.strerror or error}")
    try:
        from service.app import build

        app = build(chosen)
    except ServiceError as error:
        listener.close()
        return _refuse(str(error))
    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        ),
        opening=app.open,
    )
    # uvicorn drains on these signals, then sends itself the signal once more: that one is to find a quiet handler.
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, _told_to_stop)
    try:
        server.run(sockets=[listener])
    except ServiceError as error:
        listener.close()
        return _refuse(str(error))
    return 0 if server.started else 1


def _told_to_stop(_signal: int, _frame: FrameType | None) -> None:
    logging.getLogger("service").info("stopped")


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"pointsman: {sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
