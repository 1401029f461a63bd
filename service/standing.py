"""How a processor has been doing lately: decayed sums of results, in one small struct of fixed size.

Results are summed on four scales at once, from seconds (is it down?) to hours (what is usual?). Three levels are kept: of
a processor, of a processor on one network, and of a processor for one merchant. ``service/store/standing.lua`` does the
same addition inside Redis.

Layout, little endian::

    version u8 | month i32 (12 * year + month - 1, UTC) | approved minor units of that month f64 | at i64
    sums f64 * 28              by scale, then measure, as of `at`

This module must not know what is concluded from these sums.
"""

import struct
from functools import lru_cache
from math import log
from typing import Final, NamedTuple

from features.clock import DAY, HOUR, MINUTE, SECOND, moment

VERSION: Final = 1
LEVELS: Final = ("processor", "network", "merchant")
SCALES: Final = (10 * SECOND, 60 * SECOND, 10 * MINUTE, 6 * HOUR)
"""Half-lives, microseconds."""
MEASURES: Final = ("results", "faults", "approved", "expected", "spread", "timed", "log_latency")
"""Results; those that failed by the processor's fault; of the others, approvals, what the model expected of them (p) and
the variance of that (p * (1 - p)); answers with a latency, and the natural logarithm of their milliseconds."""
TTL_SECONDS: Final = 32 * 86_400

FORM: Final = struct.Struct(f"<Bidq{len(SCALES) * len(MEASURES)}d")

_NOTHING: Final = (0.0,) * (len(SCALES) * len(MEASURES))


class Note(NamedTuple):
    """What one result says of a processor.

    Attributes
    ----------
    at
        When it became known, microseconds.
    fault
        Whether it failed by the processor's own fault.
    approved
        Whether it was approved.
    expected
        Approval probability that the model gave it, None where none is known.
    latency_ms
        Of the answer, None where none is known or none came.
    amount_minor
        Of the attempt.
    sign
        1; -1 takes an earlier note back.
    """

    at: int
    fault: bool = False
    approved: bool = False
    expected: float | None = None
    latency_ms: int | None = None
    amount_minor: int = 0
    sign: int = 1

    @property
    def deltas(self) -> tuple[float, ...]:
        """What is added on every scale, one number for each of `MEASURES`."""
        sign = float(self.sign)
        fault = sign if self.fault else 0.0
        timed, latency = 0.0, 0.0
        if self.latency_ms is not None:
            timed, latency = sign, sign * log(max(self.latency_ms, 1))
        if self.fault or self.expected is None:
            # A fault is told apart: it must not pass for what issuers think.
            return (sign, fault, 0.0, 0.0, 0.0, timed, latency)
        p = self.expected
        return (sign, 0.0, sign if self.approved else 0.0, sign * p, sign * p * (1.0 - p), timed, latency)

    @property
    def month_minor(self) -> float:
        """What is added to the month."""
        return float(self.sign * self.amount_minor) if self.approved else 0.0


class Sums(NamedTuple):
    """Sums as of one moment, 28 numbers by scale and measure, and what was approved in that moment's calendar month."""

    values: tuple[float, ...]
    month_minor: float


def month_of(at: int) -> int:
    """Return the calendar month of a moment in microseconds.

    >>> month_of(0), month_of(31 * 86_400 * 1_000_000)
    (23640, 23641)
    """
    return _month_of_day(at // DAY)


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> int:
    """Keep the months of the days in question: a calendar takes longer than the sums."""
    then = moment(day * DAY)
    return 12 * then.year + then.month - 1


def keys_of(processor: str, network: str, merchant_id: str) -> tuple[str, str, str]:
    """Return the keys of a candidate's standings, one for each of `LEVELS`.

    >>> keys_of("north", "visa", "m_1")
    ('p:north', 'n:5:northvisa', 'm:5:northm_1')
    """
    head = f"{len(processor)}:{processor}"
    return f"p:{processor}", f"n:{head}{network}", f"m:{head}{merchant_id}"


def add(blob: bytes | None, note: Note) -> bytes:
    """Return a standing with one more note; one that cannot be read begins anew."""
    old = None if blob is None or len(blob) != FORM.size or blob[0] != VERSION else FORM.unpack(blob)
    month, month_minor, at, *sums = old[1:] if old is not None else (0, 0.0, note.at, *_NOTHING)
    width = len(MEASURES)
    later = max(at, note.at)
    deltas = note.deltas
    for scale, half_life in enumerate(SCALES):
        keep = 2.0 ** (-(later - at) / half_life)
        new = 2.0 ** (-(later - note.at) / half_life)
        for place, delta in enumerate(deltas, scale * width):
            sums[place] = sums[place] * keep + delta * new
    mine = month_of(note.at)
    if mine > month:
        month, month_minor = mine, note.month_minor
    elif mine == month:
        month_minor += note.month_minor
    return FORM.pack(VERSION, month, month_minor, later, *sums)


def read(blob: bytes | None, at: int) -> Sums | None:
    """Return the sums as of `at` (microseconds); None where nothing is known or nothing can be read.

    A moment before the newest note reads as that note's own: clocks differ.
    """
    if blob is None or len(blob) != FORM.size or blob[0] != VERSION:
        return None
    _, month, month_minor, then, *sums = FORM.unpack(blob)
    if at > then:
        width = len(MEASURES)
        since = at - then
        for scale, half_life in enumerate(SCALES):
            keep = 2.0 ** (-since / half_life)
            for place in range(scale * width, scale * width + width):
                sums[place] *= keep
    return Sums(tuple(sums), month_minor if month == month_of(at) else 0.0)


def view(*measures: tuple[str, ...]) -> struct.Struct:
    """Return a struct that takes only some measures out of a standing: for each scale those to take, in their order here.

    It unpacks to version, month, month_minor, at, and the sums, as of `at`.

    >>> len(view((), (), ("results",), ("results", "faults")).unpack(add(None, Note(at=0))))
    7
    """
    taken = ["d" if measure in wanted else f"{struct.calcsize('d')}x" for wanted in measures for measure in MEASURES]
    return struct.Struct("<Bidq" + "".join(taken))
