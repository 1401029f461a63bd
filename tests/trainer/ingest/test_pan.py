import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.card_number import holds_number
from trainer.ingest.pan import CANDIDATE, detected, mask, mask_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("c4111111111111111, paid", "c************1111, paid"),
        ("a 4111 1111 1111 1111 b", "a ************1111 b"),
        ("3782 822463 10005", "***********0005"),
        ("4111 - 1111 - 1111 - 1111", "************1111"),
        ("4111111111111111 378282246310005", "************1111 ***********0005"),
        ("４１１１１１１１１１１１１１１１", "************１１１１"),
    ],
)
def test_masking_leaves_the_last_four_digits(text, masked):
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text", ["", "4111111111111112", "2026-01-02 03:04:05", "550e8400-e29b-41d4-a716-446655440000"]
)
def test_what_is_no_card_number_is_left_alone(text):
    assert mask_text(text) == text


def test_values_are_masked_however_deep():
    assert mask({"n": 4111111111111111, "f": 4111111111111111.0, "deep": [{"x": "4111111111111111"}], "ok": 12}) == {
        "n": "************1111",
        "f": "************1111",
        "deep": [{"x": "************1111"}],
        "ok": 12,
    }


def test_a_column_is_searched_and_null_holds_no_number():
    texts = ["x", None, "4111111111111111", "4111111111111112", "4111 - 1111 - 1111 - 1111", "٤١١١١١١١١١١١١١١١"]
    frame = pl.DataFrame({"t": texts})
    assert frame.select(detected(pl.col("t")))["t"].to_list() == [False, False, True, False, True, True]


@given(text=st.text("0411111123456789 -x٤４²\u00a0\u2011\u200b", max_size=60))
@settings(max_examples=500, deadline=None, database=None)
def test_a_candidate_is_whatever_holds_a_number_and_nothing_masked_does(text):
    if holds_number(text):
        assert pl.Series([text]).str.contains(CANDIDATE).to_list() == [True]
    assert not holds_number(mask_text(text))
