"""The structs themselves are strict, in JSON and in MessagePack, whoever decodes with them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgspec
import pytest

from contracts.decision import Decision
from contracts.event import AuthDecided, JournalEvent, OutcomeSettled
from contracts.outcome import Outcome, OutcomeBatch
from contracts.payment import AuthRequest, Payment, RetryRequest, RoutingRequest
from service.http.examples import EXAMPLES

FORMS: Final = {"json": msgspec.json, "msgpack": msgspec.msgpack}
PAYMENT: Final = {
    "payment_id": "pay_1",
    "merchant_id": "shop_1",
    "amount_minor": 1299,
    "currency": "EUR",
    "card_token": "tok_1",
    "card_network": "visa",
    "issuer_country": "DE",
}
DECLINE: Final = {"processor": "adler"}
MOMENT: Final = "2026-11-24T06:14:00Z"
PREVIOUS: Final = {"processor": "adler", "status": "declined", "occurred_at": MOMENT}

pytestmark = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def decode(form: Any, kind: Any, tree: Any) -> Any:
    return form.decode(form.encode(tree), type=kind)


@pytest.mark.parametrize("kind", [AuthRequest, RoutingRequest])
def test_seven_fields_are_a_payment_and_the_rest_is_absent(form: Any, kind: type[Payment]) -> None:
    payment = decode(form, kind, PAYMENT)
    assert payment == kind(**PAYMENT)
    absent = set(kind.__struct_fields__) - set(PAYMENT) - {"attempt", "processors", "credentials"}
    assert {getattr(payment, name) for name in absent} == {None}
    assert (payment.attempt, payment.processors) == (1, ())


@pytest.mark.parametrize("field", PAYMENT)
def test_each_of_the_seven_is_required(form: Any, field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{field}`"):
        decode(form, AuthRequest, {key: value for key, value in PAYMENT.items() if key != field})


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": "1299"},
        {"amount_minor": True},
        {"amount_minor": 1299.5},
        {"amount_minor": -1},
        {"amount_minor": 1_000_000_000_001},
        {"amount_minor": None},
        {"attempt": 0},
        {"attempt": 1001},
        {"attempt": "1"},
        {"payment_id": ""},
        {"payment_id": "x" * 129},
        {"payment_id": 17},
        {"card_network": "a b"},
        {"card_network": "x" * 65},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"issuer_country": "D"},
        {"card_bin": "12345"},
        {"card_bin": "123456789"},
        {"card_bin": 400000},
        {"fraud_score": 1.01},
        {"fraud_score": -0.01},
        {"fraud_score": "0.5"},
        {"is_network_token": 1},
        {"is_network_token": "true"},
        {"initiator": "nobody"},
        {"cvv_result": "!"},
        {"processors": "adler"},
        {"processors": [""]},
        {"processors": ["a"] * 17},
        {"occurred_at": "2026-11-24T06:14:00"},
        {"occurred_at": "2026-11-24"},
        {"occurred_at": 1_790_000_000},
        {"amount": 1},
        {"Payment_id": "pay_1"},
        {"decline": DECLINE},
    ],
    ids=str,
)
def test_a_payment_that_breaks_its_contract_is_refused(form: Any, change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(form, AuthRequest, {**PAYMENT, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 0},
        {"amount_minor": 1_000_000_000_000},
        {"attempt": 1000},
        {"payment_id": "x" * 128},
        {"payment_id": "zahlung ü/1"},
        {"card_network": "Cartes-Bancaires_1.0:x"},
        {"card_bin": "12345678"},
        {"fraud_score": 0},
        {"fraud_score": 1.0},
        {"processors": [f"p{index}" for index in range(16)]},
        {"occurred_at": "2026-11-24T06:14:00+05:30"},
    ],
    ids=str,
)
def test_the_limits_themselves_are_inside(form: Any, change: dict[str, Any]) -> None:
    payment = decode(form, AuthRequest, {**PAYMENT, **change})
    assert form.decode(form.encode(payment), type=AuthRequest) == payment


@pytest.mark.parametrize(
    "tree",
    [
        PAYMENT,
        {**PAYMENT, "decline": {}},
        {**PAYMENT, "decline": {**DECLINE, "reason": "x"}},
        {**PAYMENT, "decline": {**DECLINE, "response_code": "x" * 9}},
        {**PAYMENT, "decline": {**DECLINE, "latency_ms": 600_001}},
        {**PAYMENT, "decline": {**DECLINE, "declined_at": "2026-11-24T06:14:00"}},
        {**PAYMENT, "decline": DECLINE, "previous_attempts": [{**PREVIOUS, "status": "lost"}]},
        {**PAYMENT, "decline": DECLINE, "previous_attempts": [{**PREVIOUS, "occurred_at": None}]},
        {**PAYMENT, "decline": DECLINE, "previous_attempts": [PREVIOUS] * 101},
    ],
)
def test_a_retry_that_breaks_its_contract_is_refused(form: Any, tree: dict[str, Any]) -> None:
    assert decode(form, RetryRequest, {**PAYMENT, "decline": DECLINE, "previous_attempts": [PREVIOUS] * 100})
    with pytest.raises(msgspec.ValidationError):
        decode(form, RetryRequest, tree)


@pytest.mark.parametrize("tree", [[], [{"payment_id": "p"}] * 1001, [{}], [{"payment_id": "p", "status": "lost"}], {}])
def test_a_report_that_breaks_its_contract_is_refused(form: Any, tree: Any) -> None:
    assert len(decode(form, Outcome | OutcomeBatch, [{"payment_id": "p"}] * 1000)) == 1000
    with pytest.raises(msgspec.ValidationError):
        decode(form, Outcome | OutcomeBatch, tree)


def test_a_time_is_one_moment_whatever_its_offset(form: Any) -> None:
    there = datetime(2026, 11, 24, 11, 44, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    payment = decode(form, AuthRequest, {**PAYMENT, "occurred_at": there})
    assert payment.occurred_at == datetime(2026, 11, 24, 6, 14, tzinfo=UTC)


def test_what_comes_in_refuses_unknown_fields_and_what_is_read_back_skips_them(form: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `later`"):
        decode(form, Outcome, {**EXAMPLES["Outcome"], "later": 1})
    newer = {**EXAMPLES["Decision"], "later": 1}
    assert decode(form, Decision, newer) == msgspec.convert(EXAMPLES["Decision"], Decision)


def test_an_event_is_told_by_its_type(form: Any) -> None:
    decided = {"type": "auth_decided", "decided_at": MOMENT, "request": PAYMENT, "answer": EXAMPLES["Decision"]}
    settled = {"type": "outcome_settled", "received_at": MOMENT, "outcome": {"payment_id": "p"}, "result": "applied"}
    assert isinstance(decode(form, JournalEvent, decided), AuthDecided)
    assert isinstance(decode(form, JournalEvent, settled), OutcomeSettled)
    with pytest.raises(msgspec.ValidationError):
        decode(form, JournalEvent, {**decided, "type": "auth_dreamt"})
