"""Segments: the files of one writer, named by the number of their first event, and the blocks of bytes in them.

A file begins with 24 bytes: a mark of the format, the number of the first event and when it was begun. This module must not
know what is in a frame, but where frames are.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from service.errors import JournalUnavailable
from service.journal.frame import HEAD, HEAD_SIZE, LARGEST, Found, is_good, scan

SUFFIX: Final = ".log"
MAGIC: Final = b"PMLOG\x00\x00\x01"
START: Final = Struct("<8sQQ")
START_SIZE: Final = START.size
BLOCK: Final = 256 << 10
"""Bytes read at once. Between two blocks a thread that reads gives the interpreter lock away."""

_NAME: Final = re.compile(r"([0-9]{20})\.log")
_WRITER: Final = re.compile(r"[0-9a-zA-Z_-]{1,32}")


class Segment(NamedTuple):
    """A segment by its name: number of its first event, and path."""

    first: int
    path: Path


class Block(NamedTuple):
    """Some frames of a segment that follow each other.

    Attributes
    ----------
    offset
        Where the bytes begin in the file.
    content
        The bytes.
    frames
        Where the frames are in them.
    """

    offset: int
    content: bytes
    frames: list[Found]


def name_of(first: int) -> str:
    """Return the file name of the segment whose first event has this number."""
    return f"{first:020d}{SUFFIX}"


def is_writer(name: str) -> bool:
    """Whether a name can be that of a writer."""
    return _WRITER.fullmatch(name) is not None


def writers_in(folder: Path) -> list[str]:
    """Return the writers that have a folder in a journal's folder: numbers first, in their order.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if is_writer(entry.name) and entry.is_dir()]
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror}"
        raise JournalUnavailable(reason) from error
    return sorted(names, key=lambda name: (not name.isdigit(), name.zfill(32)))


def segments_in(folder: Path) -> list[Segment]:
    """Return the segments in a writer's folder, in order; none where there is no such folder.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror}"
        raise JournalUnavailable(reason) from error
    found = [(name, match) for name in names if (match := _NAME.fullmatch(name)) is not None]
    return sorted(Segment(int(match[1]), folder / name) for name, match in found)


def start_of(first: int, begun_us: int) -> bytes:
    """Return the bytes that a segment begins with."""
    return START.pack(MAGIC, first, begun_us)


def begun_at(descriptor: int, first: int) -> int | None:
    """Return when a segment was begun, in microseconds; None when this is no segment that begins with event `first`."""
    start = os.pread(descriptor, START_SIZE, 0)
    if len(start) < START_SIZE:
        return None
    magic, number, begun_us = START.unpack(start)
    return int(begun_us) if magic == MAGIC and number == first else None


def blocks(descriptor: int, offset: int, end: int | None = None) -> Iterator[Block]:
    """Yield the frames of an open segment from `offset` on, up to where none follows, or to `end`.

    A frame that is being written ends this as the end of the file does: it is found the next time.
    """
    size = BLOCK
    while True:
        most = size if end is None else min(size, end - offset)
        content = os.pread(descriptor, most, offset) if most > 0 else b""
        frames, used, wanted = scan(content)
        if frames:
            yield Block(offset, content, frames)
            offset += used
        if not wanted or len(content) < size:
            return
        size = max(BLOCK, wanted)


def content_at(descriptor: int, offset: int) -> bytes | None:
    """Return the content of the frame at `offset` of an open segment; None when there is no good one."""
    head = os.pread(descriptor, HEAD_SIZE, offset)
    if len(head) < HEAD_SIZE:
        return None
    length = HEAD.unpack(head)[0]
    if not 0 < length <= LARGEST:
        return None
    content = os.pread(descriptor, length, offset + HEAD_SIZE)
    return content if is_good(head, content) else None
