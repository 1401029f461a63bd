"""Parts cut by time against the same parts whole."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.clock import DAY, HOUR, SECOND, micros
from features.layout import LAYOUTS
from tests.trainer.features.agreement import TOLERANCE, assert_same, assert_same_files
from trainer.__main__ import main
from trainer.features.partition import window_features
from trainer.features.selection import event_columns, select
from trainer.features.slices import (
    ASKED,
    PART,
    SLICE_ROWS,
    TASK,
    Slices,
    Slicing,
    Span,
    by_days,
    by_rows,
    cut,
    reach,
)

Written = Callable[..., Path]

START = micros(datetime(2025, 1, 1, tzinfo=UTC))
FIRST_DAY = START // DAY
KINDS = select(None).kinds


def history(seed: int, rows: int, days: int) -> pl.DataFrame:
    """Return attempts of few keys that are up to no good.

    They come in bursts after long silence, a third of them at midnight, where slices meet, or a microsecond beside it; a result
    in ten is up to twenty days late; chargebacks come weeks later, and also after the history's end.
    """
    draw = np.random.default_rng(seed)
    bursts = draw.integers(0, days, max(rows // 12, 1))
    at = bursts[draw.integers(0, len(bursts), rows)] * DAY + draw.exponential(3.0, rows).astype(np.int64) * HOUR
    at += draw.integers(0, 600 * SECOND, rows)
    edge = draw.integers(0, 3, rows) == 0
    at = START + np.where(edge, at // DAY * DAY + draw.integers(-1, 2, rows), at)
    late = np.where(draw.random(rows) < 0.1, draw.integers(0, 20 * DAY, rows), draw.integers(0, 3 * SECOND, rows))
    settled = at + late
    settled = np.where(draw.random(rows) < 0.2, -(-settled // DAY) * DAY, settled)
    returned = at + draw.integers(7 * DAY, 120 * DAY, rows)
    returned = np.where(draw.random(rows) < 0.3, returned // DAY * DAY, returned)
    status = draw.choice(["approved", "declined", "error", "timeout"], rows, p=[0.5, 0.4, 0.06, 0.04])
    of = {
        # The first of each has most of the attempts.
        name: pl.Series([f"{name}-{number}" for number in np.minimum(draw.geometric(0.6, rows) - 1, many - 1)])
        for name, many in {
            "card_token": 4,
            "customer_id": 3,
            "device_id": 3,
            "merchant_id": 5,
            "card_bin": 3,
            "issuer_country": 2,
            "processor": 2,
        }.items()
    }
    time = pl.Datetime("us", "UTC")
    frame = pl.DataFrame(
        {
            **of,
            "row": np.arange(rows),
            "occurred_at": at,
            "amount_minor": draw.integers(1, 10_000, rows),
            "settled_at": settled,
            "status": status,
            "card_network": draw.choice(["visa", "mastercard"], rows),
            "response_code": np.where(status == "declined", draw.choice(["05", "51", "54", "14"], rows), ""),
            "chargeback_at": returned,
        }
    )
    return frame.with_columns(
        pl.col("occurred_at", "settled_at", "chargeback_at").cast(time),
        response_code=pl.when(pl.col("response_code") != "").then(pl.col("response_code")),
    ).with_columns(
        chargeback_at=pl.when((pl.col("status") == "approved") & pl.Series(draw.random(rows) < 0.4)).then(
            pl.col("chargeback_at")
        )
    )


def whole_part(attempts: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the features of one part, computed at once, in order of `row`."""
    return window_features(attempts.select("row", *event_columns(kind)), kind, KINDS[kind])


def in_slices(attempts: pl.DataFrame, kind: str, slices: Slices) -> pl.DataFrame:
    """Return the features of one part, computed slice by slice, in order of `row`."""
    part = attempts.select("row", *event_columns(kind), pl.lit(0).alias(PART))
    tasks = slices.spread(part.lazy()).collect().partition_by(TASK, include_key=False)
    return pl.concat([window_features(task, kind, KINDS[kind]) for task in tasks]).sort("row")


def of_days(kind: str, rows: int, days: int, length: int) -> Slices:
    """Return a part of `rows` attempts in `days` days in slices of `length` days."""
    specs = KINDS[kind]
    found = cut(
        kind, specs, Slicing(days=length), np.array([rows]), Span(FIRST_DAY - 1, FIRST_DAY + days), pl.DataFrame
    )
    assert found is not None
    return found


@pytest.mark.parametrize("kind", list(KINDS))
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1 << 32), length=st.sampled_from([1, 4, 25, 130]), span=st.sampled_from([30, 400]))
def test_slices_give_what_the_whole_part_gives(kind: str, seed: int, length: int, span: int) -> None:
    attempts = history(seed, 240, span)
    # A history of 30 days in slices of 130 would not be cut at all.
    slices = of_days(kind, len(attempts), span, min(length, span // 3))
    assert_same(in_slices(attempts, kind, slices), whole_part(attempts, kind), KINDS[kind])


@pytest.mark.parametrize("kind", ["card", "merchant", "processor"])
def test_a_shorter_reach_would_not_do(kind: str) -> None:
    attempts = history(7, 2_000, 400)
    slices = of_days(kind, len(attempts), 400, 7)
    short = Slices(kind, LAYOUTS[kind].horizon // 2, slices.cuts)
    whole = whole_part(attempts, kind)
    assert_same(in_slices(attempts, kind, slices), whole, KINDS[kind])
    with pytest.raises(AssertionError):
        assert_same(in_slices(attempts, kind, short), whole, KINDS[kind])


def test_a_rate_taken_as_of_the_oldest_result_in_the_window_knows_the_results_before_it() -> None:
    kind = "bin"
    layout = LAYOUTS[kind]
    hop = max(layout.hops)
    asked = START + 300 * DAY
    # The first result in the window, and a day and more before it a thousand refusals, nearly all of the rate's weight.
    last = (asked - layout.horizon) // hop * hop + HOUR
    at = [*(last - 25 * HOUR - number for number in range(1_000)), last, asked]
    status = [*["declined"] * 1_000, "approved", "approved"]
    time = pl.Datetime("us", "UTC")
    attempts = history(0, len(at), 10).with_columns(
        occurred_at=pl.Series(at).cast(time),
        settled_at=pl.Series(at).cast(time),
        status=pl.Series(status),
        card_bin=pl.lit("one"),
        chargeback_at=pl.lit(None, dtype=time),
    )
    specs = KINDS[kind]
    whole = whole_part(attempts, kind)
    cuts = by_days([0], Span(asked // DAY - 300, asked // DAY), 100)
    assert_same(in_slices(attempts, kind, Slices(kind, reach(kind, specs, len(at)), cuts)), whole, specs)
    decayed = [spec for spec in specs if spec.operation == "decayed"]
    assert 0.0 < whole[f"f:{decayed[0].name}"][-1] < 0.01
    of_windows = reach(kind, [spec for spec in specs if spec not in decayed], len(at))
    with pytest.raises(AssertionError, match=decayed[0].name):
        assert_same(in_slices(attempts, kind, Slices(kind, of_windows, cuts)), whole, specs)


def test_reach_is_the_longest_window_its_hop_and_what_decayed_sums_take_to_forget() -> None:
    assert reach("merchant", KINDS["merchant"], 1 << 20) == (90 + 10 + 20 + 21) * DAY
    counts = [spec for spec in KINDS["merchant"] if spec.operation == "count"]
    assert reach("merchant", counts, 1 << 20) == (90 + 10) * DAY
    for attempts in (1, 5, 10**6, 10**10):
        half_lives = (reach("merchant", KINDS["merchant"], attempts) - 100 * DAY) / LAYOUTS["merchant"].half_life
        assert attempts * 2.0**-half_lives < TOLERANCE


def test_each_attempt_is_asked_about_once_and_given_where_any_of_its_events_reaches() -> None:
    kind = "merchant"
    back = 10 * DAY
    cuts = by_days([0, 1], Span(FIRST_DAY, FIRST_DAY + 99), 20)
    time = pl.Datetime("us", "UTC")
    moments = {
        # On the edge of the second slice; it is history to itself alone.
        "edge": (START + 20 * DAY, START + 20 * DAY, None),
        "before the edge": (START + 20 * DAY - 1, START + 20 * DAY - 1, None),
        "just in reach": (START + 10 * DAY, START + 10 * DAY, None),
        "just out of reach": (START + 10 * DAY - 1, START + 10 * DAY - 1, None),
        "settled late": (START, START + 41 * DAY, None),
        "charged back": (START, START, START + 75 * DAY),
    }
    attempts = pl.DataFrame(
        [
            {"row": row, "occurred_at": decided, "settled_at": settled, "chargeback_at": returned, PART: 1}
            for row, (decided, settled, returned) in enumerate(moments.values())
        ],
        schema={"row": pl.Int64, "occurred_at": time, "settled_at": time, "chargeback_at": time, PART: pl.Int64},
    )
    spread = Slices(kind, back, cuts).spread(attempts.lazy()).collect()
    given = {name: sorted(spread.filter(pl.col("row") == row)[TASK].to_list()) for row, name in enumerate(moments)}
    # The first part has five slices, so the second begins with task 5.
    assert given == {
        "edge": [6],
        "before the edge": [5, 6],
        "just in reach": [5, 6],
        "just out of reach": [5],
        "settled late": [5, 7],
        "charged back": [5, 8, 9],
    }
    asked = spread.filter(ASKED).sort("row")
    assert asked[TASK].to_list() == [6, 5, 5, 5, 5, 5]


def test_large_parts_are_cut_into_equal_rows_no_slice_shorter_than_its_reach() -> None:
    days = pl.DataFrame({PART: 3, "day": list(range(100, 200)), "rows": [10] * 50 + [30] * 50})
    whole_days = [code % (1 << 24) for code in by_rows(days, 500, 2 * DAY).tolist()]
    rows = np.histogram(days["day"], [100, *whole_days, 200], weights=days["rows"])[0]
    assert rows.max() <= 530
    assert len(rows) == 4
    cuts = by_rows(days, 10, 12 * DAY + 1)
    assert set(cuts >> 24) == {3}
    assert np.diff([100, *(cuts % (1 << 24)).tolist()]).min() == 13


def unasked(_: list[int]) -> pl.DataFrame:
    raise AssertionError


def test_parts_within_the_bound_stay_whole() -> None:
    whole = cut("card", KINDS["card"], Slicing(rows=10), np.array([10, 3]), Span(0, 900), unasked)
    assert whole is None
    assert cut("card", KINDS["card"], Slicing(), np.array([SLICE_ROWS, 3]), Span(0, 900), unasked) is None


def test_with_both_options_large_parts_alone_are_cut_into_slices_of_days() -> None:
    some = cut("card", KINDS["card"], Slicing(rows=10, days=300), np.array([10, 11]), Span(0, 900), unasked)
    every = cut("card", KINDS["card"], Slicing(days=300), np.array([10, 11]), Span(0, 900), unasked)
    assert some is not None
    assert every is not None
    assert (some.parts, some.slices) == (1, 4)
    assert set(some.cuts >> 24) == {1}
    assert (every.parts, every.slices) == (2, 8)


def told(history: Path, out: Path, *options: str) -> list[str]:
    return ["features", "--history", str(history), "--out", str(out), *options]


@pytest.mark.parametrize("options", [("--slice-days", "7"), ("--slice-rows", "200", "--partitions", "2")])
def test_the_command_cuts_by_days_and_by_rows(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    folder = written()
    assert main(told(folder, tmp_path / "whole")) == 0
    assert "cut by time" not in capsys.readouterr().out
    assert main(told(folder, tmp_path / "sliced", *options)) == 0
    assert "cut by time into" in capsys.readouterr().out
    assert_same_files(tmp_path / "sliced", tmp_path / "whole")


@pytest.mark.parametrize("option", ["--slice-rows", "--slice-days"])
def test_a_length_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit):
        main(["features", option, "0"])
    assert "expected a number from 1 to" in capsys.readouterr().err
