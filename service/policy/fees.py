"""What an attempt costs at each processor, compiled from the bundle's fee schedules.

This module must not know probabilities.
"""

from collections.abc import Mapping

from contracts.terms import FeeSchedule

Fee = tuple[int, float, int]
"""Fixed part of an approved attempt (minor units), share of its amount, cost of a failed one (minor units)."""


class Fees:
    """Fees by processor.

    A processor without a schedule is charged the dearest of each known part: were it free, the one about which
    nothing is known would win. Without any schedule every processor is free, and fees decide nothing.
    """

    __slots__ = ("_by_processor", "unknown")

    def __init__(self, schedules: Mapping[str, FeeSchedule]) -> None:
        self._by_processor: dict[str, Fee] = {
            name: (fee.approved_fixed_minor, fee.approved_share, fee.failed_fixed_minor)
            for name, fee in schedules.items()
        }
        known = tuple(self._by_processor.values())
        self.unknown: Fee = (
            max((fee[0] for fee in known), default=0),
            max((fee[1] for fee in known), default=0.0),
            max((fee[2] for fee in known), default=0),
        )

    def of(self, processor: str) -> Fee:
        """Return the fee of a processor, the dearest known if it has none of its own."""
        return self._by_processor.get(processor, self.unknown)

    def knows(self, processor: str) -> bool:
        """Say whether a processor has a schedule of its own."""
        return processor in self._by_processor
