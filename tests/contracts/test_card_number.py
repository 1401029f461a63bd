"""One rule says what a card number is, however it is dressed, and where in a text it stands."""

import random
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.card_number import BRANDS, LONGEST, SHORTEST, Range, holds_number, is_number, spans

NUMBERS = {
    "visa 16": "4111111111111111",
    "visa 13": "4222222222222",
    "visa 19": "4000000000000000006",
    "mastercard 5": "5555555555554444",
    "mastercard 2": "2223003122003222",
    "amex": "378282246310005",
    "discover": "6011111111111117",
    "discover 65": "6550000000000001",
    "diners": "30569309025904",
    "diners 38": "38520000023237",
    "diners 16": "3670010200000000",
    "jcb": "3530111333300000",
    "unionpay": "6200000000000005",
    "maestro": "6759649826438453",
    "maestro 63": "6304000000000000",
    "mir": "2200000000000004",
    "troy": "9792000000000003",
}


def luhn_completed(digits: str) -> str:
    """The number made of `digits` and its check digit, by the textbook."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS.keys())
def test_a_number_of_every_brand_is_one_alone_and_inside_text(number: str) -> None:
    assert is_number(number)
    assert spans(number) == [(0, len(number))]
    assert spans(f"ref {number}, paid") == [(4, 4 + len(number))]
    assert spans(f"x{number}x") == [(1, 1 + len(number))]


@pytest.mark.parametrize("brand", BRANDS, ids=lambda brand: f"{brand.brand} {brand.first}")
def test_both_ends_of_every_range_and_every_length_count(brand: Range) -> None:
    name, first, last, lengths = brand
    assert name
    assert first <= last
    assert SHORTEST <= min(lengths) <= max(lengths) <= LONGEST
    for prefix in (first, last):
        for length in lengths:
            number = luhn_completed(f"{prefix:04}".ljust(length - 1, "0"))
            assert is_number(number), number


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111 1111 1111 1111", [(0, 19)]),
        ("4111-1111-1111-1111", [(0, 19)]),
        ("4111 - 1111 - 1111 - 1111", [(0, 25)]),
        ("3782 822463 10005", [(0, 17)]),
        ("2026-11-24 4111 1111 1111 1111", [(11, 30)]),
        ("4111111111111111 12/29 123", [(0, 16)]),
        ("4111111111111111 378282246310005", [(0, 16), (17, 32)]),
        ("4111\u00a01111\u00a01111\u00a01111", [(0, 19)]),
        ("4111\u20111111\u20111111\u20111111", [(0, 19)]),
        ("4111\u200b1111\u200b1111\u200b1111", [(0, 19)]),
        ("4111 1111 1111 1111 12 29", [(0, 19)]),
        ("4111 1111 1111 1111 123", [(0, 19)]),
        ("41 11 11 11 11 11 11 11", [(0, 23)]),
        ("41-11-11-11-11-11-11-11", [(0, 23)]),
        ("411111-1111111111", [(0, 17)]),
        ("4111-1111-1111-1111-12-29", [(0, 19)]),
        ("4111-1111-1111-1111-1229-123", [(0, 19)]),
        ("17-4111-1111-1111-1111", [(3, 22)]),
        ("2026-4111-1111-1111-1111", [(5, 24)]),
        ("2026-11-24-3782-822463-10005", [(11, 28)]),
        ("8812-4111111111111111-7", [(5, 21)]),
        ("4111111111111111D25121010000", [(0, 16)]),
        ("4111111111111111D2512101", [(0, 16)]),
        ("4111111111111111d2512101000012ff", [(0, 16)]),
        ("378282246310005D251210100000012345678900", [(0, 15)]),
        ("№ ４１１１１１１１１１１１１１１１", [(2, 18)]),
        ("٤١١١١١١١١١١١١١١١", [(0, 16)]),
    ],
)
def test_a_number_is_found_however_it_is_written(text: str, found: list[tuple[int, int]]) -> None:
    assert spans(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1111111111",
        "4111111111111112",  # fails the Luhn check
        "1111111111111117",  # passes it, but is no brand's
        "41111111111111110000",  # sixteen digits inside of twenty are no card number
        "411111111111111",  # fifteen digits with the prefix of a brand of sixteen
        "4111_1111_1111_1111",
        "4111    1111    1111    1111",  # four blanks are a table, not a number
        "2026-11-24T06:14:00.123456789Z",
        "550e8400-e29b-41d4-a716-446655440000",
        "4111-1111-1111-1111-7890",  # five groups joined by dashes are longer than a number
        "0000-4111-1111-1111-1111",
        "302-4111111-1111117",  # no card is printed in groups of 3, 7 and 7
        "411111-111111-1111",
        "4111111111111111D25121A1",  # random hexadecimal, as it says nothing behind the separator
        "a" * 8 + "4111111111111111",  # twenty-four hexadecimal digits: an object id
        "01J8ZC3V5T6W7X8Y9Z0A1B2C3D",
    ],
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert spans(text) == []
    assert not holds_number(text)


def test_random_identifiers_hold_none() -> None:
    draw = random.Random(7)
    for _ in range(20_000):
        unique = uuid.UUID(int=draw.getrandbits(128), version=4)
        assert not holds_number(f"pay_{unique} {unique.hex}")


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ((3, 7, 7), 0),
        ((8, 6, 6), 0),
        ((6, 6, 6, 6, 6), 0),
        ((8, 8, 8, 8), 0),
        ((10, 10), 0),
        ((4,) * 5, 10),
        ((4,) * 8, 10),
    ],
)
def test_hardly_an_identifier_of_digits_and_dashes_is_taken_for_one(sizes: tuple[int, ...], most: int) -> None:
    draw = random.Random(7)
    taken = 0
    for _ in range(1000):
        groups = ["".join(draw.choices("0123456789", k=size)) for size in sizes]
        taken += holds_number("-".join(groups))
    assert taken <= most


@given(
    groups=st.lists(
        st.sampled_from(["4111", "1111", "4012", "8888", "8881", "4222", "2", "36", "378282", "2463"]),
        min_size=2,
        max_size=9,
    )
)
@settings(max_examples=300, deadline=None, database=None)
def test_with_blanks_whatever_groups_make_a_number_are_found(groups: list[str]) -> None:
    joined = " ".join(groups)
    whole = is_number("".join(groups))
    parts = [
        "".join(groups[first:last])
        for first in range(len(groups))
        for last in range(first + 2, min(first + 6, len(groups)) + 1)
        if len(groups[first]) in {4, 6, 8}
    ]
    assert holds_number(joined) == (whole or any(map(is_number, parts)))


def test_numbers_that_overlap_are_one_place() -> None:
    first, second = "4111 4239 4497 4007", "4239 4497 4007 2909"
    assert spans(first) == spans(second) == [(0, 19)]
    assert spans("4111 4239 4497 4007 2909") == [(0, 24)]


@given(
    brand=st.sampled_from(BRANDS),
    part=st.integers(0, 9_999),
    length=st.integers(SHORTEST, LONGEST),
    tail=st.text("0123456789", min_size=20, max_size=20),
)
@settings(max_examples=300, deadline=None, database=None)
def test_of_a_brand_exactly_the_right_check_digit_makes_a_number(
    brand: Range, part: int, length: int, tail: str
) -> None:
    _, first, last, lengths = brand
    length = lengths[length % len(lengths)]
    number = luhn_completed((str(first + part % (last - first + 1)) + tail)[: length - 1])
    assert is_number(number)
    assert holds_number(f"before{number} after")
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_number(wrong)


@given(text=st.text("04123456789 -x٤４\u00a0.", max_size=80))
@settings(max_examples=500, deadline=None, database=None)
def test_places_are_in_order_apart_and_hold_what_the_text_holds(text: str) -> None:
    places = spans(text)
    assert bool(places) == holds_number(text)
    end = 0
    for start, stop in places:
        assert end <= start < stop <= len(text)
        assert holds_number(text[start:stop])
        end = stop
