"""How far a backfill has come: a small file, so that one that was interrupted goes on where it stopped.

It holds what the backfill is of (history, moment, layouts, store) and is refused for any other. This module must not know
how states are computed or written.
"""

import hashlib
import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import polars as pl

from contracts.base import Record
from features.clock import moment
from features.layout import LAYOUTS
from trainer.errors import TrainerError

FOLDER: Final = Path("var/backfill")


class Work(Record, frozen=True, kw_only=True):
    """What a backfill is of; only one of the same work may go on.

    Attributes
    ----------
    files, rows
        Name and size in bytes of each file of the history, and its attempts.
    now
        As of when, microseconds.
    layouts
        Checksum of each kind's layout.
    store
        Digest of where the states go, without credentials.
    polars
        Version of Polars: what share of the keys is in a part depends on it.
    """

    files: dict[str, int]
    rows: int
    now: int
    layouts: dict[str, int]
    store: str
    polars: str = pl.__version__


class Bookmark(Record, frozen=True, kw_only=True):
    """How far it has come: `done` of its parts, `written` states, and the `sample` of them that will be checked."""

    work: Work
    done: int
    written: int
    sample: dict[str, dict[str, bytes]]


def work_of(folder: Path, rows: int, now: int, store: str) -> Work:
    """Return what a backfill of a history's folder (or file) into a store is of."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
    return Work(
        files={file.name: file.stat().st_size for file in files},
        rows=rows,
        now=now,
        layouts={kind: layout.crc for kind, layout in LAYOUTS.items()},
        store=_digest(store),
    )


def default_path(store: str) -> Path:
    """Return where the bookmark of backfills into a store lies."""
    return FOLDER / f"{_digest(store)}.json"


def _digest(store: str) -> str:
    parts = urlsplit(store)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def load(path: Path, work: Work) -> Bookmark | None:
    """Return the bookmark at `path`; None when there is none.

    Raises
    ------
    TrainerError
        When it cannot be read, or is one of another work: the message says which, and what to do.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Bookmark)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        msg = f"{path} cannot be read as the progress of a backfill ({error}); without --resume it starts anew"
        raise TrainerError(msg) from error
    if (changed := _changed(found.work, work)) is not None:
        msg = f"the interrupted backfill cannot go on: {changed}; without --resume it starts anew"
        raise TrainerError(msg)
    return found


def _changed(before: Work, work: Work) -> str | None:
    """Return what is different, in words."""
    if before.files != work.files or before.rows != work.rows:
        had = f"{len(before.files)} files with {before.rows:,} attempts in {sum(before.files.values()):,} bytes"
        has = f"{len(work.files)} with {work.rows:,} in {sum(work.files.values()):,}"
        return f"the history has changed since (it had {had}, it has {has})"
    if before.now != work.now:
        return f"it was as of {moment(before.now).isoformat()}, this one is as of {moment(work.now).isoformat()}"
    if before.layouts != work.layouts:
        kinds = [kind for kind in work.layouts if before.layouts.get(kind) != work.layouts[kind]]
        return f"the layout of {', '.join(kinds)} has changed since"
    if before.store != work.store:
        return "it went into another store"
    if before.polars != work.polars:
        return f"it was made with Polars {before.polars}, this is {work.polars}"
    return None


def save(path: Path, bookmark: Bookmark) -> None:
    """Replace the bookmark by one rename.

    Raises
    ------
    TrainerError
        When the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        scratch.write_bytes(msgspec.json.encode(bookmark))
        scratch.replace(path)
    except OSError as error:
        msg = f"the progress of the backfill cannot be kept in {path}: {error.strerror or error}"
        raise TrainerError(msg) from error
