"""What became of attempts: outcomes into online state, once each, and into the journal.

An outcome is matched with the record of its decision in the store; when the store has none any more, with the journal. One
that matches nothing is kept all the same.

This module must not know how a decision was made.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from contracts.event import OutcomeSettled, RetryDecided
from contracts.outcome import Outcome, OutcomeReceipt
from features.clock import micros
from features.increment import Increment, chargeback_increment, result_increment
from service.decide import moment_of
from service.errors import JournalUnavailable, StoreError, StoreTimeout
from service.ports import Journal
from service.record import DecisionRecord, attempt_event, decode, of_payment, outcome_event
from service.store.base import Applied, FeatureStore, by_attempt, by_decision

Result = Literal["applied", "repeated", "kept"]

log: Final = logging.getLogger(__name__)


class Learn:
    """Takes outcomes in (`service.ports.Learner`)."""

    def __init__(self, store: FeatureStore, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    async def report(self, outcomes: Sequence[Outcome]) -> OutcomeReceipt:
        """Learn from outcomes, in order; the receipt has one result for each.

        An outcome that the store could not take is in the journal with the result "pending" and in the receipt as
        "kept", with the fault in `degraded`.
        """
        now = datetime.now(UTC)
        degraded: list[str] = []
        results: list[Result] = []
        events = []
        for outcome in outcomes:
            noted: str
            try:
                noted = await self._apply(outcome, now, degraded)
            except StoreTimeout:
                noted = "pending"
                degraded.append("state:store_timeout")
            except StoreError:
                noted = "pending"
                degraded.append("state:store_unavailable")
            results.append("applied" if noted == "applied" else "repeated" if noted == "repeated" else "kept")
            events.append(OutcomeSettled(received_at=now, outcome=outcome, result=noted))
        kept = await asyncio.gather(*(self._journal.append(event) for event in events), return_exceptions=True)
        for failure in kept:
            if isinstance(failure, JournalUnavailable):
                degraded.append("journal")
            elif isinstance(failure, BaseException):
                raise failure
        return OutcomeReceipt(results=tuple(results), degraded=tuple(dict.fromkeys(degraded)))

    async def _apply(self, outcome: Outcome, now: datetime, degraded: list[str]) -> Result:
        at = micros(moment_of(outcome.occurred_at, now, degraded))
        increment = _increment(outcome, at)
        if increment is None:
            return "kept"
        record = await self._record(outcome)
        if record is None:
            return "kept"
        processor = outcome.processor or record.processor
        batch = []
        if not record.counted and outcome.kind == "authorisation":
            counted = record.updates([record.attempt()], processor)
            batch.append(Applied(attempt_event(outcome.payment_id, outcome.attempt), counted))
        event = outcome_event(outcome.kind, outcome.payment_id, outcome.attempt)
        batch.append(Applied(event, record.updates([increment], processor)))
        applied = await self._store.apply_many(batch)
        return "applied" if applied[-1] else "repeated"

    async def _record(self, outcome: Outcome) -> DecisionRecord | None:
        keys = [by_attempt(outcome.payment_id, outcome.attempt)]
        if outcome.decision_id is not None:
            keys.insert(0, by_decision(outcome.decision_id))
        found = await self._store.recall(keys)
        record = None if found is None else decode(found)
        if record is None and outcome.decision_id is not None:
            record = await self._from_journal(outcome.decision_id)
        return record

    async def _from_journal(self, decision_id: str) -> DecisionRecord | None:
        """Return the record of a decision that the store has forgotten."""
        try:
            event = await self._journal.find(decision_id)
        except JournalUnavailable as error:
            log.warning("an outcome could not be matched: %s", error)
            return None
        if event is None:
            return None
        at = event.request.occurred_at or event.decided_at
        if isinstance(event, RetryDecided):
            at = event.answer.retry_at or at
        return of_payment(event.request, event.answer.processor, micros(at), counted=False)


def _increment(outcome: Outcome, at: int) -> Increment | None:
    """Return what an outcome adds to state; a refund adds nothing."""
    match outcome.kind:
        case "authorisation":
            return None if outcome.status is None else result_increment(at, outcome.status)
        case "chargeback":
            return chargeback_increment(at)
        case "refund":
            return None
