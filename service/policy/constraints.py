"""What speaks against a candidate: what it cannot do, what was agreed, and whether it works.

This module must not know what an attempt is worth.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from contracts.terms import Capability

HARD: Final = frozenset({"no_estimate", "repeated", "network_unsupported", "currency_unsupported"})
"""Codes that no need overcomes: the attempt could not even be made, or nothing is known to weigh it by."""

SEVERITY: Final = {
    "cap_reached": 1,
    "three_ds_unsupported": 2,
    "token_unsupported": 3,
    "down": 4,
    "scheduled_outage": 5,
    "issuer_unsupported": 6,
    "country_unsupported": 7,
}
"""How bad each of the other codes is, for the case that every candidate has one: a broken agreement costs money, a
missing authentication may cost an approval, a processor that is down most of them, and the last would be refused."""


class Able(msgspec.Struct, frozen=True, gc=False):
    """A capability, compiled: sets for lists, network names as the rules call them; `every_way` is token and 3DS both."""

    networks: frozenset[str] | None
    currencies: frozenset[str] | None
    merchant_countries: frozenset[str] | None
    issuer_countries: frozenset[str] | None
    token: bool
    three_ds: bool
    outages: tuple[tuple[datetime, datetime], ...]
    every_way: bool

    def against(
        self, network: str, currency: str, issuer_country: str, merchant_country: str | None, now: datetime
    ) -> tuple[str, ...]:
        """Return the codes of what speaks against sending a payment there; none if nothing does."""
        codes = self.unable(network, currency, issuer_country, merchant_country)
        for begins, ends in self.outages:
            if begins <= now < ends:
                return (*codes, "scheduled_outage")
        return codes

    def unable(self, network: str, currency: str, issuer_country: str, merchant_country: str | None) -> tuple[str, ...]:
        """Return the codes of what it cannot do, whenever that is.

        A merchant country that is not known speaks against nothing.
        """
        codes: list[str] = []
        if self.networks is not None and network not in self.networks:
            codes.append("network_unsupported")
        if self.currencies is not None and currency not in self.currencies:
            codes.append("currency_unsupported")
        if (
            self.merchant_countries is not None
            and merchant_country is not None
            and merchant_country not in self.merchant_countries
        ):
            codes.append("country_unsupported")
        if self.issuer_countries is not None and issuer_country not in self.issuer_countries:
            codes.append("issuer_unsupported")
        return tuple(codes) if codes else ()


def compile_capabilities(capabilities: Mapping[str, Capability], named: Callable[[str], str]) -> dict[str, Able]:
    """Compile what each processor can do; `named` says how rules call a network."""
    return {
        name: Able(
            networks=None if one.networks is None else frozenset(map(named, one.networks)),
            currencies=_set(one.currencies),
            merchant_countries=_set(one.merchant_countries),
            issuer_countries=_set(one.issuer_countries),
            token=one.network_token,
            three_ds=one.three_ds,
            outages=tuple((outage.begins, outage.ends) for outage in one.outages),
            every_way=one.network_token and one.three_ds,
        )
        for name, one in capabilities.items()
    }


def severity(codes: tuple[str, ...]) -> int | None:
    """Return how bad the worst of some codes is; None if it is a hard one."""
    worst = 0
    for code in codes:
        if code in HARD:
            return None
        worst = max(worst, SEVERITY[code])
    return worst


def _set(values: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)
