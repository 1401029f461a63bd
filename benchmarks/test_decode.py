"""Bytes to a checked request, as the edge reads it; floor: msgspec's own decoding of the same type, without any guard."""

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.material import Workload
from contracts.payment import AuthRequest
from service.http import checks
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
