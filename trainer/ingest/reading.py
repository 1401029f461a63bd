"""A reading: the polars expression of one canonical column and the faults its rows can have.

Cells are read as text first, whatever their type in the file, so that amounts stay exact and identifiers keep their
zeros. This module must not know any mapping.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import polars as pl

NUMBER: Final = r"^([+-]?)0*([0-9]*)(?:\.([0-9]*))?$"
NOT_FINITE: Final = r"(?i)^[+-]?(nan|inf|infinity)$"
_DIGITS_MAX: Final = 18  # always within 64 bits
_WHOLE_FLOAT: Final = 9_007_199_254_740_992.0  # 2 ** 53: up to here a float counts every integer


class Steps:
    """Expressions in the order in which they are computed, each once; later ones refer to earlier ones by name."""

    def __init__(self) -> None:
        self._steps: list[pl.Expr] = []

    def keep(self, expression: pl.Expr) -> pl.Expr:
        """Compute `expression` in a step of its own and return a reference to it."""
        name = f"#step{len(self._steps)}"
        self._steps.append(expression.alias(name))
        return pl.col(name)

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return `frame` with every step computed."""
        for step in self._steps:
            frame = frame.with_columns(step)
        return frame


class Reading(msgspec.Struct, frozen=True):
    """A column's value (null where it has a fault or is absent) and its faults: Boolean expressions by reason code."""

    value: pl.Expr
    faults: dict[str, pl.Expr]


class Scaled(msgspec.Struct, frozen=True):
    """A decimal number times a power of ten, in integers.

    `readable`: it is a number; `fits`: the result has at most 18 digits; `exact`: nothing was cut off;
    `negative`: it is below zero.
    """

    value: pl.Expr
    readable: pl.Expr
    fits: pl.Expr
    exact: pl.Expr
    negative: pl.Expr


def cell_text(name: str, dtype: pl.DataType, nulls: tuple[str, ...]) -> pl.Expr:
    """Return a source column as trimmed text, null where it is empty or one of `nulls`.

    Whole floats read like integers (12.0 as "12"), so that an identifier a spreadsheet keeps as a number stays one.
    """
    cell = pl.col(name)
    if dtype.is_float():
        whole = (cell == cell.round()) & (cell.abs() < _WHOLE_FLOAT)
        text = pl.when(whole).then(cell.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(cell.cast(pl.String))
    else:
        text = cell.cast(pl.String)
    text = text.str.strip_chars()
    return pl.when(text.is_in(["", *nulls])).then(None).otherwise(text)


def plain_number(text: pl.Expr, decimal: str, thousands: str | None) -> pl.Expr:
    """Return numbers as people write them as NUMBER wants them; what is not grouped in threes keeps its mark."""
    if thousands:
        mark = "\\" + thousands if thousands == "." else thousands
        point = "\\" + decimal if decimal == "." else decimal
        grouped = text.str.contains(rf"^[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({point}[0-9]*)?$")
        text = pl.when(grouped).then(text.str.replace_all(thousands, "", literal=True)).otherwise(text)
    if decimal == ",":
        # A point that is left is no mark of this file: it may not turn into one.
        text = text.str.replace_all(".", "!", literal=True).str.replace(",", ".", literal=True)
    return text


def scaled(steps: Steps, text: pl.Expr, digits: pl.Expr, *, rounding: bool = False) -> Scaled:
    """Read decimal text times ten to the power `digits` (0 to 6), exactly, or rounded half away from zero."""
    parts = steps.keep(text.str.extract_groups(NUMBER))
    sign, whole = parts.struct.field("1"), parts.struct.field("2")
    fraction = steps.keep(parts.struct.field("3").fill_null("").str.strip_chars_end("0"))
    kept = fraction.str.pad_end(digits, "0").str.slice(0, digits)
    power = digits.replace_strict({n: 10**n for n in range(7)}, default=None, return_dtype=pl.Int64)
    fits = whole.str.len_chars() + digits <= _DIGITS_MAX
    value = ("0" + whole).cast(pl.Int64, strict=False) * power + ("0" + kept).cast(pl.Int64, strict=False)
    if rounding:
        value = value + (fraction.str.slice(digits, 1) >= "5").cast(pl.Int64)
    value = steps.keep(value)
    negative = (sign == "-") & (value != 0)
    return Scaled(
        value=pl.when(fits).then(pl.when(sign == "-").then(-value).otherwise(value)),
        readable=whole.is_not_null() & text.str.contains("[0-9]"),
        fits=fits,
        exact=fraction.str.len_chars() <= digits,
        negative=negative.fill_null(value=False),
    )


def mapped(text: pl.Expr, values: Mapping[str, str], otherwise: str | None = None) -> tuple[pl.Expr, pl.Expr]:
    """Return text put through a value map, and whether a value is not in it."""
    found = (
        text.replace_strict(dict(values), default=None, return_dtype=pl.String) if values else pl.lit(None, pl.String)
    )
    unknown = text.is_not_null() & ~text.is_in(list(values))
    if otherwise is None:
        return found, unknown
    return pl.when(unknown).then(pl.lit(otherwise)).otherwise(found), pl.lit(value=False)


def sound(steps: Steps, value: pl.Expr, faults: Mapping[str, pl.Expr]) -> Reading:
    """Return a reading whose faults are never null and whose value is null wherever one of them is true."""
    found = {code: steps.keep(fault.fill_null(value=False)) for code, fault in faults.items()}
    if found:
        value = pl.when(~pl.any_horizontal(found.values())).then(value)
    return Reading(steps.keep(value), found)
