"""What a gateway asks: the payment, and the three requests made of it.

This module must not know how any of them is answered.
"""

from typing import Annotated, Literal

import msgspec

from contracts.base import AmountMinor, Code, Country, CurrencyCode, Identifier, LatencyMs, Moment, Name, Share, Wire

Initiator = Literal["customer", "merchant"]
AttemptNumber = Annotated[int, msgspec.Meta(ge=1, le=1000, description="1 for the first try of a payment.")]
Processors = Annotated[
    tuple[Name, ...],
    msgspec.Meta(
        max_length=16,
        description="Candidate processors in the merchant's own static order of preference.",
        extra_json_schema={"uniqueItems": True},
    ),
]
Bin = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6,8}$", description="First six or eight digits of the card number.")]
Credentials = Annotated[
    tuple[Literal["network_token", "card_number"], ...],
    msgspec.Meta(max_length=2, description="What the card may be sent as; empty: only as `is_network_token` says."),
]
Letter = Annotated[str, msgspec.Meta(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9_]+$")]


class Payment(Wire, frozen=True, kw_only=True):
    """One attempt of one card payment as the gateway knows it before it is sent.

    Required are the seven fields without a default. Every other field may be absent; absence is itself a feature
    and is never filled with an invented value.
    """

    payment_id: Identifier
    merchant_id: Identifier
    amount_minor: AmountMinor
    currency: CurrencyCode
    card_token: Identifier
    card_network: Name
    issuer_country: Country
    attempt: AttemptNumber = 1
    occurred_at: Moment | None = None
    merchant_segment: Name | None = None
    merchant_country: Country | None = None
    customer_id: Identifier | None = None
    card_bin: Bin | None = None
    card_funding: Name | None = None
    is_network_token: bool | None = None
    uses_3ds: bool | None = None
    initiator: Initiator | None = None
    channel: Name | None = None
    fraud_score: Share | None = None
    device_id: Identifier | None = None
    device_trust_score: Share | None = None
    ip_country: Country | None = None
    cvv_result: Letter | None = None
    avs_result: Letter | None = None
    processors: Processors = ()
    credentials: Credentials = ()


class AuthRequest(Payment, frozen=True, kw_only=True):
    """Should this payment be sent, and how?"""


class RoutingRequest(Payment, frozen=True, kw_only=True):
    """Through which processor should this payment be sent?"""


class Decline(Wire, frozen=True, kw_only=True):
    """The answer that ended the attempt before: who gave it, what it said, when, and how long it took."""

    processor: Name
    response_code: Code | None = None
    advice_code: Code | None = None
    decline_reason: Name | None = None
    declined_at: Moment | None = None
    latency_ms: LatencyMs | None = None


class PreviousAttempt(Wire, frozen=True, kw_only=True):
    """An attempt of the same card at the same merchant before the declined one, of this payment or another.

    Networks limit reattempts per card and merchant: the more of them are named, the truer the quota.
    """

    processor: Name
    status: Literal["approved", "declined", "error", "timeout"]
    occurred_at: Moment
    response_code: Code | None = None
    advice_code: Code | None = None


class RetryRequest(Payment, frozen=True, kw_only=True):
    """Is this decline worth another try, when, where and how?

    `attempt` is the number of the attempt that was declined; the retry would be `attempt + 1`. `occurred_at` is the moment
    of the question (absent: now); waits count from it.
    """

    decline: Decline
    previous_attempts: Annotated[tuple[PreviousAttempt, ...], msgspec.Meta(max_length=100)] = ()
