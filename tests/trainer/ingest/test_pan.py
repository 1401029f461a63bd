import polars as pl
import pytest

from trainer.ingest.pan import detected, holds_card_number, mask, mask_text

NUMBERS = [
    "4111111111111111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "36700102000000",
    "3530111333300000",
    "6011111111111117",
    "6200000000000005",
    "6759649826438453",
    "4222222222222",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_card_number_is_found_alone_and_inside_text(number):
    assert holds_card_number(number)
    assert holds_card_number(f"ref {number}, paid")
    assert holds_card_number(f"c{number}")


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # Luhn
        "9111111111111111",  # no brand
        "41111111111111111111",  # inside a longer run of digits
        "1111111111",
        "2026-01-02 03:04:05",
        "550e8400-e29b-41d4-a716-446655440000",
        "",
    ],
)
def test_what_is_no_card_number_is_left_alone(text):
    assert not holds_card_number(text)
    assert mask_text(text) == text


@pytest.mark.parametrize("text", ["4111 1111 1111 1111", "4111-1111-1111-1111", "3782 822463 10005"])
def test_a_card_number_in_printed_groups_is_found(text):
    assert holds_card_number(text)


def test_masking_leaves_the_last_four_digits():
    assert mask_text("a 4111 1111 1111 1111 b") == "a ************1111 b"
    assert mask({"n": 4111111111111111, "f": 4111111111111111.0, "deep": [{"x": "4111111111111111"}], "ok": 12}) == {
        "n": "************1111",
        "f": "************1111",
        "deep": [{"x": "************1111"}],
        "ok": 12,
    }


def test_a_column_is_searched_and_null_holds_no_number():
    frame = pl.DataFrame({"t": ["x", None, "4111111111111111", "4111111111111112"]})
    assert frame.select(detected(pl.col("t")))["t"].to_list() == [False, False, True, False]
