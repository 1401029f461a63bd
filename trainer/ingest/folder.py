"""The folder ingest writes: made beside its place and moved there whole, or not at all.

This module must not know what is in it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from trainer.errors import HistoryError

HISTORY: Final = "history"
QUARANTINE: Final = "quarantine.parquet"
REPORT: Final = "ingest.json"
_OURS: Final = frozenset({HISTORY, QUARANTINE, REPORT})


def check(out: Path, *, force: bool) -> None:
    """Refuse a place that is taken.

    Raises
    ------
    HistoryError
        When `out` is a file, is not empty (without `force`), or holds what ingest did not write (even with it).
    """
    if out.exists() and not out.is_dir():
        msg = f"expected a folder to write to, {out} is a file"
        raise HistoryError(msg)
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not names:
        return
    if not force:
        msg = f"{out} is not empty: name another folder, or replace it with --force"
        raise HistoryError(msg)
    foreign = sorted(names - _OURS)
    if foreign:
        msg = f"{out} holds {foreign[0]!r}, which ingest did not write: --force does not replace it"
        raise HistoryError(msg)


@contextmanager
def replaced(out: Path, *, force: bool) -> Iterator[Path]:
    """Give a scratch folder; its subfolder ``result`` becomes `out` when the block ends without an error.

    Raises
    ------
    HistoryError
        When `out` is taken or cannot be written to.
    """
    check(out, force=force)
    place = out.absolute()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror}"
        raise HistoryError(msg) from error
    try:
        result = scratch / "result"
        result.mkdir()
        yield scratch
        check(out, force=force)
        if place.exists():
            place.rename(scratch / "before")
        result.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
