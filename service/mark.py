"""The mark of how far a journal is known to be in the store: one number in one small file, replaced whole.

It lies beside the journal it speaks of. A mark that is lost or cannot be read costs time, not correctness: the journal is
gone through from its beginning, and what was applied is not applied again.

This module must not know what an event is.
"""

import os
from pathlib import Path

import msgspec


class _Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    applied: int


class Mark:
    """The mark of one writer's events.

    Parameters
    ----------
    folder
        Of the journal.
    writer
        Whose events: the name of a worker.
    """

    def __init__(self, folder: Path, writer: str = "0") -> None:
        self._path = folder / f"applied.{writer}"

    def load(self) -> int:
        """Return the number up to which all is applied; 0 when nothing is known."""
        try:
            return max(0, msgspec.json.decode(self._path.read_bytes(), type=_Mark).applied)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return 0

    def save(self, applied: int) -> None:
        """Replace the mark; durable on return.

        Raises
        ------
        OSError
            When the disk does not take it; the mark is then as it was.
        """
        scratch = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, msgspec.json.encode(_Mark(applied)))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        scratch.replace(self._path)
