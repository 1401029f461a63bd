"""What Pointsman answers: auth and routing decisions, retry decisions, and their parts.

This module must not know how an answer is found.
"""

from datetime import datetime
from typing import Literal

from contracts.base import Record
from contracts.inputs import Credential

Action = Literal["approve", "challenge", "review", "decline"]
RiskTier = Literal["LOW", "MEDIUM", "HIGH"]
Verdict = Literal["retry_now", "retry_later", "fix_data", "authenticate", "verify_first", "stop"]


class Reason(Record, frozen=True, kw_only=True):
    """One reason of an answer: a stable code, and the numbers behind it in words."""

    code: str
    detail: str


class Mode(Record, frozen=True, kw_only=True):
    """One way of sending an attempt through a candidate, as it was weighed.

    `authentication` is "exemption" where the payment would go without 3DS under the exemption that the answer names.
    """

    authentication: Literal["none", "three_ds", "exemption"]
    credential: Credential | None
    approval_probability: float
    expected_value_minor: float


class RankedProcessor(Record, frozen=True, kw_only=True):
    """One candidate processor as it was weighed.

    `propensity` is the probability with which this candidate was drawn (1.0 for a choice without exploration);
    `reasons` are codes that say why it was not eligible. `approval_probability` is of the way of sending that is best there,
    after what recent outcomes say of it; `modes` has every way that was weighed when there was more than one.
    """

    processor: str
    approval_probability: float
    cost_minor: int
    expected_value_minor: float
    propensity: float
    eligible: bool
    reasons: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = ()


class Decision(Record, frozen=True, kw_only=True):
    """The answer to an auth or routing request.

    `liability` says who bears a fraud chargeback when the payment is sent so: the issuer after an authentication, the
    merchant without one or under an exemption. `credential` is what to send the card as; None: as was asked.
    """

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
    liability: Literal["issuer", "merchant"] | None = None
    credential: Credential | None = None


class BoundRule(Record, frozen=True, kw_only=True):
    """A rule that bound the answer, and where the rule comes from."""

    id: str
    source: str


class Quota(Record, frozen=True, kw_only=True):
    """How much of a network's reattempt limit is used, in a rolling window.

    Counted from the ledger of the card at the merchant, the declined attempt and the `previous_attempts` of the question.
    """

    used: int
    limit: int
    window_seconds: int


class RetryDecision(Record, frozen=True, kw_only=True):
    """The answer to a retry request; a retry is sent with 3DS where `authentication` says so, as `credential`."""

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
    authentication: Literal["none", "three_ds"] = "none"
    credential: Credential | None = None
