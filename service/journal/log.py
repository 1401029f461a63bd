"""The files of one writer as it writes them: taken over, grown by whole batches, begun anew by size and by age.

All of it belongs to one thread. This module must not know events, event loops or who waits.
"""

import contextlib
import errno
import logging
import os
import time
from math import inf
from pathlib import Path
from typing import Final

from service.errors import JournalUnavailable
from service.journal import lock, prepare
from service.journal.frame import HEAD_SIZE
from service.journal.keeping import Keeping
from service.journal.recovery import take_over
from service.journal.segment import START_SIZE, Segment, name_of, start_of

log: Final = logging.getLogger(__name__)

_MODE: Final = 0o640
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that say exactly how much was written; after any other it is not known what the disk has."""
_PROBE: Final = 1 << 20
"""Bytes for which there must be room before a disk that was full is written again."""


class WriteFailed(Exception):
    """A batch that the disk did not take whole.

    Parameters
    ----------
    kept
        How many of its events are durable: the first ones.
    reason
        What the disk said.
    """

    def __init__(self, kept: int, reason: str) -> None:
        self.kept = kept
        super().__init__(reason)


class Log:
    """The open log of one writer.

    Parameters
    ----------
    folder
        The writer's folder; made if need be.
    durable
        Whether `write` returns when the disk has the batch. If not, `sync` is to be called now and then.
    keeping
        When segments are sealed.

    Attributes
    ----------
    heads
        Headers of the frames of the open segment.
    fills_in
        Seconds in which a whole segment is filled at the pace of the one before.
    sealed
        Segments that were sealed and have no index yet, with the headers of their frames.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be written, or another process writes it.
    """

    def __init__(self, folder: Path, *, durable: bool, keeping: Keeping) -> None:
        self._folder = folder
        self._durable = durable
        self._keeping = keeping
        self._lock = -1
        self._descriptor = -1
        self._segment = Segment(1, folder / name_of(1))
        self._end = 0
        self._begun = 0.0
        self._unsynced = False
        self._prepared = False
        self._asked = False
        self.fills_in = inf
        self.heads = bytearray()
        self.sealed: list[tuple[Segment, bytes]] = []
        try:
            _make(folder)
            self._lock = lock.take(folder)
            self._next, found = take_over(folder)
            if found is not None:
                self.sealed.append(found)
            self._begin()
        except OSError as error:
            self._let_go()
            reason = f"{folder} cannot be opened for writing: {error.strerror or error}"
            raise JournalUnavailable(reason) from error
        except JournalUnavailable:
            self._let_go()
            raise

    @property
    def end(self) -> int:
        """Size of the segment that is being written, in bytes."""
        return self._end

    @property
    def segment(self) -> Segment:
        """The segment that is being written."""
        return self._segment

    @property
    def last(self) -> int:
        """Number of the last event; 0 before the first."""
        return self._next - 1

    def write(self, frames: list[bytes], heads: bytes) -> None:
        """Write a batch whole.

        Parameters
        ----------
        frames
            Header, content, header, content and so on.
        heads
            The headers once more.

        Raises
        ------
        WriteFailed
            When not all of it was written. `mend` must succeed before the next call.
        """
        size = sum(map(len, frames))
        count = len(heads) // HEAD_SIZE
        if self.heads and self._end + size > self._keeping.segment_bytes:
            try:
                self.rotate()
            except OSError as error:
                raise WriteFailed(0, _said(error)) from error
        written = 0
        try:
            written = os.pwritev(self._descriptor, frames, self._end)
            if written < size:
                rest = memoryview(b"".join(frames))
                while written < size:
                    written += os.pwrite(self._descriptor, rest[written:], self._end + written)
        except OSError as error:
            kept, end = _whole(frames, written)
            self._grow(end, kept, heads[: kept * HEAD_SIZE])
            if error.errno in _FULL:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._end)
            else:
                # The disk may have the others or not: their numbers are given to no other event.
                self._next += count - kept
            raise WriteFailed(kept, _said(error)) from error
        self._grow(size, count, heads)

    def sync(self) -> None:
        """Wait until the disk has all that was written.

        Raises
        ------
        OSError
            When it does not take it.
        """
        if self._unsynced:
            os.fdatasync(self._descriptor)
            self._unsynced = False

    def rotate(self) -> None:
        """Seal the segment and begin the next one; an empty one is begun anew.

        Raises
        ------
        OSError
            When the disk does not take it; then `mend` must succeed before the next `write`.
        """
        self._seal()
        self._begin()

    def wants_next(self) -> bool:
        """Whether the segment after this one is to be made beforehand (`prepare.prepare`); asked once for each."""
        wants, self._asked = not self._asked and not prepare.is_ready(self._folder), True
        return wants

    def is_improvised(self) -> bool:
        """Whether the segment was not made beforehand, and there is one now that was."""
        return not self._prepared and prepare.is_ready(self._folder)

    def is_old(self) -> bool:
        """Whether the segment has events and is old enough to be sealed."""
        return bool(self.heads) and time.monotonic() - self._begun >= self._keeping.segment_seconds

    def free_bytes(self) -> int:
        """Return how much may still be written.

        Raises
        ------
        OSError
            When the disk does not say.
        """
        about = os.statvfs(self._folder)
        return about.f_bavail * about.f_frsize

    def mend(self) -> None:
        """Begin a new segment after a failure, if there is room for more than a few events.

        Raises
        ------
        OSError
                When there is not.
        JournalUnavailable
            When another process writes the folder now.
        """
        if self._descriptor >= 0 and not self.is_in_place():
            self.restore()
        self._hold()
        probe = self._folder / "probe.tmp"
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        try:
            os.posix_fallocate(descriptor, 0, _PROBE)
        finally:
            os.close(descriptor)
            probe.unlink()
        self.rotate()

    def is_in_place(self) -> bool:
        """Whether the segment that is being written is still where its name says."""
        return _is_at(self._descriptor, self._segment.path)

    def restore(self) -> None:
        """Make folder and segment again after somebody deleted them: the segment as it was, from what is still open of it.

        Raises
        ------
        OSError
            When they cannot be made.
        JournalUnavailable
            When another process writes the folder now.
        """
        self._hold()
        old = self._descriptor
        descriptor = self._create(self._segment.path)
        try:
            at = 0
            while at < self._end:
                at += os.pwrite(descriptor, os.pread(old, min(_PROBE, self._end - at), at), at)
            self._made_durable(descriptor)
        except OSError:
            os.close(descriptor)
            self._segment.path.unlink(missing_ok=True)
            raise
        self._descriptor = descriptor
        self._prepared = False
        os.close(old)

    def close(self) -> None:
        """Seal the segment, without beginning another, and let go of the folder.

        Raises
        ------
        OSError
            When the disk does not take it; the folder is let go all the same.
        """
        try:
            if self._descriptor >= 0:
                self._seal()
        finally:
            self._let_go()

    def _grow(self, size: int, count: int, heads: bytes) -> None:
        self._end += size
        self._next += count
        self.heads += heads
        self._unsynced = not self._durable

    def _begin(self) -> None:
        segment = Segment(self._next, self._folder / name_of(self._next))
        taken = prepare.take(self._folder, segment.path, self._keeping.segment_bytes, self._flags())
        descriptor = self._create(segment.path) if taken is None else taken
        try:
            os.pwrite(descriptor, start_of(segment.first, time.time_ns() // 1000), 0)
            self._made_durable(descriptor)
        except OSError:
            os.close(descriptor)
            segment.path.unlink(missing_ok=True)
            raise
        if self._end > START_SIZE:
            self.fills_in = (time.monotonic() - self._begun) * self._keeping.segment_bytes / self._end
        self._descriptor, self._segment, self._end = descriptor, segment, START_SIZE
        self._begun = time.monotonic()
        self._unsynced = False
        self._prepared, self._asked = taken is not None, False
        self.heads = bytearray()

    def _hold(self) -> None:
        """Make the folder and take its lock, unless both are as they were."""
        _make(self._folder)
        if not _is_at(self._lock, self._folder / lock.FILE):
            held = lock.take(self._folder)
            os.close(self._lock)
            self._lock = held

    def _create(self, path: Path) -> int:
        return os.open(path, self._flags() | os.O_CREAT | os.O_EXCL, _MODE)

    def _flags(self) -> int:
        # One call writes and waits for the disk: one release of the interpreter lock, where fdatasync would be a second.
        return os.O_RDWR | os.O_CLOEXEC | (os.O_DSYNC if self._durable else 0)

    def _made_durable(self, descriptor: int) -> None:
        """Wait until the disk has a new file, and its name."""
        os.fsync(descriptor)
        _sync_folder(self._folder)

    def _seal(self) -> None:
        """Close the segment; one without events goes."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            if not self.heads:
                self._segment.path.unlink(missing_ok=True)
                return
            self.sealed.append((self._segment, bytes(self.heads)))
            self.heads = bytearray()
            if self._prepared:
                os.ftruncate(descriptor, self._end)
            if self._unsynced:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _let_go(self) -> None:
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1


def _make(folder: Path) -> None:
    """Make a writer's folder and the journal's, durable on return, unless they are there."""
    made = [path for path in (folder.parent, folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole(frames: list[bytes], written: int) -> tuple[int, int]:
    """Return how many events are whole within `written` bytes of a batch, and where the last of them ends."""
    count, end = 0, 0
    for head, content in zip(frames[::2], frames[1::2], strict=True):
        size = len(head) + len(content)
        if end + size > written:
            break
        end += size
        count += bool(size)
    return count, end


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        named = path.stat()
    except OSError:
        return False
    own = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)


def _said(error: OSError) -> str:
    return error.strerror or str(error)
