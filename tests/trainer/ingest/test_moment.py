from datetime import UTC, date, datetime

import polars as pl
import pytest

from trainer.errors import MappingError
from trainer.ingest.mapping import Time
from trainer.ingest.moment import read_time
from trainer.ingest.reading import Steps


def read(values, dtype=pl.String, **time):
    frame = pl.LazyFrame({"t": values}, schema={"t": dtype})
    steps = Steps()
    reading = read_time(steps, frame.collect_schema()["t"], Time(column="t", **time), ("",), "time")
    found = steps.apply(frame).select(reading.value.alias("value"), **reading.faults).collect()
    assert found.schema["value"] == pl.Datetime("us", "UTC")
    return [row["value"] or [code for code in reading.faults if row[code]] for row in found.rows(named=True)]


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def test_iso_times_with_and_without_offset():
    written = [
        "2026-03-01T10:00:00Z",
        "2026-03-01 10:00:00.123456+02:00",
        "2026-03-01T10:00:00-0530",
        "2026-03-01T10:00+01",
        "2026-03-01T10:00:00,5",
        "2026-03-01",
    ]
    assert read(written, time_zone="Europe/Berlin") == [
        utc(2026, 3, 1, 10),
        utc(2026, 3, 1, 8, 0, 0, 123456),
        utc(2026, 3, 1, 15, 30),
        utc(2026, 3, 1, 9),
        utc(2026, 3, 1, 9, 0, 0, 500000),
        utc(2026, 2, 28, 23),
    ]


def test_a_time_without_offset_needs_a_time_zone():
    assert read(["2026-03-01T10:00:00", "2026-03-01T10:00:00Z"]) == [["time_zone_missing"], utc(2026, 3, 1, 10)]


def test_what_is_no_time_is_unparsable_and_an_empty_cell_is_absent():
    assert read(["yesterday", "2026-02-30T00:00:00Z", "", None]) == [["unparsable"], ["unparsable"], [], []]


def test_a_local_time_that_happens_twice_or_never_is_named():
    written = ["2026-10-25T02:30:00", "2026-03-29T02:30:00", "2026-10-25T02:30:00+02:00"]
    assert read(written, time_zone="Europe/Berlin") == [
        ["time_ambiguous"],
        ["time_nonexistent"],
        utc(2026, 10, 25, 0, 30),
    ]


@pytest.mark.parametrize(("choice", "hour"), [("earliest", 0), ("latest", 1)])
def test_the_mapping_may_choose_which_of_two(choice, hour):
    assert read(["2026-10-25T02:30:00"], time_zone="Europe/Berlin", ambiguous=choice) == [utc(2026, 10, 25, hour, 30)]


def test_the_mapping_may_move_a_time_that_never_was_forward():
    assert read(["2026-03-29T02:30:00"], time_zone="Europe/Berlin", nonexistent="forward") == [utc(2026, 3, 29, 1, 30)]


@pytest.mark.parametrize(
    ("form", "value"), [("epoch_s", "1767322800.25"), ("epoch_ms", "1767322800250"), ("epoch_us", "1767322800250000")]
)
def test_epochs_as_text_and_as_numbers(form, value):
    expected = utc(2026, 1, 2, 3, 0, 0, 250000)
    assert read([value], format=form) == [expected]
    number = float(value)
    assert read([number], pl.Float64, format=form) == [expected]
    if form != "epoch_s":
        assert read([int(value)], pl.Int64, format=form) == [expected]


def test_an_epoch_of_the_wrong_unit_is_out_of_range():
    assert read([1767322800250], pl.Int64, format="epoch_s") == [["out_of_range"]]
    assert read([1767322800], pl.Int64, format="epoch_ms") == [["out_of_range"]]


def test_a_strptime_format_with_a_zone_and_with_an_offset():
    assert read(["01.07.2026 10:00:00", "2026-07-01"], format="%d.%m.%Y %H:%M:%S", time_zone="Europe/Berlin") == [
        utc(2026, 7, 1, 8),
        ["unparsable"],
    ]
    assert read(["01/07/2026 10:00 +0200"], format="%d/%m/%Y %H:%M %z") == [utc(2026, 7, 1, 8)]


def test_typed_columns_need_no_format():
    assert read([datetime(2026, 7, 1, 10)], pl.Datetime("ms"), time_zone="Europe/Berlin") == [utc(2026, 7, 1, 8)]  # noqa: DTZ001
    assert read([utc(2026, 7, 1, 10)], pl.Datetime("ns", "Asia/Tokyo")) == [utc(2026, 7, 1, 10)]
    assert read([date(2026, 7, 1)], pl.Date, time_zone="UTC") == [utc(2026, 7, 1)]


def test_a_format_that_is_none_is_a_sentence():
    with pytest.raises(MappingError, match=r"time.format: expected iso8601, .* got 'no format'"):
        read(["2026-07-01"], format="no format", time_zone="UTC")
