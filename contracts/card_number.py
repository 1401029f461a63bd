"""What a card number is: the one rule by which every room knows a primary account number (PAN) when it meets one.

No card number ever crosses a wall. A card number is a run of digits of a brand's own length and prefix that passes the
Luhn check (ISO/IEC 7812-1); up to three blanks or dashes may stand between its groups, and digits of any script count.
A run is maximal: sixteen digits inside a run of twenty are not a card number, and neither are four groups inside of five
that are joined by dashes, as identifiers are. Random hexadecimal identifiers are not looked into, unless they read as the
second track of a magnetic stripe. This module must not know where a text comes from, and nothing here ever logs or keeps a
number found.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
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
_VALUES: Final = bytes(byte - 0x30 if 0x30 <= byte <= 0x39 else 0 for byte in range(256))
_DOUBLED: Final = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)[value] for value in _VALUES)
_RUN: Final = re.compile(r"[0-9]+(?:[ \-]{1,3}[0-9]+)*")
_GROUP: Final = re.compile(r"[0-9]+")
_FIRST_GROUPS: Final = frozenset({4, 6, 8})
_MOST_GROUPS: Final = 6
_PRINTED: Final = frozenset(
    {(4, 4, 4, last) for last in (1, 2, 3, 4)} | {(4, 4, 4, 4, last) for last in (1, 2, 3)} | {(4, 6, 5), (4, 6, 4)}
)
"""Sizes of the groups in which cards have their number printed."""
_SPELT: Final = 4
# What may stand before or after a number printed in fours, joined to it, without being one more group of it.
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")
_EXPIRY: Final = re.compile(r"(?:0[1-9]|1[0-2])[2-4][0-9]")
# ISO/IEC 7813 in hexadecimal, as terminals and EMV (tag 57) have it: number, separator D, expiry and service code, filler F.
_TRACK_2: Final = re.compile(r"[0-9]{13,19}[dD][0-9]{4,}[fF]*")
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
    raw = digits.encode("ascii")
    return (sum(raw[-1::-2].translate(_VALUES)) + sum(raw[-2::-2].translate(_DOUBLED))) % 10 == 0


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
    if len(places) == 1:
        if is_number(run):
            yield 0, len(run)
        return
    groups = [run[start:end] for start, end in places]
    spaced = " " in run
    digits = "".join(groups)
    if len(digits) <= LONGEST and (spaced or _is_grouped([len(group) for group in groups])) and is_number(digits):
        yield 0, len(run)
        return
    checked = _Luhn(digits)
    offsets = list(accumulate(map(len, groups), initial=0))
    ends = _ends_spaced if spaced else _ends_dashed
    for first, group in enumerate(groups):
        if len(group) >= SHORTEST:
            if is_number(group):
                yield places[first]
        elif len(group) in _FIRST_GROUPS and (lengths := _LENGTHS[int(group[:4])]):
            start = offsets[first]
            for last in ends(groups, first):
                if offsets[last + 1] - start in lengths and checked.passes(start, offsets[last + 1]):
                    yield places[first][0], places[last][1]


class _Luhn:
    """The Luhn check of any part of a long run, each in one step: a hostile run has a hundred thousand of them."""

    def __init__(self, digits: str) -> None:
        raw = digits.encode("ascii")
        even, odd = bytearray(raw.translate(_VALUES)), bytearray(raw.translate(_DOUBLED))
        even[1::2], odd[1::2] = odd[1::2], even[1::2]
        # Sums in which digits of even places count once, and those in which digits of odd places do.
        self._sums = (list(accumulate(even, initial=0)), list(accumulate(odd, initial=0)))

    def passes(self, start: int, end: int) -> bool:
        """Return whether the digits from `start` up to `end` pass: the last counts once, the one before it twice."""
        sums = self._sums[(end - 1) % 2]
        return (sums[end] - sums[start]) % 10 == 0


def _is_grouped(sizes: Sequence[int]) -> bool:
    """Return whether a number might be written in groups of these sizes and dashes, and an identifier hardly would be."""
    regular = sizes[0] <= _SPELT and len(set(sizes[:-1])) == 1 and sizes[-1] <= sizes[0]
    return regular or tuple(sizes) in _PRINTED or (len(sizes) == 2 and sizes[0] in _FIRST_GROUPS)


def _ends_spaced(groups: list[str], first: int) -> Iterator[int]:
    """Yield the last group of all that may be one number with the group `first`; with blanks, whatever their sizes."""
    length = len(groups[first])
    for last in range(first + 1, min(first + _MOST_GROUPS, len(groups))):
        length += len(groups[last])
        if length > LONGEST:
            return
        yield last


def _ends_dashed(groups: list[str], first: int) -> Iterator[int]:
    """Yield the same within dashes: only of groups as they are printed, and not of fours that are part of more fours."""
    if first and len(groups[first]) == len(groups[first - 1]) and not _YEAR.fullmatch(groups[first - 1]):
        return
    sizes: tuple[int, ...] = (len(groups[first]),)
    for last in range(first + 1, min(first + _MOST_GROUPS, len(groups))):
        sizes += (len(groups[last]),)
        if sizes in _PRINTED:
            after = groups[last + 1] if last + 1 < len(groups) else ""
            if len(after) != sizes[-1] or _EXPIRY.fullmatch(after):
                yield last


def _blanked(opaque: re.Match[str]) -> str:
    token = opaque.group()
    return token if _TRACK_2.fullmatch(token) else "." * len(token)


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
