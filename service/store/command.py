"""The commands sent to Redis: the script of an update and its arguments, packed.

What ``update.lua`` must know of a layout comes from `features.layout` and is sent along with every call, so that there is
one definition of it. This module must not know connections.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from hiredis import pack_command
from redis.crc import key_slot

from features.clock import SECOND
from features.layout import AMOUNT, ATTEMPTS, INDEX, LAYOUTS, MOST_ROWS, WORD, Layout
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
    Kept,
    LedgerMove,
    Reservation,
    StandingUpdate,
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
_EVENT: Final = struct.Struct("<dbBIQB")
_WORD: Final = struct.Struct("<BI")
_AMOUNT: Final = struct.Struct("<BIBI")
_ATTEMPT, _DECLINED, _MEMBER, _TAKEN_BACK = 1, 2, 4, 8
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


_AMOUNT_WORDS: Final = {kind: layout.place.get("amount_minor", -1) + 1 for kind, layout in LAYOUTS.items()}
"""The first word of an amount, as the script counts them; 0 for a kind that has none."""


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
        _AMOUNT_WORDS[layout.kind],
        layout.hop,
        layout.half_life,
        len(layout.rings),
    )
    end = b"%d\0" % (layout.head_size + 4 * rows - 1)
    return kind + end + b"".join(_RING.pack(ring.hop // layout.hop, ring.reach // ring.hop) for ring in layout.rings)


_OUTLINES: Final = {kind: _outline(layout) for kind, layout in LAYOUTS.items()}


@lru_cache(maxsize=256)
def _shape(deltas: tuple[int, ...]) -> tuple[int, tuple[int, ...], int]:
    """Return what an event is, but for its member; its deltas but for the amount; and the amount."""
    amount = deltas[AMOUNT]
    counts = (*deltas[:AMOUNT], 0, *deltas[AMOUNT + 1 :])
    if min(deltas) < 0:
        return _TAKEN_BACK, counts, amount
    flags = (_ATTEMPT if deltas[ATTEMPTS] > 0 else 0) | (_DECLINED if deltas[_DECLINED_AT] else 0)
    return flags, counts, amount


@lru_cache(maxsize=4096)
def _counted(kind: str, counts: tuple[int, ...]) -> tuple[int, bytes]:
    """Return the number of words that counts move, and each of them."""
    moved = [(place + 1, word) for place, word in enumerate(LAYOUTS[kind].packed(counts)) if word]
    return len(moved), b"".join([_WORD.pack(*each) for each in moved])


def _entity(kind: str, additions: Sequence[Addition]) -> bytes:
    """Return what one entity gets, as the script reads it."""
    given = _OUTLINES[kind]
    low_word = _AMOUNT_WORDS[kind]
    for (at, deltas, code), member in additions:
        # All but amounts come again and again.
        flags, counts, amount = _shape(deltas)
        words, moved = _counted(kind, counts)
        if amount and low_word:
            high, low = divmod(amount, WORD)
            words += 2
            moved += _AMOUNT.pack(low_word, low, low_word + 1, high % WORD)
        if member is not None:
            flags |= _MEMBER
        given += _EVENT.pack(at, code, flags, member or 0, amount if flags & _ATTEMPT else 0, words) + moved
    return given


def _move(move: LedgerMove | Reservation) -> bytes:
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


def _note(note: Note) -> bytes:
    """Return what is added to a standing, as the script reads it."""
    return _NOTE.pack(*_NOTE_HEAD, note.at, month_of(note.at), note.month_minor, *SCALES, *note.deltas)


def _notes(standings: Sequence[StandingUpdate]) -> list[tuple[str, bytes]]:
    """Return key and note of each standing; the levels of one processor are given the same note."""
    packed: dict[Note, bytes] = {}
    for _, note in standings:
        if note not in packed:
            packed[note] = _note(note)
    return [(key, packed[note]) for key, note in standings]


def _call(
    event_ttl_ms: int,
    mark: str | None,
    *,
    once: bool,
    answer: tuple[str, Kept] | None = None,
    ledger: tuple[str, LedgerMove | Reservation] | None = None,
    records: Sequence[tuple[str, Kept]] = (),
    standings: Sequence[tuple[str, bytes]] = (),
    entities: Sequence[tuple[str, bytes]] = (),
) -> Arguments:
    """Return one call of the script, of names and what is given to each; with `once`, the mark covers all of it."""
    flags = _IS_ONCE if once else 0
    keys: list[str] = []
    given: list[bytes | int] = []
    if answer is not None:
        flags |= _HAS_ANSWER
        keys.append(answer[0])
        given += (answer[1].content, answer[1].ttl_seconds * 1000)
    if ledger is not None:
        flags |= _HAS_LEDGER
        keys.append(ledger[0])
        given.append(_move(ledger[1]))
    if mark is not None:
        flags |= _HAS_MARK
        keys.append(mark)
    for name, record in records:
        keys.append(name)
        given += (record.content, record.ttl_seconds * 1000)
    for name, packed in (*standings, *entities):
        keys.append(name)
        given.append(packed)
    plan = _PLAN.pack(flags, len(records), len(standings))
    return ("EVALSHA", SHA, len(keys), *keys, plan, event_ttl_ms, *given)


def applied(event_ttl_ms: int, event: Applied) -> Arguments:
    """Return the command that applies an event and all it moves, once; an unknown kind raises ``KeyError``."""
    event_id, updates, standings, ledger, records = event
    return _call(
        event_ttl_ms,
        EVENT + event_id,
        once=True,
        ledger=None if ledger is None else (LEDGER + ledger.key, ledger),
        records=[(RECORD + record.key, record) for record in records],
        standings=[(STANDING + key, note) for key, note in _notes(standings)],
        entities=[(f"{STATE}{kind}:{key}", _entity(kind, each)) for (kind, key), each in grouped(updates).items()],
    )


def decided(event_ttl_ms: int, decision: Decided) -> Arguments:
    """Return the command that keeps an answer and all that goes with it, or finds that it must not be kept."""
    event_id, updates, records, answer, reservation = decision
    counted = {} if event_id is None else grouped(updates)
    return _call(
        event_ttl_ms,
        None if event_id is None else EVENT + event_id,
        once=False,
        answer=None if answer is None else (ANSWER + answer.key, answer),
        ledger=None if reservation is None else (LEDGER + reservation.key, reservation),
        records=[(RECORD + record.key, record) for record in records],
        entities=[(f"{STATE}{kind}:{key}", _entity(kind, each)) for (kind, key), each in counted.items()],
    )


def claim(reply: Any) -> Claim:
    """Return what the script said to `decided` or `reserved`."""
    if not isinstance(reply, list):
        return Claim(counted=bool(reply))
    sort, content = reply
    if sort == _ANSWERED:
        return Claim(answer=content)
    return Claim(refused=True, ledger=content) if sort == _REFUSED else Claim(counted=bool(sort), ledger=content)


Sent = tuple[int, Arguments]
"""The slot in a cluster to which a command goes, and the command."""


def parts(event_ttl_ms: int, event: Applied) -> list[Sent]:
    """Return an event for a cluster: one command for each thing that it moves, or for the mark alone.

    Each thing has a mark of its own, in its own slot, and may be moved several times under it.
    """
    event_id, updates, standings, ledger, records = event
    sent: list[Sent] = []

    def send(kind: str, key: str, **moved: Any) -> None:
        mark = clustered_mark(kind, key, event_id)
        sent.append((slot(mark), _call(event_ttl_ms, mark, once=True, **moved)))

    for (kind, key), additions in grouped(updates).items():
        send(kind, key, entities=[(clustered(kind, key), _entity(kind, additions))])
    noted: dict[str, list[tuple[str, bytes]]] = {}
    for key, note in _notes(standings):
        noted.setdefault(key, []).append((clustered(STANDING, key), note))
    for key, notes in noted.items():
        send(STANDING, key, standings=notes)
    if ledger is not None:
        send(LEDGER, ledger.key, ledger=(clustered(LEDGER, ledger.key), ledger))
    for key, record in {record.key: record for record in records}.items():
        send(RECORD, key, records=[(clustered(RECORD, key), record)])
    if not sent:
        mark = EVENT + event_id
        sent.append((slot(mark), _call(event_ttl_ms, mark, once=True)))
    return sent


def kept(record: Kept) -> Sent:
    """Return what keeps a record in a cluster."""
    name = clustered(RECORD, record.key)
    return slot(name), ("SET", name, record.content, "EX", record.ttl_seconds)


def reserved(reservation: Reservation) -> Sent:
    """Return what enters an attempt into its ledger in a cluster; its reply is for `claim`."""
    name = clustered(LEDGER, reservation.key)
    return slot(name), _call(1, None, once=False, ledger=(name, reservation))


def slot(name: str) -> int:
    """Return the slot of a key in a cluster."""
    return key_slot(name.encode())


def packed(command: Arguments | bytes) -> bytes:
    """Return a command as Redis reads it."""
    # Written in C: 2 us for an update, where redis-py's own packer takes 11. Its stub knows tuples of one only.
    line: bytes = command if isinstance(command, bytes) else pack_command(command)  # type: ignore[arg-type]
    return line


_BY_SHA: Final = b"$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % SHA
_WHOLE: Final = b"$4\r\nEVAL\r\n$%d\r\n%b\r\n" % (len(SCRIPT), SCRIPT)


def in_full(command: Arguments | bytes) -> Arguments | bytes:
    """Return a command with the whole script, for a server that does not know it yet."""
    if isinstance(command, bytes):
        return command.replace(_BY_SHA, _WHOLE, 1)
    return ("EVAL", SCRIPT, *command[2:]) if command[0] == "EVALSHA" else command


def trial(tag: str = "") -> list[tuple[str, Arguments]]:
    """Return one command of every sort that is ever sent, and what it is called; `tag` chooses the slot of its keys.

    The keys are gone in a second.
    """
    layout = LAYOUTS["issuer"]
    outline = struct.pack("<6sBI", b"probe1", layout.words, 1) + _OUTLINES["issuer"][11:]
    # Twice the same event: the first begins a tile, the second falls into it.
    event = _EVENT.pack(1, 0, 0, 0, 0, 0)
    names = [f"{prefix}{tag}probe" for prefix in (ANSWER, LEDGER, EVENT, RECORD, STANDING, STATE)]
    plan = _PLAN.pack(_HAS_ANSWER | _HAS_LEDGER | _HAS_MARK, 1, 1)
    move = _LEDGER_HEAD.pack(VERSION, MOST, KEPT_US, 1) + bytes([_RESERVE]) + ENTRY.pack(1, 1, 1, RESERVED)
    note = _NOTE.pack(*_NOTE_HEAD[:3], 1, 0, 0, 0, *SCALES, *[0] * len(MEASURES))
    # Mark and answer end at once: where they are, the script goes no further.
    given: list[bytes | str | int] = [len(names), *names, plan, 1, b"", 1, move, b"", 1000, note]
    given.append(outline + event + event)
    commands: list[tuple[str, Arguments]] = [
        ("scripts (EVAL)", ("EVAL", SCRIPT, *given)),
        ("scripts (EVALSHA)", ("EVALSHA", SHA, *given)),
        ("reads", ("MGET", *names)),
        ("writes", ("SET", names[3], b"", "EX", 1)),
    ]
    if tag:
        commands.append(("deletions", ("DEL", names[0])))
    return commands
