"""The canonical columns of one source: the mapping applied row by row, with every fault of the contract found.

Whatever needs more than one row (payments, attempt numbers, duplicates) is not known here.
"""

from typing import Final

import msgspec
import polars as pl

from contracts.history import COLUMNS, REQUIRED
from trainer.history import DTYPES
from trainer.ingest.mapping import Mapping
from trainer.ingest.reader import Reader
from trainer.ingest.reading import Reading, Steps
from trainer.ingest.source import ROW, Source

FILE: Final = "#file"
GROUP: Final = "#group"
FAULT: Final = "#fault:"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one source: steps, then expressions by canonical column and fault code, and the group columns."""

    steps: Steps
    columns: dict[str, pl.Expr]
    faults: dict[str, pl.Expr]
    groups: dict[str, pl.Expr]

    def select(self, source: Source, number: int, faults: list[str]) -> pl.LazyFrame:
        """Return the planned frame with all columns of the history and all `faults`, those it does not have False."""
        absent = {name: pl.lit(None, DTYPES[kind]) for name, kind in COLUMNS.items() if name not in self.columns}
        none = {FAULT + code: pl.lit(value=False) for code in faults if code not in self.faults}
        found = {FAULT + code: fault for code, fault in self.faults.items()}
        return self.steps.apply(source.frame).select(
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
    reader = Reader(source, mapping)
    readings = {name: reader.column(name, column) for name in mapping.columns if (column := mapping.column(name))}
    readings["occurred_at"] = reader.time(mapping.time, "time")
    readings["status"] = reader.status()
    readings["amount_minor"] = reader.amount(readings["currency"].value)
    if mapping.settled:
        readings["settled_at"] = reader.time(mapping.settled.after(mapping.time), "settled")
    if mapping.chargeback:
        readings["chargeback_at"] = reader.chargeback(mapping.chargeback, readings["occurred_at"].value)
    if mapping.payment.column:
        readings |= reader.payment(mapping.payment)
    columns = {name: reading.value.cast(DTYPES[COLUMNS[name]]) for name, reading in readings.items()}
    faults = {f"{code}:{name}": fault for name, reading in readings.items() for code, fault in reading.faults.items()}
    for name in ("settled_at", "chargeback_at"):
        if name in readings:
            early = readings[name].value < readings["occurred_at"].value
            faults[f"{name.removesuffix('_at')}_before_occurred"] = early.fill_null(value=False)
    faults |= {f"missing:{name}": _missing(readings[name]) for name in REQUIRED if name in readings}
    if mapping.amount.unit == "major":
        # Without its currency an amount cannot be read; that is one fault, not two.
        faults["missing:amount_minor"] &= readings["currency"].value.is_not_null()
    where = "payment.group_by"
    groups = {f"{GROUP}{index}": reader.text(name, where) for index, name in enumerate(mapping.payment.group_by)}
    if groups:
        faults["missing:payment_id"] = pl.any_horizontal(group.is_null() for group in groups.values())
    return Plan(steps=reader.steps, columns=columns, faults=faults, groups=groups)


def _missing(reading: Reading) -> pl.Expr:
    """Return whether a row has no value and no other fault that would explain it."""
    absent = reading.value.is_null()
    return absent & ~pl.any_horizontal(reading.faults.values()) if reading.faults else absent
