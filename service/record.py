"""The record of a decision in the store: which entities an outcome of its attempt is counted for.

An outcome names a decision or an attempt, not a card; this small record joins the two. This module must not know where
records are kept.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from contracts.payment import Payment
from features.catalog import CATALOG
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from features.increment import Increment, attempt_increment, member
from features.layout import LAYOUTS
from features.native import last_seen
from features.seen import LastSeen
from features.undo import without
from service.ledger import key_of
from service.store.base import States, Update

TTL_SECONDS: Final = 7 * 86_400
"""How long a record is kept; an outcome that comes later is matched through the journal."""

FORGETTABLE: Final = frozenset(
    spec.entity
    for spec in CATALOG
    if spec.operation == "distinct"
    or (spec.operation, spec.inputs[:1]) in {("since", ("attempt",)), ("last", ("amount_minor",))}
)
"""Kinds of entity of which an attempt leaves more than sums: what was there before it goes into its record."""


Before = tuple[str, LastSeen]
"""A kind of entity, and what its state said before the attempt."""


class DecisionRecord(msgspec.Struct, frozen=True, array_like=True):
    """The entities of one attempt, and the decision of auth or routing that was the last about it.

    The fields that name entities are those of the payment; `network` is the card's as the rules know it. `counted` says
    whether the attempt itself was counted when it was decided, `before` what the state said just then, and
    `counted_through` the processor for which it was counted: a later answer may name another one, the attempt counts once.
    `expected` is the approval probability that the model gave to what the answer sends, `asked_at` the moment of that question.
    """

    card_token: str
    merchant_id: str
    card_bin: str | None
    issuer_country: str
    customer_id: str | None
    device_id: str | None
    card_network: str
    processor: str | None
    amount_minor: int
    at: int
    counted: bool
    decision_id: str | None = None
    counted_through: str | None = None
    payment_id: str | None = None
    before: tuple[Before, ...] = ()
    initiator: str | None = None
    network: str | None = None
    expected: float | None = None
    asked_at: int | None = None

    @property
    def ledger_key(self) -> str:
        """Key of the ledger in which the attempt is entered."""
        return key_of(self.network or self.card_network, self.initiator, self.merchant_id, self.card_token)

    def answered_again(
        self, processor: str | None, at: int, *, decision_id: str, expected: float | None
    ) -> "DecisionRecord":
        """Return the record after another answer about the same attempt: what was counted stays counted as it was."""
        return msgspec.structs.replace(
            self, processor=processor, decision_id=decision_id, expected=expected, asked_at=at
        )

    def updates(self, increment: Increment, processor: str | None) -> list[Update]:
        """Return `increment` for each entity of the attempt it says something of; `processor` is the one it went through."""
        return updates(self, increment, processor)

    def attempt(self, settled_at: int | None = None) -> Increment:
        """Return what the attempt itself adds; one that was settled at `settled_at` was not made later than that.

        A planned retry may be made sooner than planned: counted in the future it would push the present out of every
        window.
        """
        at = self.at if settled_at is None else min(self.at, settled_at)
        return attempt_increment(at, self.amount_minor)

    def taken_out(self, request: Payment, states: States, processors: Sequence[str]) -> States:
        """Return the states without the counted attempt: no attempt is a payment before itself.

        An entity that `request` names and the attempt did not name is left as it is: asked about again, a payment may
        have another card.
        """
        increment = self.attempt()
        before = dict(self.before)
        named = zip(PAYMENT_KINDS, payment_keys(self), payment_keys(request), states.payment, strict=False)
        payment = [
            without(LAYOUTS[kind], blob, increment, member=self._member(kind), before=before.get(kind, LastSeen()))
            if mine == asked
            else blob
            for kind, mine, asked, blob in named
        ]
        candidates = []
        for name, blobs in zip(processors, states.candidates, strict=False):
            if name == self.counted_through:
                keys = zip(
                    CANDIDATE_KINDS, candidate_keys(self, name), candidate_keys(request, name), blobs, strict=True
                )
                blobs = tuple(
                    [
                        without(LAYOUTS[kind], blob, increment) if mine == asked else blob
                        for kind, mine, asked, blob in keys
                    ]
                )
            candidates.append(blobs)
        return states._replace(payment=tuple(payment), candidates=tuple(candidates))

    def _member(self, kind: str) -> int | None:
        return member_of(self, kind)


def updates_of(record: DecisionRecord, increment: Increment, processor: str | None) -> list[Update]:
    """Return `increment` for each entity of an attempt it says something of; `processor` is the one it went through."""
    named = list(zip(PAYMENT_KINDS, payment_keys(record), strict=True))
    if processor is not None:
        named += zip(CANDIDATE_KINDS, candidate_keys(record, processor), strict=True)
    return [
        Update(kind, key, increment, member_of(record, kind) if increment.is_attempt else None)
        for kind, key in named
        if key is not None and LAYOUTS[kind].takes(increment.deltas)
    ]


try:
    from service.keys_native import updates
except ImportError:
    updates = updates_of


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DecisionRecord).decode


def member_of(payment: Any, kind: str) -> int | None:
    """Return what a distinct count of this kind of entity remembers an attempt by."""
    field = LAYOUTS[kind].distinct
    return None if field is None else member(getattr(payment, field))


def seen_before(request: Payment, states: States) -> tuple[Before, ...]:
    """Return what must be known to take an attempt out of these states again, once it has been added to them."""
    return tuple(
        [
            (kind, last_seen(LAYOUTS[kind], blob, member_of(request, kind)))
            for kind, blob in zip(PAYMENT_KINDS, states.payment, strict=False)
            if kind in FORGETTABLE and blob is not None
        ]
    )


def of_payment(
    request: Payment,
    processor: str | None,
    at: int,
    *,
    counted: bool,
    network: str,
    decision_id: str | None = None,
    expected: float | None = None,
    before: tuple[Before, ...] = (),
) -> DecisionRecord:
    """Return the record of a decided payment; `network` is the card's as the rules know it."""
    return DecisionRecord(
        request.card_token,
        request.merchant_id,
        request.card_bin,
        request.issuer_country,
        request.customer_id,
        request.device_id,
        request.card_network,
        processor,
        request.amount_minor,
        at,
        counted,
        decision_id,
        processor if counted else None,
        request.payment_id,
        before,
        request.initiator,
        network,
        expected,
        at,
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
