"""JSON Web Tokens as an alternative to keys: signed by an identity provider, checked against a JWK set on disk.

Each key of the set stands for one algorithm (RS256, ES256 or HS256), and a token must name that one: what a token says
chooses a key, never how it is used (RFC 8725, 3.1). Nothing is fetched: the set is a file, read again when it changes.
A token that was found good is remembered until it ends, so that its signature is checked once.

This module must not know HTTP.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
import msgspec
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, RSAAlgorithm

from service.access.caller import SCOPES, UNKNOWN, Caller, Limit, limit_of
from service.access.followed import Followed
from service.errors import CredentialsRefused, Unauthenticated

LEEWAY_SECONDS: Final = 30
"""How far the clocks of the issuer and of this machine may be apart."""
LONGEST: Final = 8_192
"""Bytes of a token; a longer one is refused unread."""
REMEMBERED: Final = 4_096
"""How many good tokens, and how many subjects' limits, are kept in memory."""

_LEAST_RSA_BITS: Final = 2_048
_LEAST_SECRET_BYTES: Final = 32
_LONGEST_NAME: Final = 200
_ENDED: Final = "this token has ended"
_REQUIRED: Final = ["exp", "iss", "aud", "sub"]
_PRIVATE: Final = "d"


class _Key(NamedTuple):
    algorithm: str
    key: Any


class _Good(NamedTuple):
    until: float
    caller: Caller


class Tokens(Followed):
    """What checks tokens.

    Parameters
    ----------
    path
        The JWK set (RFC 7517), as the issuer publishes it.
    issuer, audience
        What a token must say in ``iss``, and among its ``aud``.
    rate, burst
        The limit of each subject (`service.access.caller.limit_of`).
    clock
        Seconds since 1970; the library itself reads the machine's.
    """

    def __init__(
        self,
        path: Path,
        *,
        issuer: str,
        audience: str,
        rate: float,
        burst: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._keys: dict[str | None, _Key] = {}
        self._good: dict[bytes, _Good] = {}
        self._limits: dict[str, Limit | None] = {}
        super().__init__(path)

    def take(self) -> None:
        """Read the set; every token is checked anew, for the key of one may be gone."""
        self._keys = read(self.path)
        self._good = {}

    def caller(self, text: bytes) -> Caller:
        """Return whose token this is.

        Raises
        ------
        Unauthenticated
            When it is nobody's, has ended, or is for somebody else.
        """
        # Python keys its hashes by a secret of the process and looks at the bytes only where all 64 bits agree: what a
        # look-up takes says nothing of the tokens in here.
        good = self._good.get(text)
        if good is not None and self._clock() < good.until:
            return good.caller
        try:
            claims = self._claims(text)
        except jwt.ExpiredSignatureError:
            # Its signature is good: whoever holds it may know.
            raise Unauthenticated(_ENDED, presented=True) from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(UNKNOWN, presented=True) from None
        good = _Good(float(claims["exp"]) + LEEWAY_SECONDS, self._caller_of(claims))
        _remember(self._good, text, good)
        return good.caller

    def _claims(self, text: bytes) -> Mapping[str, Any]:
        if len(text) > LONGEST:
            raise jwt.InvalidTokenError
        header = jwt.get_unverified_header(text)
        kid = header.get("kid")
        key = self._keys.get(kid)
        if key is None and kid is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        # Extensions that a token calls critical are none that are understood here (RFC 7515, 4.1.11).
        if key is None or header.get("alg") != key.algorithm or "crit" in header:
            raise jwt.InvalidTokenError
        claims: Mapping[str, Any] = jwt.decode(
            text,
            key.key,
            algorithms=[key.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED},
        )
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_NAME or not subject.isprintable():
            raise jwt.InvalidTokenError
        return claims

    def _caller_of(self, claims: Mapping[str, Any]) -> Caller:
        subject = str(claims["sub"])
        if subject not in self._limits:
            _remember(self._limits, subject, limit_of(self._rate, self._burst))
        return Caller(f"token {subject}", _scopes(claims), self._limits[subject])


def read(path: Path) -> dict[str | None, _Key]:
    """Return the keys of a JWK set that can be used, by ``kid``.

    Raises
    ------
    CredentialsRefused
        When it is no JWK set, holds a private or weak key, the same ``kid`` twice, or none that can be used.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CredentialsRefused(str(path), f"it cannot be read ({error.strerror})") from error
    try:
        members = msgspec.json.decode(raw, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = None
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise CredentialsRefused(str(path), 'it is no JWK set: expected {"keys": [...]}')
    keys: dict[str | None, _Key] = {}
    for member in members:
        if _PRIVATE in member:
            raise CredentialsRefused(str(path), "it holds a private key, which belongs to the issuer alone")
        algorithm = _algorithm(member)
        if algorithm is None:
            continue
        kid = member.get("kid")
        if (kid is not None and not isinstance(kid, str)) or kid in keys or (kid is None and len(members) > 1):
            raise CredentialsRefused(str(path), "expected a kid of its own for each key")
        keys[kid] = _Key(algorithm, _material(path, member, algorithm))
    if not keys:
        raise CredentialsRefused(str(path), "it holds no key for RS256, ES256 or HS256 signatures")
    return keys


def _algorithm(member: Mapping[str, Any]) -> str | None:
    """Return the one algorithm a key is for, None for a key of no use here."""
    if member.get("use", "sig") != "sig" or "verify" not in member.get("key_ops", ["verify"]):
        return None
    natural = {"RSA": "RS256", "EC": "ES256", "oct": "HS256"}.get(str(member.get("kty")))
    if natural == "ES256" and member.get("crv") != "P-256":
        return None
    return natural if member.get("alg", natural) == natural else None


def _material(path: Path, member: Mapping[str, Any], algorithm: str) -> Any:
    kind: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "HS256": HMACAlgorithm}[algorithm]
    try:
        key = kind.from_jwk(dict(member))
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise CredentialsRefused(str(path), f"a key for {algorithm} in it cannot be read") from None
    if algorithm == "HS256" and len(key) < _LEAST_SECRET_BYTES:
        raise CredentialsRefused(str(path), f"expected at least {_LEAST_SECRET_BYTES} bytes in a secret for HS256")
    if algorithm == "RS256" and key.key_size < _LEAST_RSA_BITS:
        raise CredentialsRefused(str(path), f"expected at least {_LEAST_RSA_BITS} bits in a key for RS256")
    return key


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of ``scope`` (RFC 8693, words) or ``scp`` (words or a list); those of others mean nothing here."""
    named = claims.get("scope", claims.get("scp", ""))
    words = named.split() if isinstance(named, str) else named if isinstance(named, list) else []
    return frozenset(scope for scope in SCOPES if scope in words)


def _remember(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Put into a table of a bounded size; what has been in it longest makes room."""
    if len(kept) >= REMEMBERED:
        del kept[next(iter(kept))]
    kept[key] = value
