"""The record of a decision in the store: which entities an outcome of its attempt is counted for.

An outcome names a decision or an attempt, not a card; this small record joins the two. This module must not know where
records are kept.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from contracts.payment import Payment
from features.increment import Increment, attempt_increment
from service.store.base import Update

TTL_SECONDS: Final = 7 * 86_400
"""How long a record is kept; an outcome that comes later is matched through the journal."""


class DecisionRecord(msgspec.Struct, frozen=True, array_like=True):
    """The entities of one attempt, and the decision of auth or routing that was the last about it.

    `counted` says whether the attempt itself was counted when it was decided; `card_last_attempt` is the card's last one
    before it (microseconds, 0 for none), and `counted_through` the processor for which it was counted: a later answer may name
    another one, the attempt counts once.
    """

    card: str
    merchant: str
    bin: str | None
    issuer: str
    processor: str | None
    amount_minor: int
    at: int
    counted: bool
    decision_id: str | None = None
    card_last_attempt: int = 0
    counted_through: str | None = None
    payment_id: str | None = None

    def answered_again(self, processor: str | None, decision_id: str) -> "DecisionRecord":
        """Return the record after another answer about the same attempt: what was counted stays counted as it was."""
        return msgspec.structs.replace(self, processor=processor, decision_id=decision_id)

    def updates(self, increments: Sequence[Increment], processor: str | None) -> list[Update]:
        """Return `increments` for each entity of the attempt; `processor` is the one it went through."""
        keys = (
            ("card", self.card),
            ("merchant", self.merchant),
            ("bin", self.bin),
            ("issuer", self.issuer),
            ("processor", processor),
        )
        return [Update(kind, key, increment) for kind, key in keys if key is not None for increment in increments]

    def attempt(self, settled_at: int | None = None) -> Increment:
        """Return what the attempt itself adds; one that was settled at `settled_at` was not made later than that.

        A planned retry may be made sooner than planned: counted in the future it would push the present out of every
        window.
        """
        at = self.at if settled_at is None else min(self.at, settled_at)
        return attempt_increment(at, self.amount_minor)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DecisionRecord).decode


def of_payment(
    request: Payment,
    processor: str | None,
    at: int,
    *,
    counted: bool,
    decision_id: str | None = None,
    card_last_attempt: int = 0,
) -> DecisionRecord:
    """Return the record of a decided payment."""
    return DecisionRecord(
        request.card_token,
        request.merchant_id,
        request.card_bin,
        request.issuer_country,
        processor,
        request.amount_minor,
        at,
        counted,
        decision_id,
        card_last_attempt,
        processor if counted else None,
        request.payment_id,
    )


def encode(record: DecisionRecord) -> bytes:
    """Return a record as the bytes a store keeps."""
    return _encode(record)


def decode(content: bytes) -> DecisionRecord | None:
    """Return the record in `content`; None for one that cannot be read, which then counts as not there."""
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def attempt_event(payment_id: str, attempt: int) -> str:
    """Return the id under which an attempt counts once.

    >>> attempt_event("p:1", 2)
    'a:2:p:1'
    """
    return f"a:{attempt}:{payment_id}"


def outcome_event(kind: str, payment_id: str, attempt: int) -> str:
    """Return the id under which a result counts once.

    >>> outcome_event("chargeback", "p:1", 2)
    'o:chargeback:2:p:1'
    """
    return f"o:{kind}:{attempt}:{payment_id}"
