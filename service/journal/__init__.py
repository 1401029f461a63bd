"""The journal: every answer given and every outcome reported, durable and in order."""

from service.journal.null import NullJournal
from service.journal.sqlite import SqliteJournal, find_in, open_journal

__all__ = ["NullJournal", "SqliteJournal", "find_in", "open_journal"]
