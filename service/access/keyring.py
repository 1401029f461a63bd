"""The API keys that work, in memory, and the check of one that was presented.

The key is found by the identifier in it, which is no secret. Its secret is never compared: SHA-256 of what came is held to
the digest on record, in constant time. This module must not know HTTP.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, NamedTuple

from service.access import keyfile
from service.access.caller import UNKNOWN, Caller, Limit, limit_of
from service.access.followed import Followed
from service.errors import Unauthenticated

_FIRST: Final = len(keyfile.PREFIX)
_LAST: Final = _FIRST + keyfile.ID_LENGTH


class _Held(NamedTuple):
    digest: bytes
    until: float
    caller: Caller


_NOBODY: Final = _Held(bytes(32), 0.0, Caller("nobody", frozenset(), None))


class Keyring(Followed):
    """The keys of one file.

    Parameters
    ----------
    path
        The file of keys.
    rate, burst
        The limit of a key that has none of its own (`service.access.caller.limit_of`).
    clock
        Seconds since 1970, for keys that end.
    """

    def __init__(self, path: Path, *, rate: float, burst: int, clock: Callable[[], float] = time.time) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._held: dict[bytes, _Held] = {}
        super().__init__(path)

    def __len__(self) -> int:
        """Return how many keys were neither revoked nor past their time when the file was read."""
        return len(self._held)

    def take(self) -> None:
        """Read the file; a key that stays keeps what it has used of its limit."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        held = {}
        for key in keyfile.read(self.path):
            if keyfile.works(key, now):
                caller = Caller(f"key {key.name} ({key.id})", frozenset(key.scopes), self._limit(key))
                until = float("inf") if key.expires_at is None else key.expires_at.timestamp()
                held[key.id.encode()] = _Held(bytes.fromhex(key.sha256), until, caller)
        self._held = held

    def caller(self, text: bytes) -> Caller:
        """Return whose key this is.

        Raises
        ------
        Unauthenticated
            When it is nobody's, was revoked or has ended: one sentence for all.
        """
        held = self._held.get(text[_FIRST:_LAST], _NOBODY)
        if compare_digest(sha256(text).digest(), held.digest) and self._clock() < held.until:
            return held.caller
        raise Unauthenticated(UNKNOWN, presented=True)

    def _limit(self, key: keyfile.Key) -> Limit | None:
        limit = limit_of(
            self._rate if key.rate is None else key.rate,
            self._burst if key.burst is None and key.rate is None else key.burst or 0,
        )
        before = self._held.get(key.id.encode())
        if limit is not None and before is not None and (was := before.caller.limit) is not None:
            return was if (was.rate, was.burst) == (limit.rate, limit.burst) else limit
        return limit
