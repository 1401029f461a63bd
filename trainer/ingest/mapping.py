"""The mapping: where each canonical column comes from, as the structs its TOML is decoded into.

This module must not know any data, nor which combinations make sense.
"""

import re
from datetime import timedelta
from typing import Final, Literal

import msgspec

from contracts.history import STATUSES
from trainer.errors import MappingError

Scalar = str | bool | int | float
Format = Literal["csv", "parquet", "delta", "ndjson", "xlsx"]
StatusName = Literal["approved", "declined", "error", "timeout"]

_DURATION: Final = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every table of a mapping."""


class Csv(Table, frozen=True, kw_only=True):
    """How a CSV file is written."""

    separator: str = ","
    quote: str | None = '"'
    encoding: Literal["utf8", "utf8-lossy"] = "utf8"


class Xlsx(Table, frozen=True, kw_only=True):
    """Which sheet of a workbook to read; the first without a name."""

    sheet: str | None = None


class Numbers(Table, frozen=True, kw_only=True):
    """How numbers are written where they are text."""

    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None


class Column(Table, frozen=True, kw_only=True):
    """One column: `column` (renamed, its values through `map`) or one `constant` for every row.

    A value that `map` does not list sends its row to quarantine, unless `otherwise` is given; `default` stands in for
    an empty cell. `case` is applied before `map`, `prefix` after it.
    """

    column: str | None = None
    constant: Scalar | None = None
    map: dict[str, Scalar] | None = None
    otherwise: Scalar | None = None
    default: Scalar | None = None
    case: Literal["lower", "upper"] | None = None
    prefix: str = ""


class Time(Table, frozen=True, kw_only=True):
    """A column of times. `time_zone` (IANA) is that of times written without an offset.

    `ambiguous` decides on local times that happen twice, `nonexistent` on those the clock jumps over.
    """

    column: str
    format: str | None = None
    time_zone: str | None = None
    ambiguous: Literal["quarantine", "earliest", "latest"] | None = None
    nonexistent: Literal["quarantine", "forward"] | None = None

    def after(self, other: "Time") -> "Time":
        """Return this table with what it leaves out taken from `other`."""
        return Time(
            column=self.column,
            format=self.format or other.format,
            time_zone=self.time_zone or other.time_zone,
            ambiguous=self.ambiguous or other.ambiguous,
            nonexistent=self.nonexistent or other.nonexistent,
        )


class Amount(Table, frozen=True, kw_only=True):
    """The amount: in major units (euros) or minor units (cents) of the row's currency.

    More decimals than the currency has: `exact` sends the row to quarantine, `round` rounds half away from zero.
    """

    column: str
    unit: Literal["major", "minor"]
    decimals: Literal["exact", "round"] = "exact"


class Status(Table, frozen=True, kw_only=True):
    """Which values of a column mean what, or one `constant` for every row."""

    column: str | None = None
    constant: StatusName | None = None
    approved: tuple[Scalar, ...] = ()
    declined: tuple[Scalar, ...] = ()
    error: tuple[Scalar, ...] = ()
    timeout: tuple[Scalar, ...] = ()
    otherwise: StatusName | None = None

    def values(self) -> dict[str, str]:
        """Return the status by the value as text."""
        return {as_text(value): name for name in STATUSES for value in getattr(self, name)}


class Payment(Table, frozen=True, kw_only=True):
    """Which attempts make a payment.

    Either `column` names the payment; `attempt` is then a column, a number for all rows, or left out: numbered by time.
    Or it is derived: attempts equal in `group_by` belong together until a gap longer than `max_gap` or, with
    `approval_ends`, until one is approved.
    """

    column: str | None = None
    attempt: str | int | None = None
    group_by: tuple[str, ...] = ()
    max_gap: str | None = None
    approval_ends: bool = False
    prefix: str = ""

    @property
    def gap(self) -> timedelta:
        """The longest gap within a derived payment."""
        return duration(self.max_gap or "", "payment.max_gap")


class Chargeback(Table, frozen=True, kw_only=True):
    """Which attempts were charged back (`flag` is one of `yes`) and when it was reported.

    The report is at `reported_at` or `delay` after the attempt. Without a flag every row with a report time counts.
    """

    flag: str | None = None
    yes: tuple[Scalar, ...] = (1, "true")
    no: tuple[Scalar, ...] = (0, "false")
    delay: str | None = None
    reported_at: Time | None = None


class Propensity(Table, frozen=True, kw_only=True):
    """The probability with which each processor was drawn, for first and for later attempts (absent: as the first)."""

    first: dict[str, float]
    later: dict[str, float] | None = None


class Mapping(Table, frozen=True, kw_only=True):
    """A whole mapping file."""

    time: Time
    amount: Amount
    status: Status
    payment: Payment
    columns: dict[str, str | Column]
    description: str = ""
    format: Format | None = None
    null_values: tuple[str, ...] = ("",)
    pan_exempt: tuple[str, ...] = ()
    csv: Csv = Csv()
    xlsx: Xlsx = Xlsx()
    numbers: Numbers = Numbers()
    settled: Time | None = None
    chargeback: Chargeback | None = None
    propensity: Propensity | None = None

    def column(self, name: str) -> Column | None:
        """Return where a canonical column comes from, or None when the shop does not have it."""
        source = self.columns.get(name)
        return Column(column=source) if isinstance(source, str) else source


def as_text(value: Scalar) -> str:
    """Return a value of the mapping as it reads in a cell: true for a Boolean, no trailing .0 for a whole number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def duration(text: str, where: str) -> timedelta:
    """Read a duration such as 60s, 15m, 12h, 7d.

    Raises
    ------
    MappingError
        When it is not a whole number and a unit.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        msg = f"{where}: expected a duration such as 60s, 15m, 12h or 7d, got {text!r}"
        raise MappingError(msg)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
