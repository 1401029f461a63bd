"""What the journal keeps: decisions made and outcomes settled, tagged by `type` and ordered by the journal.

This module must not know how or where a journal is stored.
"""

from datetime import datetime

from contracts.base import Record
from contracts.decision import Decision, RetryDecision
from contracts.inputs import PolicyInputs
from contracts.outcome import Outcome
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest


class LoggedVectors(Record, frozen=True, kw_only=True):
    """The float32 rows of the candidates at the moment of the decision, little endian, row major.

    One row per processor, as long as the catalog's payment and candidate features; a retry's rows per wait follow from
    these and the answer's moment.
    """

    fingerprint: str
    processors: tuple[str, ...]
    rows: bytes


class AuthDecided(Record, frozen=True, kw_only=True, tag_field="type", tag="auth_decided"):
    """An auth request was answered; a `repeat` was given the answer that the same question had before."""

    decided_at: datetime
    request: AuthRequest
    answer: Decision
    vectors: LoggedVectors | None = None
    inputs: PolicyInputs | None = None
    repeat: bool = False


class RoutingDecided(Record, frozen=True, kw_only=True, tag_field="type", tag="routing_decided"):
    """A routing request was answered; as in `AuthDecided`."""

    decided_at: datetime
    request: RoutingRequest
    answer: Decision
    vectors: LoggedVectors | None = None
    inputs: PolicyInputs | None = None
    repeat: bool = False


class RetryDecided(Record, frozen=True, kw_only=True, tag_field="type", tag="retry_decided"):
    """A retry request was answered; as in `AuthDecided`."""

    decided_at: datetime
    request: RetryRequest
    answer: RetryDecision
    vectors: LoggedVectors | None = None
    inputs: PolicyInputs | None = None
    repeat: bool = False


class OutcomeSettled(Record, frozen=True, kw_only=True, tag_field="type", tag="outcome_settled"):
    """An outcome was reported; `result` says what was done with it."""

    received_at: datetime
    outcome: Outcome
    result: str


DecisionMade = AuthDecided | RoutingDecided | RetryDecided
JournalEvent = AuthDecided | RoutingDecided | RetryDecided | OutcomeSettled
