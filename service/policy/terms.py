"""What holds for one merchant: the bundle's parameters, and what the merchant wants otherwise.

This module must not know how a processor is chosen.
"""

from collections.abc import Mapping

import msgspec

from contracts.bundle import PolicyParameters
from contracts.terms import MerchantTerms, Volume
from service.policy.errors import ParameterError


class Terms(msgspec.Struct, frozen=True, gc=False):
    """Margin, thresholds and promises of one merchant, every default filled in.

    Attributes
    ----------
    fraud_basis_points
        Fraud rate of its acquirer; None: no transaction risk analysis may be claimed.
    volumes
        What it has promised each processor, or may not exceed there.
    tiers
        The thresholds of the tiers in words.
    """

    margin_share: float
    tier_medium: float
    tier_high: float
    challenge_from: float
    review_from: float
    decline_from: float
    minimum_approval: float
    fraud_basis_points: float | None
    volumes: dict[str, Volume]
    tiers: str


class Agreements:
    """Terms by merchant.

    Attributes
    ----------
    general : Terms
        Of a merchant without terms of its own.
    by_merchant : dict
        Of those that have some.

    Raises
    ------
    ParameterError
        A merchant's terms contradict themselves or the bundle's parameters that they leave standing.
    """

    __slots__ = ("by_merchant", "general")

    def __init__(self, parameters: PolicyParameters, merchants: Mapping[str, MerchantTerms]) -> None:
        self.general = _filled(parameters, MerchantTerms())
        self.by_merchant = {name: _filled(parameters, terms) for name, terms in merchants.items()}
        for name, terms in self.by_merchant.items():
            _check(name, terms)

    def of(self, merchant_id: str) -> Terms:
        """Return the terms of a merchant."""
        return self.by_merchant.get(merchant_id, self.general)


def _filled(parameters: PolicyParameters, terms: MerchantTerms) -> Terms:
    def either(own: float | None, general: float) -> float:
        return general if own is None else own

    medium, high = either(terms.tier_medium, parameters.tier_medium), either(terms.tier_high, parameters.tier_high)
    return Terms(
        margin_share=either(terms.margin_share, parameters.margin_share),
        tier_medium=medium,
        tier_high=high,
        challenge_from=either(terms.challenge_from, parameters.challenge_from),
        review_from=either(terms.review_from, parameters.review_from),
        decline_from=either(terms.decline_from, parameters.decline_from),
        minimum_approval=either(terms.minimum_approval, parameters.minimum_approval),
        fraud_basis_points=terms.acquirer_fraud_basis_points,
        volumes=dict(terms.volumes),
        tiers=f"MEDIUM from {medium:g}, HIGH from {high:g}",
    )


def _check(merchant_id: str, terms: Terms) -> None:
    rate = terms.fraud_basis_points
    demands = [
        ("margin_share", terms.margin_share, terms.margin_share >= 0.0, "0 or more"),
        ("tier_medium", terms.tier_medium, 0.0 <= terms.tier_medium <= 1.0, "a share of 0 to 1"),
        ("tier_high", terms.tier_high, 0.0 <= terms.tier_high <= 1.0, "a share of 0 to 1"),
        ("tier_medium", terms.tier_medium, terms.tier_medium <= terms.tier_high, "at most tier_high"),
        ("minimum_approval", terms.minimum_approval, 0.0 <= terms.minimum_approval <= 1.0, "a share of 0 to 1"),
        ("acquirer_fraud_basis_points", rate, rate is None or rate >= 0.0, "0 or more"),
    ]
    for processor, volume in terms.volumes.items():
        cap, share = volume.cap_minor, volume.shortfall_share
        demands += [
            (f"volumes.{processor}.commit_minor", volume.commit_minor, volume.commit_minor >= 0, "0 or more"),
            (f"volumes.{processor}.shortfall_share", share, 0.0 <= share <= 1.0, "a share of 0 to 1"),
            (f"volumes.{processor}.cap_minor", cap, cap is None or cap >= 0, "0 or more"),
        ]
    for name, value, met, expected in demands:
        if not met:
            where = f"merchants.{merchant_id}.{name}"
            raise ParameterError(where, f"expected {expected}, got {value}")
