"""The snapshot of a memory store: one file, replaced as a whole.

``magic (8 bytes) | format u16 | crc32 of the body u32 | length of the body u64 | body (MessagePack)``, little endian. A file
cut short, damaged or written by something else is refused with one sentence. This module must not know the store.
"""

import contextlib
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

MAGIC: Final = b"PMSTATE\n"
FORMAT: Final = 1
_HEAD: Final = struct.Struct("<8sHIQ")

Entry = tuple[str, str, float, bytes]
"""Kind, key, seconds left and blob of an entity."""

V = TypeVar("V")
Kept = tuple[str, float, bytes]
"""Key, seconds left and blob of anything else."""


class NotOurs(Exception):
    """What lies at a snapshot's path is not Pointsman's: it is neither read, nor moved, nor written over."""


class SnapshotRefused(Exception):
    """A file that is not a whole snapshot of this format; the message says why."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a store knew at `saved_at` (Unix seconds); all but states are (key, seconds left, value).

    What a snapshot of an earlier version does not have is empty.
    """

    saved_at: float
    states: list[Entry]
    events: list[tuple[str, float, None]]
    records: list[Kept]
    standings: list[Kept] = []
    ledgers: list[Kept] = []
    answers: list[Kept] = []


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Snapshot).decode


_AT_ONCE: Final = 500
"""Entries packed in one go: packing holds the interpreter, and requests are answered meanwhile."""
REST_SECONDS: Final = 0.004
"""Between two goes, each of about half a millisecond: whoever answers requests waits for the interpreter seldom."""

Table = Mapping[str, tuple[float, bytes]]
"""Values by key, each with its end."""


class Copy(NamedTuple):
    """Everything a store knew at one moment, as it keeps it; the tables are nobody else's.

    Attributes
    ----------
    at, now
        The moment, in Unix seconds and on the clock that ends are of.
    states
        Of each kind of entity.
    events
        Whatever is kept with a mark is left out.
    """

    at: float
    now: float
    states: Mapping[str, Table]
    events: Mapping[str, tuple[float, object]]
    records: Table
    standings: Table
    ledgers: Table
    answers: Table


def _pieces(copy: Copy) -> Iterator[bytes]:
    """Yield the MessagePack of a `Snapshot` in small pieces. What has ended is in it, with no time left."""
    now = copy.now
    yield (0x80 | 7).to_bytes(1, "big")
    yield _ENCODE("saved_at") + _ENCODE(copy.at)
    yield _ENCODE("states") + _count(sum(map(len, copy.states.values())))
    for kind, table in copy.states.items():
        for some in _portions(table):
            yield _packed([(kind, key, end - now, blob) for key, (end, blob) in some])
    yield _ENCODE("events") + _count(len(copy.events))
    for marks in _portions(copy.events):
        yield _packed([(key, end - now, None) for key, (end, _) in marks])
    for name in ("records", "standings", "ledgers", "answers"):
        kept: Table = getattr(copy, name)
        yield _ENCODE(name) + _count(len(kept))
        for some in _portions(kept):
            yield _packed([(key, end - now, blob) for key, (end, blob) in some])


def _portions(table: Mapping[str, V]) -> Iterator[list[tuple[str, V]]]:
    items = iter(table.items())
    while some := list(islice(items, _AT_ONCE)):
        yield some


def _count(entries: int) -> bytes:
    """Return the head of an array."""
    return b"\xdd" + entries.to_bytes(4, "big")


def _packed(some: list[Any]) -> bytes:
    """Return entries without the array's own head, which is one byte below sixteen entries and three from there on."""
    return _ENCODE(some)[1 if len(some) < 16 else 3 :]


def write(path: Path, copy: Copy, rest: Callable[[], object] | None = None) -> None:
    """Write a copy of everything to `path`, whole or not at all; `rest` is called after every `_AT_ONCE` entries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(bytes(_HEAD.size))
            crc = length = 0
            for piece in _pieces(copy):
                crc = zlib.crc32(piece, crc)
                length += len(piece)
                file.write(piece)
                if rest is not None:
                    rest()
            file.seek(0)
            file.write(_HEAD.pack(MAGIC, FORMAT, crc, length))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> Snapshot | None:
    """Return the snapshot at `path` with what time has taken since then off; None when there is no file.

    Raises
    ------
    SnapshotRefused
        When the file cannot be read, is torn, or is not a snapshot of this format.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"{path} cannot be read as a snapshot: {error.strerror}"
        raise NotOurs(msg) from error
    if content and content[:8] != MAGIC[: len(content)]:
        msg = f"expected a snapshot of Pointsman at {path}, there is another file"
        raise NotOurs(msg)
    snapshot = _open(content)
    gone = max(0.0, time.time() - snapshot.saved_at)
    return Snapshot(
        saved_at=snapshot.saved_at,
        states=[(kind, key, ttl - gone, blob) for kind, key, ttl, blob in snapshot.states if ttl > gone],
        events=[(key, ttl - gone, None) for key, ttl, _ in snapshot.events if ttl > gone],
        records=_left(snapshot.records, gone),
        standings=_left(snapshot.standings, gone),
        ledgers=_left(snapshot.ledgers, gone),
        answers=_left(snapshot.answers, gone),
    )


def _left(entries: Sequence[Kept], gone: float) -> list[Kept]:
    return [(key, ttl - gone, blob) for key, ttl, blob in entries if ttl > gone]


def put_aside(path: Path) -> Path | None:
    """Rename a file that cannot be used; return its new name, or None when even that is refused."""
    aside = path.with_name(f"{path.name}.unusable-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    try:
        path.rename(aside)
    except OSError:
        return None
    return aside


def _open(content: bytes) -> Snapshot:
    if len(content) < _HEAD.size or content[:8] != MAGIC:
        msg = "expected a snapshot of Pointsman, got another file"
        raise SnapshotRefused(msg)
    _, version, crc, length = _HEAD.unpack_from(content)
    body = memoryview(content)[_HEAD.size :]
    if version != FORMAT:
        msg = f"expected format {FORMAT}, got {version}"
        raise SnapshotRefused(msg)
    if len(body) != length:
        msg = f"expected {length} bytes of state, got {len(body)}"
        raise SnapshotRefused(msg)
    if zlib.crc32(body) != crc:
        msg = "its checksum does not match"
        raise SnapshotRefused(msg)
    try:
        return _DECODE(body)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise SnapshotRefused(str(error)) from error
