"""One event as bytes in a segment: a header of 16 bytes, then the event as MessagePack.

The header is length and checksum of the event, then two keys by which it is looked up: of its decision id (0 in an outcome)
and of its payment id and attempt. Keys are CRC-32: one that fits may be another event's, so whoever looks up reads the event.

This module must not know files.
"""

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from contracts.event import JournalEvent, OutcomeSettled

HEAD: Final = Struct("<IIII")
"""Length, checksum, decision key, attempt key: little endian."""
HEAD_SIZE: Final = HEAD.size
NAMED: Final = 8
"""Where in a header the decision key is."""
LARGEST: Final = 64 << 20
"""Bytes of the largest event; a length above it is damage. The largest body that a setting allows is a quarter of this."""

encode: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(JournalEvent).decode
_pack: Final = HEAD.pack
_unpack: Final = HEAD.unpack_from


def decision_key(decision_id: str) -> int:
    """Return the key of a decision id: never 0, which stands for none."""
    return crc32(decision_id.encode()) or 1


def attempt_key(payment_id: str, attempt: int) -> int:
    """Return the key of an attempt."""
    return crc32(payment_id.encode(), attempt & 0xFFFFFFFF)


def frame_of(event: JournalEvent) -> tuple[bytes, bytes]:
    """Return an event as header and content.

    The checksum starts from the keys, so that it is wrong too when one of them is.
    """
    content = encode(event)
    if type(event) is OutcomeSettled:
        outcome = event.outcome
        named = 0
        attempt = crc32(outcome.payment_id.encode(), outcome.attempt & 0xFFFFFFFF)
    else:
        answer = event.answer  # type: ignore[union-attr]
        named = crc32(answer.decision_id.encode()) or 1
        attempt = crc32(answer.payment_id.encode(), answer.attempt & 0xFFFFFFFF)
    return _pack(len(content), crc32(content, named ^ attempt), named, attempt), content


def event_in(content: bytes | memoryview) -> JournalEvent:
    """Return the event that is the content of a frame.

    Raises
    ------
    msgspec.DecodeError
        When this build cannot read it.
    """
    event: JournalEvent = _DECODE(content)
    return event


def is_good(head: bytes, content: bytes) -> bool:
    """Whether a content is the one that its header was made for."""
    length, checksum, named, attempt = HEAD.unpack(head)
    return bool(length == len(content) and crc32(content, named ^ attempt) == checksum)


class Found(NamedTuple):
    """A frame in a block of bytes.

    Attributes
    ----------
    at
        Where its header begins.
    end
        Where its content ends; the content begins `HEAD_SIZE` bytes after `at`.
    good
        Whether its checksum is right. One that is not is known to be a frame because a good one follows it.
    """

    at: int
    end: int
    good: bool


class Scan(NamedTuple):
    """What a block of bytes holds from its beginning on.

    Attributes
    ----------
    frames
        All whole frames, in order.
    end
        Where the last of them ends.
    wanted
        Bytes from `end` that are needed to tell what comes next; 0: no frame comes next, whatever follows the block.
    """

    frames: list[Found]
    end: int
    wanted: int


def scan(block: bytes | memoryview) -> Scan:
    """Return the frames that `block` begins with."""
    view = memoryview(block)
    size = len(view)
    frames: list[Found] = []
    at = 0
    while at + HEAD_SIZE <= size:
        length, checksum, named, attempt = _unpack(view, at)
        if not 0 < length <= LARGEST:
            return Scan(frames, at, 0)
        end = at + HEAD_SIZE + length
        if end > size:
            return Scan(frames, at, end - at + HEAD_SIZE)
        good = crc32(view[at + HEAD_SIZE : end], named ^ attempt) == checksum
        if not good:
            wanted = _follows(view, end)
            if wanted is not None:
                return Scan(frames, at, wanted and end - at + wanted)
        frames.append(Found(at, end, good))
        at = end
    return Scan(frames, at, HEAD_SIZE)


def _follows(view: memoryview, at: int) -> int | None:
    """Return None when a good frame begins at `at`; 0 when none does; else how many bytes are needed to tell."""
    if at + HEAD_SIZE > len(view):
        return HEAD_SIZE
    length, checksum, named, attempt = _unpack(view, at)
    if not 0 < length <= LARGEST:
        return 0
    end = at + HEAD_SIZE + length
    if end > len(view):
        return int(end - at)
    return None if crc32(view[at + HEAD_SIZE : end], named ^ attempt) == checksum else 0
