"""What an event adds to the state of the entities it names.

An attempt is known when it is decided, its result when it is settled, a chargeback weeks later: three increments with a
time each. Online they are applied as they become known; offline they are rows of one long table. Both come from here.

This module must not know how an increment is applied.
"""

from typing import Final, NamedTuple
from zlib import crc32

from features.decline import decline_class
from features.layout import ATTEMPTS, INDEX, MEASURES

Deltas = tuple[int, ...]

TECHNICAL: Final = frozenset({"error", "timeout"})
"""Statuses of an authorisation that say something of the way and nothing of the card."""

CODES: Final[dict[str, int]] = {
    "declined": 1,
    "funds": 2,
    "authenticate": 3,
    "fix_data": 4,
    "never": 5,
    "technical": 6,
    "approved": 7,
}
"""What a result is remembered as; of several at one moment the greatest is the last."""


class Increment(NamedTuple):
    """One event, known at `at` microseconds.

    `deltas` holds a whole number for each of `features.layout.MEASURES`; `code` is one of `CODES` for a result, else 0. An
    event that takes an earlier one back (`taken_back`) has its deltas and its code with the sign turned.
    """

    at: int
    deltas: Deltas
    code: int = 0

    @property
    def is_attempt(self) -> bool:
        """True for an attempt: its amount and its time are remembered as the last."""
        return self.deltas[ATTEMPTS] > 0


def deltas(**measures: int) -> Deltas:
    """Return a full vector of deltas from named measures.

    >>> deltas(results=1)
    (0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    """
    vector = [0] * len(MEASURES)
    for name, value in measures.items():
        vector[INDEX[name]] = value
    return tuple(vector)


def attempt_increment(at: int, amount_minor: int) -> Increment:
    """Return what an attempt adds when it is decided."""
    return Increment(at, deltas(attempts=1, amount_minor=amount_minor))


def result_name(status: str, network: str | None, response_code: str | None) -> str:
    """Return which of `CODES` an authorisation's result is.

    >>> result_name("declined", "visa", "51"), result_name("timeout", "visa", None), result_name("declined", None, None)
    ('funds', 'technical', 'declined')
    """
    if status == "declined":
        return decline_class(network, response_code) or "declined"
    return "technical" if status in TECHNICAL else status


_RESULTS: Final[dict[tuple[str, bool], Deltas]] = {
    (name, declined): deltas(
        results=1, **({"declined": 1} if declined else {}), **({} if name == "declined" else {name: 1})
    )
    for name in CODES
    for declined in (False, True)
}


def result_increment(at: int, status: str, network: str | None = None, response_code: str | None = None) -> Increment:
    """Return what an authorisation's result adds when it is settled."""
    name = result_name(status, network, response_code)
    return Increment(at, _RESULTS[name, status == "declined"], CODES[name])


_CHARGEBACK: Final = deltas(chargebacks=1)


def chargeback_increment(at: int) -> Increment:
    """Return what a chargeback adds when it is reported."""
    return Increment(at, _CHARGEBACK)


def taken_back(increment: Increment) -> Increment:
    """Return what takes an event back that turned out otherwise, such as a timeout whose approval is reported later.

    >>> taken_back(result_increment(5, "timeout"))
    Increment(at=5, deltas=(0, 0, -1, 0, 0, -1, 0, 0, 0, 0, 0), code=-6)
    """
    return Increment(increment.at, tuple([-delta for delta in increment.deltas]), -increment.code)


def member(value: str | None) -> int | None:
    """Return what a distinct count remembers a value by: 32 bits of it.

    Two of 8 values share them with odds of 7 in 10^9; the count is then one too low.

    >>> member("m_1"), member(None)
    (3551772864, None)
    """
    return None if value is None else crc32(value.encode())
