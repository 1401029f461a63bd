"""Bytes to a checked request, as the edge reads it; floor: msgspec's own decoding of the same type, without any guard."""

import json

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.material import Workload
from contracts.payment import AuthRequest
from service.http import checks, pan
from service.http.messages import Message
from service.http.wire import JSON, MSGPACK, Form

FORMS = {"json": JSON, "msgpack": MSGPACK}


def _body(form: Form, asked: Workload) -> bytes:
    # As a client sends it: absent fields are left out, not null.
    members = {key: value for key, value in msgspec.to_builtins(asked.auths[0]).items() if value is not None}
    return form.encode(members)


@pytest.mark.parametrize("name", FORMS)
def test_edge(benchmark: BenchmarkFixture, asked: Workload, name: str) -> None:
    """Guard, strict decoding, checks."""
    form = FORMS[name]
    body = _body(form, asked)
    benchmark.group = f"decode an auth request, {name}, {len(body)} bytes"
    read = Message(AuthRequest, checks.check_payment, ()).read
    assert benchmark(read, form, body) == asked.auths[0]


@pytest.mark.parametrize("name", FORMS)
def test_floor(benchmark: BenchmarkFixture, asked: Workload, name: str) -> None:
    """Decoding alone."""
    form = FORMS[name]
    body = _body(form, asked)
    benchmark.group = f"decode an auth request, {name}, {len(body)} bytes"
    plain = msgspec.json.Decoder(AuthRequest) if name == "json" else msgspec.msgpack.Decoder(AuthRequest)
    assert benchmark(plain.decode, body) == asked.auths[0]


@pytest.mark.parametrize("holds", ["short ids", "a time in ms", "a snowflake", "other letters", "escapes"])
def test_guard(benchmark: BenchmarkFixture, asked: Workload, holds: str) -> None:
    """The card number guard alone over JSON, with what shops number their payments with; the floor is one pass of `find`."""
    ids = {
        "short ids": "pay_01",
        "a time in ms": "pay_1732428840123",
        "a snowflake": "1234567890123456789",
        "other letters": "paiement_é_东京",
        "escapes": "paiement_é_东京",
    }
    body = _body(JSON, asked).replace(asked.auths[0].payment_id.encode(), ids[holds].encode())
    if holds == "escapes":
        body = json.dumps(json.loads(body)).encode()
    benchmark.group = "the card number guard"
    assert not benchmark(pan.suspicious_json, body)


def test_guard_of_msgpack(benchmark: BenchmarkFixture, asked: Workload) -> None:
    """The card number guard alone over MessagePack: its bytes, and what was decoded of them."""
    body = _body(MSGPACK, asked)
    value = asked.auths[0]
    benchmark.group = "the card number guard"
    assert not benchmark(lambda: pan.suspicious_msgpack(body) or pan.suspicious_value(value))


def test_guard_floor(benchmark: BenchmarkFixture, asked: Workload) -> None:
    """One pass over the bytes that finds nothing."""
    body = _body(JSON, asked)
    benchmark.group = "the card number guard"
    assert benchmark(body.find, b"\x00" * 13) == -1
