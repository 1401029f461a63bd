"""The journal as a batch reads it: every event of every worker, by the moment at which it was decided or received.

This module must not know what an event means.
"""

from collections.abc import Iterator
from pathlib import Path

from contracts.event import JournalEvent
from service.errors import JournalUnavailable
from service.journal.reader import JournalReader, count
from trainer.errors import TrainerError


class Journal:
    """A journal's folder, opened to read beside a service that writes it.

    Parameters
    ----------
    path
        The journal's folder (``POINTSMAN_JOURNAL``).

    Attributes
    ----------
    decisions
        How many decisions it holds.
    unreadable
        How many events `events` could not read: a newer build's.

    Raises
    ------
    TrainerError
        When there is no journal, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.unreadable = 0
        try:
            with JournalReader(path) as reader:
                if not reader.writers():
                    msg = f"expected a journal's folder with a folder for each worker, found none at {path}"
                    raise TrainerError(msg)
            _, self.decisions = count(path)
        except JournalUnavailable as error:
            msg = f"{path} cannot be read as a journal: {error.reason}"
            raise TrainerError(msg) from error

    def events(self) -> Iterator[JournalEvent]:
        """Yield every event that can be read."""
        self.unreadable = 0
        try:
            with JournalReader(self._path) as reader:
                for entry in reader.merged():
                    try:
                        event = entry.event()
                    except JournalUnavailable:
                        self.unreadable += 1
                        continue
                    yield event
        except JournalUnavailable as error:
            msg = f"{self._path} cannot be read as a journal: {error.reason}"
            raise TrainerError(msg) from error
