"""What was kept of what was promised: answers in the journal, updates in the store, each once.

The journal is read from its folder and the store over a connection of its own, as somebody else would. This module must
not know what went wrong meanwhile.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import redis

from contracts.event import JournalEvent, OutcomeSettled
from features.layout import LAYOUTS
from features.state import View
from service.journal.reader import Entry, Gap, JournalReader
from service.record import attempt_event, outcome_event
from service.settlement import by_settlement
from service.store.base import ANSWER, EVENT, RECORD, STATE, by_attempt, by_decision, by_question


class Counted(NamedTuple):
    """What the store has of some payments, each with one attempt.

    Attributes
    ----------
    attempts, results
        Payments whose attempt, and whose result, was applied.
    summed_attempts, summed_results
        What the state of their merchant has summed up.
    """

    attempts: set[str]
    results: set[str]
    summed_attempts: int
    summed_results: int

    @property
    def doubled(self) -> int:
        """How many updates were added more often than once (or, below zero, not with their mark)."""
        return self.summed_attempts - len(self.attempts) + self.summed_results - len(self.results)


def counted(client: redis.Redis, merchant: str, payments: Sequence[str]) -> Counted:
    """Return what a Redis has of payments of one merchant that has no others."""
    attempts = _marked(client, payments, [attempt_event(payment, 1) for payment in payments])
    results = _marked(client, payments, [outcome_event("authorisation", payment, 1) for payment in payments])
    blob = client.get(f"{STATE}merchant:{merchant}")
    if not isinstance(blob, bytes):
        return Counted(attempts, results, 0, 0)
    layout = LAYOUTS["merchant"]
    sums = View(layout, blob).sums
    return Counted(attempts, results, sums[layout.place["attempts"]], sums[layout.place["results"]])


def _marked(client: redis.Redis, payments: Sequence[str], events: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(events), 1000):
        there = client.mget([EVENT + event for event in events[start : start + 1000]])
        assert isinstance(there, list)
        found.update(payment for payment, mark in zip(payments[start:], there, strict=False) if mark is not None)
    return found


def events(folder: Path) -> list[JournalEvent]:
    """Return every event of a journal."""
    with JournalReader(folder) as reader:
        return [
            entry.event() for writer in reader.writers() for entry in reader.walk(writer) if isinstance(entry, Entry)
        ]


class Journalled(NamedTuple):
    """What a journal has.

    Attributes
    ----------
    decisions
        Ids of decisions.
    settled
        How often each payment's result is said to have been applied.
    reported
        Payments of which a result was reported.
    """

    decisions: set[str]
    settled: Counter[str]
    reported: set[str]


def journalled(kept: Iterable[JournalEvent]) -> Journalled:
    """Return what some events say of decisions and of authorisations."""
    found = Journalled(set(), Counter(), set())
    for event in kept:
        if isinstance(event, OutcomeSettled):
            found.reported.add(event.outcome.payment_id)
            found.settled[event.outcome.payment_id] += event.result == "applied"
        else:
            found.decisions.add(event.answer.decision_id)
    return found


def are_marked(client: redis.Redis, events: Sequence[str]) -> list[bool]:
    """Tell of each event whether a Redis has its mark: it was applied."""
    there = client.mget([EVENT + event for event in events]) if events else []
    assert isinstance(there, list)
    return [mark is not None for mark in there]


def on_record(folder: Path, payments: set[str]) -> dict[str, list[str]]:
    """Return what a journal has of some payments, one line for each event: place, kind, id and what the event says."""
    found: dict[str, list[str]] = {payment: [] for payment in payments}
    with JournalReader(folder) as reader:
        for log in reader.logs():
            firsts = [segment.first for segment in log.segments]
            for entry in reader.walk(log.writer):
                if isinstance(entry, Gap):
                    continue
                event = entry.event()
                if isinstance(event, OutcomeSettled):
                    payment, said = event.outcome.payment_id, event.result
                else:
                    payment = event.request.payment_id
                    said = f"{event.answer.decision_id} {list(event.answer.degraded)}"
                if payment not in found:
                    continue
                segment = max(first for first in firsts if first <= entry.number)
                found[payment].append(f"{log.writer}/{segment} #{entry.number} {type(event).__name__} {said}")
    return found


def in_store(client: redis.Redis, payment: str, decision: str) -> list[str]:
    """Return what a Redis has of a payment and of one of its decisions."""
    names = {
        "attempt": EVENT + attempt_event(payment, 1),
        "result": EVENT + outcome_event("authorisation", payment, 1),
        "record by attempt": RECORD + by_attempt(payment, 1),
        "record by decision": RECORD + by_decision(decision),
        "settlement": RECORD + by_settlement(payment, 1),
        "answer": ANSWER + by_question("auth", payment, 1),
    }
    there = client.mget(list(names.values()))
    assert isinstance(there, list)
    return [name for name, value in zip(names, there, strict=True) if value is not None]
