"""Times of a shop's own writing, read into UTC microseconds.

A local time that happens twice (clocks go back) or never (clocks go forward) is a fault of its own, unless the mapping
decides. This module must not know which column it reads.
"""

from datetime import UTC, datetime
from typing import Final, Literal

import polars as pl

from trainer.errors import MappingError
from trainer.ingest.mapping import Time
from trainer.ingest.reading import Reading, Steps, cell_text, scaled, sound

ISO: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2}(?:[.,][0-9]{1,9})?))?)?"
    r" ?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2})?)?$"
)
EPOCHS: Final[dict[str, int]] = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0}
"""Decimal places between each epoch unit and microseconds."""

FIRST: Final = datetime(1980, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_UTC: Final = "UTC"


def read_time(steps: Steps, dtype: pl.DataType, time: Time, nulls: tuple[str, ...], where: str) -> Reading:
    """Return the reading of a column of times of type `dtype`.

    Faults: unparsable, out_of_range (before 1980 or from 2100 on: the unit of an epoch is wrong), time_zone_missing,
    time_ambiguous, time_nonexistent.

    Raises
    ------
    MappingError
        When the format is none that can be read.
    """
    form = time.format or "iso8601"
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return _dated(steps, pl.col(time.column).dt.convert_time_zone(_UTC).dt.cast_time_unit("us"), {})
    if dtype.is_temporal() and not isinstance(dtype, pl.Time | pl.Duration):
        naive = pl.col(time.column).cast(pl.Datetime("us"))
        return _dated(steps, *_localised(steps, naive, time))
    text = steps.keep(cell_text(time.column, dtype, nulls))
    if form in EPOCHS:
        number = scaled(steps, text, pl.lit(EPOCHS[form]))
        unparsable = text.is_not_null() & ~number.readable.fill_null(value=False)
        return _dated(steps, _from_epoch(number.value), {"unparsable": unparsable}, beyond=~number.fits)
    if form == "iso8601":
        return _iso(steps, text, time)
    return _formatted(steps, text, time, form, where)


def _from_epoch(microseconds: pl.Expr) -> pl.Expr:
    return microseconds.cast(pl.Datetime("us")).dt.replace_time_zone(_UTC)


def _dated(steps: Steps, value: pl.Expr, faults: dict[str, pl.Expr], *, beyond: pl.Expr | None = None) -> Reading:
    out_of_range = (value < FIRST) | (value >= LAST)
    if beyond is not None:
        out_of_range = out_of_range.fill_null(value=False) | beyond
    return sound(steps, value, {**faults, "out_of_range": out_of_range})


def _iso(steps: Steps, text: pl.Expr, time: Time) -> Reading:
    parts = steps.keep(text.str.extract_groups(ISO))
    day, clock, second = (parts.struct.field(str(n)) for n in (1, 2, 3))
    second = second.fill_null("00").str.replace(",", ".", literal=True)
    naive = steps.keep(
        (day + "T" + clock.fill_null("00:00") + ":" + second).str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False
        )
    )
    zulu, sign, hours, minutes = (parts.struct.field(str(n)) for n in (4, 5, 6, 7))
    offset = hours.cast(pl.Int64) * 60 + minutes.fill_null("0").cast(pl.Int64)
    offset = pl.when(zulu.is_not_null()).then(0).when(sign == "-").then(-offset).otherwise(offset)
    fixed = (naive - pl.duration(minutes=offset)).dt.replace_time_zone(_UTC)
    local, faults = _localised(steps, naive, time)
    own = offset.is_not_null()
    here = {code: ~own & fault for code, fault in faults.items()}
    unparsable = text.is_not_null() & naive.is_null()
    return _dated(steps, pl.when(own).then(fixed).otherwise(local), {"unparsable": unparsable, **here})


def _formatted(steps: Steps, text: pl.Expr, time: Time, form: str, where: str) -> Reading:
    aware = "%z" in form or "%:z" in form or "%#z" in form
    try:
        usable = "%" in form
        pl.Series(["2019-01-01"]).str.to_datetime(form, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        usable = False
    if not usable:
        msg = f"{where}.format: expected iso8601, epoch_s, epoch_ms, epoch_us or a strptime format, got {form!r}"
        raise MappingError(msg)
    parsed = steps.keep(text.str.to_datetime(form, time_unit="us", strict=False))
    unparsable = {"unparsable": text.is_not_null() & parsed.is_null()}
    if aware:
        return _dated(steps, parsed, unparsable)
    value, faults = _localised(steps, parsed, time)
    return _dated(steps, value, {**unparsable, **faults})


def _localised(steps: Steps, naive: pl.Expr, time: Time) -> tuple[pl.Expr, dict[str, pl.Expr]]:
    """Return naive local times as UTC, and the faults of those that are no one moment."""
    zone = time.time_zone
    if zone is None:
        return pl.lit(None, pl.Datetime("us", _UTC)), {"time_zone_missing": naive.is_not_null()}
    if zone == _UTC:
        return naive.dt.replace_time_zone(_UTC), {}
    early = steps.keep(_at(naive, zone, "earliest"))
    late = steps.keep(_at(naive, zone, "latest"))
    faults: dict[str, pl.Expr] = {}
    value = late if time.ambiguous == "latest" else early
    if time.ambiguous not in {"earliest", "latest"}:
        faults["time_ambiguous"] = early != late
    skipped = naive.is_not_null() & early.is_null()
    if time.nonexistent == "forward":
        # The offset of the day before still holds: 02:30 that never was becomes 03:30.
        shifted = _at(naive - pl.duration(days=1), zone, "latest") + pl.duration(days=1)
        value = pl.when(skipped).then(shifted).otherwise(value)
    else:
        faults["time_nonexistent"] = skipped
    return value, faults


def _at(naive: pl.Expr, zone: str, ambiguous: Literal["earliest", "latest"]) -> pl.Expr:
    local = naive.dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")
    return local.dt.convert_time_zone(_UTC)
