"""A place in an open segment, from which events are read on; by the index where there is one, else by going through.

This module must not know what an event means, nor that a writer has other segments.
"""

import errno
import os
from collections.abc import Iterator

from service.journal.frame import HEAD_SIZE, NAMED
from service.journal.index import Index
from service.journal.segment import START_SIZE, Segment, blocks


class Cursor:
    """A place in an open segment.

    Attributes
    ----------
    number
        Of the event that comes next.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = START_SIZE
        self.number = segment.first

    def close(self) -> None:
        """Close the segment."""
        os.close(self._descriptor)

    def is_at(self, segment: Segment, number: int) -> bool:
        """Whether this is that place; a segment that was made again under its name is another."""
        if self._segment != segment or self.number != number:
            return False
        named, own = segment.path.stat(), os.fstat(self._descriptor)
        return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)

    def seek(self, number: int) -> bool:
        """Go to the event of a number that is not before the segment; return whether all before it are there."""
        if not self._jump(number):
            for _ in self.read(number - self._segment.first):
                pass
        return self.number == number

    def _jump(self, number: int) -> bool:
        """Go to an event by the index; return whether that knows it."""
        index = Index.open(self._segment.path, self._segment.first)
        if index is None:
            return False
        with index:
            ordinal = number - self._segment.first
            if ordinal > index.count:
                return False
            self._offset, self.number = index.offset(ordinal), number
        return True

    def read(self, limit: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield up to `limit` events that come next, as number and content; None for the content of one that is damaged."""
        while limit > 0:
            for offset, content, frames in blocks(self._descriptor, self._offset):
                for at, end, good in frames[:limit]:
                    self._offset = offset + end
                    self.number += 1
                    limit -= 1
                    yield self.number - 1, content[at + HEAD_SIZE : end] if good else None
                if limit <= 0:
                    return
            # Where the length of an event is damaged, an index still tells where the next one begins.
            damaged = self.number
            if not self._jump(damaged + 1):
                return
            limit -= 1
            yield damaged, None

    def sync(self) -> None:
        """Wait until the disk has what was read: a writer may still be waiting for that.

        Raises
        ------
        OSError
            When it does not take it.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            # A disk that cannot be written has nothing to catch up with.
            if error.errno not in {errno.EROFS, errno.EINVAL, errno.ENOSYS}:
                raise


def count_in(segment: Segment) -> tuple[int, int]:
    """Return how many events a segment holds, and how many of them are decisions."""
    index = Index.open(segment.path, segment.first)
    if index is not None:
        with index:
            return index.count, index.decisions
    events = decisions = 0
    descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for block in blocks(descriptor, START_SIZE):
            events += len(block.frames)
            decisions += sum(block.content[at + NAMED : at + NAMED + 4] != b"\0\0\0\0" for at, _, _ in block.frames)
    finally:
        os.close(descriptor)
    return events, decisions
