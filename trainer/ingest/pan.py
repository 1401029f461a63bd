"""Card numbers in text: found by length, brand prefix and Luhn digit, and masked.

A number counts whether its digits run together or stand in the groups printed on a card (4-4-4-4, 4-6-5) with one
blank or hyphen between them. This module must not know where the text comes from.
"""

import re
from typing import Any, Final

import polars as pl

CANDIDATE: Final = r"[0-9]{13}|[0-9]{4}[ -][0-9]{4,6}[ -][0-9]{4,5}"
"""What a text must contain before it is worth a closer look (no look-around, so that polars can run it)."""

_RUN: Final = re.compile(
    r"(?<![0-9])(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9])"
)
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# (first prefix, last prefix, lengths): the ranges the networks publish for their cards.
_BRANDS: Final[tuple[tuple[str, str, tuple[int, ...]], ...]] = (
    ("4", "4", (13, 16, 19)),  # Visa
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),  # Mastercard, the range of 2017
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14, 15, 16, 17, 18, 19)),  # Diners Club
    ("3095", "3095", (14, 15, 16, 17, 18, 19)),
    ("36", "36", (14, 15, 16, 17, 18, 19)),
    ("38", "39", (14, 15, 16, 17, 18, 19)),
    ("3528", "3589", (16, 17, 18, 19)),  # JCB
    ("6011", "6011", (16, 17, 18, 19)),  # Discover
    ("644", "649", (16, 17, 18, 19)),
    ("65", "65", (16, 17, 18, 19)),
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("50", "50", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("56", "58", (13, 14, 15, 16, 17, 18, 19)),
    ("6304", "6304", (13, 14, 15, 16, 17, 18, 19)),
    ("6759", "6763", (13, 14, 15, 16, 17, 18, 19)),
    ("2200", "2204", (16, 17, 18, 19)),  # Mir
    ("9792", "9792", (16,)),  # Troy
)


def is_card_number(digits: str) -> bool:
    """Say whether a string of digits has a brand's prefix and length and a valid Luhn digit (ISO/IEC 7812-1).

    >>> is_card_number("4111111111111111"), is_card_number("4111111111111112"), is_card_number("9111111111111111")
    (True, False, False)
    """
    length = len(digits)
    if not any(length in lengths and first <= digits[: len(first)] <= last for first, last, lengths in _BRANDS):
        return False
    total = sum(int(digit) for digit in digits[-1::-2]) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def _bare(run: re.Match[str]) -> str:
    return run.group().replace(" ", "").replace("-", "")


def holds_card_number(text: str) -> bool:
    """Say whether a card number stands anywhere in `text`."""
    return any(is_card_number(_bare(run)) for run in _RUN.finditer(text))


def mask_text(text: str) -> str:
    """Replace every card number in `text` by asterisks and its last four digits."""

    def masked(run: re.Match[str]) -> str:
        digits = _bare(run)
        return "*" * (len(digits) - 4) + digits[-4:] if is_card_number(digits) else run.group()

    return _RUN.sub(masked, text)


def mask(value: Any) -> Any:
    """Mask card numbers in a value read from JSON or a table row, however deep; a number that is one becomes text."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {mask_text(key): mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
        return mask_text(text) if holds_card_number(text) else value
    return value


def detected(text: pl.Expr) -> pl.Expr:
    """Return a Boolean expression: a card number stands in the text (null text holds none)."""

    def search(batch: pl.Series) -> pl.Series:
        hits = batch.str.contains(CANDIDATE).fill_null(value=False)
        if not hits.any():
            return hits
        return pl.Series(
            batch.name,
            [hit and holds_card_number(value) for hit, value in zip(hits.to_list(), batch.to_list(), strict=True)],
            dtype=pl.Boolean,
        )

    return text.map_batches(search, return_dtype=pl.Boolean(), is_elementwise=True)
