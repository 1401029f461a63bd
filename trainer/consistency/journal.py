"""The journal as a batch reads it: every event, in the order in which they were committed.

This module must not know what an event means.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from contracts.event import JournalEvent
from trainer.errors import TrainerError

FILE: Final = "events.sqlite"
_AT_ONCE: Final = 2_000


class Journal:
    """A journal's file, opened to read beside a service that writes it.

    Parameters
    ----------
    path
        The journal's folder (``POINTSMAN_JOURNAL``) or its file.

    Attributes
    ----------
    decisions
        How many decisions it holds.
    unreadable
        How many events `events` could not read: a newer build's, or damaged.

    Raises
    ------
    TrainerError
        When there is no journal, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path / FILE if path.is_dir() else path
        self.unreadable = 0
        if not self._file.is_file():
            msg = f"expected a journal's folder with {FILE}, found none at {path}"
            raise TrainerError(msg)
        self.decisions = int(next(self._rows("SELECT count(*) FROM events WHERE type <> 'outcome_settled'"))[0])

    def events(self) -> Iterator[JournalEvent]:
        """Yield every event that can be read."""
        decode = msgspec.msgpack.Decoder(JournalEvent).decode
        self.unreadable = 0
        for (body,) in self._rows("SELECT body FROM events ORDER BY seq"):
            try:
                event: JournalEvent = decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += 1
                continue
            yield event

    def _rows(self, query: str) -> Iterator[tuple[bytes]]:
        try:
            connection = sqlite3.connect(self._file.absolute().as_uri() + "?mode=ro", uri=True, timeout=5.0)
            try:
                found = connection.execute(query)
                while rows := found.fetchmany(_AT_ONCE):
                    yield from rows
            finally:
                connection.close()
        except sqlite3.Error as error:
            msg = f"{self._file} cannot be read as a journal: {error}"
            raise TrainerError(msg) from error
