"""The gate: the headers of a request in, who asks out, or a refusal. On the hot path: about a microsecond.

This module must not know routes or how a refusal is shown.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from service.access.caller import UNKNOWN, Caller, Scope
from service.access.keyring import Keyring
from service.errors import Forbidden, Unauthenticated

KEY_HEADER: Final = b"x-api-key"
FOLLOW_SECONDS: Final = 1.0
"""How often the files are looked at: a key that was revoked works no longer than this, and a moment."""

_NOTHING: Final = "expected a key or token in Authorization: Bearer, or a key in X-API-Key"
_BEARER: Final = b"Bearer "
_LENGTH: Final = len(_BEARER)


class TokenCheck(Protocol):
    """What checks a token (`service.access.tokens.Tokens`), which is loaded only where there are tokens."""

    failing: str | None

    def caller(self, text: bytes) -> Caller:
        """Return whose token this is, or raise `Unauthenticated`."""
        ...

    def look(self, *, anyway: bool = False) -> None:
        """Read the file again when it has changed, or `anyway`."""
        ...


class Gate:
    """Asks who comes, and whether they may have what they ask for.

    Parameters
    ----------
    keyring
        The API keys, if there are any.
    tokens
        What checks JSON Web Tokens, if they are taken.
    """

    def __init__(self, keyring: Keyring | None, tokens: TokenCheck | None) -> None:
        self._keyring = keyring
        self._tokens = tokens
        self._files: list[Any] = [part for part in (keyring, tokens) if part is not None]

    @property
    def failing(self) -> str | None:
        """Why a file of keys that has changed was not taken; None when all is well."""
        return next((part.failing for part in self._files if part.failing is not None), None)

    def look(self, *, anyway: bool = False) -> None:
        """Take up what changed in the files of keys; `anyway` reads them whether they changed or not. Blocks on the disk."""
        for part in self._files:
            part.look(anyway=anyway)

    def admit(self, scope: Scope, headers: Mapping[bytes, bytes], now: float) -> Caller:
        """Return who asks.

        Parameters
        ----------
        scope
            What is asked for.
        headers
            Those of the request, names in lower case.
        now
            Seconds of `time.monotonic`.

        Raises
        ------
        Unauthenticated
            When no key or token came, or none that is known.
        Forbidden
            When it does not have the scope.
        RateLimited
            When it has had its share for now.
        """
        raw = headers.get(b"authorization")
        raw = _presented(raw, headers) if raw is None or raw[:_LENGTH] != _BEARER else raw[_LENGTH:]
        if raw[:3] == b"pm_" and self._keyring is not None:
            caller = self._keyring.caller(raw)
        elif self._tokens is not None:
            caller = self._tokens.caller(raw)
        else:
            raise _unknown()
        if scope not in caller.scopes:
            raise Forbidden(scope)
        if caller.limit is not None:
            caller.limit.take(now)
        return caller


def _presented(authorization: bytes | None, headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key or token of a request that does not send it in the usual form."""
    if authorization is not None:
        scheme, _, rest = authorization.strip().partition(b" ")
        if scheme.lower() == b"bearer" and rest.strip():
            return rest.strip()
    key = headers.get(KEY_HEADER)
    if key:
        return key.strip()
    if authorization is not None:
        raise _unknown()
    raise Unauthenticated(_NOTHING, presented=False)


def _unknown() -> Unauthenticated:
    return Unauthenticated(UNKNOWN, presented=True)
