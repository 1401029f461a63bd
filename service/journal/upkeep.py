"""Beside the writer, in a thread of its own: indices of sealed segments, and the end of those that are old enough.

This module must not know what an event means, nor the segment that is being written: the last one of a writer is left alone.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from service.errors import JournalUnavailable
from service.journal import index
from service.journal.keeping import Keeping
from service.journal.prepare import prepare
from service.journal.recovery import heads_of, unindexed
from service.journal.segment import Segment, segments_in, writers_in

EVERY_SECONDS: Final = 60.0
"""How often old segments are looked for, and indices that could not be written are tried again."""
_DAY_SECONDS: Final = 86_400.0

log: Final = logging.getLogger(__name__)


class Upkeep:
    """Keeps a journal's folder in order.

    Parameters
    ----------
    folder
        Of the journal.
    writer
        Whose segments get their indices here. Old segments are deleted whoever's they are: a writer may be gone for good.
    keeping
        How long segments are kept.
    """

    def __init__(self, folder: Path, writer: str, keeping: Keeping) -> None:
        self._folder = folder
        self._own = folder / writer
        self._keeping = keeping
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-upkeep", daemon=True)
        self._thread.start()

    def seal(self, segments: list[tuple[Segment, bytes]]) -> None:
        """Have indices written of segments, of which the headers of all frames are given."""
        for segment, heads in segments:
            self._jobs.put(partial(_write_index, segment, heads))

    def prepare(self, seconds: float) -> None:
        """Have the writer's next segment made, in about so many seconds."""
        self._jobs.put(partial(self._prepare, seconds))

    def close(self) -> None:
        """Do what was asked for, without segments that are not needed any more, then stop."""
        self._closing.set()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        next_round = 0.0
        while True:
            now = time.monotonic()
            if now >= next_round:
                next_round = now + EVERY_SECONDS
                self._round()
            try:
                job = self._jobs.get(timeout=max(0.0, next_round - now))
            except Empty:
                continue
            if job is None:
                return
            try:
                job()
            except Exception:
                log.exception("the journal's upkeep failed")

    def _prepare(self, seconds: float) -> None:
        # Without one, or without room for one, the next segment grows as it is written.
        with contextlib.suppress(OSError):
            about = os.statvfs(self._own)
            if about.f_bavail * about.f_frsize > self._keeping.segment_bytes + self._keeping.floor_bytes:
                prepare(self._own, self._keeping.segment_bytes, seconds, self._closing)

    def _round(self) -> None:
        try:
            expire(self._folder, self._keeping, time.time())
            for segment in unindexed(self._own):
                _index_again(segment)
        except (OSError, JournalUnavailable) as error:
            log.warning("the journal's old segments could not be looked after: %s", error)
        except Exception:
            log.exception("the journal's upkeep failed")


def expire(folder: Path, keeping: Keeping, now: float) -> list[Path]:
    """Delete what is older than it is to be kept, and the oldest of what is too much; return what was deleted.

    The last segment of each writer stays in any case: it is being written, or tells with which number to go on.

    Parameters
    ----------
    folder
        Of the journal.
    keeping
        How long, and how much.
    now
        The moment, in seconds of the clock that stamps files.

    Raises
    ------
    JournalUnavailable
        When a folder cannot be read.
    """
    sealed: list[tuple[float, int, Path]] = []
    total = 0
    for writer in writers_in(folder):
        segments = segments_in(folder / writer)
        for place, segment in enumerate(segments):
            with contextlib.suppress(FileNotFoundError):
                about = segment.path.stat()
                total += about.st_size
                if place < len(segments) - 1:
                    sealed.append((about.st_mtime, about.st_size, segment.path))
    deleted: list[Path] = []
    for written, size, path in sorted(sealed):
        too_old = now - written > keeping.days * _DAY_SECONDS
        too_much = 0 < keeping.most_bytes < total
        if not too_old and not too_much:
            break
        path.unlink(missing_ok=True)
        index.path_of(path).unlink(missing_ok=True)
        total -= size
        deleted.append(path)
    if deleted:
        log.info("deleted %d segments of the journal that were kept long enough", len(deleted))
    return deleted


def _write_index(segment: Segment, heads: bytes) -> None:
    # A segment that somebody deleted needs none, and on a full disk it is tried again later.
    with contextlib.suppress(OSError):
        if segment.path.exists():
            index.write(segment.path, segment.first, heads)


def _index_again(segment: Segment) -> None:
    descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        heads = heads_of(descriptor).heads
    finally:
        os.close(descriptor)
    _write_index(segment, heads)
