"""The journal: every answer given and every outcome reported, durable and in order."""

from service.journal.journal import LogJournal, open_journal
from service.journal.keeping import Keeping
from service.journal.lookup import find_in
from service.journal.null import NullJournal

__all__ = ["Keeping", "LogJournal", "NullJournal", "find_in", "open_journal"]
