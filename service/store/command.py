"""The commands sent to Redis: the script of an update and its arguments, packed.

What ``update.lua`` must know of a layout comes from `features.layout` and is sent along with every call, so that there is
one definition of it. This module must not know connections beyond sending and reading.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import NoScriptError, ResponseError

from features.clock import SECOND
from features.layout import AMOUNT, INDEX, LAYOUTS, MOST_ROWS, Layout
from service.ledger import ENTRY, KEPT_US, MOST, RESERVED, VERSION, Entry, Limit
from service.ledger import TTL_SECONDS as LEDGER_SECONDS
from service.standing import MEASURES, SCALES, Note, month_of
from service.standing import TTL_SECONDS as STANDING_SECONDS
from service.standing import VERSION as NOTE_VERSION
from service.store.base import (
    ANSWER,
    EVENT,
    LEDGER,
    RECORD,
    STANDING,
    STATE,
    Addition,
    Applied,
    Claim,
    Decided,
    LedgerMove,
    Reservation,
    Update,
    clustered,
    clustered_mark,
    grouped,
)

Arguments = tuple[bytes | str | int, ...]

SCRIPT: Final = b"".join(
    [files("service.store").joinpath(f"{name}.lua").read_bytes() for name in ("rest", "standing", "ledger", "update")]
)
SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()
_KIND: Final = struct.Struct("<6sBIHHBBBddB")
_RING: Final = struct.Struct("<IH")
_EVENT: Final = struct.Struct("<dBBIQ")
_WORD: Final = struct.Struct("<BI")
_ATTEMPT, _DECLINED, _MEMBER = 1, 2, 4
_PLAN: Final = struct.Struct("<BHH")
_HAS_ANSWER, _HAS_LEDGER, _HAS_MARK, _IS_ONCE = 1, 2, 4, 8
_ANSWERED, _REFUSED = 2, 3
_LEDGER_HEAD: Final = struct.Struct("<BHdI")
_LEDGER: Final = _LEDGER_HEAD.pack(VERSION, MOST, KEPT_US, LEDGER_SECONDS)
_RESERVE, _SETTLE, _RELEASE = 1, 2, 3
_LIMIT: Final = struct.Struct("<ddBd")
_NOTE: Final = struct.Struct(f"<BBBIdid{len(SCALES)}d{len(MEASURES)}d")
_NOTE_HEAD: Final = (NOTE_VERSION, len(SCALES), len(MEASURES), STANDING_SECONDS)
_DECLINED_AT: Final = INDEX["declined"]


def _outline(layout: Layout) -> bytes:
    """Return what the script must know of a layout."""
    # The script renews the time to live when a tile begins, not with every increment: one hop on top.
    ttl = layout.ttl_seconds + -(-layout.hop // SECOND)
    rows = min(MOST_ROWS, sum(ring.tiles for ring in layout.rings))
    kind = _KIND.pack(
        layout.mark,
        layout.words,
        ttl,
        rows,
        MOST_ROWS,
        layout.members,
        layout.streak,
        layout.place["amount_minor"] + 1 if "amount_minor" in layout.place else 0,
        layout.hop,
        layout.half_life,
        len(layout.rings),
    )
    end = b"%d\0" % (layout.head_size + 4 * rows - 1)
    return kind + end + b"".join(_RING.pack(ring.hop // layout.hop, ring.reach // ring.hop) for ring in layout.rings)


_OUTLINES: Final = {kind: _outline(layout) for kind, layout in LAYOUTS.items()}


@lru_cache(maxsize=4096)
def _words(kind: str, deltas: tuple[int, ...]) -> bytes:
    """Return the number of words that move, and each of them."""
    moved = [(place + 1, word) for place, word in enumerate(LAYOUTS[kind].packed(deltas)) if word]
    return bytes([len(moved)]) + b"".join(_WORD.pack(*each) for each in moved)


def _entity(kind: str, additions: Sequence[Addition]) -> bytes:
    """Return what one entity gets, as the script reads it."""
    parts = [_OUTLINES[kind]]
    for increment, member in additions:
        at, deltas, code = increment
        flags = (_ATTEMPT if increment.is_attempt else 0) | (_DECLINED if deltas[_DECLINED_AT] else 0)
        if member is not None:
            flags |= _MEMBER
        parts += (_EVENT.pack(at, code, flags, member or 0, deltas[AMOUNT]), _words(kind, deltas))
    return b"".join(parts)


def _moved(move: LedgerMove | Reservation) -> bytes:
    """Return what becomes of a ledger, as the script reads it."""
    limits: tuple[Limit, ...] = ()
    if isinstance(move, Reservation):
        sort, entry, limits = _RESERVE, move.entry, move.limits
    elif move.entry is not None:
        sort, entry = _SETTLE, move.entry
    else:
        sort, entry = _RELEASE, Entry(0, move.attempt, 0)
    given = _LEDGER + bytes([sort]) + ENTRY.pack(*entry)
    for window_us, most, amount_minor, resets in limits:
        flags = (amount_minor is not None) + 2 * resets
        given += _LIMIT.pack(window_us, most, flags, amount_minor or 0)
    return given


def _noted(note: Note) -> bytes:
    """Return what is added to a standing, as the script reads it."""
    return _NOTE.pack(*_NOTE_HEAD, note.at, month_of(note.at), note.month_minor, *SCALES, *note.deltas)


def _entities(keys: list[bytes | str], given: list[bytes | str | int], updates: Sequence[Update]) -> None:
    """Append what each entity gets; an unknown kind raises ``KeyError``."""
    for (kind, key), additions in grouped(updates).items():
        keys.append(f"{STATE}{kind}:{key}")
        given.append(_entity(kind, additions))


def applied(event_ttl_ms: int, event: Applied) -> Arguments:
    """Return the command that applies an event and all it moves, once."""
    event_id, updates, standings, ledger, records = event
    flags = _HAS_MARK | _IS_ONCE
    keys: list[bytes | str] = []
    given: list[bytes | str | int] = []
    if ledger is not None:
        flags |= _HAS_LEDGER
        keys.append(LEDGER + ledger.key)
        given.append(_moved(ledger))
    keys.append(EVENT + event_id)
    for key, content, ttl_seconds in records:
        keys.append(RECORD + key)
        given += (content, ttl_seconds * 1000)
    notes: dict[Note, bytes] = {}
    for key, note in standings:
        if note not in notes:
            notes[note] = _noted(note)
        keys.append(STANDING + key)
        given.append(notes[note])
    _entities(keys, given, updates)
    head = _PLAN.pack(flags, len(records), len(standings))
    return ("EVALSHA", SHA, len(keys), *keys, head, event_ttl_ms, *given)


def decided(event_ttl_ms: int, decision: Decided) -> Arguments:
    """Return the command that keeps an answer and all that goes with it, or finds that it must not be kept."""
    event_id, updates, records, answer, reservation = decision
    flags = 0
    keys: list[bytes | str] = []
    given: list[bytes | str | int] = []
    if answer is not None:
        flags |= _HAS_ANSWER
        keys.append(ANSWER + answer.key)
        given += (answer.content, answer.ttl_seconds * 1000)
    if reservation is not None:
        flags |= _HAS_LEDGER
        keys.append(LEDGER + reservation.key)
        given.append(_moved(reservation))
    if event_id is not None:
        flags |= _HAS_MARK
        keys.append(EVENT + event_id)
    for key, content, ttl_seconds in records:
        keys.append(RECORD + key)
        given += (content, ttl_seconds * 1000)
    if event_id is not None:
        _entities(keys, given, updates)
    return ("EVALSHA", SHA, len(keys), *keys, _PLAN.pack(flags, len(records), 0), event_ttl_ms, *given)


def claim(reply: Any) -> Claim:
    """Return what the script said to `decided`."""
    if not isinstance(reply, list):
        return Claim(counted=bool(reply))
    sort, content = reply
    if sort == _ANSWERED:
        return Claim(answer=content)
    return Claim(refused=True, ledger=content) if sort == _REFUSED else Claim(counted=bool(sort), ledger=content)


def parts(event_ttl_ms: int, event_id: str, updates: Sequence[Update]) -> list[tuple[int, Arguments]]:
    """Return an event for a cluster: slot and command of each entity, or of the mark alone when there is no entity."""
    given = (_PLAN.pack(_HAS_MARK | _IS_ONCE, 0, 0), event_ttl_ms)
    found: list[tuple[int, Arguments]] = []
    for (kind, key), additions in grouped(updates).items():
        mark, name = clustered_mark(kind, key, event_id), clustered(kind, key)
        found.append((slot(name), ("EVALSHA", SHA, 2, mark, name, *given, _entity(kind, additions))))
    if not found:
        mark = EVENT + event_id
        found.append((slot(mark), ("EVALSHA", SHA, 1, mark, *given)))
    return found


def slot(name: str) -> int:
    """Return the slot of a key in a cluster."""
    return key_slot(name.encode())


def in_full(command: Arguments) -> Arguments:
    """Return a command with the whole script, for a server that does not know it yet."""
    return ("EVAL", SCRIPT, *command[2:]) if command[0] == "EVALSHA" else command


def trial(tag: str = "") -> list[Arguments]:
    """Return one command of every sort that is ever sent, on keys that are gone in a second; `tag` chooses their slot."""
    layout = LAYOUTS["issuer"]
    outline = struct.pack("<6sBI", b"probe1", layout.words, 1) + _OUTLINES["issuer"][11:]
    # Twice the same event: the first begins a tile, the second falls into it.
    event = _EVENT.pack(1, 0, 0, 0, 0) + b"\0"
    state, record = f"{STATE}{tag}probe:1", f"{RECORD}{tag}probe"
    answer, ledger, standing = f"{ANSWER}{tag}probe", f"{LEDGER}{tag}probe", f"{STANDING}{tag}probe"
    # Four keys of each prefix, every branch that calls Redis: all of them end within a second.
    entry = bytes([_RESERVE]) + ENTRY.pack(1, 1, 1, RESERVED)
    note = _NOTE.pack(*_NOTE_HEAD[:3], 1, *(0,) * 3, *SCALES, *(0,) * len(MEASURES))
    plan = _PLAN.pack(_HAS_ANSWER | _HAS_LEDGER | _HAS_MARK, 1, 1)
    given: tuple[bytes | str | int, ...] = (6, answer, ledger, f"{EVENT}{tag}probe", record, standing, state, plan, 1)
    given += (b"", 1, _LEDGER_HEAD.pack(VERSION, MOST, KEPT_US, 1) + entry, b"", 1000, note, outline + event + event)
    return [
        ("EVAL", SCRIPT, *given),
        ("EVALSHA", SHA, *given),
        ("MGET", state, record, answer, ledger, standing),
        ("SET", record, b"", "EX", 1),
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


async def scripts(connection: AbstractConnection, commands: Sequence[Arguments]) -> list[Any]:
    """Do the same as `exchange`; a server that does not know the script yet is told it."""
    replies = await exchange(connection, commands)
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        # Nothing was changed by these: send them again, the first with the whole script.
        again = [commands[place] for place in unknown]
        again[0] = in_full(again[0])
        for place, reply in zip(unknown, await exchange(connection, again), strict=True):
            replies[place] = reply
    return replies
