"""The file of API keys: who has one, what it may do, and a digest by which it is known again. Never a key.

A key is ``pm_<id>_<secret>``: an identifier of 12 letters and digits that may be shown, and 256 random bits that are
shown once, when the key is made. What is kept is SHA-256 of the whole. A slow password hash would add nothing: nobody
guesses 256 random bits, at any speed, and the check is on the hot path.

Every change is one atomic rename under a lock, and is added to a log of acts beside the file. This module must not know
requests.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contracts.base import Record
from service import acts
from service.access.caller import SCOPES, Scope
from service.errors import CredentialsRefused

FORMAT: Final = 1
PREFIX: Final = "pm_"
ID_LENGTH: Final = 12
SECRET_BYTES: Final = 32
LENGTH: Final = len(PREFIX) + ID_LENGTH + 1 + 43
"""Characters of a key: 43 of URL-safe base64 are 256 bits."""

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"[a-z0-9]{12}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@\-]{0,63}")


class Key(Record, frozen=True, kw_only=True):
    """One key, without its secret. A `rate` of None is that of the settings, 0 is no limit."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    sha256: str
    made_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    rate: float | None = None
    burst: int | None = None


class KeyAct(Record, frozen=True, kw_only=True):
    """One change of the file: what was done to which key, when, by whom and from where."""

    at: datetime
    act: str
    id: str
    name: str
    scopes: tuple[Scope, ...]
    by: str
    source: str


class Made(NamedTuple):
    """A key as it is when it is made: the only moment at which its text is known."""

    key: Key
    text: str


class _Content(Record, frozen=True, kw_only=True):
    format: int
    keys: tuple[Key, ...]


def digest(text: bytes) -> bytes:
    """Return what is kept of a key: 32 bytes, SHA-256."""
    return hashlib.sha256(text).digest()


def acts_of(path: Path) -> Path:
    """Return the log of acts that lies beside a file of keys."""
    return path.with_name(path.name + ".acts.jsonl")


def read(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file, in the order they were made.

    Raises
    ------
    CredentialsRefused
        When it is not there, is no file of keys, or may be written by everybody.
    """
    try:
        raw = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        reason = f"it cannot be read ({error.strerror}); `python -m service keys add` makes one"
        raise CredentialsRefused(str(path), reason) from error
    if mode & stat.S_IWOTH:
        raise CredentialsRefused(str(path), "everybody may write it; expected `chmod o-w`")
    try:
        content = msgspec.json.decode(raw, type=_Content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CredentialsRefused(str(path), f"it is no file of keys: {error}") from None
    if content.format != FORMAT:
        raise CredentialsRefused(str(path), f"expected format {FORMAT}, got {content.format}")
    seen: set[str] = set()
    for key in content.keys:
        if not _ID.fullmatch(key.id) or not _DIGEST.fullmatch(key.sha256) or not _NAME.fullmatch(key.name):
            raise CredentialsRefused(str(path), "it holds a key whose id, name or sha256 has another form")
        if key.id in seen:
            raise CredentialsRefused(str(path), f"it holds the key {key.id} twice")
        seen.add(key.id)
    return content.keys


def add(
    path: Path,
    *,
    name: str,
    scopes: Iterable[str],
    lasts: timedelta | None = None,
    rate: float | None = None,
    burst: int | None = None,
) -> Made:
    """Make a key, put it into the file (made when it is not there) and return it; its text is not kept.

    Raises
    ------
    CredentialsRefused
        For a name or scope that is none, or a file that cannot be read or written.
    """
    chosen = _scopes(path, scopes)
    if not _NAME.fullmatch(name):
        reason = "expected a name of 1 to 64 letters, digits and _ . : @ -, which begins with a letter or digit"
        raise CredentialsRefused(str(path), reason)
    now = datetime.now(UTC)
    with _edited(path) as keys:
        made = _make(keys, name, chosen, now, lasts, rate, burst)
        keys.append(made.key)
        _remember(path, "add", made.key, now)
    return made


def revoke(path: Path, identifier: str) -> Key:
    """Revoke a key at once; it stays in the file, so that the audit can be read.

    Raises
    ------
    CredentialsRefused
        When there is no such key, or the file cannot be read or written.
    """
    now = datetime.now(UTC)
    with _edited(path) as keys:
        place = _place(path, keys, identifier)
        if keys[place].revoked_at is None:
            keys[place] = msgspec.structs.replace(keys[place], revoked_at=now)
        _remember(path, "revoke", keys[place], now)
        return keys[place]


def rotate(path: Path, identifier: str, *, grace: timedelta) -> Made:
    """Make a key like another one, which ends after `grace`; a limit in time begins anew.

    Raises
    ------
    CredentialsRefused
        When there is no such key, it does not work any more, or the file cannot be read or written.
    """
    now = datetime.now(UTC)
    with _edited(path) as keys:
        place = _place(path, keys, identifier)
        old = keys[place]
        if not works(old, now):
            raise CredentialsRefused(str(path), f"the key {old.id} does not work any more; expected `keys add`")
        lasts = None if old.expires_at is None else old.expires_at - old.made_at
        made = _make(keys, old.name, old.scopes, now, lasts, old.rate, old.burst)
        ends = now + grace
        keys[place] = msgspec.structs.replace(old, expires_at=min(ends, old.expires_at or ends))
        keys.append(made.key)
        _remember(path, f"rotate {old.id}", made.key, now)
    return made


def works(key: Key, now: datetime) -> bool:
    """Tell whether a key is neither revoked nor past its time."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def _make(
    keys: list[Key],
    name: str,
    scopes: tuple[Scope, ...],
    now: datetime,
    lasts: timedelta | None,
    rate: float | None,
    burst: int | None,
) -> Made:
    taken = {key.id for key in keys}
    identifier = ""
    while not identifier or identifier in taken:
        identifier = "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))
    text = f"{PREFIX}{identifier}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(
        id=identifier,
        name=name,
        scopes=scopes,
        sha256=digest(text.encode()).hex(),
        made_at=now,
        expires_at=None if lasts is None else now + lasts,
        rate=rate,
        burst=burst,
    )
    return Made(key, text)


def _scopes(path: Path, named: Iterable[str]) -> tuple[Scope, ...]:
    wanted = set(named)
    if not wanted or not wanted <= set(SCOPES):
        raise CredentialsRefused(str(path), f"expected scopes out of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in wanted)


def _place(path: Path, keys: list[Key], identifier: str) -> int:
    found = [place for place, key in enumerate(keys) if key.id == identifier]
    if not found:
        raise CredentialsRefused(str(path), "it holds no key of this id; `keys list` shows them")
    return found[0]


def _remember(path: Path, act: str, key: Key, now: datetime) -> None:
    by, source = acts.at_a_terminal()
    line = KeyAct(at=now, act=act, id=key.id, name=key.name, scopes=key.scopes, by=by, source=source)
    acts.append(acts_of(path), line)


@contextlib.contextmanager
def _edited(path: Path) -> Iterator[list[Key]]:
    """Yield the keys of a file, alone with it, and write back what became of them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with acts_of(path).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = list(read(path)) if path.exists() else []
            yield keys
            _write(path, _Content(format=FORMAT, keys=tuple(keys)))
    except OSError as error:
        raise CredentialsRefused(str(path), f"it cannot be written: {error.strerror or error}") from error


def _write(path: Path, content: _Content) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()
    # Digests are no secrets, but who has a key is nobody else's business.
    scratch.touch(mode=0o600, exist_ok=False)
    with scratch.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
