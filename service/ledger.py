"""The attempts of one card at one merchant on one network: the budget that customer, billing system and engine share.

Networks limit failed attempts per card and merchant in rolling windows, customers' and merchants' own apart. An attempt is
reserved when it is decided, and settled or released by its outcome; a reservation counts as a failure until then, for nobody
knows that it was not sent. ``service/store/ledger.lua`` does the same inside Redis, byte for byte.

Layout, little endian::

    version u8 | count u16
    (at i64 | attempt u64 | amount minor units u64 | status u8) * count      by at, then attempt, ascending

This module must not know the rules that limit attempts.
"""

import contextlib
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from features.clock import DAY, SECOND

VERSION: Final = 1
RESERVED, FAILED, APPROVED = 1, 2, 3
KEPT_US: Final = 62 * DAY
"""How long before the newest an attempt is remembered: the month that limits count, and the month by which a reservation
may lie ahead of it. A limit with a longer window counts what is remembered."""
MOST: Final = 256
"""The most attempts that are remembered: more than any limit counts. Approved ones, which no limit counts, go first."""
TTL_SECONDS: Final = KEPT_US // SECOND

HEAD: Final = struct.Struct("<BH")
ENTRY: Final = struct.Struct("<qQQB")


class Entry(NamedTuple):
    """One attempt: when (microseconds), which (`attempt_id`), how much (minor units), and what became of it."""

    at: int
    attempt: int
    amount_minor: int
    status: int = RESERVED


class Limit(NamedTuple):
    """At most `most` failed attempts in `window_us`, of one amount if it is given; `resets`: since the last approval."""

    window_us: int
    most: int
    amount_minor: int | None = None
    resets: bool = False


def attempt_id(payment_id: str, attempt: int) -> int:
    """Return 53 bits that stand for an attempt: as many as Lua counts exactly."""
    return int.from_bytes(blake2b(f"{attempt}:{payment_id}".encode(), digest_size=8).digest(), "little") >> 11


def key_of(network: str, initiator: str | None, merchant_id: str, card_token: str) -> str:
    """Return the key of a ledger; whoever is not said to be the merchant counts as the customer.

    >>> key_of("visa", "merchant", "m_1", "tok_1"), key_of("visa", None, "m_1", "tok_1")
    ('visa:m:3:m_1tok_1', 'visa:c:3:m_1tok_1')
    """
    side = "m" if initiator == "merchant" else "c"
    return f"{network}:{side}:{len(merchant_id)}:{merchant_id}{card_token}"


def entries(blob: bytes | None) -> tuple[Entry, ...]:
    """Return the attempts in a ledger, oldest first; one that cannot be read is empty."""
    if blob is None or len(blob) < HEAD.size:
        return ()
    version, count = HEAD.unpack_from(blob)
    if version != VERSION or count > MOST or len(blob) != HEAD.size + count * ENTRY.size:
        return ()
    return tuple([Entry(*each) for each in ENTRY.iter_unpack(blob[HEAD.size :])])


def pack(attempts: Iterable[Entry]) -> bytes:
    """Return attempts as a ledger keeps them: in order, without the forgotten."""
    kept = sorted(attempts)
    if kept:
        oldest = kept[-1].at - KEPT_US
        kept = [entry for entry in kept if entry.at > oldest]
    while len(kept) > MOST:
        del kept[next((place for place, entry in enumerate(kept) if entry.status == APPROVED), 0)]
    return HEAD.pack(VERSION, len(kept)) + b"".join([ENTRY.pack(*entry) for entry in kept])


def used(attempts: Sequence[Entry], limit: Limit, at: int, own: int | None = None) -> int:
    """Return how much of a limit is used for an attempt at `at` (microseconds), `own` (an attempt's id) not counted.

    What was reserved for later than `at` counts as well, an approval later than `at` resets nothing, and no approval resets
    a reservation, which may have been sent after it: then no window of any moment holds more than the limit, in whatever
    order attempts were reserved and sent.
    """
    start = oldest = at - limit.window_us
    if limit.resets:
        for entry in attempts:
            if entry.status == APPROVED and start < entry.at <= at and entry.attempt != own:
                start = entry.at
    count = 0
    for entry in attempts:
        if (
            entry.status != APPROVED
            and entry.at > (oldest if entry.status == RESERVED else start)
            and entry.attempt != own
            and (limit.amount_minor is None or entry.amount_minor == limit.amount_minor)
        ):
            count += 1
    return count


def reserve(blob: bytes | None, entry: Entry, limits: Sequence[Limit]) -> bytes | None:
    """Return the ledger with one more reservation; None when a limit is used up: by the kernel where it was built."""
    quickly: Any = NotImplemented if native is None else native.reserve(blob, entry, limits)
    return reserved(blob, entry, limits) if quickly is NotImplemented else quickly


def reserved(blob: bytes | None, entry: Entry, limits: Sequence[Limit]) -> bytes | None:
    """Do what `reserve` says.

    An attempt that is in the ledger already is not counted twice: a reservation is moved, a settled one stays.
    """
    attempts = entries(blob)
    for limit in limits:
        if used(attempts, limit, entry.at, entry.attempt) >= limit.most:
            return None
    if any(known.attempt == entry.attempt and known.status != RESERVED for known in attempts):
        return pack(attempts)
    return pack([known for known in attempts if known.attempt != entry.attempt] + [entry])


def settle(blob: bytes | None, entry: Entry) -> bytes:
    """Return the ledger with an attempt as it ended; one that was reserved before keeps no second place."""
    return pack([known for known in entries(blob) if known.attempt != entry.attempt] + [entry])


def release(blob: bytes | None, attempt: int) -> bytes:
    """Return the ledger without a reservation that came to nothing."""
    return pack([known for known in entries(blob) if known.attempt != attempt or known.status != RESERVED])


# At the end: the kernel has its constants from here.
native: Any = None
with contextlib.suppress(ImportError):
    from service import ledger_native as native
