"""What became of an attempt, as the gateway reports it, and the receipt it gets.

This module must not know what is learnt from it.
"""

from typing import Annotated, Literal

import msgspec

from contracts.base import Code, Identifier, LatencyMs, Moment, Name, Record, Wire
from contracts.payment import AttemptNumber

OutcomeKind = Literal["authorisation", "chargeback", "refund"]
Status = Literal["approved", "declined", "error", "timeout"]


class Outcome(Wire, frozen=True, kw_only=True):
    """One reported result. (payment_id, attempt, kind) is its identity: reported twice it counts once.

    `status` is required for an authorisation and ignored otherwise. `occurred_at` is when the result became known
    to the gateway; absent, it is the moment of the report.
    """

    payment_id: Identifier
    kind: OutcomeKind = "authorisation"
    attempt: AttemptNumber = 1
    decision_id: Identifier | None = None
    processor: Name | None = None
    status: Status | None = None
    response_code: Code | None = None
    advice_code: Code | None = None
    latency_ms: LatencyMs | None = None
    occurred_at: Moment | None = None


OutcomeBatch = Annotated[tuple[Outcome, ...], msgspec.Meta(min_length=1, max_length=1000)]


class OutcomeReceipt(Record, frozen=True, kw_only=True):
    """What was done with each reported outcome, in the order of the report.

    `applied`: state was updated. `repeated`: the same outcome was known already. `kept`: in the journal only, because no
    decision of this attempt is known, because it is a refund, or because of a fault named in `degraded`. `revised`: a
    timeout or an error that had counted was resolved by this outcome and counts as what it became. The first approval or
    decline reported for an attempt stands.
    """

    results: tuple[Literal["applied", "repeated", "revised", "kept"], ...]
    degraded: tuple[str, ...] = ()
