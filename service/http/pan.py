"""The card number guard: no primary account number (PAN) may come in, in any string, key or bare integer.

A card number is a run of digits of a brand's own length and prefix that passes the Luhn check; single spaces or dashes
(up to three in a row) may stand between its groups. A run is maximal: sixteen digits inside a run of twenty are not a
card number. This module must not know requests or HTTP, and nothing here ever returns, logs or keeps the number found.

Three stages, each only for what the one before could not clear: a pass over the raw bytes (2 us), a look at every run
of digits, and a walk over the decoded body that knows the path and the exempt fields.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from service.http.plain import Members, child, item

_RANGES: Final = (
    # (first four digits from, to, lengths)
    (4000, 4999, (13, 16, 19)),  # Visa
    (5100, 5599, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (3400, 3499, (15,)),  # American Express
    (3700, 3799, (15,)),
    (6011, 6011, (16, 17, 18, 19)),  # Discover
    (6440, 6499, (16, 17, 18, 19)),
    (6500, 6599, (16, 17, 18, 19)),
    (3600, 3699, (14,)),  # Diners Club
    (3800, 3899, (14,)),
    (3000, 3059, (14,)),
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (6200, 6299, (16, 17, 18, 19)),  # UnionPay
    # Maestro numbers may have twelve digits; thirteen is the least looked for, as shorter runs are mostly other things.
    *((low * 100, low * 100 + 99, tuple(range(13, 20))) for low in (50, 56, 57, 58)),
    (6300, 6399, tuple(range(13, 20))),
    (6700, 6799, tuple(range(13, 20))),
)
SHORTEST: Final = 13
LONGEST: Final = 19


def _lengths() -> list[frozenset[int]]:
    table: list[frozenset[int]] = [frozenset()] * 10_000
    for low, high, lengths in _RANGES:
        for prefix in range(low, high + 1):
            table[prefix] |= frozenset(lengths)
    return table


_LENGTHS: Final = _lengths()
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_RUN: Final = re.compile(r"[0-9]+(?:[ \-]{1,3}[0-9]+)*")
_GROUP: Final = re.compile(r"[0-9]+")
_FIRST_GROUPS: Final = frozenset({4, 6, 8})
# Identifiers that are random hexadecimal by construction: a UUID, or a digest or object id of the usual lengths. About
# one UUID in ten thousand holds a valid run by accident; no card number is ever printed like this.
_OPAQUE: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?=[0-9]*[a-fA-F])(?:[0-9a-fA-F]{24}|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64}))(?![0-9A-Za-z])"
)
_ZEROS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else byte for byte in range(256))
_SUSPECT: Final = b"0" * SHORTEST
# In MessagePack an integer of that size is tagged CF or D3, and digits of other scripts are UTF-8 sequences.
_PACKED: Final = re.compile(rb"[\xcf\xd3]|[\xc2-\xf4][\x80-\xbf]")


def suspicious_json(body: bytes) -> bool:
    """Return whether JSON may hold a card number. False is certain, True is a reason to look closer."""
    if _SUSPECT in body.translate(_ZEROS, b" -"):
        return not body.isascii() or b"\\u" in body or holds_number(body.decode("ascii"))
    return not body.isascii() or b"\\u" in body


def suspicious_msgpack(body: bytes) -> bool:
    """Return whether MessagePack may hold a card number. False is certain, True is a reason to look closer."""
    return _SUSPECT in body.translate(_ZEROS, b" -") or _PACKED.search(body) is not None


def is_number(digits: str) -> bool:
    """Return whether `digits` (ASCII digits alone) is a card number by prefix, length and Luhn check.

    >>> is_number("4111111111111111"), is_number("4111111111111112"), is_number("1111111111111117")
    (True, False, False)
    """
    length = len(digits)
    if not SHORTEST <= length <= LONGEST or length not in _LENGTHS[int(digits[:4])]:
        return False
    odd = sum(map(int, digits[-1::-2]))
    even = sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return (odd + even) % 10 == 0


def holds_number(text: str) -> bool:
    """Return whether a card number stands anywhere in `text`.

    >>> holds_number("card 4111-1111-1111-1111, thanks"), holds_number("2026-11-24T06:14:00Z")
    (True, False)
    """
    if not text.isascii():
        text = _in_ascii(text)
    text = _OPAQUE.sub(".", text)
    return any(_run_holds_number(match.group()) for match in _RUN.finditer(text))


def _run_holds_number(run: str) -> bool:
    if len(run) < SHORTEST:
        return False
    groups = _GROUP.findall(run)
    if is_number("".join(groups)):
        return True
    if len(groups) == 1:
        return False
    if any(is_number(group) for group in groups):
        return True
    return any(_starts_number(groups, start) for start, group in enumerate(groups) if len(group) in _FIRST_GROUPS)


def _starts_number(groups: list[str], start: int) -> bool:
    """Return whether a number printed in groups (4-4-4-4, 4-6-5, 6-13) begins at one, whatever stands around it."""
    length = len(groups[start])
    for end in range(start + 1, min(start + 6, len(groups))):
        length += len(groups[end])
        if length > LONGEST:
            return False
        if length >= SHORTEST and is_number("".join(groups[start : end + 1])):
            return True
    return False


def _in_ascii(text: str) -> str:
    """Digits of any script become ASCII digits, spaces and dashes of any kind become a space, all else a dot."""
    plain = []
    for char in text:
        if char.isascii():
            plain.append(char)
        elif (digit := unicodedata.digit(char, None)) is not None:
            plain.append(str(digit))
        elif unicodedata.category(char) in {"Zs", "Pd", "Cf"}:
            plain.append(" ")
        else:
            plain.append(".")
    return "".join(plain)


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
        return 1e12 <= value < 1e19 and value.is_integer() and is_number(str(int(value)))
    return isinstance(value, int) and 10**12 <= value < 10**19 and is_number(str(value))
