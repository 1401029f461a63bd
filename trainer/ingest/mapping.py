"""The mapping file: TOML that says where each canonical column comes from, decoded strictly.

This module must not know any data: it can tell whether a mapping makes sense, not whether a file fits it.
"""

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from contracts.history import COLUMNS, REQUIRED, STATUSES
from trainer.errors import MappingError
from trainer.ingest.contract import complaint
from trainer.ingest.keys import nearest, unknown_key

Scalar = str | bool | int | float
Format = Literal["csv", "parquet", "delta", "ndjson", "xlsx"]
StatusName = Literal["approved", "declined", "error", "timeout"]

SECTION: Final[dict[str, str]] = {
    "payment_id": "payment",
    "attempt": "payment",
    "occurred_at": "time",
    "amount_minor": "amount",
    "status": "status",
    "settled_at": "settled",
    "chargeback_at": "chargeback",
}
"""Columns that have a table of their own and so may not stand under [columns]."""

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
    Or it is derived: attempts equal in `group_by` belong together until a gap longer than `max_gap`.
    """

    column: str | None = None
    attempt: str | int | None = None
    group_by: tuple[str, ...] = ()
    max_gap: str | None = None
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


def load(path: Path) -> Mapping:
    """Read, decode and check a mapping file.

    Raises
    ------
    MappingError
        With the file, the key, what was expected and what came.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        msg = f"mapping {path} cannot be read: {reason}"
        raise MappingError(msg) from error
    problem = unknown_key(raw, Mapping)
    try:
        if problem:
            raise MappingError(problem)
        mapping = msgspec.convert(raw, Mapping)
        _check(mapping)
    except (msgspec.ValidationError, MappingError) as error:
        msg = f"mapping {path}: {error}"
        raise MappingError(msg) from error
    return mapping


def _check(mapping: Mapping) -> None:
    problems = [
        *_column_problems(mapping),
        *_time_problems(mapping),
        *_status_problems(mapping.status),
        *_payment_problems(mapping.payment),
        *_chargeback_problems(mapping.chargeback),
        *_propensity_problems(mapping),
        *_writing_problems(mapping),
    ]
    if problems:
        raise MappingError(problems[0])


def _column_problems(mapping: Mapping) -> list[str]:
    problems = []
    for name in mapping.columns:
        if name in SECTION:
            problems.append(f"{name} has a table of its own, [{SECTION[name]}], and may not stand under [columns]")
        elif name not in COLUMNS:
            problems.append(f"columns: {name!r} is not a column of the history{nearest(name, COLUMNS)}")
    for name in REQUIRED:
        if name not in SECTION and name not in mapping.columns:
            problems.append(f"columns.{name} is missing: every attempt needs one (a column or a constant)")
    problems.extend(
        f"pan_exempt: {name!r} is not a column of the history{nearest(name, COLUMNS)}"
        for name in mapping.pan_exempt
        if name not in COLUMNS
    )
    return problems or [problem for name in mapping.columns for problem in _source_problems(name, mapping.column(name))]


def _source_problems(name: str, source: Column | None) -> list[str]:
    assert source is not None
    where = f"columns.{name}"
    if (source.column is None) == (source.constant is None):
        return [f"{where}: expected either a column or a constant"]
    if source.constant is not None and source != Column(constant=source.constant):
        return [f"{where}: a constant takes no map, otherwise, default, case or prefix"]
    if source.otherwise is not None and source.map is None:
        return [f"{where}: otherwise needs a map"]
    given = {
        "constant": source.constant,
        **{f"map.{key}": value for key, value in (source.map or {}).items()},
        "otherwise": source.otherwise,
        "default": source.default,
    }
    text = COLUMNS[name] == "string"
    if source.prefix and not text:
        return [f"{where}: a prefix fits columns of text only"]
    problems = []
    for key, value in given.items():
        if value is None:
            continue
        wrong = complaint(name, source.prefix + as_text(value) if text else value)
        if wrong:
            problems.append(f"{where}.{key}: {wrong}")
    return problems


def _time_problems(mapping: Mapping) -> list[str]:
    times = {"time": mapping.time, "settled": mapping.settled}
    times["chargeback.reported_at"] = mapping.chargeback.reported_at if mapping.chargeback else None
    problems = []
    for where, time in times.items():
        if time is None or time.time_zone is None:
            continue
        try:
            ZoneInfo(time.time_zone)
        except (KeyError, ValueError, OSError):
            problems.append(f"{where}.time_zone: expected an IANA time zone such as Europe/Berlin, got {time.time_zone!r}")
    return problems


def _status_problems(status: Status) -> list[str]:
    listed = [as_text(value) for name in STATUSES for value in getattr(status, name)]
    if (status.column is None) == (status.constant is None):
        return ["status: expected either a column or a constant"]
    if status.constant is not None:
        return ["status: a constant takes no lists of values"] if listed or status.otherwise else []
    if not status.approved and status.otherwise != "approved":
        return ["status.approved is missing: the values that count as approved"]
    twice = sorted({value for value in listed if listed.count(value) > 1})
    return [f"status: {twice[0]!r} is listed twice"] if twice else []


def _payment_problems(payment: Payment) -> list[str]:
    if (payment.column is None) == (not payment.group_by):
        return ["payment: expected either column or group_by"]
    if payment.group_by:
        if payment.attempt is not None:
            return ["payment.attempt: attempts of derived payments are numbered by time"]
        return [] if payment.gap >= timedelta(0) else []
    if payment.max_gap is not None:
        return ["payment.max_gap: a gap needs group_by"]
    if isinstance(payment.attempt, int) and not 1 <= payment.attempt <= 1000:
        return [f"payment.attempt: expected 1 to 1000, got {payment.attempt}"]
    return []


def _chargeback_problems(chargeback: Chargeback | None) -> list[str]:
    if chargeback is None:
        return []
    if (chargeback.delay is None) == (chargeback.reported_at is None):
        return ["chargeback: expected either delay or reported_at"]
    if chargeback.delay is not None:
        if chargeback.flag is None:
            return ["chargeback.flag is missing: a delay alone does not say which rows"]
        duration(chargeback.delay, "chargeback.delay")
    both = sorted({as_text(value) for value in chargeback.yes} & {as_text(value) for value in chargeback.no})
    return [f"chargeback: {both[0]!r} is in yes and in no"] if both else []


def _propensity_problems(mapping: Mapping) -> list[str]:
    if mapping.propensity is None:
        return []
    if "propensity" in mapping.columns:
        return ["propensity: expected either columns.propensity or the table [propensity], got both"]
    if "processor" not in mapping.columns:
        return ["propensity: a table by processor needs columns.processor"]
    problems = []
    for key, shares in (("first", mapping.propensity.first), ("later", mapping.propensity.later or {})):
        if any(not 0 <= share <= 1 for share in shares.values()):
            problems.append(f"propensity.{key}: expected probabilities from 0 to 1")
        elif shares and abs(sum(shares.values()) - 1) > 0.01:
            problems.append(f"propensity.{key}: expected probabilities that sum to 1, got {sum(shares.values()):.4f}")
    return problems


def _writing_problems(mapping: Mapping) -> list[str]:
    if mapping.numbers.thousands == mapping.numbers.decimal:
        return [f"numbers: {mapping.numbers.decimal!r} cannot be both the decimal and the thousands mark"]
    for key, value in (("separator", mapping.csv.separator), ("quote", mapping.csv.quote)):
        if value is not None and len(value.encode()) != 1:
            return [f"csv.{key}: expected one ASCII character, got {value!r}"]
    return []
