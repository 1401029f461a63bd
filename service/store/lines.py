"""What is sent to one Redis for a question and its answer: by the kernel in C where it was built, else in Python.

This module must not know connections.
"""

from collections.abc import Sequence
from typing import Final

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from service.store import base, command
from service.store.base import ANSWER, LEDGER, RECORD, STANDING, STATE, Decided, Names, StateKeys, States
from service.store.command import Arguments, packed

try:
    from service.store import command_native as native

    IS_NATIVE = True
    """Whether the kernel in C is used."""
except ImportError:
    IS_NATIVE = False

Blobs = list[bytes | None]

_NAMES: Final = Names[str](
    [f"{STATE}{kind}:".__add__ for kind in PAYMENT_KINDS],
    [f"{STATE}{kind}:".__add__ for kind in CANDIDATE_KINDS],
    RECORD.__add__,
    STANDING.__add__,
    LEDGER.__add__,
    ANSWER.__add__,
)


def decided(event_ttl_ms: int, decision: Decided) -> Arguments | bytes:
    """Return the command that keeps an answer and all that goes with it; see `service.store.command.decided`."""
    line = native.decided(event_ttl_ms, decision) if IS_NATIVE else None
    return command.decided(event_ttl_ms, decision) if line is None else line


def names(keys: StateKeys) -> list[str | None]:
    """Return the name of every key of a question; None where there is none."""
    return native.names(keys) if IS_NATIVE else base.named(keys, _NAMES)


def shaped(keys: StateKeys, blobs: Blobs) -> States:
    """Return the answers to `names` in the shape of the question."""
    return native.shaped(keys, blobs) if IS_NATIVE else base.shaped(keys, blobs)


def mget(questions: Sequence[Sequence[str | None]]) -> tuple[bytes | None, list[list[int]]]:
    """Return one MGET of all that is asked, None for nothing, and for each question the places of its names in the reply.

    A name that is None has the place -1. What several questions ask for is asked for once.
    """
    if IS_NATIVE:
        return native.mget(list(questions))
    places: dict[str, int] = {}
    of_each = [
        [-1 if name is None else places.setdefault(name, len(places)) for name in question] for question in questions
    ]
    return (packed(("MGET", *places)) if places else None), of_each


def taken(values: Blobs, places: list[int]) -> Blobs:
    """Return the answers to one of the questions of `mget`."""
    if IS_NATIVE:
        return native.taken(values, places)
    return [None if place < 0 else values[place] for place in places]
