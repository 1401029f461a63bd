from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.ingest.reading import Steps, cell_text, plain_number, scaled


def read(texts, digits, *, rounding=False):
    steps = Steps()
    number = scaled(steps, pl.col("t"), pl.col("d"), rounding=rounding)
    frame = steps.apply(pl.LazyFrame({"t": texts, "d": digits}, schema={"t": pl.String, "d": pl.Int64}))
    parts = {"value": number.value, "readable": number.readable, "exact": number.exact, "fits": number.fits}
    return frame.select(**parts).collect().rows(named=True)


amounts = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, allow_infinity=False, places=5)


@given(st.lists(st.tuples(amounts, st.integers(0, 4)), min_size=1, max_size=20))
def test_scaling_is_exact_decimal_arithmetic(rows):
    texts, digits = [f"{value:f}" for value, _ in rows], [places for _, places in rows]
    cut, rounded = read(texts, digits), read(texts, digits, rounding=True)
    for (value, places), short, near in zip(rows, cut, rounded, strict=True):
        grown = value.scaleb(places)
        assert near["value"] == int(grown.quantize(Decimal(1), ROUND_HALF_UP))
        assert short["value"] == int(grown.quantize(Decimal(1), ROUND_DOWN))
        assert short["exact"] == (grown == grown.to_integral_value())


@pytest.mark.parametrize("text", ["", ".", "1e5", "12.3.4", "1,5", "NaN", "twelve", "--1", "0x10"])
def test_what_is_no_number_is_not_read(text):
    assert not read([text], [2])[0]["readable"]


@pytest.mark.parametrize(
    ("text", "minor"), [(".5", 50), ("5.", 500), ("+1", 100), ("-0", 0), ("0001.10", 110), ("0", 0)]
)
def test_unusual_numbers_are_read(text, minor):
    row = read([text], [2])[0]
    assert row["readable"]
    assert row["value"] == minor


def test_a_number_too_long_does_not_overflow():
    assert read(["999999999999999"], [4])[0] == {"value": None, "readable": True, "exact": True, "fits": False}


def test_the_cells_of_a_float_column_read_like_what_was_written():
    frame = pl.DataFrame({"x": [1234.0, 10.1, float("nan"), None, -0.0, 0.30000000000000004]})
    text = frame.select(x=cell_text("x", pl.Float64(), ("",)))["x"].to_list()
    assert text == ["1234", "10.1", "NaN", None, "0", "0.30000000000000004"]


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "plain"),
    [
        ("1.234,56", ",", ".", "1234.56"),
        ("1.5", ",", ".", "1!5"),
        ("1234,5", ",", None, "1234.5"),
        ("1.5", ",", None, "1!5"),
        ("1,234,567.8", ".", ",", "1234567.8"),
        ("1,5", ".", ",", "1,5"),
        ("1'000", ".", "'", "1000"),
    ],
)
def test_marks_are_read_only_where_they_belong(text, decimal, thousands, plain):
    assert pl.select(plain_number(pl.lit(text), decimal, thousands)).item() == plain
