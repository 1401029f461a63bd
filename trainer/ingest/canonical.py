"""The canonical columns of one source: the mapping applied row by row, with every fault of the contract found.

Whatever needs more than one row (payments, attempt numbers, duplicates) is not known here.
"""

from typing import Any, Final

import msgspec
import polars as pl

from contracts.currency import EXPONENT
from contracts.history import COLUMNS, REQUIRED
from trainer.history import DTYPES, TIME
from trainer.ingest.contract import RULES
from trainer.ingest.country import COUNTRIES
from trainer.ingest.mapping import Column, Mapping, as_text, duration
from trainer.ingest.moment import read_time
from trainer.ingest.pan import detected
from trainer.ingest.reading import NOT_FINITE, Reading, cell_text, mapped, plain_number, scaled, sound
from trainer.ingest.source import ROW, Source

FILE: Final = "#file"
GROUP: Final = "#group"
FAULT: Final = "#fault:"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one source: expressions by canonical column, by fault code, and the raw group columns."""

    columns: dict[str, pl.Expr]
    faults: dict[str, pl.Expr]
    groups: dict[str, pl.Expr]

    def select(self, source: Source, number: int, faults: list[str]) -> pl.LazyFrame:
        """Return the planned frame with all columns of the history and all `faults`, those it does not have False."""
        absent = {
            name: pl.lit(None, DTYPES[kind]) for name, kind in COLUMNS.items() if name not in self.columns
        }
        none = {FAULT + code: pl.lit(value=False) for code in faults if code not in self.faults}
        found = {FAULT + code: fault.fill_null(value=False) for code, fault in self.faults.items()}
        return source.frame.select(
            pl.lit(number, pl.Int32).alias(FILE),
            pl.col(ROW),
            **self.columns,
            **absent,
            **self.groups,
            **found,
            **none,
        )


def plan(source: Source, mapping: Mapping) -> Plan:
    """Plan the columns of one source.

    Raises
    ------
    MappingError
        When the mapping names a column that the source does not have.
    """
    reader = _Reader(source, mapping)
    readings = {name: reader.column(name, column) for name in mapping.columns if (column := mapping.column(name))}
    readings["occurred_at"] = read_time(
        source.dtype(mapping.time.column, "time.column"), mapping.time, mapping.null_values, "time"
    )
    readings["status"] = reader.status()
    readings["amount_minor"] = reader.amount(readings["currency"].value)
    if mapping.settled:
        settled = mapping.settled.after(mapping.time)
        dtype = source.dtype(settled.column, "settled.column")
        readings["settled_at"] = read_time(dtype, settled, mapping.null_values, "settled")
    if mapping.chargeback:
        readings["chargeback_at"] = reader.chargeback(readings["occurred_at"].value)
    if mapping.payment.column:
        readings |= reader.payment()
    columns = {name: reading.value.cast(DTYPES[COLUMNS[name]]) for name, reading in readings.items()}
    faults = {f"{code}:{name}": fault for name, reading in readings.items() for code, fault in reading.faults.items()}
    for name in ("settled_at", "chargeback_at"):
        if name in readings:
            faults[f"{name.removesuffix('_at')}_before_occurred"] = columns[name] < columns["occurred_at"]
    for name in REQUIRED:
        if name in readings:
            wrong = [fault.fill_null(value=False) for code, fault in faults.items() if code.endswith(f":{name}")]
            absent = readings[name].value.is_null()
            faults[f"missing:{name}"] = absent & ~pl.any_horizontal(wrong) if wrong else absent
    if mapping.payment.column is None:
        # Which payment a row belongs to cannot be told without all of its group and its time.
        group = [reader.text(name, "payment.group_by").is_null() for name in mapping.payment.group_by]
        faults["missing:payment_id"] = pl.any_horizontal(group)
    faults["missing:amount_minor"] &= columns["currency"].is_not_null()
    groups = {
        f"{GROUP}{index}": reader.text(name, "payment.group_by") for index, name in enumerate(mapping.payment.group_by)
    }
    return Plan(columns=columns, faults=faults, groups=groups)


class _Reader:
    """Readings of one source under one mapping."""

    def __init__(self, source: Source, mapping: Mapping) -> None:
        self._source = source
        self._mapping = mapping

    def text(self, column: str, where: str) -> pl.Expr:
        return cell_text(column, self._source.dtype(column, where), self._mapping.null_values)

    def number(self, column: str, where: str) -> pl.Expr:
        """Return a column of numbers as text with a decimal point."""
        text = self.text(column, where)
        if self._source.dtype(column, where) != pl.String:
            return text
        return plain_number(text, self._mapping.numbers.decimal, self._mapping.numbers.thousands)

    def column(self, name: str, column: Column) -> Reading:
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
        read = {"string": self._string, "bool": _boolean, "int": _integer, "float": _float}[kind]
        reading = read(name, text)
        return sound(reading.value, {**faults, **reading.faults})

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
        return sound(text, faults)

    def status(self) -> Reading:
        status = self._mapping.status
        if status.constant is not None:
            return Reading(pl.lit(status.constant), {})
        assert status.column is not None
        value, unknown = mapped(self.text(status.column, "status.column"), status.values(), status.otherwise)
        return Reading(value, {"unmapped": unknown})

    def amount(self, currency: pl.Expr) -> Reading:
        amount = self._mapping.amount
        text = self.number(amount.column, "amount.column")
        digits = pl.lit(0, pl.Int64)
        if amount.unit == "major":
            digits = currency.replace_strict(EXPONENT, default=None, return_dtype=pl.Int64)
        number = scaled(text, digits, rounding=amount.decimals == "round")
        faults = _number_faults(text, number.readable)
        rule = RULES["amount_minor"]
        faults["negative"] = number.negative
        faults["out_of_range"] = ~number.fits | (number.value > rule.most)
        if amount.decimals == "exact":
            faults["too_many_decimals"] = number.readable & ~number.exact
        return sound(number.value, faults)

    def chargeback(self, occurred_at: pl.Expr) -> Reading:
        chargeback = self._mapping.chargeback
        assert chargeback is not None
        faults: dict[str, pl.Expr] = {}
        if chargeback.reported_at:
            time = chargeback.reported_at.after(self._mapping.time)
            where = "chargeback.reported_at"
            reported = read_time(self._source.dtype(time.column, where), time, self._mapping.null_values, where)
            value, faults = reported.value, dict(reported.faults)
        else:
            value = occurred_at + duration(chargeback.delay or "", "chargeback.delay")
        if chargeback.flag:
            answers = {as_text(item): "yes" for item in chargeback.yes} | {as_text(item): "no" for item in chargeback.no}
            answer, unknown = mapped(self.text(chargeback.flag, "chargeback.flag"), answers)
            flagged = (answer == "yes").fill_null(value=False)
            faults = {code: flagged & fault for code, fault in faults.items()}
            faults["unmapped"] = unknown
            if chargeback.reported_at:
                others = [fault.fill_null(value=False) for fault in faults.values()]
                faults["missing"] = flagged & value.is_null() & ~pl.any_horizontal(others)
            value = pl.when(flagged).then(value).otherwise(pl.lit(None, TIME))
        return sound(value, faults)

    def payment(self) -> dict[str, Reading]:
        payment = self._mapping.payment
        assert payment.column is not None
        text = self.text(payment.column, "payment.column")
        readings = {"payment_id": self._string("payment_id", payment.prefix + text if payment.prefix else text)}
        if isinstance(payment.attempt, int):
            readings["attempt"] = Reading(pl.lit(payment.attempt, pl.Int64), {})
        elif payment.attempt:
            readings["attempt"] = _integer("attempt", self.number(payment.attempt, "payment.attempt"))
        return readings


def _number_faults(text: pl.Expr, readable: pl.Expr) -> dict[str, pl.Expr]:
    not_finite = text.str.contains(NOT_FINITE)
    return {"not_finite": not_finite, "unparsable": text.is_not_null() & ~readable.fill_null(value=False) & ~not_finite}


def _out_of_range(name: str, value: pl.Expr) -> pl.Expr:
    rule = RULES[name]
    low = value < rule.least if rule.least is not None else pl.lit(value=False)
    return low | (value > rule.most) if rule.most is not None else low


def _integer(name: str, text: pl.Expr) -> Reading:
    number = scaled(text, pl.lit(0, pl.Int64))
    faults = _number_faults(text, number.readable & number.exact)
    faults["out_of_range"] = ~number.fits | _out_of_range(name, number.value)
    return sound(number.value, faults)


def _float(name: str, text: pl.Expr) -> Reading:
    value = text.cast(pl.Float64, strict=False)
    faults = _number_faults(text, value.is_not_null())
    faults["out_of_range"] = value.is_finite() & _out_of_range(name, value)
    return sound(value, faults)


def _boolean(_: str, text: pl.Expr) -> Reading:
    value = text.str.to_lowercase().replace_strict(
        {"true": True, "1": True, "false": False, "0": False}, default=None, return_dtype=pl.Boolean
    )
    return Reading(value, {"unparsable": text.is_not_null() & value.is_null()})
