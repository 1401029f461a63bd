"""What Pointsman answers: auth and routing decisions, retry decisions, and their parts.

This module must not know how an answer is found.
"""

from datetime import datetime
from typing import Literal

from contracts.base import Record

Action = Literal["approve", "challenge", "review", "decline"]
RiskTier = Literal["LOW", "MEDIUM", "HIGH"]
Verdict = Literal["retry_now", "retry_later", "fix_data", "authenticate", "verify_first", "stop"]


class Reason(Record, frozen=True, kw_only=True):
    """One reason of an answer: a stable code, and the numbers behind it in words."""

    code: str
    detail: str


class RankedProcessor(Record, frozen=True, kw_only=True):
    """One candidate processor as it was weighed.

    `propensity` is the probability with which this candidate was drawn (1.0 for a choice without exploration);
    `reasons` are codes that say why it was not eligible.
    """

    processor: str
    approval_probability: float
    cost_minor: int
    expected_value_minor: float
    propensity: float
    eligible: bool
    reasons: tuple[str, ...] = ()


class Decision(Record, frozen=True, kw_only=True):
    """The answer to an auth or routing request."""

    decision_id: str
    payment_id: str
    attempt: int
    action: Action
    approval_probability: float
    risk_score: float
    risk_tier: RiskTier
    processor: str | None
    ranking: tuple[RankedProcessor, ...]
    three_ds: Literal["none", "challenge"]
    exemption: str | None
    reasons: tuple[Reason, ...]
    degraded: tuple[str, ...]
    bundle_version: str
    policy_version: str
    latency_us: int


class BoundRule(Record, frozen=True, kw_only=True):
    """A rule that bound the answer, and where the rule comes from."""

    id: str
    source: str


class Quota(Record, frozen=True, kw_only=True):
    """How much of a network's reattempt limit is used, in a rolling window.

    Counted from the declined attempt and the `previous_attempts` of the question: attempts of the same card and merchant that
    the gateway does not name there are not in it.
    """

    used: int
    limit: int
    window_seconds: int


class RetryDecision(Record, frozen=True, kw_only=True):
    """The answer to a retry request."""

    decision_id: str
    payment_id: str
    attempt: int
    should_retry: bool
    verdict: Verdict
    retry_at: datetime | None
    wait_seconds: int | None
    processor: str | None
    success_probability: float
    expected_value_minor: float
    rules: tuple[BoundRule, ...]
    quota: Quota | None
    reasons: tuple[Reason, ...]
    degraded: tuple[str, ...]
    bundle_version: str
    policy_version: str
    latency_us: int
