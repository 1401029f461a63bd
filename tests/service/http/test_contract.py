"""Every way to break the contract, through the app, as JSON and as MessagePack."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from contracts.outcome import Outcome, OutcomeBatch
from contracts.payment import AuthRequest, RetryRequest
from service.http.contract import Contract
from service.http.plain import read_json, read_msgpack

BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("unknown field", {"amount": 5}, "unknown_field", "$.amount"),
    ("unknown field with an unprintable name", {'x" - at `$.y`': 5}, "unknown_field", "$"),
    ("unknown field with a long name", {"x" * 65: 5}, "unknown_field", "$"),
    ("string for an integer", {"amount_minor": "1299"}, "wrong_type", "$.amount_minor"),
    ("float for an integer", {"amount_minor": 12.0}, "wrong_type", "$.amount_minor"),
    ("boolean for an integer", {"amount_minor": True}, "wrong_type", "$.amount_minor"),
    ("integer for a string", {"payment_id": 5}, "wrong_type", "$.payment_id"),
    ("null for a required field", {"payment_id": None}, "wrong_type", "$.payment_id"),
    ("object for a string", {"payment_id": {}}, "wrong_type", "$.payment_id"),
    ("string for an array", {"processors": "adler"}, "wrong_type", "$.processors"),
    ("integer in an array of strings", {"processors": ["adler", 5]}, "wrong_type", "$.processors[1]"),
    ("integer for an enum", {"initiator": 1}, "wrong_type", "$.initiator"),
    ("negative amount", {"amount_minor": -1}, "out_of_range", "$.amount_minor"),
    ("astronomic amount", {"amount_minor": 10**18}, "out_of_range", "$.amount_minor"),
    ("attempt zero", {"attempt": 0}, "out_of_range", "$.attempt"),
    ("share above one", {"fraud_score": 1.01}, "out_of_range", "$.fraud_score"),
    ("empty identifier", {"payment_id": ""}, "out_of_range", "$.payment_id"),
    ("long identifier", {"payment_id": "x" * 129}, "out_of_range", "$.payment_id"),
    ("too many processors", {"processors": [f"p{i}" for i in range(17)]}, "out_of_range", "$.processors"),
    ("lower case country", {"issuer_country": "de"}, "wrong_format", "$.issuer_country"),
    ("country with a line feed", {"issuer_country": "DE\n"}, "wrong_format", "$.issuer_country"),
    ("currency with a line feed", {"currency": "EUR\n"}, "wrong_format", "$.currency"),
    ("processor with a line feed", {"processors": ["adler\n"]}, "wrong_format", "$.processors[0]"),
    ("processor with a space", {"processors": ["a b"]}, "wrong_format", "$.processors[0]"),
    ("time without an offset", {"occurred_at": "2026-11-24T06:14:00"}, "wrong_format", "$.occurred_at"),
    ("no time at all", {"occurred_at": "yesterday"}, "wrong_format", "$.occurred_at"),
    ("time before payments", {"occurred_at": "0001-01-01T00:00:00+14:00"}, "out_of_range", "$.occurred_at"),
    ("time after payments", {"occurred_at": "9999-12-31T23:59:59-14:00"}, "out_of_range", "$.occurred_at"),
    ("initiator that does not exist", {"initiator": "nobody"}, "not_allowed", "$.initiator"),
    ("currency that does not exist", {"currency": "ZZZ"}, "unknown_currency", "$.currency"),
    ("processor named twice", {"processors": ["a", "b", "a"]}, "duplicate_processor", "$.processors[2]"),
]


@pytest.mark.parametrize("path", ["auth", "routing", "retry"])
@pytest.mark.parametrize(("change", "code", "where"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_request_is_refused_with_code_and_path(
    edge: Any, retry: Any, payment: Any, path: str, change: Any, code: str, where: str
) -> None:
    body = {**(retry if path == "retry" else payment), **change}
    assert edge.post(path, body).refusal == (422, code, where)
    assert edge.post_packed(path, body).refusal == (422, code, where)
    assert edge.decider.asked == []


@pytest.mark.parametrize("field", ["payment_id", "merchant_id", "amount_minor", "currency", "card_token"])
def test_a_missing_field_is_named_in_the_path(edge: Any, payment: Any, field: str) -> None:
    del payment[field]
    assert edge.post("auth", payment).refusal == (422, "missing_field", f"$.{field}")
    assert edge.post_packed("auth", payment).refusal == (422, "missing_field", f"$.{field}")


@pytest.mark.parametrize(
    ("decline", "code", "where"),
    [
        ({}, "missing_field", "$.decline.processor"),
        ({"processor": "a", "x": 1}, "unknown_field", "$.decline.x"),
        ({"processor": "a", "latency_ms": -1}, "out_of_range", "$.decline.latency_ms"),
        ({"processor": "a", "declined_at": "0001-01-01T00:00:00+14:00"}, "out_of_range", "$.decline.declined_at"),
        ([], "wrong_type", "$.decline"),
    ],
)
def test_a_broken_decline_is_refused_inside_its_object(
    edge: Any, retry: Any, decline: Any, code: str, where: str
) -> None:
    retry["decline"] = decline
    assert edge.post("retry", retry).refusal == (422, code, where)
    assert edge.post_packed("retry", retry).refusal == (422, code, where)


def test_previous_attempts_are_checked_one_by_one(edge: Any, retry: Any) -> None:
    good = {"processor": "a", "status": "declined", "occurred_at": "2026-11-24T06:14:00Z"}
    retry["previous_attempts"] = [good, {**good, "status": "lost"}]
    assert edge.post("retry", retry).refusal == (422, "not_allowed", "$.previous_attempts[1].status")
    retry["previous_attempts"] = [good, {**good, "occurred_at": "1900-01-01T00:00:00Z"}]
    assert edge.post("retry", retry).refusal == (422, "out_of_range", "$.previous_attempts[1].occurred_at")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_out_of_range_in_messagepack(edge: Any, payment: Any, number: float) -> None:
    payment["fraud_score"] = number
    assert edge.post_packed("auth", payment).refusal == (422, "out_of_range", "$.fraud_score")


def test_a_number_beyond_every_float_is_out_of_range_in_json(edge: Any, payment: Any) -> None:
    body = msgspec.json.encode(payment)[:-1] + b',"fraud_score":1e999}'
    assert edge.post("auth", body).refusal == (422, "out_of_range", "$.fraud_score")
    body = msgspec.json.encode(payment)[:-1] + b',"attempt":' + b"9" * 5000 + b"}"
    assert edge.post("auth", body).refusal == (422, "out_of_range", "$.attempt")


def test_a_messagepack_timestamp_is_a_time(edge: Any, payment: Any) -> None:
    payment["occurred_at"] = datetime(2026, 11, 24, tzinfo=UTC)
    assert edge.post_packed("auth", payment).status == 200
    payment["occurred_at"] = datetime(1900, 1, 1, tzinfo=UTC)
    assert edge.post_packed("auth", payment).refusal == (422, "out_of_range", "$.occurred_at")


def test_messagepack_bytes_and_extensions_are_not_strings(edge: Any, payment: Any) -> None:
    for wrong in (b"pay_1", msgspec.msgpack.Ext(7, b"pay_1")):
        payment["payment_id"] = wrong
        assert edge.post_packed("auth", payment).refusal == (422, "wrong_type", "$.payment_id")


def test_messagepack_keys_that_are_no_strings_are_unknown_fields(edge: Any, payment: Any) -> None:
    assert edge.post_packed("auth", {**payment, 5: 6}).refusal == (422, "unknown_field", "$")


def test_the_nearest_known_field_is_named(edge: Any, payment: Any) -> None:
    assert "`amount_minor`" in edge.post("auth", {**payment, "amount_minr": 5}).json["detail"]


@pytest.mark.parametrize("change", [row[1] for row in BROKEN])
def test_no_value_is_ever_echoed(edge: Any, payment: Any, change: Any) -> None:
    canary = "canary-7301"
    for field, value in change.items():
        payment[field] = value
    payment["initiator"] = canary
    payment["card_token"] = canary
    answer = edge.post("auth", payment)
    assert answer.status == 422
    assert canary.encode() not in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null,",
        b"{'payment_id': 1}",
        b'{"payment_id": NaN}',
        b'{"payment_id": "x"} trailing',
        b'{"unknown": ',
        b"\xef\xbb\xbf{}",
        b'{"payment_id": "\xff"}',
        b'{"payment_id": "\\ud800"}',
        b'{"payment_id": "\\udc00 after"}',
        b"[" * 60_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"processors":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_broken_json_is_malformed(edge: Any, body: bytes) -> None:
    assert edge.post("auth", body).refusal == (400, "malformed_body", "$")
    assert edge.post("outcomes", body).refusal == (400, "malformed_body", "$")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x81\xa1\xff\x01",
        b"\x81\xaapayment_id\xa2\xff\xff",
        b"\x91" * 60_000 + b"\xc0",
        b"\x81\xa1a" * 15_000 + b"\xc0",
        b"\x80\x80",
        b"\x81\x81\x01\x02\x03",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_broken_messagepack_is_malformed(edge: Any, body: bytes) -> None:
    assert edge.post_packed("auth", body).refusal == (400, "malformed_body", "$")


@pytest.mark.parametrize("body", [b"3", b"null", b'"x"', b"[]", b"[[]]"])
def test_a_body_that_is_no_object_is_of_the_wrong_type(edge: Any, body: bytes) -> None:
    assert edge.post("auth", body).refusal == (422, "wrong_type", "$")


def test_a_key_that_comes_twice_counts_with_its_last_value(edge: Any, payment: Any) -> None:
    body = msgspec.json.encode(payment)[:-1] + b',"amount_minor":7}'
    assert edge.post("auth", body).status == 200
    assert edge.decider.asked[0][0].amount_minor == 7


def test_an_outcome_may_come_alone_or_in_a_list(edge: Any) -> None:
    one = {"payment_id": "pay_1", "status": "approved"}
    assert edge.post("outcomes", one).json["results"] == ["applied"]
    assert edge.post("outcomes", [one, one]).json["results"] == ["applied", "applied"]
    packed = edge.post_packed("outcomes", [one])
    assert msgspec.msgpack.decode(packed.body)["results"] == ["applied"]
    assert len(edge.learner.reported) == 4


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ([], "out_of_range", "$"),
        ([{"payment_id": "x"}] * 1001, "out_of_range", "$"),
        ({"payment_id": "x"}, "status_required", "$.status"),
        ({"payment_id": "x", "status": None}, "status_required", "$.status"),
        ([{"payment_id": "x", "kind": "refund"}, {"payment_id": "x"}], "status_required", "$[1].status"),
        ([{"payment_id": "x", "kind": "refund"}] * 3 + [{"payment_id": 5}], "wrong_type", "$[3].payment_id"),
        ([{"payment_id": "x", "kind": "refund"}, {}], "missing_field", "$[1].payment_id"),
        ([{"payment_id": "x", "kind": "gift"}], "not_allowed", "$[0].kind"),
        ({"payment_id": "x", "kind": "refund", "occurred_at": "1900-01-01T00:00:00Z"}, "out_of_range", "$.occurred_at"),
        ("x", "wrong_type", "$"),
    ],
    ids=str,
)
def test_a_broken_outcome_is_refused_with_its_place_in_the_list(edge: Any, body: Any, code: str, where: str) -> None:
    assert edge.post("outcomes", body).refusal == (422, code, where)
    assert edge.post_packed("outcomes", body).refusal == (422, code, where)
    assert edge.learner.reported == []


def test_a_thousand_outcomes_fit_into_one_report(edge: Any) -> None:
    one = {"payment_id": "pay_8f14e45f-ceea-467f-a8f7-2b6f1f0c1a7e", "status": "declined", "response_code": "51"}
    full = {**one, "processor": "adler", "latency_ms": 900, "occurred_at": "2026-11-24T06:14:00.123456+00:00"}
    assert edge.post("outcomes", [full] * 1000).status == 200
    assert len(edge.learner.reported) == 1000


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["EUR", "DE", "customer", "adler", "approved", "refund", "2026-11-24T06:14:00Z", "4111111111111111"]
    )
)
names = st.sampled_from([*AuthRequest.__struct_fields__, "decline", "previous_attempts", "status", "kind"]) | st.text(
    max_size=8
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=8),
    max_leaves=25,
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(tree=trees, junk=st.binary(max_size=30), name=st.sampled_from(["auth", "retry", "outcomes"]))
def test_no_body_whatever_gives_a_5xx(edge: Any, tree: Any, junk: bytes, name: str) -> None:
    for answer in (
        edge.post(name, tree),
        edge.post_packed(name, tree),
        edge.post(name, junk),
        edge.post_packed(name, junk),
        edge.post(name, msgspec.json.encode(tree)[: len(junk)] + junk),
    ):
        assert answer.status in {200, 400, 422}, answer
        if answer.status != 200:
            assert re.fullmatch(r"\$([.\[][\w\]]+)*", answer.json["path"]), answer.json


@hypothesis_settings(max_examples=200, deadline=None, database=None)
@given(
    change=st.dictionaries(names, trees, max_size=3),
    message=st.sampled_from([AuthRequest, RetryRequest, Outcome, Outcome | OutcomeBatch]),
)
def test_the_reasons_agree_with_the_decoder(change: Any, message: Any) -> None:
    """The slow walk finds a reason if, and only if, the decoder refuses; it is stricter only for a last line feed."""
    base = {
        "payment_id": "p", "merchant_id": "m", "amount_minor": 1, "currency": "EUR", "card_token": "t",
        "card_network": "visa", "issuer_country": "DE",
    }  # fmt: skip
    if message is RetryRequest:
        base["decline"] = {"processor": "a"}
    if message not in {AuthRequest, RetryRequest}:
        base = {"payment_id": "p"}
    tree = {**base, **change}
    packed, text = msgspec.msgpack.encode(tree), msgspec.json.encode(tree)
    for raw, decode, read in (
        (text, msgspec.json.decode, read_json),
        (packed, msgspec.msgpack.decode, read_msgpack),
    ):
        try:
            decode(raw, type=message)
        except msgspec.ValidationError:
            accepted = False
        else:
            accepted = True
        refusal = Contract(message).refusal(read(raw))
        assert (refusal is None) == accepted or b"\n" in packed, (tree, refusal)
