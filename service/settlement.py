"""What an attempt was settled as, and all that an outcome moves because of it: state, standings and ledger, in one step.

An attempt is settled by the first authorisation reported for it. An approval or a decline stands; a timeout or an error is
resolved by an approval or a decline that comes later: what it had moved is taken back at its own time, and what the
attempt became is added at its own.

This module must not know where any of it is kept, nor whose fault a failure is.
"""

from typing import Final, Literal

import msgspec

from contracts.outcome import Outcome, Status
from features.increment import Increment, chargeback_increment, result_increment, taken_back
from service.ledger import APPROVED, FAILED, Entry, attempt_id
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, outcome_event
from service.standing import Note, keys_of
from service.store.base import Applied, Kept, LedgerMove, StandingUpdate

UNRESOLVED: Final[frozenset[Status]] = frozenset({"error", "timeout"})
"""What a later approval or decline of the same attempt resolves."""


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt was settled as.

    Attributes
    ----------
    status, at
        Its result, and when that became known, microseconds.
    processor
        Which it went through, as far as that is known.
    fault
        Whether it failed by the processor's own fault.
    expected
        The approval probability that the model gave it there; None where it gave none.
    latency_ms
        Of the answer; None where none is known or none came.
    """

    status: Status
    at: int
    processor: str | None
    fault: bool
    expected: float | None
    latency_ms: int | None

    @property
    def is_unresolved(self) -> bool:
        """Whether a later approval or decline would change it."""
        return self.status in UNRESOLVED

    def note(self, amount_minor: int, sign: Literal[1, -1] = 1) -> Note:
        """Return what it says of the processor, or takes back."""
        return Note(
            at=self.at,
            fault=self.fault,
            approved=self.status == "approved",
            expected=self.expected,
            latency_ms=self.latency_ms,
            amount_minor=amount_minor,
            sign=sign,
        )


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Settlement).decode


def decode(content: bytes | None) -> Settlement | None:
    """Return the settlement in `content`; None for one that is not there or cannot be read."""
    if content is None:
        return None
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def by_settlement(payment_id: str, attempt: int) -> str:
    """Return the record key of an attempt's settlement.

    >>> by_settlement("p:1", 2)
    's:2:p:1'
    """
    return f"s:{attempt}:{payment_id}"


def settlement_of(outcome: Outcome, at: int, record: DecisionRecord, *, fault: bool) -> Settlement:
    """Return what an authorisation, known at `at` microseconds, settles its attempt as."""
    assert outcome.status is not None
    processor = outcome.processor or record.processor
    return Settlement(
        status=outcome.status,
        at=at,
        processor=processor,
        fault=fault,
        # The estimate is of the processor that was decided for; of another one there is none.
        expected=record.expected if processor == record.processor else None,
        latency_ms=None if outcome.status == "timeout" else outcome.latency_ms,
    )


def settled(outcome: Outcome, settlement: Settlement, record: DecisionRecord) -> list[Applied]:
    """Return the events of an attempt's first result, its own last: an attempt nobody has counted comes before it."""
    at, processor = settlement.at, settlement.processor
    own = Applied(
        outcome_event(outcome.kind, outcome.payment_id, outcome.attempt),
        record.updates(_increment(outcome, settlement, record), processor),
        _standings(record, processor, settlement.note(record.amount_minor)),
        _move(outcome, settlement, record),
        _kept(outcome, settlement),
    )
    if record.counted:
        return [own]
    attempt = record.updates(record.attempt(settled_at=at), processor)
    return [Applied(attempt_event(outcome.payment_id, outcome.attempt), attempt), own]


def revised(outcome: Outcome, settlement: Settlement, before: Settlement, record: DecisionRecord) -> Applied:
    """Return the event in which an attempt becomes what it is in place of the timeout or error it was `before`."""
    undo = taken_back(result_increment(before.at, before.status))
    return Applied(
        outcome_event("revision", outcome.payment_id, outcome.attempt),
        [
            *record.updates(undo, before.processor),
            *record.updates(_increment(outcome, settlement, record), settlement.processor),
        ],
        [
            *_standings(record, before.processor, before.note(record.amount_minor, sign=-1)),
            *_standings(record, settlement.processor, settlement.note(record.amount_minor)),
        ],
        _move(outcome, settlement, record),
        _kept(outcome, settlement),
    )


def charged_back(outcome: Outcome, at: int, record: DecisionRecord) -> Applied:
    """Return the event of a chargeback, which says nothing of how an authorisation went."""
    processor = outcome.processor or record.processor
    own = outcome_event(outcome.kind, outcome.payment_id, outcome.attempt)
    return Applied(own, record.updates(chargeback_increment(at), processor))


def _increment(outcome: Outcome, settlement: Settlement, record: DecisionRecord) -> Increment:
    return result_increment(settlement.at, settlement.status, record.card_network, outcome.response_code)


def _standings(record: DecisionRecord, processor: str | None, note: Note) -> list[StandingUpdate]:
    """Return a note for each level; nothing is known of a processor that nobody named."""
    if processor is None:
        return []
    keys = keys_of(processor, record.network or record.card_network, record.merchant_id)
    return [StandingUpdate(key, note) for key in keys]


def _move(outcome: Outcome, settlement: Settlement, record: DecisionRecord) -> LedgerMove:
    """Return how the attempt ended in the ledger of its card.

    One that was counted was made when it was decided. A planned retry may be made sooner or later than planned: its result
    says when.
    """
    at = settlement.at if not record.counted else record.at if record.asked_at is None else record.asked_at
    attempt = attempt_id(outcome.payment_id, outcome.attempt)
    status = APPROVED if settlement.status == "approved" else FAILED
    return LedgerMove(record.ledger_key, attempt, Entry(at, attempt, record.amount_minor, status))


def _kept(outcome: Outcome, settlement: Settlement) -> list[Kept]:
    return [Kept(by_settlement(outcome.payment_id, outcome.attempt), _encode(settlement), TTL_SECONDS)]
