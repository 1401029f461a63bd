"""What a writer finds in its folder when it comes: segments of one before it, the last one perhaps cut off in the middle.

What was acknowledged was whole on the disk before anything after it was begun: behind the last good frame there is nothing
that anybody was promised. It is cut off, and put aside rather than thrown away. This module must not know what events mean.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Final, NamedTuple

from service.journal.frame import HEAD_SIZE
from service.journal.index import Index
from service.journal.segment import START_SIZE, Segment, begun_at, blocks, segments_in

TORN: Final = ".torn"

log: Final = logging.getLogger(__name__)


class Heads(NamedTuple):
    """The headers of all frames of a segment.

    Attributes
    ----------
    heads
        16 bytes for each frame.
    end
        Where the last of them ends.
    damaged
        How many have a wrong checksum.
    """

    heads: bytes
    end: int
    damaged: int


def heads_of(descriptor: int) -> Heads:
    """Read the headers of an open segment's frames; every checksum is looked at."""
    heads, end, damaged = bytearray(), START_SIZE, 0
    for offset, content, frames in blocks(descriptor, START_SIZE):
        for at, _, good in frames:
            heads += content[at : at + HEAD_SIZE]
            damaged += not good
        end = offset + frames[-1].end
    return Heads(bytes(heads), end, damaged)


def unindexed(folder: Path) -> list[Segment]:
    """Return the segments of a folder without an index, all but the last."""
    missing = []
    for segment in segments_in(folder)[:-1]:
        index = Index.open(segment.path, segment.first)
        if index is None:
            missing.append(segment)
        else:
            index.close()
    return missing


def take_over(folder: Path) -> tuple[int, tuple[Segment, bytes] | None]:
    """Make a folder whole again that nobody writes.

    Returns
    -------
    tuple
        Number of the next event; and the last segment with the headers of its frames when it has no index yet.

    Raises
    ------
    OSError
        When the folder cannot be read or written.
    JournalUnavailable
        When it cannot be listed.
    """
    for scratch in folder.glob("*.tmp"):
        scratch.unlink(missing_ok=True)
    segments = segments_in(folder)
    if not segments:
        return 1, None
    last = segments[-1]
    descriptor = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        index = Index.open(last.path, last.first)
        if index is not None:
            with index:
                if index.end == size:
                    return last.first + index.count, None
        if begun_at(descriptor, last.first) is None:
            _put_aside(descriptor, last.path, 0, size)
            last.path.unlink()
            return last.first, None
        heads, end, damaged = heads_of(descriptor)
        if damaged:
            log.error("the journal's segment %s has %d damaged events", last.path, damaged)
        if size > end:
            _put_aside(descriptor, last.path, end, size)
            os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if not heads:
        last.path.unlink()
        return last.first, None
    return last.first + len(heads) // HEAD_SIZE, (last, heads)


def _put_aside(descriptor: int, path: Path, begin: int, end: int) -> None:
    """Copy what is cut off into a file of its own, unless it is nothing but zeros."""
    # A segment that was made beforehand ends in zeros.
    rest = os.pread(descriptor, end - begin, begin).rstrip(b"\0")
    if not rest:
        return
    aside = path.with_suffix(f".{begin}{TORN}")
    log.warning("the journal's segment %s ends in %d bytes of no whole event: put aside as %s", path, len(rest), aside)
    # A full disk must not keep the journal from being opened: what is put aside was acknowledged to nobody.
    with contextlib.suppress(OSError):
        aside.write_bytes(rest)
