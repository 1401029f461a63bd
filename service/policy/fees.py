"""What an attempt costs at each processor, by network and region, compiled from the bundle's fee schedules.

This module must not know probabilities.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from contracts.terms import FeeLine, FeeSchedule

Fee = tuple[int, float, int]
"""Fixed part of an approved attempt (minor units), share of its amount, cost of a failed one (minor units)."""
Region = Literal["domestic", "intra", "cross_border"]

_REGIONS: Final[tuple[Region | None, ...]] = (None, "domestic", "intra", "cross_border")


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """What every processor charges for one kind of attempt; `unknown` is charged to one without a schedule."""

    by_processor: dict[str, Fee]
    unknown: Fee

    def of(self, processor: str) -> Fee:
        """Return the fee of a processor, the dearest known if it has none of its own."""
        return self.by_processor.get(processor, self.unknown)


class Fees:
    """Fees by processor, network and region.

    A processor without a schedule is charged the dearest of each known part: were it free, the one about which
    nothing is known would win. Without any schedule every processor is free, and fees decide nothing.

    Parameters
    ----------
    schedules
        Fee schedule of each processor.
    named
        How a network is called here, so that a line for "mastercard" holds for "MC".
    intra
        The countries that make a foreign card "intra" when merchant and issuer are both in them.
    """

    __slots__ = ("_intra", "_networks", "_schedules", "_tariffs", "_three_ds", "_unknown_three_ds")

    def __init__(
        self,
        schedules: Mapping[str, FeeSchedule],
        named: Callable[[str], str] = str.lower,
        intra: frozenset[str] = frozenset(),
    ) -> None:
        self._schedules = frozenset(schedules)
        self._intra = intra
        self._three_ds = {name: fee.three_ds_minor for name, fee in schedules.items()}
        self._unknown_three_ds = max(self._three_ds.values(), default=0)
        networks = {named(line.network) for fee in schedules.values() for line in fee.lines if line.network is not None}
        self._networks = frozenset(networks)
        self._tariffs = {
            (network, region): _tariff(schedules, named, network, region)
            for network in (None, *networks)
            for region in _REGIONS
        }

    def tariff(self, network: str, issuer_country: str, merchant_country: str | None) -> Tariff:
        """Return what processors charge for one kind of attempt.

        Parameters
        ----------
        network : str
            As `named` calls it.
        merchant_country : str or None
            Unknown, no line that names a region holds.
        """
        return self._tariffs[
            network if network in self._networks else None,
            None if merchant_country is None else self.region(issuer_country, merchant_country),
        ]

    def region(self, issuer_country: str, merchant_country: str) -> Region:
        """Return how far apart card and merchant are."""
        if issuer_country == merchant_country:
            return "domestic"
        return "intra" if issuer_country in self._intra and merchant_country in self._intra else "cross_border"

    def three_ds(self, processor: str) -> int:
        """Return what an authentication costs there, minor units; the dearest known for one without a schedule."""
        return self._three_ds.get(processor, self._unknown_three_ds)

    def knows(self, processor: str) -> bool:
        """Say whether a processor has a schedule of its own."""
        return processor in self._schedules


def _tariff(
    schedules: Mapping[str, FeeSchedule], named: Callable[[str], str], network: str | None, region: Region | None
) -> Tariff:
    fees: dict[str, Fee] = {}
    for name, schedule in schedules.items():
        fitting = [
            line
            for line in schedule.lines
            if (line.network is None or named(line.network) == network) and line.region in (None, region)
        ]
        # Of lines that name as much, max keeps the first.
        best: FeeLine | FeeSchedule = max(
            fitting, key=lambda line: (line.network is not None) + (line.region is not None), default=schedule
        )
        fees[name] = (best.approved_fixed_minor, best.approved_share, best.failed_fixed_minor)
    known = tuple(fees.values())
    unknown = (
        max((fee[0] for fee in known), default=0),
        max((fee[1] for fee in known), default=0.0),
        max((fee[2] for fee in known), default=0),
    )
    return Tariff(fees, unknown)
