"""The mapping file: read, decoded strictly, and checked for sense before any data is opened.

This module must not know any data: it can tell whether a mapping makes sense, not whether a file fits it.
"""

import tomllib
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from contracts.history import COLUMNS, REQUIRED, STATUSES
from trainer.errors import MappingError
from trainer.ingest.contract import complaint
from trainer.ingest.keys import nearest, unknown_key
from trainer.ingest.mapping import Chargeback, Column, Mapping, Payment, Status, as_text, duration

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
    try:
        mapping = _decoded(raw)
    except (msgspec.ValidationError, MappingError) as error:
        msg = f"mapping {path}: {error}"
        raise MappingError(msg) from error
    return mapping


def _decoded(raw: dict[str, Any]) -> Mapping:
    problem = unknown_key(raw, Mapping)
    if problem:
        raise MappingError(problem)
    mapping = msgspec.convert(raw, Mapping)
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
    return mapping


def _column_problems(mapping: Mapping) -> list[str]:
    problems = []
    for name in mapping.columns:
        if name in SECTION:
            problems.append(f"{name} has a table of its own, [{SECTION[name]}], and may not stand under [columns]")
        elif name not in COLUMNS:
            problems.append(f"columns: {name!r} is not a column of the history{nearest(name, COLUMNS)}")
    problems.extend(
        f"columns.{name} is missing: every attempt needs one (a column or a constant)"
        for name in REQUIRED
        if name not in SECTION and name not in mapping.columns
    )
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
            problems.append(
                f"{where}.time_zone: expected an IANA time zone such as Europe/Berlin, got {time.time_zone!r}"
            )
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
        duration(payment.max_gap or "", "payment.max_gap")
        return []
    if payment.max_gap is not None or payment.approval_ends:
        return ["payment: max_gap and approval_ends need group_by"]
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
