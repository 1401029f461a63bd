"""One process writes a writer's folder: a lock that the system gives back when the process ends, however it ends.

This module must not know what is in the folder.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from service.errors import JournalUnavailable

FILE: Final = "lock"
_PATIENCE_SECONDS: Final = 1.0
"""Whoever only looks whether a folder has an owner holds its lock for a moment."""


def take(folder: Path) -> int:
    """Take the lock of a folder; return its descriptor, which is to be closed when it is let go.

    Raises
    ------
    JournalUnavailable
        When another process has it.
    OSError
        When the folder cannot be written.
    """
    descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            reason = f"{folder} is being written by another process ({owner or 'unknown'})"
            raise JournalUnavailable(reason) from None
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor


def is_taken(folder: Path) -> bool:
    """Whether a process writes a folder now."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
