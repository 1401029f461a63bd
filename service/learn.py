"""What became of attempts: outcomes into online state, standings and ledger, once each, and into the journal.

An outcome is matched with the record of its decision in the store; when the store has none any more, with the journal. One
that matches nothing is kept all the same.

This module must not know how a decision was made.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from time import monotonic
from typing import Final, Literal, NamedTuple

from contracts.event import OutcomeSettled, RetryDecided
from contracts.outcome import Outcome, OutcomeReceipt
from features.clock import micros, moment
from service.answer import expected
from service.errors import JournalUnavailable, StoreError, StoreTimeout, StoreUnavailable
from service.missed import Refused
from service.models.active import ActiveBundles
from service.ports import Journal
from service.question import moment_of
from service.record import DecisionRecord, decode, of_payment
from service.settlement import (
    UNRESOLVED,
    Settlement,
    by_settlement,
    charged_back,
    revised,
    settled,
    settlement_of,
)
from service.settlement import decode as decode_settlement
from service.store.base import Applied, FeatureStore, by_attempt, by_decision

Result = Literal["applied", "repeated", "revised", "kept"]
Noted = Literal["applied", "repeated", "revised", "kept", "pending"]

TOGETHER: Final = 8
"""How many outcomes are matched and applied in one go: two round trips. An embedded store holds the event loop meanwhile, longest
for what comes late."""
AGAIN_SECONDS: Final = 0.25
"""What the store may take for outcomes that nobody waits for."""

log: Final = logging.getLogger(__name__)


class Match(NamedTuple):
    """The record of an outcome's decision, and what its attempt was settled as before, as far as the store knows."""

    record: DecisionRecord
    before: Settlement | None


class Step(NamedTuple):
    """What one outcome of a list is to do: its place there, when it happened, its match, its events and their result."""

    place: int
    at: int
    match: Match
    events: list[Applied]
    result: Literal["applied", "revised"]


class Learn:
    """Takes outcomes in (`service.ports.Learner`).

    Parameters
    ----------
    store, journal
        Where the records of decisions are, and where they are found when the store has forgotten them.
    bundles
        Whose rules say whose fault a failure is.
    settle
        Waits for the records of answers given this moment and tells whether there were any (`Decide.settle`): an
        outcome may be here before them.
    refused
        Takes what neither store nor journal took.
    """

    def __init__(
        self,
        store: FeatureStore,
        journal: Journal,
        bundles: ActiveBundles,
        settle: Callable[[], Awaitable[bool]] | None = None,
        refused: Refused | None = None,
    ) -> None:
        self._store = store
        self._journal = journal
        self._bundles = bundles
        self._settle = settle
        self._refused = Refused() if refused is None else refused

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
            part = outcomes[start : start + TOGETHER]
            noted += await self._learn(part, [now] * len(part), degraded)
        events = [
            OutcomeSettled(received_at=now, outcome=outcome, result=result)
            for outcome, result in zip(outcomes, noted, strict=True)
        ]
        kept = await asyncio.gather(*(self._journal.append(event) for event in events), return_exceptions=True)
        for event, failure in zip(events, kept, strict=True):
            if isinstance(failure, JournalUnavailable):
                self._refused.add(event)
                degraded.append("journal")
            elif isinstance(failure, BaseException):
                raise failure
        results: list[Result] = ["kept" if result == "pending" else result for result in noted]
        return OutcomeReceipt(results=tuple(results), degraded=tuple(dict.fromkeys(degraded)))

    async def again(self, events: Sequence[OutcomeSettled]) -> int:
        """Take in a few outcomes that are in the journal already; return how many of them the store had not counted.

        Raises
        ------
        StoreUnavailable
            When the store did not take one of them.
        """
        degraded: list[str] = []
        outcomes = [event.outcome for event in events]
        noted = await self._learn(outcomes, [event.received_at for event in events], degraded, again=True)
        if "pending" in noted:
            msg = f"outcomes could not be written again ({degraded[-1]})"
            raise StoreUnavailable(msg)
        return noted.count("applied") + noted.count("revised")

    async def _learn(
        self, outcomes: Sequence[Outcome], received: Sequence[datetime], degraded: list[str], *, again: bool = False
    ) -> list[Noted]:
        """Match a few outcomes with their decisions, then apply them in order."""
        noted: list[Noted] = ["kept"] * len(outcomes)
        counted: list[tuple[int, int]] = []
        for place, (outcome, now) in enumerate(zip(outcomes, received, strict=True)):
            at = micros(moment_of(outcome.occurred_at, now, degraded))
            if outcome.kind == "chargeback" or (outcome.kind == "authorisation" and outcome.status is not None):
                counted.append((place, at))
        deadline = monotonic() + AGAIN_SECONDS if again else None
        matching = [self._match(outcomes[place], deadline) for place, _ in counted]
        matches = [await matching[0]] if len(matching) == 1 else await asyncio.gather(*matching)
        steps: list[Step] = []
        for (place, at), match in zip(counted, matches, strict=True):
            if isinstance(match, StoreError):
                noted[place] = "pending"
                degraded.append(_fault(match))
            elif match is not None:
                step = self._step(place, at, outcomes[place], match, again=again)
                if step is None:
                    noted[place] = "repeated"
                else:
                    steps.append(step)
        try:
            results = await self._apply(steps, deadline)
        except StoreError as error:
            degraded.append(_fault(error))
            for step in steps:
                noted[step.place] = "pending"
            return noted
        for step, applied in zip(steps, results, strict=True):
            noted[step.place] = step.result if applied else await self._second(step, outcomes[step.place], degraded)
        return noted

    def _step(self, place: int, at: int, outcome: Outcome, match: Match, *, again: bool) -> Step | None:
        """Return what an outcome is to do; None when its attempt is settled, and this changes nothing about it.

        Taken in `again`, the very outcome that settled it is applied once more: in a cluster it may have come to some of the
        nodes only, and what has it counts it once.
        """
        record, before = match
        if outcome.kind == "chargeback":
            return Step(place, at, match, [charged_back(outcome, at, record)], "applied")
        settlement = self._settlement(outcome, at, record)
        if before is None or (again and before == settlement):
            return Step(place, at, match, settled(outcome, settlement, record), "applied")
        if before.is_unresolved and not settlement.is_unresolved:
            return Step(place, at, match, [revised(outcome, settlement, before, record)], "revised")
        return None

    async def _apply(self, steps: Sequence[Step], deadline: float | None) -> list[bool]:
        """Apply events in order; return for each step what came of its last."""
        if not steps:
            return []
        events = [event for step in steps for event in step.events]
        applied = await self._store.apply_many(events, deadline=deadline)
        ends = accumulate(len(step.events) for step in steps)
        return [applied[end - 1] for end in ends]

    async def _second(self, step: Step, outcome: Outcome, degraded: list[str]) -> Noted:
        """Return what came of an outcome that was not its attempt's first: it may resolve what came before it.

        That may have come meanwhile, from another process or in the same list; or the store has forgotten what it was.
        """
        if step.result == "revised" or outcome.kind != "authorisation" or outcome.status in UNRESOLVED:
            return "repeated"
        key = by_settlement(outcome.payment_id, outcome.attempt)
        record = step.match.record
        try:
            before = decode_settlement(await self._store.recall([key])) or await self._journalled(outcome, record)
            if before is None or not before.is_unresolved:
                return "repeated"
            event = revised(outcome, self._settlement(outcome, step.at, record), before, record)
            (applied,) = await self._store.apply_many([event])
        except StoreError as error:
            degraded.append(_fault(error))
            return "pending"
        return "revised" if applied else "repeated"

    def _settlement(self, outcome: Outcome, at: int, record: DecisionRecord) -> Settlement:
        """Return what an authorisation settles its attempt as."""
        assert outcome.status is not None
        fault = False
        if outcome.status != "approved":
            blame = self._bundles.current.policy.judge(
                record.card_network,
                processor=outcome.processor or record.processor or "",
                status=outcome.status,
                response_code=outcome.response_code,
                advice_code=outcome.advice_code,
                country=record.issuer_country,
                initiator=record.initiator,
                now=moment(at),
            )
            fault = blame == "processor"
        return settlement_of(outcome, at, record, fault=fault)

    async def _match(self, outcome: Outcome, deadline: float | None) -> Match | StoreError | None:
        """Return what the store knows of an outcome's attempt, or what kept it from looking."""
        keys = [by_attempt(outcome.payment_id, outcome.attempt)]
        if outcome.decision_id is not None:
            keys.insert(0, by_decision(outcome.decision_id))
        before: bytes | None = None
        try:
            if outcome.kind == "authorisation":
                own = by_settlement(outcome.payment_id, outcome.attempt)
                found, before = await asyncio.gather(
                    self._store.recall(keys, deadline=deadline), self._store.recall([own], deadline=deadline)
                )
            else:
                found = await self._store.recall(keys, deadline=deadline)
            if found is None and self._settle is not None and await self._settle():
                found = await self._store.recall(keys, deadline=deadline)
        except StoreError as error:
            return error
        record = None if found is None else decode(found)
        if record is not None and record.payment_id != outcome.payment_id:
            # The decision named is another payment's: this outcome is not about it.
            return None
        if record is None:
            record = await self._from_journal(outcome)
        return None if record is None else Match(record, decode_settlement(before))

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
        return of_payment(
            event.request,
            event.answer.processor,
            micros(at),
            counted=False,
            network=self._bundles.current.network(event.request.card_network),
            expected=expected(event.request, event.inputs, event.answer),
        )

    async def _journalled(self, outcome: Outcome, record: DecisionRecord) -> Settlement | None:
        """Return what an attempt was settled as, from the journal."""
        try:
            events = await self._journal.outcomes_of(outcome.payment_id, outcome.attempt)
        except JournalUnavailable as error:
            log.warning("an outcome could not be compared with those before it: %s", error)
            return None
        for event in events:
            if event.outcome.kind == "authorisation" and event.result in {"applied", "pending"}:
                at = micros(moment_of(event.outcome.occurred_at, event.received_at, []))
                return self._settlement(event.outcome, at, record)
        return None


def _fault(error: StoreError) -> str:
    return "state:store_timeout" if isinstance(error, StoreTimeout) else "state:store_unavailable"
