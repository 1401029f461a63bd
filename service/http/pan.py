"""The card number guard: no card number may come in, in any string, key or bare integer of a body.

What a card number is, `contracts.card_number` says; here is where in a body one stands. This module must not know requests
or HTTP, and nothing here ever returns, logs or keeps the number found.

Three stages, each only for what the one before could not clear: a pass over the raw bytes (2 us), a look at every run
of digits, and a walk over the decoded body that knows the path and the exempt fields.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from contracts.card_number import LONGEST, SHORTEST, holds_number, is_number
from service.http.plain import Members, child, item

_ZEROS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_SUSPECT: Final = b"0" * SHORTEST
_LEAST: Final = 10 ** (SHORTEST - 1)
_BEYOND: Final[int] = 10**LONGEST


def suspicious_json(body: bytes) -> bool:
    """Return whether JSON may hold a card number. False is certain, True is a reason to look closer."""
    if _SUSPECT in body.translate(_ZEROS, b" -"):
        return not body.isascii() or b"\\u" in body or holds_number(body.decode("ascii"))
    return not body.isascii() or b"\\u" in body


def suspicious_msgpack(body: bytes) -> bool:
    """Return whether MessagePack may hold a card number. False is certain, True is a reason to look closer."""
    if _SUSPECT in body.translate(_ZEROS, b" -"):
        return True
    try:
        # MessagePack is hardly ever ASCII, so the same values are looked at as JSON: integers and other scripts show there.
        return suspicious_json(msgspec.json.encode(msgspec.msgpack.decode(body)))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return True


def find_path(tree: Any, exempt: Iterable[str]) -> str | None:
    """Return the JSON path of the first card number in a decoded body, or None.

    Parameters
    ----------
    tree
        What ``service.http.plain`` made of the body.
    exempt
        Names of fields whose own value is not looked at.
    """
    exempt = frozenset(exempt)
    # A path is a chain to its parents until it is wanted: as text, those of a deep and wide body would fill the memory.
    waiting: list[tuple[Any, _Step | None]] = [(tree, None)]
    while waiting:
        value, step = waiting.pop()
        if isinstance(value, Members):
            for key, inner in value:
                if _is_carrier(key):
                    return _path(step)
                if not (key in exempt and isinstance(inner, str | int)):
                    waiting.append((inner, _Step(step, key)))
        elif isinstance(value, list):
            waiting.extend((inner, _Step(step, index)) for index, inner in enumerate(value))
        elif _is_carrier(value):
            return _path(step)
    return None


class _Step(NamedTuple):
    """How one value is reached from the one around it: by the key of a member, or by an index."""

    parent: "_Step | None"
    by: Any


def _path(step: _Step | None) -> str:
    steps = []
    while step is not None:
        steps.append(step.by)
        step = step.parent
    path = "$"
    for by in reversed(steps):
        path = item(path, by) if isinstance(by, int) else child(path, by)
    return path


def _is_carrier(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) >= SHORTEST and holds_number(value)
    if isinstance(value, bytes):
        return holds_number(value.decode("latin-1"))
    if isinstance(value, float):
        return _LEAST <= value < _BEYOND and value.is_integer() and is_number(str(int(value)))
    return isinstance(value, int) and _LEAST <= value < _BEYOND and is_number(str(value))
