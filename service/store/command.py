"""The commands sent to Redis: the script of an update and its arguments, packed.

What ``update.lua`` must know of a layout comes from `features.layout` and is sent along with every call, so that there is
one definition of it. This module must not know connections beyond sending and reading.
"""

import hashlib
import struct
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from features.clock import SECOND
from features.increment import Increment
from features.layout import LAYOUTS, VERSION, Layout, M
from service.store.base import EVENT, RECORD, STATE, Update, grouped

Arguments = tuple[bytes | str | int, ...]

SCRIPT: Final = files("service.store").joinpath("update.lua").read_bytes()
SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
_INCREMENT: Final = struct.Struct(f"<qB{M}q")
_MOST_RINGS: Final = 8


def _outline(layout: Layout) -> bytes:
    """Return what the script must know of a layout: ttl, rings, the head of its blobs, hop and tiles of each ring."""
    hops = [ring.hop for ring in layout.rings]
    if len(hops) > _MOST_RINGS or any(coarser % finer for finer, coarser in pairwise(hops)):
        msg = f"at most {_MOST_RINGS} rings from fine to coarse are expected, each a multiple of the last, got {hops}"
        raise ValueError(msg)
    # The script renews the time to live when a tile begins, not with every increment: one hop on top.
    ttl = layout.ttl_seconds + -(-hops[0] // SECOND)
    mark = struct.pack("<BBI", VERSION, len(hops), layout.crc)
    rings = b"".join(struct.pack("<dH", ring.hop, ring.tiles) for ring in layout.rings)
    return struct.pack("<IB", ttl, len(hops)) + mark + rings


_OUTLINES: Final = {kind: _outline(layout) for kind, layout in LAYOUTS.items()}


def update(
    event_ttl_ms: int,
    event_id: str,
    updates: Sequence[Update],
    record_keys: Sequence[str] = (),
    record: bytes = b"",
    ttl_seconds: int = 1,
) -> Arguments:
    """Return the command that applies an event once and keeps a record; an unknown kind raises ``KeyError``."""
    keys = [EVENT + event_id, *[RECORD + key for key in record_keys]]
    entities: list[bytes] = []
    latest: Increment | None = None
    bits = b""
    for (kind, key), increments in grouped(updates).items():
        entity = _OUTLINES[kind]
        for increment in increments:
            # Most often one increment goes to every entity.
            if increment is not latest:
                latest = increment
                bits = _INCREMENT.pack(increment.at, increment.is_attempt, *increment.deltas)
            entity += bits
        keys.append(f"{STATE}{kind}:{key}")
        entities.append(entity)
    given = (event_ttl_ms, M, len(record_keys), ttl_seconds * 1000, record)
    return ("EVALSHA", SHA, len(keys), *keys, *given, *entities)


def trial() -> list[Arguments]:
    """Return one command of every sort that is ever sent, on keys that are gone in a second."""
    outline = struct.pack("<IB", 1, 1) + b"probe1" + struct.pack("<dH", 1.0, 1)
    entity = outline + _INCREMENT.pack(1, 0, *(0,) * M)
    given = (3, EVENT + "probe", RECORD + "probe", STATE + "probe:1", 1, M, 1, 1000, b"", entity)
    return [
        ("EVAL", SCRIPT, *given),
        ("EVALSHA", SHA, *given),
        ("MGET", STATE + "probe:1", RECORD + "probe"),
        ("SET", RECORD + "probe", b"", "EX", 1),
    ]


def packed(command: Arguments) -> bytes:
    """Return a command as Redis reads it."""
    # Written in C: 2 us for an update, where redis-py's own packer takes 11. Its stub knows tuples of one only.
    line: bytes = pack_command(command)  # type: ignore[arg-type]
    return line


async def exchange(connection: AbstractConnection, commands: Sequence[Arguments]) -> list[Any]:
    """Send commands and return their replies, an error reply in its place."""
    await connection.send_packed_command([packed(command) for command in commands], check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies
