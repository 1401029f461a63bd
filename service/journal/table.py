"""The one table of the journal, and how an event becomes a row of it and back.

This module must not know threads or event loops.
"""

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled, RetryDecided

FILE: Final = "events.sqlite"
LARGEST_INSERT: Final = 64
"""Rows in one statement. One statement is one release of the interpreter lock, however many rows it has: with a row in
each, the writer would queue for the lock behind the event loop once a row."""

_PAGES_AT_MOST: Final = 8_000
"""Pages of the write-ahead log at which a commit moves them into the table itself, should nobody have done so before."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq         INTEGER PRIMARY KEY,
    type        TEXT NOT NULL,
    decision_id TEXT,
    payment_id  TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    at_us       INTEGER NOT NULL,
    body        BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions ON events (decision_id) WHERE type <> 'outcome_settled';
CREATE INDEX IF NOT EXISTS attempts ON events (payment_id, attempt);
"""
_DECIDED: Final = "_decided"
_REPEATED: Final = "_repeated"
"""Ends of the types of rows: an answer given for the first time, and one that was given again."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(JournalEvent).decode
_VALUES: Final = "(?, ?, ?, ?, ?, ?)"
_INSERT: Final = [
    f"INSERT INTO events (type, decision_id, payment_id, attempt, at_us, body) VALUES {', '.join([_VALUES] * rows)}"  # noqa: S608
    for rows in range(LARGEST_INSERT + 1)
]


class Row(NamedTuple):
    """An event as a row, without the sequence number, which the table gives."""

    type: str
    decision_id: str | None
    payment_id: str
    attempt: int
    at_us: int
    body: bytes


def row_of(event: JournalEvent) -> Row:
    """Return the row of an event."""
    if isinstance(event, OutcomeSettled):
        outcome = event.outcome
        return Row(
            "outcome_settled",
            outcome.decision_id,
            outcome.payment_id,
            outcome.attempt,
            _microseconds(event.received_at),
            _ENCODE(event),
        )
    answer = event.answer
    tag = str(type(event).__struct_config__.tag)
    return Row(
        tag.replace(_DECIDED, _REPEATED) if event.repeat else tag,
        answer.decision_id,
        answer.payment_id,
        answer.attempt,
        _microseconds(event.decided_at),
        _ENCODE(event),
    )


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def open_for_writing(folder: Path, *, full: bool) -> sqlite3.Connection:
    """Open the database in `folder`, making both if need be.

    Parameters
    ----------
    folder
        Folder of the journal.
    full
        Whether a commit waits for the disk (``synchronous=FULL``), or leaves that to the next checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        folder / FILE, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_AT_MOST}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_for_reading(folder: Path) -> sqlite3.Connection:
    """Open the database in `folder` to read."""
    return open_file(folder / FILE)


def open_file(file: Path) -> sqlite3.Connection:
    """Open a database to read."""
    address = file.absolute().as_uri() + "?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)


def move_log_into_table(folder: Path) -> None:
    """Do, beside the writer and without stopping it, what a commit would have to do when the log is long."""
    connection = sqlite3.connect(folder / FILE, timeout=5.0, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        connection.close()


def insert(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Insert `rows` in one transaction, durable on return; on an error none of them is in the table."""
    if len(rows) <= LARGEST_INSERT:
        _insert_some(connection, rows)
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, len(rows), LARGEST_INSERT):
            _insert_some(connection, rows[start : start + LARGEST_INSERT])
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert_some(connection: sqlite3.Connection, rows: list[Row]) -> None:
    parameters: list[Any] = []
    for row in rows:
        parameters.extend(row)
    connection.execute(_INSERT[len(rows)], parameters)


def find(connection: sqlite3.Connection, decision_id: str) -> DecisionMade | None:
    """Return the decision of an id: the event of its answer, and one of a repeat only where there is no other.

    Of several processes with a journal each, one has the answer and another may have given it again.
    """
    found = connection.execute(
        "SELECT body FROM events WHERE decision_id = ? AND type <> 'outcome_settled'"
        " ORDER BY type LIKE '%_repeated', seq DESC LIMIT 1",
        (decision_id,),
    ).fetchone()
    event = None if found is None else _DECODE(found[0])
    return None if isinstance(event, OutcomeSettled) else event


def find_attempt(connection: sqlite3.Connection, payment_id: str, attempt: int) -> DecisionMade | None:
    """Return the latest decision about an attempt: its own, else the retry decision that planned it."""
    found = connection.execute(
        "SELECT body FROM events WHERE payment_id = ?1 AND (attempt = ?2 AND type IN"
        " ('auth_decided', 'routing_decided', 'auth_repeated', 'routing_repeated')"
        " OR attempt = ?2 - 1 AND type IN ('retry_decided', 'retry_repeated'))"
        " ORDER BY attempt DESC, type LIKE '%_repeated', seq DESC",
        (payment_id, attempt),
    )
    for (body,) in found:
        event: JournalEvent = _DECODE(body)
        planned = not isinstance(event, RetryDecided) or event.answer.should_retry
        if planned and not isinstance(event, OutcomeSettled):
            return event
    return None


def outcomes_of(connection: sqlite3.Connection, payment_id: str, attempt: int) -> list[OutcomeSettled]:
    """Return the outcomes of an attempt, in order of their arrival."""
    found = connection.execute(
        "SELECT body FROM events WHERE payment_id = ? AND attempt = ? AND type = 'outcome_settled' ORDER BY seq",
        (payment_id, attempt),
    ).fetchall()
    return [event for (body,) in found if isinstance(event := _DECODE(body), OutcomeSettled)]


def events(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, JournalEvent]]:
    """Return up to `limit` events numbered above `after`."""
    found = connection.execute("SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    return [(seq, _DECODE(body)) for seq, body in found]
