"""Where in a segment which event is: the offset of every frame, and every key in order with the frames that have it.

An `Index` is made of the headers of a segment's frames. Of a sealed segment it is a file beside it, written once, in which one
read finds a key: keys are checksums, so evenly spread that a key's place is known but for a few hundred entries.

This module must not know events.
"""

import os
from bisect import bisect_left
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

from service.journal.frame import HEAD_SIZE
from service.journal.segment import START_SIZE

SUFFIX: Final = ".idx"
MAGIC: Final = b"PMIDX\x00\x00\x01"
HEADER: Final = Struct("<8sIIQQI")
"""Mark, frames, keys, number of the first event, end of the last frame, checksum of all that follows."""
_KEYS: Final = 1 << 32
_SPREAD: Final = 6
"""Standard deviations of a key's place that are read at once."""


class Place(NamedTuple):
    """Where a frame is: how many are before it in its segment, and its offset."""

    ordinal: int
    offset: int


def path_of(segment: Path) -> Path:
    """Return the path of a segment's index."""
    return segment.with_suffix(SUFFIX)


def places(heads: bytes, key: int) -> list[Place]:
    """Return the frames that have a key, in order.

    Parameters
    ----------
    heads
        Headers of all frames of a segment, in order: bytes, 16 for each.
    key
        Of a decision or of an attempt.
    """
    columns = np.frombuffer(heads, dtype="<u4").reshape(-1, 4)
    (found,) = np.nonzero((columns[:, 2] == key) | (columns[:, 3] == key))
    if not len(found):
        return []
    offsets = _offsets(columns)
    return [Place(int(ordinal), int(offsets[ordinal])) for ordinal in found]


def _offsets(columns: np.ndarray) -> np.ndarray:
    """Return where frames begin, and where the last of them ends: shape (frames + 1,)."""
    sizes = columns[:, 0].astype(np.uint64) + HEAD_SIZE
    return np.concatenate([[START_SIZE], START_SIZE + np.cumsum(sizes)]).astype(np.uint64)


def content_of(first: int, heads: bytes) -> bytes:
    """Return the content of an index file.

    Parameters
    ----------
    first
        Number of the first event of the segment.
    heads
        Headers of all its frames, in order.
    """
    columns = np.frombuffer(heads, dtype="<u4").reshape(-1, 4)
    count = len(columns)
    offsets = _offsets(columns)
    # Every event has the key of its attempt, and a decision has that of its id as well.
    (named,) = np.nonzero(columns[:, 2])
    keys = np.concatenate([columns[:, 3], columns[named, 2]])
    ordinals = np.concatenate([np.arange(count), named]).astype("<u4")
    order = np.argsort(keys, kind="stable")
    body = offsets[:-1].astype("<u4").tobytes() + keys[order].tobytes() + ordinals[order].tobytes()
    return HEADER.pack(MAGIC, count, len(keys), first, int(offsets[-1]), crc32(body)) + body


def write(segment: Path, first: int, heads: bytes) -> None:
    """Write the index of a sealed segment, durable on return.

    Raises
    ------
    OSError
        When it cannot be written; then there is none.
    """
    path = path_of(segment)
    scratch = path.with_suffix(".idx.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content_of(first, heads))
            file.flush()
            os.fdatasync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


class Index:
    """The index of a sealed segment, open to read.

    Attributes
    ----------
    count
        Events in the segment.
    end
        Where the last of them ends.
    """

    def __init__(self, descriptor: int, header: tuple[int, int, int, int]) -> None:
        self._descriptor = descriptor
        self.count, self._keys, self.first, self.end = header

    @classmethod
    def open(cls, segment: Path, first: int) -> "Index | None":
        """Return the index of a segment; None when there is none that is whole and of this segment."""
        try:
            descriptor = os.open(path_of(segment), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        header = os.pread(descriptor, HEADER.size, 0)
        if len(header) == HEADER.size:
            magic, count, keys, begins, end, _ = HEADER.unpack(header)
            size = HEADER.size + 4 * (count + 2 * keys)
            if magic == MAGIC and begins == first and os.fstat(descriptor).st_size == size:
                return cls(descriptor, (count, keys, begins, end))
        os.close(descriptor)
        return None

    @property
    def decisions(self) -> int:
        """How many of the events are decisions: those have two keys."""
        return self._keys - self.count

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def offset(self, ordinal: int) -> int:
        """Return where a frame begins, by how many are before it."""
        if ordinal >= self.count:
            return self.end
        return self._numbers(HEADER.size + 4 * ordinal, 1)[0]

    def places(self, key: int) -> list[Place]:
        """Return the frames that have a key, in order."""
        begin, end = self._range(key)
        if begin == end:
            return []
        ordinals = self._numbers(HEADER.size + 4 * (self.count + self._keys + begin), end - begin)
        return [Place(ordinal, self.offset(ordinal)) for ordinal in sorted(ordinals)]

    def _range(self, key: int) -> tuple[int, int]:
        """Return from where to where the keys equal one, reading only about where they should be."""
        count = self._keys
        middle = key * count // _KEYS
        spread = _SPREAD * int((count / 4) ** 0.5) + 8
        low, high = max(0, middle - spread), min(count, middle + spread)
        keys = self._numbers(HEADER.size + 4 * (self.count + low), high - low)
        if keys and ((low > 0 and keys[0] >= key) or (high < count and keys[-1] <= key)):
            low, high = 0, count
            keys = self._numbers(HEADER.size + 4 * self.count, count)
        begin = bisect_left(keys, key)
        end = begin
        while end < len(keys) and keys[end] == key:
            end += 1
        return low + begin, low + end

    def _numbers(self, offset: int, count: int) -> memoryview:
        return memoryview(os.pread(self._descriptor, 4 * count, offset)).cast("I")
