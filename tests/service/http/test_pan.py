"""No card number comes in, whatever it is dressed as; and what is none comes in."""

import json
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contracts.card_number import holds_number
from service.http import pan

NUMBERS = {
    "visa 16": "4111111111111111",
    "visa 13": "4222222222222",
    "visa 19": "4000000000000000006",
    "mastercard 5": "5555555555554444",
    "mastercard 2": "2223003122003222",
    "amex": "378282246310005",
    "discover": "6011111111111117",
    "diners": "30569309025904",
    "diners 38": "38520000023237",
    "jcb": "3530111333300000",
    "unionpay": "6200000000000005",
    "maestro": "6759649826438453",
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS.keys())
@pytest.mark.parametrize("field", ["payment_id", "merchant_id", "card_token", "note", "currency"])
def test_a_card_number_is_refused_in_any_field(edge: Any, payment: Any, number: str, field: str) -> None:
    payment[field] = number
    for answer in (edge.post("auth", payment), edge.post_packed("auth", payment)):
        assert answer.refusal == (422, "pan_detected", f"$.{field}")
        assert number.encode() not in answer.body


@pytest.mark.parametrize(
    "dressed",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111 - 1111 - 1111 - 1111",
        "3782 822463 10005",
        "card: 4111111111111111.",
        "x4111111111111111x",
        "2026-11-24 4111 1111 1111 1111",
        "4111111111111111 12/29 123",
        "4111\u00a01111\u00a01111\u00a01111",
        "4111\u20111111\u20111111\u20111111",
        "４１１１１１１１１１１１１１１１",
        "٤١١١١١١١١١١١١١١١",
    ],
)
def test_a_card_number_is_refused_however_it_is_written(edge: Any, payment: Any, dressed: str) -> None:
    payment["payment_id"] = dressed
    assert edge.post("auth", payment).refusal == (422, "pan_detected", "$.payment_id")
    assert edge.post_packed("auth", payment).refusal == (422, "pan_detected", "$.payment_id")


def test_a_card_number_behind_json_escapes_is_refused(edge: Any, payment: Any) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in "4111111111111111")
    body = msgspec.json.encode(payment).replace(b'"pay_1"', b'"' + escaped.encode() + b'"')
    assert edge.post("auth", body).refusal == (422, "pan_detected", "$.payment_id")


def test_a_card_number_that_a_later_member_hides_is_refused(edge: Any, payment: Any) -> None:
    body = b'{"payment_id":"4111111111111111",' + msgspec.json.encode(payment)[1:]
    assert edge.post("auth", body).refusal == (422, "pan_detected", "$.payment_id")


@pytest.mark.parametrize("number", [4111111111111111, 4111111111111111.0, 4222222222222])
def test_a_card_number_as_a_number_is_refused(edge: Any, payment: Any, number: Any) -> None:
    payment["amount_minor"] = number
    assert edge.post("auth", payment).refusal == (422, "pan_detected", "$.amount_minor")
    if isinstance(number, int):
        assert edge.post_packed("auth", payment).refusal == (422, "pan_detected", "$.amount_minor")


def test_a_card_number_as_a_key_is_refused_without_naming_it(edge: Any, payment: Any) -> None:
    for key in ("4111111111111111", "pan_4111111111111111"):
        answer = edge.post("auth", {**payment, key: 1})
        assert answer.refusal == (422, "pan_detected", "$")
        assert b"4111" not in answer.body


def test_a_card_number_deep_inside_is_found_with_its_path(edge: Any, payment: Any) -> None:
    payment["extra"] = {"cards": [{"a": 1}, {"number": "4111111111111111"}]}
    assert edge.post("auth", payment).refusal == (422, "pan_detected", "$.extra.cards[1].number")
    outcomes = [{"payment_id": "x", "kind": "refund"}, {"payment_id": "4111111111111111", "kind": "refund"}]
    assert edge.post("outcomes", outcomes).refusal == (422, "pan_detected", "$[1].payment_id")


def test_a_card_number_is_never_logged(edge: Any, payment: Any, caplog: pytest.LogCaptureFixture) -> None:
    payment["payment_id"] = "4111111111111111"
    edge.post("auth", payment)
    edge.get("/api/decisions/4111111111111111")
    assert "4111" not in caplog.text


@pytest.mark.parametrize("field", ["customer_id", "device_id"])
def test_a_card_number_as_a_customer_or_device_is_refused_unless_that_field_is_exempt(
    edge: Any, edge_with: Any, payment: Any, field: str
) -> None:
    payment[field] = "4111111111111111"
    assert edge.post("auth", payment).refusal == (422, "pan_detected", f"$.{field}")
    assert edge_with(pan_exempt=(field,)).post("auth", payment).status == 200


def test_a_named_id_field_can_be_exempt(edge_with: Any, payment: Any) -> None:
    edge = edge_with(pan_exempt=("payment_id",))
    payment["payment_id"] = "4111111111111111"
    assert edge.post("auth", payment).status == 200
    assert edge.post_packed("auth", payment).status == 200
    payment["card_token"] = "4111111111111111"
    assert edge.post("auth", payment).refusal == (422, "pan_detected", "$.card_token")


@pytest.mark.parametrize(
    "harmless",
    [
        "4111111111111112",  # fails the Luhn check
        "1111111111111117",  # passes it, but is no brand's
        "41111111111111110000",  # sixteen digits inside of twenty are no card number
        "411111111111111",  # fifteen digits with the prefix of a brand of sixteen
        "4111_1111_1111_1111",
        "2026-11-24T06:14:00.123456789Z",
        "pay_20261124061400",
        "01J8ZC3V5T6W7X8Y9Z0A1B2C3D",
    ],
)
def test_what_is_no_card_number_comes_in(edge: Any, payment: Any, harmless: str) -> None:
    payment["payment_id"] = harmless
    assert edge.post("auth", payment).status == 200
    assert edge.post_packed("auth", payment).status == 200


def test_a_deep_and_wide_body_costs_no_more_than_its_size(edge: Any) -> None:
    depth = 800
    body = b'{"payment_id":"\\u0031","x":' + b"[" * depth + b",".join([b"1"] * 25_000) + b"]" * depth + b"}"
    assert edge.post("auth", body).refusal == (422, "unknown_field", "$.x")
    groups = b'{"payment_id":"' + b"4111 " * 10_000 + b'"}'
    assert edge.post("auth", groups).refusal == (422, "out_of_range", "$.payment_id")


@given(text=st.text('0123456789 -"x,', max_size=60))
@hypothesis_settings(max_examples=500, deadline=None, database=None)
def test_the_quick_look_never_clears_what_the_careful_one_refuses(text: str) -> None:
    if holds_number(text):
        assert pan.suspicious_json(msgspec.json.encode({"a": text}))
        assert pan.suspicious_msgpack(msgspec.msgpack.encode({"a": text}))
        assert pan.suspicious_value({"a": text})


SCRIPTS = '0123456789 -"x\\é中ж٤４\u00a0\u2011\u200b\u3000²'


@given(text=st.lists(st.sampled_from(["4111", "1111", "4111111111111111", "378282246310005", *SCRIPTS]), max_size=12))
@hypothesis_settings(max_examples=1000, deadline=None, database=None)
def test_the_quick_look_never_clears_what_other_scripts_and_escapes_hide(text: list[str]) -> None:
    value = {"a": "".join(text)}
    if holds_number(value["a"]):
        for body in (msgspec.json.encode(value), json.dumps(value).encode(), escaped_everywhere(value["a"])):
            assert pan.suspicious_json(body)
        assert pan.suspicious_value(value)


def escaped_everywhere(text: str) -> bytes:
    return b'{"a":"' + b"".join(b"\\u%04X" % ord(char) for char in text) + b'"}'


def test_a_letter_that_needs_no_closer_look_is_no_digit_and_joins_none() -> None:
    letters = [char for char in map(chr, range(0x80, 0x110000)) if pan._ODD.search(char) is None]
    assert len(letters) > 38_000
    for letter in letters:
        assert unicodedata.digit(letter, None) is None
        assert unicodedata.category(letter) not in {"Zs", "Pd", "Cf"}


@pytest.mark.parametrize(
    "harmless",
    ["café", "Пётр", "東京", "서울", "1732428840123", "1234567890123456789", "12345678-1234-4234-8234-123456789012"],
)
def test_what_a_shop_may_well_send_is_cleared_without_a_walk_over_the_body(payment: Any, harmless: str) -> None:
    payment["payment_id"] = harmless
    assert not pan.suspicious_json(msgspec.json.encode(payment))
    assert not pan.suspicious_json(json.dumps(payment).encode())
    assert not pan.suspicious_value(payment)


def test_a_card_number_in_binary_is_refused(edge: Any, payment: Any) -> None:
    assert edge.post_packed("auth", {**payment, "note": b"4111111111111111"}).refusal == (422, "pan_detected", "$.note")
