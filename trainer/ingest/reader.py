"""The reader of one source: the mapping's tables turned into readings, each checked by the contract's rule.

This module must not know which columns a history needs, nor how columns depend on each other.
"""

from typing import Any

import polars as pl

from contracts.currency import EXPONENT
from contracts.history import COLUMNS
from trainer.history import DTYPES, TIME
from trainer.ingest.contract import RULES
from trainer.ingest.country import COUNTRIES
from trainer.ingest.mapping import Chargeback, Column, Mapping, Payment, Time, as_text, duration
from trainer.ingest.moment import read_time
from trainer.ingest.pan import detected
from trainer.ingest.reading import NOT_FINITE, Reading, Steps, cell_text, mapped, plain_number, scaled, sound
from trainer.ingest.source import Source


class Reader:
    """Reads the columns of one source under one mapping; what it computes on the way is in `steps`."""

    def __init__(self, source: Source, mapping: Mapping) -> None:
        self._source = source
        self._mapping = mapping
        self.steps = Steps()

    def text(self, column: str, where: str) -> pl.Expr:
        """Return a source column as text; `where` is the key of the mapping that names it."""
        return self.steps.keep(cell_text(column, self._source.dtype(column, where), self._mapping.null_values))

    def time(self, time: Time, where: str) -> Reading:
        """Read a column of times."""
        dtype = self._source.dtype(time.column, f"{where}.column")
        return read_time(self.steps, dtype, time, self._mapping.null_values, where)

    def number(self, column: str, where: str) -> pl.Expr:
        """Return a column of numbers as text with a decimal point."""
        text = self.text(column, where)
        if self._source.dtype(column, where) != pl.String:
            return text
        return self.steps.keep(plain_number(text, self._mapping.numbers.decimal, self._mapping.numbers.thousands))

    def column(self, name: str, column: Column) -> Reading:
        """Read what stands under ``[columns]`` for the canonical column `name`."""
        kind = COLUMNS[name]
        if column.constant is not None:
            constant: Any = as_text(column.constant) if kind == "string" else column.constant
            return Reading(pl.lit(constant, DTYPES[kind]), {})
        assert column.column is not None
        where = f"columns.{name}"
        numeric = kind in {"int", "float"} and column.map is None
        text = self.number(column.column, where) if numeric else self.text(column.column, where)
        faults: dict[str, pl.Expr] = {}
        if column.case:
            text = text.str.to_lowercase() if column.case == "lower" else text.str.to_uppercase()
        if column.map is not None:
            values = {key: as_text(value) for key, value in column.map.items()}
            otherwise = None if column.otherwise is None else as_text(column.otherwise)
            text, faults["unmapped"] = mapped(text, values, otherwise)
        if column.default is not None:
            empty = text.is_null() & ~faults["unmapped"] if "unmapped" in faults else text.is_null()
            text = pl.when(empty).then(pl.lit(as_text(column.default))).otherwise(text)
        if column.prefix:
            text = column.prefix + text
        text = self.steps.keep(text)
        reading = self._typed(name, text)
        return sound(self.steps, reading.value, {**faults, **reading.faults})

    def _typed(self, name: str, text: pl.Expr) -> Reading:
        kind = COLUMNS[name]
        if kind == "string":
            return self._string(name, text)
        if kind == "bool":
            return _boolean(self.steps, text)
        return _integer(self.steps, name, text) if kind == "int" else _float(self.steps, name, text)

    def _string(self, name: str, text: pl.Expr) -> Reading:
        rule = RULES[name]
        faults: dict[str, pl.Expr] = {}
        if name not in self._mapping.pan_exempt:
            faults["pan_detected"] = detected(text)
        if rule.max_length:
            faults["too_long"] = text.str.len_chars() > rule.max_length
        if rule.choices:
            faults["unknown_value"] = ~text.is_in(list(rule.choices))
        elif rule.is_currency:
            faults["unknown_currency"] = ~text.is_in(list(EXPONENT))
        elif rule.is_country:
            faults["bad_country"] = ~text.is_in(sorted(COUNTRIES))
        elif rule.pattern:
            faults["bad_format"] = ~text.str.contains(rule.pattern)
        return sound(self.steps, text, faults)

    def status(self) -> Reading:
        """Read ``[status]``; fault: unmapped."""
        status = self._mapping.status
        if status.constant is not None:
            return Reading(pl.lit(status.constant), {})
        assert status.column is not None
        value, unknown = mapped(self.text(status.column, "status.column"), status.values(), status.otherwise)
        return sound(self.steps, value, {"unmapped": unknown})

    def amount(self, currency: pl.Expr) -> Reading:
        """Read ``[amount]`` into minor units of the row's currency."""
        amount = self._mapping.amount
        text = self.number(amount.column, "amount.column")
        digits = pl.lit(0, pl.Int64)
        if amount.unit == "major":
            digits = currency.replace_strict(EXPONENT, default=None, return_dtype=pl.Int64)
        number = scaled(self.steps, text, self.steps.keep(digits), rounding=amount.decimals == "round")
        faults = _number_faults(text, number.readable)
        rule = RULES["amount_minor"]
        faults["negative"] = number.negative
        faults["out_of_range"] = ~number.fits | (number.value > rule.most)
        if amount.decimals == "exact":
            faults["too_many_decimals"] = number.readable & ~number.exact
        return sound(self.steps, number.value, faults)

    def chargeback(self, chargeback: Chargeback, occurred_at: pl.Expr) -> Reading:
        """Read ``[chargeback]``: the time of the report in rows that were charged back, null in all others."""
        faults: dict[str, pl.Expr] = {}
        if chargeback.reported_at:
            reported = self.time(chargeback.reported_at.after(self._mapping.time), "chargeback.reported_at")
            value, faults = reported.value, dict(reported.faults)
        else:
            value = occurred_at + duration(chargeback.delay or "", "chargeback.delay")
        if chargeback.flag:
            answers = {as_text(item): "yes" for item in chargeback.yes} | {
                as_text(item): "no" for item in chargeback.no
            }
            answer, unknown = mapped(self.text(chargeback.flag, "chargeback.flag"), answers)
            flagged = self.steps.keep((answer == "yes").fill_null(value=False))
            faults = {code: flagged & fault for code, fault in faults.items()}
            if chargeback.reported_at:
                faults["missing"] = flagged & value.is_null() & ~pl.any_horizontal(faults.values())
            faults["unmapped"] = unknown
            value = pl.when(flagged).then(value).otherwise(pl.lit(None, TIME))
        return sound(self.steps, value, faults)

    def payment(self, payment: Payment) -> dict[str, Reading]:
        """Read `payment_id`, and `attempt` unless it is to be numbered."""
        assert payment.column is not None
        text = self.text(payment.column, "payment.column")
        readings = {"payment_id": self._string("payment_id", self.steps.keep(payment.prefix + text))}
        if isinstance(payment.attempt, int):
            readings["attempt"] = Reading(pl.lit(payment.attempt, pl.Int64), {})
        elif payment.attempt:
            readings["attempt"] = _integer(self.steps, "attempt", self.number(payment.attempt, "payment.attempt"))
        return readings


def _number_faults(text: pl.Expr, readable: pl.Expr) -> dict[str, pl.Expr]:
    not_finite = text.str.contains(NOT_FINITE)
    return {"not_finite": not_finite, "unparsable": text.is_not_null() & ~readable.fill_null(value=False) & ~not_finite}


def _out_of_range(name: str, value: pl.Expr) -> pl.Expr:
    rule = RULES[name]
    low = value < rule.least if rule.least is not None else pl.lit(value=False)
    return low | (value > rule.most) if rule.most is not None else low


def _integer(steps: Steps, name: str, text: pl.Expr) -> Reading:
    number = scaled(steps, text, pl.lit(0, pl.Int64))
    faults = _number_faults(text, number.readable & number.exact)
    faults["out_of_range"] = ~number.fits | _out_of_range(name, number.value)
    return sound(steps, number.value, faults)


def _float(steps: Steps, name: str, text: pl.Expr) -> Reading:
    value = steps.keep(text.cast(pl.Float64, strict=False))
    faults = _number_faults(text, value.is_not_null())
    faults["out_of_range"] = value.is_finite() & _out_of_range(name, value)
    return sound(steps, value, faults)


def _boolean(steps: Steps, text: pl.Expr) -> Reading:
    value = text.str.to_lowercase().replace_strict(
        {"true": True, "1": True, "false": False, "0": False}, default=None, return_dtype=pl.Boolean
    )
    value = steps.keep(value)
    return sound(steps, value, {"unparsable": text.is_not_null() & value.is_null()})
