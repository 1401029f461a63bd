"""What a card number is: the one rule by which every room knows a primary account number (PAN) when it meets one.

No card number ever crosses a wall. A card number is a run of digits of a brand's own length and prefix that passes the
Luhn check (ISO/IEC 7812-1); up to three blanks or dashes may stand between its groups, and digits of any script count.
A run is maximal: sixteen digits inside a run of twenty are not a card number. Random hexadecimal identifiers are not
looked into. This module must not know where a text comes from, and nothing here ever logs or keeps a number found.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple


class Range(NamedTuple):
    """Card numbers of one brand: from `first` to `last` by their first four digits, and how long they are."""

    brand: str
    first: int
    last: int
    lengths: tuple[int, ...]


SHORTEST: Final = 13
"""The least digits looked for: a few old Maestro numbers have twelve, but so have too many other things."""
LONGEST: Final = 19

_ANY: Final = tuple(range(SHORTEST, LONGEST + 1))
_FROM_14: Final = tuple(range(14, LONGEST + 1))
_FROM_16: Final = tuple(range(16, LONGEST + 1))

BRANDS: Final = (
    Range("Visa", 4000, 4999, (13, 16, 19)),
    Range("Mastercard", 5100, 5599, (16,)),
    Range("Mastercard", 2221, 2720, (16,)),
    Range("American Express", 3400, 3499, (15,)),
    Range("American Express", 3700, 3799, (15,)),
    Range("Discover", 6011, 6011, _FROM_16),
    Range("Discover", 6440, 6599, _FROM_16),
    Range("Diners Club", 3000, 3059, _FROM_14),
    Range("Diners Club", 3095, 3095, _FROM_14),
    Range("Diners Club", 3600, 3699, _FROM_14),
    Range("Diners Club", 3800, 3999, _FROM_14),
    Range("JCB", 3528, 3589, _FROM_16),
    Range("UnionPay", 6200, 6299, _FROM_16),
    Range("Maestro", 5000, 5099, _ANY),
    Range("Maestro", 5600, 5899, _ANY),
    Range("Maestro", 6300, 6399, _ANY),
    Range("Maestro", 6700, 6799, _ANY),
    Range("Mir", 2200, 2204, _FROM_16),
    Range("Troy", 9792, 9792, (16,)),
)
"""The ranges the networks publish for their cards."""


def _lengths() -> list[frozenset[int]]:
    table: list[frozenset[int]] = [frozenset()] * 10_000
    for _, first, last, lengths in BRANDS:
        for prefix in range(first, last + 1):
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
_SHORTEST_OPAQUE: Final = 24


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
    return next(_found(text), None) is not None


def run_holds_number(run: str) -> bool:
    """Return whether a card number stands in one run: ASCII digits, with up to three blanks or dashes between them.

    >>> run_holds_number("4111 1111-1111 1111"), run_holds_number("41111111111111110000")
    (True, False)
    """
    return next(_in_run(run), None) is not None


def spans(text: str) -> list[tuple[int, int]]:
    """Return where card numbers stand in `text`: from and to, in order, those that overlap as one.

    >>> spans("4111-1111-1111-1111 or 378282246310005")
    [(0, 19), (23, 38)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(_found(text)):
        if merged and start < merged[-1][1]:
            start, end = merged[-1][0], max(end, merged[-1][1])
            merged.pop()
        merged.append((start, end))
    return merged


def _found(text: str) -> Iterator[tuple[int, int]]:
    """Yield where card numbers stand, run by run; those of one run may overlap."""
    plain = text if text.isascii() else _in_ascii(text)
    if len(plain) >= _SHORTEST_OPAQUE:
        plain = _OPAQUE.sub(_blanked, plain)
    for match in _RUN.finditer(plain):
        start, end = match.span()
        if end - start >= SHORTEST:
            for first, last in _in_run(match.group()):
                yield start + first, start + last


def _in_run(run: str) -> Iterator[tuple[int, int]]:
    """Yield the whole run when it is a number, else its groups that are, and those that are together."""
    places = [match.span() for match in _GROUP.finditer(run)]
    groups = [run[start:end] for start, end in places]
    if is_number("".join(groups)):
        yield 0, len(run)
        return
    if len(groups) == 1:
        return
    for group, place in zip(groups, places, strict=True):
        if is_number(group):
            yield place
    for first, group in enumerate(groups):
        if len(group) in _FIRST_GROUPS:
            for last in _ends(groups, first):
                yield places[first][0], places[last][1]


def _ends(groups: list[str], first: int) -> Iterator[int]:
    """Yield the last group of each number printed in groups (4-4-4-4, 4-6-5, 6-13) that begins with the group `first`."""
    length = len(groups[first])
    for last in range(first + 1, min(first + 6, len(groups))):
        length += len(groups[last])
        if length > LONGEST:
            return
        if length >= SHORTEST and is_number("".join(groups[first : last + 1])):
            yield last


def _blanked(opaque: re.Match[str]) -> str:
    return "." * len(opaque.group())


def _in_ascii(text: str) -> str:
    """Digits of any script become ASCII digits, blanks and dashes of any kind a blank, all else a dot: one for one."""
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
