"""``python -m service``: reads the settings, binds the port, serves until it is told to stop.

Whatever prevents that is one sentence on standard error and exit code 2. ``python -m service replay`` makes one decision
again instead (`service.replay`), ``python -m service journal`` looks at a journal (`service.journal.command`).
"""

import logging
import os
import socket
import sys

from service import logs, settings
from service.errors import ServiceError


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
        # Only now: what is loaded here takes most of a second.
        from service.app import build
        from service.serve import serve

        return 0 if serve(build(chosen), chosen, listener) else 1
    except ServiceError as error:
        listener.close()
        return _refuse(str(error))


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"pointsman: {sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
