"""Who asks, as found out on the hot path; floor: one look-up of the header in a dict, which anything would take."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pytest_benchmark.fixture import BenchmarkFixture

from service.access import keyfile
from service.access.caller import Limit
from service.access.gate import Gate
from service.access.keyring import Keyring
from service.access.tokens import Tokens

Headers = dict[bytes, bytes]


def _headers(text: bytes) -> Headers:
    # As many as an ordinary client sends.
    return {
        b"host": b"pointsman:8080",
        b"user-agent": b"gateway/7.1",
        b"accept": b"*/*",
        b"content-type": b"application/json",
        b"content-length": b"508",
        b"authorization": b"Bearer " + text,
    }


@pytest.fixture
def ring(tmp_path: Path) -> tuple[Gate, Headers, Headers]:
    """A gate with a hundred keys, one of them without a limit and one with."""
    path = tmp_path / "keys.json"
    for number in range(98):
        keyfile.add(path, name=f"other-{number}", scopes=["report"])
    free = keyfile.add(path, name="free", scopes=["decide"])
    limited = keyfile.add(path, name="limited", scopes=["decide"], rate=1_000_000.0)
    gate = Gate(Keyring(path, rate=0.0, burst=0), None)
    return gate, _headers(free.text.encode()), _headers(limited.text.encode())


@pytest.mark.parametrize("limited", [False, True], ids=["without a limit", "with a limit"])
def test_key(benchmark: BenchmarkFixture, ring: tuple[Gate, Headers, Headers], *, limited: bool) -> None:
    """A key: digest, comparison in constant time, scope, limit."""
    benchmark.group = "who asks"
    gate, free, held = ring
    headers = held if limited else free
    caller = benchmark(lambda: gate.admit("decide", headers, time.monotonic()))
    assert isinstance(caller.limit, Limit) == limited


def test_token(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """A token whose signature was checked before."""
    benchmark.group = "who asks"
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "k"}]}))
    claims: dict[str, Any] = {"iss": "i", "aud": "a", "sub": "s", "exp": int(time.time()) + 3_600, "scope": "decide"}
    headers = _headers(jwt.encode(claims, key, "ES256", {"kid": "k"}).encode())
    gate = Gate(None, Tokens(path, issuer="i", audience="a", rate=0.0, burst=0))
    assert benchmark(lambda: gate.admit("decide", headers, time.monotonic())).name == "token s"


def test_floor(benchmark: BenchmarkFixture) -> None:
    """The look-up alone."""
    benchmark.group = "who asks"
    headers = _headers(b"pm_" + b"x" * 56)
    known = {headers[b"authorization"]: "somebody"}
    assert benchmark(lambda: known.get(headers[b"authorization"])) == "somebody"
