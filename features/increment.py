"""What an event adds to the state of the entities it names.

An attempt is known when it is decided, its result when it is settled, a chargeback weeks later: three increments with a
time each. Online they are applied as they become known; offline they are rows of one long table. Both come from here.

This module must not know how an increment is applied.
"""

from typing import Final, NamedTuple

from features.layout import INDEX, M

ENTITIES: Final = ("card", "merchant", "bin", "issuer", "processor")
"""Kinds of entity, in the order in which their keys are named everywhere."""

ENTITY_COLUMN: Final[dict[str, str]] = {
    "card": "card_token",
    "merchant": "merchant_id",
    "bin": "card_bin",
    "issuer": "issuer_country",
    "processor": "processor",
}
"""The field of a payment (or its attempt) that holds each entity's key."""

Deltas = tuple[int, ...]


class Increment(NamedTuple):
    """`deltas` (a whole number per measure) became known at `at` microseconds; `is_attempt` moves the last-seen time."""

    at: int
    deltas: Deltas
    is_attempt: bool


TECHNICAL: Final = frozenset({"error", "timeout"})
"""Statuses of an authorisation that say something of the processor and nothing of the card."""


def deltas(**measures: int) -> Deltas:
    """Return a full vector of deltas from named measures.

    >>> deltas(events=1, results=1)
    (1, 0, 0, 1, 0, 0, 0)
    """
    vector = [0] * M
    for name, value in measures.items():
        vector[INDEX[name]] = value
    return tuple(vector)


def attempt_increment(at: int, amount_minor: int) -> Increment:
    """Return what an attempt adds when it is decided."""
    return Increment(at, deltas(events=1, attempts=1, amount_minor=amount_minor), is_attempt=True)


def result_increment(at: int, status: str) -> Increment:
    """Return what an authorisation's result adds when it is settled."""
    return Increment(
        at,
        deltas(events=1, results=1, approved=int(status == "approved"), technical=int(status in TECHNICAL)),
        is_attempt=False,
    )


def chargeback_increment(at: int) -> Increment:
    """Return what a chargeback adds when it is reported."""
    return Increment(at, deltas(events=1, chargebacks=1), is_attempt=False)
