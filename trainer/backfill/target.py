"""Where a backfill writes to: a server of any scheme, or the snapshot of an embedded store.

This module must not know what the states are made of.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

from service.errors import ServiceError
from service.store import open_store
from service.store.base import Item
from service.store.bulk import fetch_many, put_many
from service.store.memory import MemoryStore
from trainer.errors import StoreRefused

Names = Iterable[tuple[str, str]]

SAVE_SECONDS: Final = 20.0
"""Time between two snapshots on the way: writing one takes a second for a million states."""


class Target(Protocol):
    """A store that is written and read in bulk."""

    def put(self, items: Iterable[Item]) -> int:
        """Write states over whatever is there; return how many."""
        ...

    def keep(self, *, final: bool) -> bool:
        """Return whether all that was put would outlive this process; with `final` it does."""
        ...

    def fetch(self, names: Names) -> Iterator[bytes | None]:
        """Yield the state of each (kind, key) as whoever opens the store anew reads it."""
        ...


class Server:
    """Redis, a cluster, or what Sentinels name."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put(self, items: Iterable[Item]) -> int:
        """Write states over whatever is there; return how many."""
        return put_many(self._url, items)

    def keep(self, *, final: bool) -> bool:
        """Return True: what the server has taken is out of this process's hands."""
        return True

    def fetch(self, names: Names) -> Iterator[bytes | None]:
        """Yield the state of each (kind, key)."""
        return fetch_many(self._url, names)


class SnapshotFile:
    """The snapshot of an embedded store, with what it holds already."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store = _memory(url)
        self._saved = time.monotonic()

    def put(self, items: Iterable[Item]) -> int:
        """Write states over whatever is there; return how many."""
        return self._store.put_many(items)

    def keep(self, *, final: bool) -> bool:
        """Write the snapshot when it is time for it, or at last; return whether it was written."""
        if not final and time.monotonic() - self._saved < SAVE_SECONDS:
            return False
        self._store.save()
        self._saved = time.monotonic()
        return True

    def fetch(self, names: Names) -> Iterator[bytes | None]:
        """Yield the state of each (kind, key) as it lies in the file."""
        return _memory(self._url).fetch_many(names)


def _memory(url: str) -> MemoryStore:
    store = open_store(url, timeout_ms=1000)
    assert isinstance(store, MemoryStore)
    store.load()
    return store


@contextmanager
def target(url: str) -> Iterator[Target]:
    """Open the store a URL names; whatever goes wrong with it is said in the trainer's words.

    Raises
    ------
    StoreRefused
        When it cannot be opened, written or read.
    """
    try:
        # Also refuses a URL that names no store, before anything is computed.
        opened = open_store(url, timeout_ms=1000)
        if not isinstance(opened, MemoryStore):
            yield Server(url)
            return
        if not urlsplit(url).path.strip("/"):
            msg = "memory:// is gone when this command ends; expected memory:///path/to/snapshot or the URL of a server"
            raise StoreRefused(msg)
        yield SnapshotFile(url)
    except ServiceError as error:
        raise StoreRefused(str(error)) from error
    except OSError as error:
        msg = f"{url.partition('://')[0]}:// cannot be written: {error.strerror or error}"
        raise StoreRefused(msg) from error
