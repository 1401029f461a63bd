"""A token is good when one of the keys on disk signed it, in that key's own way, for this service and for now."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from service.access import tokens as tokens_module
from service.access.tokens import LEEWAY_SECONDS, Tokens
from service.errors import CredentialsRefused, RateLimited, Unauthenticated

ISSUER = "https://id.example"
AUDIENCE = "pointsman"
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture(scope="module")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def plain(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public(kind: Any, key: Any, kid: str, **more: Any) -> dict[str, Any]:
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, **more}


@pytest.fixture(scope="module")
def members(rsa_key: Any, ec_key: Any) -> list[dict[str, Any]]:
    return [
        public(RSAAlgorithm, rsa_key, "r", alg="RS256", use="sig"),
        public(ECAlgorithm, ec_key, "e"),
        {"kty": "oct", "kid": "h", "k": plain(SECRET), "alg": "HS256"},
    ]


@pytest.fixture
def path(tmp_path: Path, members: list[dict[str, Any]]) -> Path:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": members}))
    return file


def tokens_of(path: Path, **changes: Any) -> Tokens:
    return Tokens(path, **{"issuer": ISSUER, "audience": AUDIENCE, "rate": 0.0, "burst": 0, **changes})


@pytest.fixture
def keys(rsa_key: Any, ec_key: Any) -> dict[str, tuple[str, Any]]:
    return {"r": ("RS256", rsa_key), "e": ("ES256", ec_key), "h": ("HS256", SECRET)}


Sign = Callable[..., bytes]


@pytest.fixture
def sign(keys: dict[str, tuple[str, Any]]) -> Sign:
    def make(kid: str = "r", *, headers: dict[str, Any] | None = None, drop: str = "", **claims: Any) -> bytes:
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "gateway", "exp": now + 600, "scope": "decide read", **claims}
        said.pop(drop, None)
        algorithm, key = keys[kid]
        return jwt.encode(said, key, algorithm, {"kid": kid, **(headers or {})}).encode()

    return make


def refused(tokens: Tokens, text: bytes) -> str:
    with pytest.raises(Unauthenticated) as caught:
        tokens.caller(text)
    return str(caught.value)


UNKNOWN = "expected a key or token that is known and has not ended"


@pytest.mark.parametrize("kid", ["r", "e", "h"])
def test_a_token_of_each_kind_of_key_is_taken(path: Path, sign: Sign, kid: str) -> None:
    caller = tokens_of(path).caller(sign(kid))
    assert (caller.name, caller.scopes) == ("token gateway", {"decide", "read"})


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "openid admin email"}, {"admin"}),
        ({"drop": "scope", "scp": ["report", "read"]}, {"report", "read"}),
        ({"drop": "scope", "scp": "decide"}, {"decide"}),
        ({"scope": "DECIDE decider"}, set()),
        ({"drop": "scope"}, set()),
        ({"scope": {"decide": True}}, set()),
        ({"aud": ["other", AUDIENCE]}, {"decide", "read"}),
    ],
)
def test_scopes_are_words_of_a_claim_and_others_mean_nothing(
    path: Path, sign: Sign, claims: dict[str, Any], scopes: set[str]
) -> None:
    assert tokens_of(path).caller(sign(**claims)).scopes == scopes


@pytest.mark.parametrize("kid", ["r", "e", "h"])
@pytest.mark.parametrize(
    "claims",
    [
        {"drop": "exp"},
        {"drop": "iss"},
        {"drop": "aud"},
        {"drop": "sub"},
        {"iss": "https://id.example/"},
        {"aud": "other"},
        {"aud": []},
        {"sub": ""},
        {"sub": "x" * 201},
        {"sub": "line\nfeed"},
        {"nbf": 8_589_934_592},
        {"iat": 8_589_934_592},
        {"exp": "soon"},
        {"headers": {"crit": ["exp"]}},
        {"headers": {"crit": ["b64"], "b64": True}},
        {"headers": {"kid": "nobody"}},
    ],
    ids=str,
)
def test_a_claim_that_is_missing_or_wrong_is_refused(path: Path, sign: Sign, kid: str, claims: dict[str, Any]) -> None:
    assert refused(tokens_of(path), sign(kid, **claims)) == UNKNOWN


def test_a_token_that_has_ended_says_so_to_whoever_holds_it(path: Path, sign: Sign) -> None:
    tokens = tokens_of(path)
    tokens.caller(sign(exp=int(time.time()) - LEEWAY_SECONDS + 10))
    ended = sign(exp=int(time.time()) - LEEWAY_SECONDS - 1)
    assert refused(tokens, ended) == "this token has ended"
    assert refused(tokens, ended[:-4] + b"AAAA") == UNKNOWN


def test_no_algorithm_is_the_tokens_own_choice(path: Path, sign: Sign, rsa_key: Any, members: Any) -> None:
    tokens = tokens_of(path)
    _, body, _ = sign("r").split(b".")
    pem = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = []
    for algorithm in ("none", "None", "NONE", "HS256", "HS384", "RS512", "PS256", "ES256", ""):
        for kid in ("r", "e", "h", None):
            head = plain(json.dumps({"alg": algorithm, "typ": "JWT", "kid": kid}).encode()).encode()
            signed = head + b"." + body
            for secret in (b"", pem, json.dumps(members[0]).encode()):
                mac = hmac.new(secret, signed, hashlib.sha256).digest()
                forged.append(signed + b"." + plain(mac).encode())
            forged.append(signed + b".")
    assert {refused(tokens, text) for text in forged} == {UNKNOWN}


def test_a_key_that_a_token_brings_along_or_points_to_means_nothing(path: Path, sign: Sign) -> None:
    theirs = rsa.generate_private_key(65_537, 2_048)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": int(time.time()) + 60, "scope": "admin"}
    tokens = tokens_of(path)
    for more in (
        {"jwk": public(RSAAlgorithm, theirs, "r")},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"kid": "../../../../dev/null"},
    ):
        assert refused(tokens, jwt.encode(claims, theirs, "RS256", {"kid": "r", **more}).encode()) == UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b".",
        b"..",
        b"a.b.c",
        b"e30.e30.",
        b"\xff\xfe.\xff.\xff",
        plain(b"[" * 60_000).encode() + b".e30.x",
        plain(b'{"alg":' + b"[" * 3_000).encode() + b".e30.x",
        plain(b'{"alg":"RS256","kid":{"a":1}}').encode() + b".e30.x",
        plain(b'{"alg":["RS256"],"kid":"r"}').encode() + b".e30.x",
        b"a" * 9_000,
    ],
    ids=range(11),
)
def test_what_is_no_token_is_refused_like_any_other(path: Path, text: bytes) -> None:
    assert refused(tokens_of(path), text) == UNKNOWN


def test_every_bit_of_a_token_counts(path: Path, sign: Sign) -> None:
    tokens = tokens_of(path)
    text = sign("e")
    tokens.caller(text)
    # The last character of a part may carry bits that mean nothing; every other one counts.
    parts = text.split(b".")
    ends = {len(parts[0]) - 1, len(parts[0]) + len(parts[1]), len(text) - 1}
    for place in range(0, len(text), 7):
        if place in ends or text[place] == ord("."):
            continue
        changed = bytearray(text)
        changed[place] = ord("A") if text[place] != ord("A") else ord("B")
        assert refused(tokens, bytes(changed)) == UNKNOWN


def test_a_signature_is_checked_once_until_the_token_ends(
    path: Path, sign: Sign, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    tokens = tokens_of(path, clock=lambda: now[0])
    checked = []
    honest = jwt.decode

    def watched(*told: Any, **options: Any) -> Any:
        checked.append(told)
        return honest(*told, **options)

    monkeypatch.setattr(tokens_module.jwt, "decode", watched)
    text = sign()
    callers = {tokens.caller(text) for _ in range(5)}
    assert (len(callers), len(checked)) == (1, 1)
    now[0] += 600 + LEEWAY_SECONDS + 1
    # By the machine's clock it is still good, so that it is taken; but not from memory.
    tokens.caller(text)
    assert len(checked) == 2


def test_what_is_remembered_is_bounded(path: Path, sign: Sign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "REMEMBERED", 3)
    tokens = tokens_of(path, rate=1.0, burst=1)
    texts = [sign("h", sub=f"s{number}") for number in range(10)]
    for text in texts:
        tokens.caller(text)
        refused_later = sign("h", sub="s0", exp=1)
        refused(tokens, refused_later)
    assert (len(tokens._good), len(tokens._limits)) == (3, 3)
    assert set(tokens._good) == set(texts[-3:])


def test_a_limit_is_the_subjects_and_a_new_token_does_not_renew_it(path: Path, sign: Sign) -> None:
    tokens = tokens_of(path, rate=1.0, burst=2)
    for text in (sign(), sign(jti="another")):
        limit = tokens.caller(text).limit
        assert limit is not None
        limit.take(5.0)
    with pytest.raises(RateLimited):
        limit.take(5.0)
    other = tokens.caller(sign(sub="other")).limit
    assert other is not None
    other.take(5.0)


def test_a_key_that_leaves_the_set_takes_its_tokens_with_it(path: Path, sign: Sign, members: Any) -> None:
    tokens = tokens_of(path)
    by_rsa, by_ec = sign("r"), sign("e")
    tokens.caller(by_rsa)
    tokens.caller(by_ec)
    path.write_text(json.dumps({"keys": members[1:]}))
    tokens.look()
    assert refused(tokens, by_rsa) == UNKNOWN
    tokens.caller(by_ec)
    path.write_text("{")
    tokens.look()
    assert tokens.failing is not None
    tokens.caller(by_ec)


def test_a_single_key_needs_no_name(tmp_path: Path, members: Any, rsa_key: Any) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [{name: value for name, value in members[0].items() if name != "kid"}]}))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": int(time.time()) + 60}
    assert tokens_of(path).caller(jwt.encode(claims, rsa_key, "RS256").encode()).name == "token x"


WEAK = {"kty": "oct", "kid": "w", "k": plain(SECRET[:31])}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no JWK set"),
        ("[]", "no JWK set"),
        ('{"keys":1}', "no JWK set"),
        ('{"keys":[1]}', "no JWK set"),
        ('{"keys":[]}', "no key for"),
        ({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "o"}]}, "no key for"),
        ({"keys": [{"kty": "RSA", "alg": "RSA-OAEP", "use": "enc", "kid": "o"}]}, "no key for"),
        ({"keys": [WEAK]}, "at least 32 bytes"),
        ({"keys": [{"kty": "RSA", "kid": "b", "n": "!", "e": "AQAB"}]}, "cannot be read"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "kid": "b", "x": "AA", "y": "AA"}]}, "cannot be read"),
        ({"keys": [{**WEAK, "k": plain(SECRET)}] * 2}, "a kid of its own"),
        ({"keys": [{"kty": "oct", "k": plain(SECRET)}, {**WEAK, "k": plain(SECRET)}]}, "a kid of its own"),
    ],
    ids=range(12),
)
def test_a_set_that_cannot_be_trusted_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CredentialsRefused, match=reason):
        tokens_of(path)


def test_a_weak_or_private_key_is_refused_without_being_shown(tmp_path: Path, rsa_key: Any) -> None:
    path = tmp_path / "jwks.json"
    private = {**json.loads(RSAAlgorithm.to_jwk(rsa_key)), "kid": "p"}
    path.write_text(json.dumps({"keys": [private]}))
    with pytest.raises(CredentialsRefused, match="a private key") as caught:
        tokens_of(path)
    assert private["d"][:20] not in str(caught.value)
    weak = rsa.generate_private_key(65_537, 1_024)
    path.write_text(json.dumps({"keys": [public(RSAAlgorithm, weak, "w")]}))
    with pytest.raises(CredentialsRefused, match="2048 bits"):
        tokens_of(path)
    with pytest.raises(CredentialsRefused, match="cannot be read"):
        tokens_of(tmp_path / "none")


def test_other_keys_of_a_set_are_left_alone(tmp_path: Path, members: Any, sign: Sign) -> None:
    path = tmp_path / "jwks.json"
    others = [
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "o"},
        {**members[0], "kid": "enc", "use": "enc"},
        {**members[0], "kid": "r512", "alg": "RS512"},
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "p384"},
    ]
    path.write_text(json.dumps({"keys": [*others, *members]}))
    tokens = tokens_of(path)
    tokens.caller(sign("r"))
    assert refused(tokens, sign("r", headers={"kid": "enc"})) == UNKNOWN
