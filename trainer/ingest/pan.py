"""Card numbers in a shop's files: looked for in whole columns, and masked in what is quoted.

What a card number is, `contracts.card_number` says. This module must not know where the text comes from.
"""

from typing import Any, Final

import polars as pl

from contracts.card_number import SHORTEST, holds_number, spans

_DIGIT: Final = r"[\p{Nd}\p{No}]"
_GAP: Final = r"[ \-\p{Zs}\p{Pd}\p{Cf}]{0,3}"
CANDIDATE: Final = f"{_DIGIT}(?:{_GAP}{_DIGIT}){{{SHORTEST - 1}}}"
"""What a text must contain before it is worth a closer look, as polars reads it: enough digits of any script, close by."""

_SHOWN: Final = 4


def mask_text(text: str) -> str:
    """Replace every card number in `text` by asterisks and its last four digits."""
    while found := spans(text):
        for start, end in reversed(found):
            digits = [char for char in text[start:end] if char.isdigit()]
            masked = "*" * (len(digits) - _SHOWN) + "".join(digits[-_SHOWN:])
            text = text[:start] + masked + text[end:]
    return text


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
        return mask_text(text) if holds_number(text) else value
    return value


def detected(text: pl.Expr) -> pl.Expr:
    """Return a Boolean expression: a card number stands in the text (null text holds none)."""

    def search(batch: pl.Series) -> pl.Series:
        hits = batch.str.contains(CANDIDATE).fill_null(value=False)
        if not hits.any():
            return hits
        return pl.Series(
            batch.name,
            [hit and holds_number(value) for hit, value in zip(hits.to_list(), batch.to_list(), strict=True)],
            dtype=pl.Boolean,
        )

    return text.map_batches(search, return_dtype=pl.Boolean(), is_elementwise=True)
