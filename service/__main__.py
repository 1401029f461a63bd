"""``python -m service``: reads the settings, binds the port, serves until it is told to stop.

Whatever prevents that is one sentence on standard error and exit code 2. ``python -m service replay`` makes one decision
again instead (`service.replay`), ``python -m service journal`` looks at a journal (`service.journal.command`), ``python -m
service keys`` makes and ends API keys (`service.access.command`).
"""

import logging
import os
import sys

from service import logs, settings
from service.access import exposure
from service.errors import ServiceError
from service.listen import bind, reserve
from service.settings import Settings


def main() -> int:
    """Serve, or replay one decision; return the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["replay"]:
        from service import replay

        return replay.main(arguments[1:])
    if arguments[:1] == ["journal"]:
        from service.journal import command as journal

        return journal.main(arguments[1:])
    if arguments[:1] == ["keys"]:
        from service.access import command

        return command.main(arguments[1:], settings.keys_file(os.environ))
    if arguments and arguments[0] != "worker":
        return _refuse(
            "expected no arguments, replay, journal or keys; settings are POINTSMAN_ variables, such as POINTSMAN_PORT "
            "(see README.md)"
        )
    try:
        chosen = settings.load(os.environ)
        exposure.check(chosen)
    except ServiceError as error:
        return _refuse(str(error))
    several = {"worker": chosen.worker} if arguments else {}
    logs.configure(chosen.log_level, **several)
    if not arguments:
        logging.getLogger("service").info("starting", extra={"fields": {"settings": chosen.redacted()}})
    try:
        if chosen.workers > 1 and not arguments:
            return _supervise(chosen)
        return _serve(chosen, arguments)
    except OSError as error:
        return _refuse(f"cannot listen on {chosen.host} port {chosen.port}: {error.strerror or error}")


def _supervise(chosen: Settings) -> int:
    """Keep several workers; this process loads nothing of what they serve with."""
    from service.supervise import Supervisor, worker_command

    with reserve(chosen.host, chosen.port):
        stop_seconds = chosen.drain_delay_seconds + chosen.drain_seconds
        return Supervisor(chosen.workers, stop_seconds=stop_seconds, command=worker_command).run()


def _serve(chosen: Settings, arguments: list[str]) -> int:
    """Serve, alone or as one of several workers."""
    with bind(chosen.host, chosen.port, shared=bool(arguments)) as listener:
        # Only now: what is loaded here takes most of a second.
        from service.app import build
        from service.serve import Place, serve

        place = Place.of(arguments)
        try:
            return 0 if serve(build(chosen, place.folder), chosen, listener, place) else 1
        except ServiceError as error:
            return _refuse(str(error))


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"pointsman: {sentence}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
