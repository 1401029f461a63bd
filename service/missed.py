"""What a decision on record has to write in the store, made of its event alone: so that it can be written later, and once.

The same as `service.decide` writes behind an answer that the store did not take in time. What only the moment knew is left
out: which state there was before the attempt, and whether the attempt had a record already.

This module must not know a store.
"""

from collections import deque
from datetime import datetime
from typing import Final, NamedTuple

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled, RetryDecided
from features.clock import SECOND, micros
from service.answer import UNCOUNTED, UNKEPT, expected
from service.answered import Kind
from service.answered import encode as encode_answer
from service.ledger import Entry, attempt_id, key_of
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, encode, of_payment
from service.settlement import by_settlement
from service.store.base import Decided, Kept, Reservation, Update, by_attempt, by_decision, by_question

MOST_REFUSED: Final = 4_096
"""Events that are remembered when neither store nor journal took them."""
KINDS: Final[dict[str, Kind]] = {"AuthDecided": "auth", "RoutingDecided": "routing", "RetryDecided": "retry"}


class Refused:
    """Events that the store missed and the journal did not take either: in this process, and nowhere else."""

    def __init__(self) -> None:
        self._events: deque[JournalEvent] = deque(maxlen=MOST_REFUSED)

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: JournalEvent) -> None:
        """Remember an event that the journal refused, if the store may lack what it says; the oldest go first."""
        if is_missed(event):
            self._events.append(event)

    def first(self, most: int) -> list[JournalEvent]:
        """Return the first few."""
        return [self._events[place] for place in range(min(most, len(self._events)))]

    def done(self, events: list[JournalEvent]) -> None:
        """Forget some that were the first."""
        for event in events:
            if self._events and self._events[0] is event:
                self._events.popleft()


class Owed(NamedTuple):
    """What is owed to the store.

    Attributes
    ----------
    counted
        The attempt, its record and its reservation; None when the answer sends nothing.
    named
        The record under its attempt's name, once the attempt turned out to be counted by it.
    answer
        The answer, unless the question has one; None when it is too old to be given again.
    """

    counted: Decided | None
    named: Kept | None
    answer: Decided | None


def is_missed(event: JournalEvent) -> bool:
    """Tell whether the store may lack what an event says: the event itself says so."""
    if isinstance(event, OutcomeSettled):
        return event.result == "pending"
    return not event.repeat and any(code in UNKEPT for code in event.answer.degraded)


def is_written(event: JournalEvent) -> bool:
    """Tell whether an event, missed or not, has anything in the store."""
    if isinstance(event, OutcomeSettled):
        return event.result in {"applied", "revised", "pending"}
    return not event.repeat and event.inputs is not None


def signs(event: JournalEvent) -> list[str]:
    """Return the keys of records that are written last or in the same step with all else that an event writes.

    Where they are all there, so is the rest. Nothing is returned of an event that leaves no record of its own.
    """
    if isinstance(event, OutcomeSettled):
        outcome = event.outcome
        is_settled = event.result == "applied" and outcome.kind == "authorisation"
        return [by_settlement(outcome.payment_id, outcome.attempt)] if is_settled else []
    request, made = event.request, event.answer
    if made.processor is None:
        return []
    keys = [by_decision(made.decision_id)]
    if not isinstance(event, RetryDecided):
        keys.append(by_attempt(request.payment_id, request.attempt))
    return keys


def came_at(event: JournalEvent) -> datetime:
    """Return when an event came."""
    return event.received_at if isinstance(event, OutcomeSettled) else event.decided_at


def owed(event: DecisionMade, network: str, *, answer_seconds: int, now: datetime) -> Owed:
    """Return what a decision has to write.

    Parameters
    ----------
    event
        Of an answer given for the first time, with what the policy was told.
    network
        The card's as the rules know it.
    answer_seconds
        How long an answer is given again.
    now
        The present moment.
    """
    request, made, inputs = event.request, event.answer, event.inputs
    assert inputs is not None
    is_retry = isinstance(event, RetryDecided)
    counted: Decided | None = None
    named: Kept | None = None
    if made.processor is not None:
        at = inputs.moment_us
        if isinstance(event, RetryDecided):
            at += (event.answer.wait_seconds or 0) * SECOND
        record = of_payment(
            request,
            made.processor,
            at,
            counted=not is_retry,
            network=network,
            decision_id=None if is_retry else made.decision_id,
            expected=expected(request, inputs, made),
        )
        content = encode(record)
        counted = _counted(event, record, content)
        if record.counted:
            named = Kept(by_attempt(request.payment_id, request.attempt), content, TTL_SECONDS)
    left = answer_seconds - int((now - event.decided_at).total_seconds())
    lasting = made.reasons[:1] != (UNCOUNTED,)
    answer = None
    if left > 0 and lasting:
        key = by_question(KINDS[type(event).__name__], request.payment_id, request.attempt)
        answer = Decided(None, answer=Kept(key, encode_answer(request, made, micros(event.decided_at)), left))
    return Owed(counted, named, answer)


def _counted(event: DecisionMade, record: DecisionRecord, content: bytes) -> Decided:
    """Return the attempt that an answer sends: counted now if it is sent now, reserved in any case."""
    request = event.request
    event_id, updates, number = None, list[Update](), request.attempt + 1
    if record.counted:
        number = request.attempt
        event_id = attempt_event(request.payment_id, number)
        updates = record.updates(record.attempt(), record.counted_through)
    ledger = key_of(record.network or record.card_network, request.initiator, request.merchant_id, request.card_token)
    entry = Entry(record.at, attempt_id(request.payment_id, number), request.amount_minor)
    kept = Kept(by_decision(event.answer.decision_id), content, TTL_SECONDS)
    # The attempt is made whatever the limits say by now.
    return Decided(event_id, updates, (kept,), reservation=Reservation(ledger, entry, ()))
