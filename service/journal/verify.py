"""Is a journal whole? Every checksum, every number, every index, and whether this build can read every event.

This module must not write.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from service.journal import index
from service.journal.frame import HEAD_SIZE, event_in
from service.journal.reader import JournalReader, Log
from service.journal.recovery import TORN
from service.journal.segment import START_SIZE, Segment, begun_at, blocks


class Finding(NamedTuple):
    """Something about a journal that a person should know.

    Attributes
    ----------
    where
        The file.
    what
        One sentence.
    is_wrong
        Whether something is damaged or missing; if not, it is only worth knowing.
    """

    where: Path
    what: str
    is_wrong: bool


class Verified(NamedTuple):
    """What was looked at, and what was found."""

    segments: int
    events: int
    findings: list[Finding]


def verify(folder: Path) -> Verified:
    """Look at every byte of a journal.

    Raises
    ------
    JournalUnavailable
        When the folder cannot be read.
    OSError
        When a file cannot be read.
    """
    segments = events = 0
    findings: list[Finding] = []
    with JournalReader(folder) as reader:
        for log in reader.logs():
            segments += len(log.segments)
            for own, found in _of_log(log):
                events += own
                findings += found
            for torn in sorted((folder / log.writer).glob(f"*{TORN}")):
                findings.append(Finding(torn, "what a failure cut off, put aside: nobody was promised it", False))
    return Verified(segments, events, findings)


def _of_log(log: Log) -> Iterator[tuple[int, list[Finding]]]:
    """Yield of each segment how many events it holds, and what was found."""
    for place, segment in enumerate(log.segments):
        is_last = place == len(log.segments) - 1
        count, findings = _of_segment(segment, is_open=is_last and log.is_live)
        following = segment.first + count if is_last else log.segments[place + 1].first
        if following != segment.first + count:
            what = f"expected events {segment.first} to {following - 1}, found {count} of them"
            findings.append(Finding(segment.path, what, True))
        yield count, findings


def _of_segment(segment: Segment, *, is_open: bool) -> tuple[int, list[Finding]]:
    findings: list[Finding] = []
    heads, end, count = bytearray(), START_SIZE, 0
    descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if begun_at(descriptor, segment.first) is None:
            return 0, [Finding(segment.path, "expected a segment that begins with the number it is named by", True)]
        for offset, content, frames in blocks(descriptor, START_SIZE):
            for at, stop, good in frames:
                count += 1
                heads += content[at : at + HEAD_SIZE]
                wrong = _wrong(content[at + HEAD_SIZE : stop]) if good else "is damaged: its checksum is wrong"
                if wrong is not None:
                    findings.append(Finding(segment.path, f"event {segment.first + count - 1} {wrong}", True))
            end = offset + frames[-1].end
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if is_open:
        return count, findings
    if size > end:
        findings.append(Finding(segment.path, f"{size - end} bytes at its end are no whole event", True))
    path = index.path_of(segment.path)
    if not path.exists():
        findings.append(Finding(segment.path, "has no index: looking something up reads all of it", False))
    elif path.read_bytes() != index.content_of(segment.first, bytes(heads)):
        findings.append(Finding(path, "is not the index of its segment: what is looked up may not be found", True))
    return count, findings


def _wrong(content: bytes) -> str | None:
    try:
        event_in(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"cannot be read by this build: {error}"
    return None
