"""The next segment, made beforehand: a file of zeros that the disk has already.

To write over what is there takes the disk one flush. To make a file longer takes two, for its new length is to be kept as well:
on ext4 that is half of the time of a small batch, and a third of the processor's. This module must not know what a segment holds.
"""

import os
import threading
from pathlib import Path
from typing import Final

FILE: Final = "next"
_SCRATCH: Final = "next.tmp"
_SLICE: Final = 256 << 10
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two slices at most: a segment of 64 MiB is made in five seconds, and a batch waits for one slice at most."""


def prepare(folder: Path, size: int, seconds: float, given_up: threading.Event) -> None:
    """Make the next segment, durable on return.

    Parameters
    ----------
    folder
        Of the writer.
    size
        Of the file, in bytes.
    seconds
        About how long that may take: the disk is shared with who writes the segment before it.
    given_up
        Set, it ends this without one.

    Raises
    ------
    OSError
        When it cannot be made; then there is none.
    """
    scratch = folder / _SCRATCH
    zeros = bytes(_SLICE)
    pause = min(_LONGEST_PAUSE, seconds * _SLICE / size)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        for at in range(0, size, _SLICE):
            os.pwrite(descriptor, zeros[: size - at], at)
            os.fdatasync(descriptor)
            if given_up.wait(pause):
                return
        os.fsync(descriptor)
        scratch.rename(folder / FILE)
    finally:
        os.close(descriptor)
        scratch.unlink(missing_ok=True)


def is_ready(folder: Path) -> bool:
    """Whether the next segment is made."""
    return (folder / FILE).exists()


def take(folder: Path, path: Path, size: int, flags: int) -> int | None:
    """Name the next segment `path` and open it; None when there is none of this size, or the disk does not do that.

    Raises
    ------
    FileExistsError
        When there is a file of this name.
    """
    ready = folder / FILE
    try:
        descriptor = os.open(ready, flags)
    except OSError:
        return None
    try:
        about = os.fstat(descriptor)
        # With two names it is a segment already: its process ended between the two lines below.
        if about.st_size == size and about.st_nlink == 1:
            # Not a rename: that would replace a segment of this name, should there be one.
            os.link(ready, path)
            ready.unlink()
            return descriptor
    except FileExistsError:
        os.close(descriptor)
        raise
    except OSError:
        # A disk without links.
        pass
    os.close(descriptor)
    ready.unlink(missing_ok=True)
    return None
