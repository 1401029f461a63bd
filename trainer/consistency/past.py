"""What a journal says became known, and when: the history to recompute from, and the questions that were asked.

It counts as ``service.decide`` and ``service.learn`` do: an attempt once, with its first answer that names a processor, or
with its outcome; a result and a chargeback once, for the entities of the decision they are matched with. Each event has
two times: its own (`at`, which windows go by) and the one from which the store may have had it (`applied`).

This module must not know how a feature is computed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from contracts.event import DecisionMade, JournalEvent, LoggedVectors, OutcomeSettled, RetryDecided
from contracts.outcome import Outcome
from contracts.payment import Payment
from features.assemble import WIDTH
from features.catalog import FINGERPRINT
from features.clock import SECOND, micros

CLOCK_SKEW: Final = timedelta(minutes=5)
"""As in ``service.question``: what is said to happen later than that happens now."""

FORGOTTEN_US: Final = 5 * 60 * SECOND
"""As in ``service.propose``: so long after it was counted, an attempt that is asked about again does not see itself."""

ALL: Final = 1 << 32


class Known(NamedTuple):
    """One event of an attempt, with the payment whose entities it counts for."""

    what: Literal["attempt", "result", "chargeback"]
    at: int
    applied: int
    payment: Payment
    processor: str | None
    status: str | None = None
    response_code: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One decision with its logged vectors.

    Attributes
    ----------
    decision_id, bundle_version
        Of the answer.
    payment
        What was asked.
    at
        The moment of the decision, microseconds.
    read, answered
        When the state was read at the earliest, and when the answer was found: microseconds of the service's clock.
    processors
        The candidates; none leaves one row.
    rows
        Logged, shape (len(processors) or 1, WIDTH).
    own
        Number of the event (in `Past.events`) that this question did not see: its own attempt, asked about again.
    """

    decision_id: str
    bundle_version: str
    payment: Payment
    at: int
    read: int
    answered: int
    processors: tuple[str, ...]
    rows: npt.NDArray[np.float32]
    own: int | None


@dataclass(slots=True)
class Past:
    """Everything that a journal tells.

    Attributes
    ----------
    events
        What became known, in the order of the journal.
    asked
        The decisions to be compared.
    other_fingerprints
        Decisions logged under another catalog, by its fingerprint.
    skipped
        Decisions that cannot be compared, by reason.
    unmatched
        Outcomes that were applied for a decision which the journal does not hold.
    first
        When the journal begins, microseconds; None when it is empty.
    """

    events: list[Known] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    other_fingerprints: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    unmatched: int = 0
    first: int | None = None


class _Remembered(NamedTuple):
    """The record of a decision (``service.record``), as far as it says what is counted for whom."""

    payment: Payment
    processor: str | None
    at: int
    counted: bool


def moment_of(occurred_at: datetime | None, now: datetime) -> int:
    """Return when something happened in microseconds: as told, or `now` when it would be later than clocks differ."""
    told = now if occurred_at is None or occurred_at > now + CLOCK_SKEW else occurred_at
    return micros(told)


def past_of(events: Iterable[JournalEvent], share: int = ALL) -> Past:
    """Follow a journal from its begin; see `Past`.

    Parameters
    ----------
    events
        In the order of the journal.
    share
        Compare the decisions whose id's checksum is below it, out of `ALL`.
    """
    reader = _Reader(share)
    for event in events:
        if isinstance(event, OutcomeSettled):
            reader.outcome(event)
        elif not event.repeat:
            # An answer that was given again counted nothing.
            reader.decision(event)
    return reader.past


class _Reader:
    def __init__(self, share: int) -> None:
        self.past = Past()
        self._share = share
        self._by_decision: dict[str, _Remembered] = {}
        self._by_attempt: dict[tuple[str, int], _Remembered] = {}
        self._counted: dict[tuple[str, int], int] = {}
        self._pending: dict[tuple[str, str, int], int] = {}

    def decision(self, event: DecisionMade) -> None:
        request, answer = event.request, event.answer
        at = moment_of(request.occurred_at, event.decided_at)
        self._begin(event.decided_at)
        # Without the state there was no record of an earlier answer either.
        blind = any(reason.startswith("features:") for reason in answer.degraded)
        if isinstance(event, RetryDecided):
            own = None
            self._planned(event, at, blind)
        else:
            own = self._answered(event, at, blind)
        self._ask(event, at, own, blind)

    def _answered(self, event: Any, at: int, blind: bool) -> int | None:
        """Count the attempt; return the number of its event when this question did not see it."""
        request, answer = event.request, event.answer
        named = (request.payment_id, request.attempt)
        before = None if blind else self._by_attempt.get(named)
        own = None
        if before is not None and before.counted:
            if 0 <= at - before.at < FORGOTTEN_US:
                own = self._counted.get(named)
            record = before._replace(processor=answer.processor)
        else:
            record = _Remembered(request, answer.processor, at, answer.processor is not None)
            if record.counted:
                self._count(named, at, _answered_at(event), request, answer.processor)
        self._by_attempt[named] = self._by_decision[answer.decision_id] = record
        return own

    def _planned(self, event: RetryDecided, at: int, blind: bool) -> None:
        answer, request = event.answer, event.request
        following = (request.payment_id, request.attempt + 1)
        before = None if blind else self._by_attempt.get(following)
        if answer.should_retry and (before is None or not before.counted):
            later = at + (answer.wait_seconds or 0) * SECOND
            record = _Remembered(request, answer.processor, later, counted=False)
            self._by_attempt[following] = self._by_decision[answer.decision_id] = record

    def _ask(self, event: DecisionMade, at: int, own: int | None, blind: bool) -> None:
        answer, vectors = event.answer, event.vectors
        if vectors is None:
            self._skip("logged without vectors")
        elif vectors.fingerprint != FINGERPRINT:
            found = self.past.other_fingerprints
            found[vectors.fingerprint] = found.get(vectors.fingerprint, 0) + 1
        elif blind:
            self._skip("made without the state, and said so")
        elif (rows := _rows(vectors)) is None:
            self._skip("logged with vectors of another length")
        elif crc32(answer.decision_id.encode()) >= self._share:
            self._skip("not in the sample")
        else:
            asked = Asked(
                decision_id=answer.decision_id,
                bundle_version=answer.bundle_version,
                payment=event.request,
                at=at,
                read=micros(event.decided_at),
                answered=_answered_at(event),
                processors=vectors.processors,
                rows=rows,
                own=own,
            )
            self.past.asked.append(asked)

    def outcome(self, event: OutcomeSettled) -> None:
        self._begin(event.received_at)
        outcome = event.outcome
        if event.result not in ("applied", "pending"):
            return
        record = self._record(outcome)
        if record is None or record.payment.payment_id != outcome.payment_id:
            self.past.unmatched += event.result == "applied"
            return
        at, applied = moment_of(outcome.occurred_at, event.received_at), micros(event.received_at)
        processor = outcome.processor or record.processor
        if event.result == "pending":
            # The store may have taken it or not: nobody can say from when on it was there.
            applied = NEVER_SURE
        named = (outcome.payment_id, outcome.attempt)
        if not record.counted and outcome.kind == "authorisation":
            self._count(named, min(record.at, at), applied, record.payment, processor)
        if outcome.kind == "chargeback":
            known = Known("chargeback", at, applied, record.payment, processor)
        else:
            known = Known("result", at, applied, record.payment, processor, outcome.status, outcome.response_code)
        self._settle(event, known)

    def _settle(self, event: OutcomeSettled, known: Known) -> None:
        """Count a result or a chargeback; one that was pending and is reported again comes in its place."""
        outcome = event.outcome
        named = (outcome.kind, outcome.payment_id, outcome.attempt)
        place = self._pending.pop(named, None)
        if place is not None:
            self.past.events[place] = known
        else:
            place = len(self.past.events)
            self.past.events.append(known)
        if event.result == "pending":
            self._pending[named] = place

    def _record(self, outcome: Outcome) -> _Remembered | None:
        found = None if outcome.decision_id is None else self._by_decision.get(outcome.decision_id)
        return found or self._by_attempt.get((outcome.payment_id, outcome.attempt))

    def _count(self, named: tuple[str, int], at: int, applied: int, payment: Payment, processor: str | None) -> None:
        if named not in self._counted:
            self._counted[named] = len(self.past.events)
            self.past.events.append(Known("attempt", at, applied, payment, processor))

    def _begin(self, moment: datetime) -> None:
        if self.past.first is None:
            self.past.first = micros(moment)

    def _skip(self, reason: str) -> None:
        self.past.skipped[reason] = self.past.skipped.get(reason, 0) + 1


NEVER_SURE: Final = 1 << 62
"""`applied` of an event that the store may have taken at any time, or never."""


def _answered_at(event: DecisionMade) -> int:
    return micros(event.decided_at) + event.answer.latency_us


def _rows(vectors: LoggedVectors) -> npt.NDArray[np.float32] | None:
    rows = max(1, len(vectors.processors))
    if len(vectors.rows) != 4 * rows * WIDTH:
        return None
    return np.frombuffer(vectors.rows, dtype="<f4").reshape(rows, WIDTH)
