"""The card number guard: no card number may come in, in any string, key or bare integer of a body.

What a card number is, `contracts.card_number` says; here is where in a body one stands. This module must not know requests
or HTTP, and nothing here ever returns, logs or keeps the number found.

Three stages, each only for what the one before could not clear: a pass over the raw bytes, a look at every run of digits
that is long enough (together 1 to 3 us), and a walk over the decoded body that knows the path and the exempt fields (30 us).
Letters of other scripts break a run and need no walk; digits, blanks and dashes of other scripts do.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from contracts.card_number import LONGEST, SHORTEST, holds_number, is_number, run_holds_number
from service.http.plain import Members, child, item

# A pass without deletions: one look-up a byte, and places stay what they are.
_ZEROS: Final = bytes(0x30 if byte in b"0123456789 -" else byte for byte in range(256))
_SUSPECT: Final = b"0" * SHORTEST
_STRETCH: Final = re.compile(rb"[0-9 \-]++")
_RUN: Final = re.compile(r"[0-9]+(?:[ \-]{1,3}[0-9]+)*")
_ESCAPE: Final = re.compile(rb"\\u([0-9a-fA-F]{4})")
_ASCII: Final = bytes(range(128))
# What neither is nor joins digits: ASCII that is not among them, and letters of Latin, Greek, Cyrillic, Armenian, kana, Han
# and Hangul. All else is odd, such as Arabic digits and blanks without a break.
_ODD: Final = re.compile(
    "[^\x00-\x1f!-,./:-\x7f\u00c0-\u02af\u0370-\u0587\u3041-\u309f\u30a1-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]"
)
_AS_JSON: Final = msgspec.json.Encoder().encode
_BACKSLASH: Final = 0x5C
_LEAST: Final = 10 ** (SHORTEST - 1)
_BEYOND: Final[int] = 10**LONGEST


def suspicious_json(body: bytes) -> bool:
    """Return whether JSON may hold a card number. False is certain, True is a reason to look closer."""
    if _BACKSLASH in body and b"\\u" in body:
        parts = _ESCAPE.split(body)
        escaped = bytes.fromhex(b"".join(parts[1::2]).decode()).decode("utf-16-be", "surrogatepass")
        # What follows a pair of backslashes may be no escape: that takes a parser to say.
        if b"\\\\" in body or _ODD.search(escaped) is not None:
            return True
        body = b".".join(parts[::2])
    if not body.isascii():
        try:
            others = body.translate(None, _ASCII).decode()
        except UnicodeDecodeError:
            return True
        if _ODD.search(others) is not None:
            return True
    return _holds_run(body)


def suspicious_msgpack(body: bytes) -> bool:
    """Return whether MessagePack may hold a card number as ASCII text or binary: True is a reason to look closer.

    False is certain of these alone: what a whole number or text of another script holds, the bytes do not show. For them
    there is `suspicious_value`.
    """
    return _SUSPECT in body.translate(_ZEROS)


def suspicious_value(value: Any) -> bool:
    """Return whether a decoded message may hold a card number. False is certain, True is a reason to look closer."""
    return suspicious_json(_AS_JSON(value))


def _holds_run(body: bytes) -> bool:
    """Look at every run of digits that is long enough."""
    zeros = body.translate(_ZEROS)
    start = zeros.find(_SUSPECT)
    while start >= 0:
        found = _STRETCH.match(body, start)
        assert found is not None
        stretch = found[0]
        if stretch.isdigit():
            if len(stretch) <= LONGEST and is_number(stretch.decode()):
                return True
        elif any(run_holds_number(run) for run in _RUN.findall(stretch.decode())):
            return True
        start = zeros.find(_SUSPECT, found.end())
    return False


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
