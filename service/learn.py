"""What became of attempts: outcomes into online state, once each, and into the journal.

An outcome is matched with the record of its decision in the store; when the store has none any more, with the journal. One
that matches nothing is kept all the same.

This module must not know how a decision was made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
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
Noted = Literal["applied", "repeated", "kept", "pending"]

TOGETHER: Final = 8
"""How many outcomes are matched and applied in one go: two round trips. An embedded store holds the event loop meanwhile, longest
for what comes late."""

log: Final = logging.getLogger(__name__)


class Learn:
    """Takes outcomes in (`service.ports.Learner`).

    Parameters
    ----------
    store, journal
        Where the records of decisions are, and where they are found when the store has forgotten them.
    settle
        Waits for the records of answers given this moment and tells whether there were any (`Decide.settle`): an
        outcome may be here before them.
    """

    def __init__(
        self, store: FeatureStore, journal: Journal, settle: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        self._store = store
        self._journal = journal
        self._settle = settle

    async def report(self, outcomes: Sequence[Outcome]) -> OutcomeReceipt:
        """Learn from outcomes, in order; the receipt has one result for each.

        An outcome that the store could not take is in the journal with the result "pending" and in the receipt as
        "kept", with the fault in `degraded`.
        """
        now = datetime.now(UTC)
        degraded: list[str] = []
        noted: list[Noted] = []
        for start in range(0, len(outcomes), TOGETHER):
            if start:
                # An embedded store never waits: this is where decisions get their turn between the parts of a list.
                await asyncio.sleep(0)
            noted += await self._learn(outcomes[start : start + TOGETHER], now, degraded)
        events = [
            OutcomeSettled(received_at=now, outcome=outcome, result=result)
            for outcome, result in zip(outcomes, noted, strict=True)
        ]
        kept = await asyncio.gather(*(self._journal.append(event) for event in events), return_exceptions=True)
        for failure in kept:
            if isinstance(failure, JournalUnavailable):
                degraded.append("journal")
            elif isinstance(failure, BaseException):
                raise failure
        results: list[Result] = ["kept" if result == "pending" else result for result in noted]
        return OutcomeReceipt(results=tuple(results), degraded=tuple(dict.fromkeys(degraded)))

    async def _learn(self, outcomes: Sequence[Outcome], now: datetime, degraded: list[str]) -> list[Noted]:
        """Match a few outcomes with their decisions, then apply them in order."""
        noted: list[Noted] = ["kept"] * len(outcomes)
        counted: list[tuple[int, int]] = []
        for place, outcome in enumerate(outcomes):
            at = micros(moment_of(outcome.occurred_at, now, degraded))
            if outcome.kind == "chargeback" or (outcome.kind == "authorisation" and outcome.status is not None):
                counted.append((place, at))
        matching = [self._record(outcomes[place]) for place, _ in counted]
        records = [await matching[0]] if len(matching) == 1 else await asyncio.gather(*matching)
        batch: list[Applied] = []
        ends: list[tuple[int, int]] = []
        for (place, at), record in zip(counted, records, strict=True):
            if isinstance(record, StoreError):
                noted[place] = "pending"
                degraded.append(_fault(record))
            elif record is not None:
                batch += _applied(outcomes[place], at, record)
                ends.append((place, len(batch) - 1))
        if not batch:
            return noted
        try:
            applied = await self._store.apply_many(batch)
        except StoreError as error:
            degraded.append(_fault(error))
            for place, _ in ends:
                noted[place] = "pending"
        else:
            for place, end in ends:
                noted[place] = "applied" if applied[end] else "repeated"
        return noted

    async def _record(self, outcome: Outcome) -> DecisionRecord | StoreError | None:
        """Return the record of an outcome's decision, or what kept the store from looking for it."""
        keys = [by_attempt(outcome.payment_id, outcome.attempt)]
        if outcome.decision_id is not None:
            keys.insert(0, by_decision(outcome.decision_id))
        try:
            found = await self._store.recall(keys)
            if found is None and self._settle is not None and await self._settle():
                found = await self._store.recall(keys)
        except StoreError as error:
            return error
        record = None if found is None else decode(found)
        if record is not None and record.payment_id != outcome.payment_id:
            # The decision named is another payment's: this outcome is not about it.
            return None
        return record if record is not None else await self._from_journal(outcome)

    async def _from_journal(self, outcome: Outcome) -> DecisionRecord | None:
        """Return the record of a decision that the store has forgotten; a chargeback comes weeks after it has."""
        try:
            event = None
            if outcome.decision_id is not None:
                event = await self._journal.find(outcome.decision_id)
            if event is not None and event.request.payment_id != outcome.payment_id:
                return None
            if event is None:
                event = await self._journal.find_attempt(outcome.payment_id, outcome.attempt)
        except JournalUnavailable as error:
            log.warning("an outcome could not be matched: %s", error)
            return None
        if event is None:
            return None
        at = moment_of(event.request.occurred_at, event.decided_at, [])
        if isinstance(event, RetryDecided):
            at = event.answer.retry_at or at
        return of_payment(event.request, event.answer.processor, micros(at), counted=False)


def _applied(outcome: Outcome, at: int, record: DecisionRecord) -> list[Applied]:
    """Return the events of a matched outcome, its own last: an attempt nobody has counted comes before its result."""
    processor = outcome.processor or record.processor
    events = []
    if not record.counted and outcome.kind == "authorisation":
        attempt = record.updates(record.attempt(settled_at=at), processor)
        events.append(Applied(attempt_event(outcome.payment_id, outcome.attempt), attempt))
    own = outcome_event(outcome.kind, outcome.payment_id, outcome.attempt)
    events.append(Applied(own, record.updates(_increment(outcome, at, record), processor)))
    return events


def _fault(error: StoreError) -> str:
    return "state:store_timeout" if isinstance(error, StoreTimeout) else "state:store_unavailable"


def _increment(outcome: Outcome, at: int, record: DecisionRecord) -> Increment:
    """Return what a chargeback or an authorisation's result adds to state."""
    if outcome.kind == "chargeback" or outcome.status is None:
        return chargeback_increment(at)
    return result_increment(at, outcome.status, record.card_network, outcome.response_code)
