"""A service of the benchmarks' own with everything on, over warm state: what of it this version has is used.

This module must not know what it is asked.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import redis

from benchmarks import processes
from benchmarks.client import Target
from service.settings import Settings
from service.store.base import Item
from service.store.bulk import put_many
from service.store.memory import MemoryStore

_KEY: Final = re.compile(r"\bpm_[A-Za-z0-9_-]+")
_LIMIT_SECONDS: Final = 30.0


class Service(NamedTuple):
    """One that runs.

    Attributes
    ----------
    server
        The process, of several workers that of their supervisor.
    redis
        The redis-server of its own; None when it has none.
    """

    server: processes.WebServer
    redis: processes.Redis | None

    @property
    def target(self) -> Target:
        """Where it listens."""
        return target(self.server.url)


class Keys(NamedTuple):
    """A file of keys, and the one key in it that may ask and report."""

    file: Path
    key: str


def target(url: str) -> Target:
    """Return where a URL leads."""
    parts = urlsplit(url)
    return Target(parts.hostname or "127.0.0.1", parts.port or 80)


def knows(setting: str) -> bool:
    """Tell whether the service has a setting."""
    return setting in Settings.__struct_fields__


def keys(folder: Path) -> Keys | None:
    """Return a new file of keys in `folder`, made as an operator makes one; None when the service asks nobody for a key.

    Raises
    ------
    RuntimeError
        When no key came out.
    """
    if not knows("keys"):
        return None
    file = folder.absolute() / "keys"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    command = [sys.executable, "-m", "service", "keys", "add", "--name", "benchmarks", "--scope", "decide,report"]
    done = subprocess.run(  # noqa: S603  (the command above)
        command,
        env={**inherited, "POINTSMAN_KEYS": str(file)},
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    found = _KEY.search(done.stdout)
    if done.returncode or found is None:
        # What it printed is left out: it may hold a key.
        msg = f"expected `service keys add` to print a key, got exit code {done.returncode}: {done.stderr[-500:]}"
        raise RuntimeError(msg)
    return Keys(file, found[0])


def service(
    stack: ExitStack,
    *,
    shelf: Path,
    store: str,
    journal: str,
    folder: Path,
    state: Sequence[Item],
    cores: tuple[set[int], set[int]],
    workers: int = 1,
    guarded: Keys | None = None,
) -> Service:
    """Start a service over `state` and its redis-server, if it is to have one; the stack stops both.

    Parameters
    ----------
    store
        ``memory://``, ``redis://`` (a server of its own) or the URL of an empty Redis.
    journal
        How it syncs: ``full``, ``async`` or ``off``.
    folder
        Where it keeps what it writes.
    cores
        Those of the service and those of its Redis.
    """
    own = None
    if store == "memory://":
        path = folder.absolute() / "state"
        memory = MemoryStore(path)
        memory.put_many(state)
        memory.save()
        store = f"memory://{path}"
    else:
        if store == "redis://":
            own = stack.enter_context(processes.Redis(cores[1]))
            store = own.url
        with redis.Redis.from_url(store) as client:
            if client.dbsize():
                msg = f"expected an empty Redis at {store}: the state of a simulated world is written to it"
                raise RuntimeError(msg)
        put_many(store, iter(state))
    server = processes.service(
        shelf.absolute(),
        store,
        "off" if journal == "off" else str(folder.absolute() / "journal"),
        "full" if journal == "off" else journal,
        cores[0],
        workers=workers,
        keys=None if guarded is None else guarded.file,
    )
    return Service(stack.enter_context(server), own)
