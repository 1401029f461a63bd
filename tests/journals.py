"""Journals made or changed by hand, as the service would have written them."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from contracts.event import JournalEvent
from service.journal.frame import frame_of
from service.journal.keeping import Keeping
from service.journal.log import Log
from service.journal.reader import JournalReader


def write(folder: Path, events: Sequence[JournalEvent], writer: str = "0", keeping: Keeping | None = None) -> Path:
    """Write events as one worker does, one after the other; return the journal's folder."""
    log = Log(folder / writer, durable=False, keeping=keeping or Keeping(floor_bytes=0))
    for event in events:
        head, content = frame_of(event)
        log.write([head, content], head)
    log.close()
    return folder


def rewrite(folder: Path, change: Callable[[JournalEvent], JournalEvent | None]) -> None:
    """Change the events of a journal of one worker; None drops one."""
    with JournalReader(folder) as reader:
        changed = [change(entry.event()) for entry in reader.merged()]
    shutil.rmtree(folder)
    write(folder, [event for event in changed if event is not None])


class Disk:
    """A disk with so many bytes of room for what journals write; what is too much is written in part, as disks do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self.error = errno.ENOSPC
        self._real = os.pwritev
        monkeypatch.setattr(os, "pwritev", self._write_many)
        monkeypatch.setattr(os, "pwrite", lambda descriptor, some, at: self._write_many(descriptor, [some], at))
        monkeypatch.setattr(os, "posix_fallocate", self._reserve)
        # The next segment, 64 MiB of zeros, would take all of the room whenever its turn comes.
        monkeypatch.setattr("service.journal.upkeep.prepare", lambda *_: None)

    def _write_many(self, descriptor: int, pieces: Sequence[bytes], at: int) -> int:
        whole = b"".join(pieces)
        if whole and self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        written = self._real(descriptor, [whole[: self.room]], at)
        self.room -= written
        return written

    def _reserve(self, _descriptor: int, _offset: int, size: int) -> None:
        if size > self.room:
            raise OSError(self.error, os.strerror(self.error))


def hang(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have every write of a journal wait for the event that is returned, as it does for a disk that hangs."""
    going_on = threading.Event()
    real = Log.write

    def hanging(self: Log, frames: list[bytes], heads: bytes) -> None:
        going_on.wait(30)
        real(self, frames, heads)

    monkeypatch.setattr(Log, "write", hanging)
    return going_on
