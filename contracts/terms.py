"""What a shop has agreed with its processors, and what it wants otherwise than the bundle's defaults.

This module must not know how a processor is chosen.
"""

from datetime import datetime
from typing import Literal

import msgspec

from contracts.base import Record


class FeeLine(Record, frozen=True, kw_only=True):
    """A fee that holds instead of the schedule's own for some attempts; what is None holds for all.

    `region` compares the issuer's country with the merchant's: "domestic" when they are the same, "intra" when both are in
    the region of the EEA and the United Kingdom, "cross_border" otherwise. Of several lines that fit the one that names more
    is taken, then the first.
    """

    network: str | None = None
    region: Literal["domestic", "intra", "cross_border"] | None = None
    approved_fixed_minor: int = 0
    approved_share: float = 0.0
    failed_fixed_minor: int = 0


class FeeSchedule(Record, frozen=True, kw_only=True):
    """What a processor charges for an attempt, in minor units of the payment's currency, plus a share of the amount.

    `lines` hold instead for the networks and regions they name. `three_ds_minor` is charged for each authentication.
    """

    approved_fixed_minor: int = 0
    approved_share: float = 0.0
    failed_fixed_minor: int = 0
    three_ds_minor: int = 0
    lines: tuple[FeeLine, ...] = ()


class Outage(Record, frozen=True, kw_only=True):
    """A time in which a processor has said it will not work, from `begins` up to `ends`."""

    begins: datetime
    ends: datetime
    note: str = ""


class Capability(Record, frozen=True, kw_only=True):
    """What a processor can do; None says nothing is known against it, an empty list that nothing is supported.

    `merchant_countries` are where it acquires. `outages` are scheduled ones.
    """

    networks: tuple[str, ...] | None = None
    currencies: tuple[str, ...] | None = None
    merchant_countries: tuple[str, ...] | None = None
    issuer_countries: tuple[str, ...] | None = None
    network_token: bool = True
    three_ds: bool = True
    outages: tuple[Outage, ...] = ()


class Volume(Record, frozen=True, kw_only=True):
    """What a merchant has promised a processor, or may not exceed there, in approved minor units of a calendar month (UTC).

    Past `cap_minor` the processor is out. Below `commit_minor` an approval there saves `shortfall_share` of its amount.
    """

    commit_minor: int = 0
    shortfall_share: float = 0.0
    cap_minor: int | None = None


class MerchantTerms(Record, frozen=True, kw_only=True):
    """What one merchant wants otherwise; None takes the bundle's own.

    `acquirer_fraud_basis_points` is the fraud rate by which an acquirer may claim the exemption of transaction risk analysis
    (EU RTS 2018/389, annex); None: it may not.
    """

    margin_share: float | None = None
    tier_medium: float | None = None
    tier_high: float | None = None
    challenge_from: float | None = None
    review_from: float | None = None
    decline_from: float | None = None
    minimum_approval: float | None = None
    acquirer_fraud_basis_points: float | None = None
    volumes: dict[str, Volume] = msgspec.field(default_factory=dict)
