"""What the policy was told beside the request: kept with every decision, so that it can be made again.

This module must not know where any of it came from.
"""

from typing import Literal

import msgspec

from contracts.base import Record

Authentication = Literal["none", "three_ds"]
Credential = Literal["network_token", "card_number"]
Health = Literal["up", "half_open", "down"]


class Variant(Record, frozen=True, array_like=True):
    """One way of sending an attempt for which approval was estimated; a credential of None is the one asked about."""

    authentication: Authentication = "none"
    credential: Credential | None = None


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """How one candidate has been doing lately, as far as the policy looks at it.

    Attributes
    ----------
    health
        "down": nearly everything fails there and it is the processor's fault; "half_open": it was, and is being tried.
    excess
        Share of attempts that fail there now by its own fault, beyond what it always has.
    slowdown
        How many times slower than usual it answers, 1 for as usual.
    shift
        What recent outcomes add to the log-odds of the model's approval probability.
    doubt
        Standard error of that, log-odds.
    month_minor
        What the merchant has approved there this calendar month, minor units.
    """

    health: Health = "up"
    excess: float = 0.0
    slowdown: float = 1.0
    shift: float = 0.0
    doubt: float = 0.0
    month_minor: float = 0.0


class PolicyInputs(Record, frozen=True, kw_only=True):
    """Everything a decision was made of that is not in its request.

    Attributes
    ----------
    moment_us
        Of the question, microseconds since 1970 UTC.
    processors
        The candidates.
    variants, approval
        Ways of sending, and for each the approval probability of each candidate as the model said it; auth and routing.
    risk
        Fraud probability.
    standings
        One for each candidate, or none.
    ledger
        The packed attempts of the card at the merchant (`service.ledger`).
    waits, success
        Waits from now, seconds, and for each the success probability of each candidate; retry.
    moved
        By group of features that moved the estimate most: what the estimate would be without that.
    """

    moment_us: int
    processors: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    approval: tuple[tuple[float, ...], ...] = ()
    risk: float | None = None
    standings: tuple[Standing, ...] = ()
    ledger: bytes | None = None
    waits: tuple[int, ...] = ()
    success: tuple[tuple[float, ...], ...] = ()
    moved: dict[str, float] = msgspec.field(default_factory=dict)
