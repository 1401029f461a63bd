"""What the processors charge, and from when on.

A fee is a fixed part and a share of an approved attempt, and a fixed part of a failed one. A card from abroad costs a
surcharge, and so does American Express; the contract says both. This module must not know how likely an approval is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from trainer.simulate.facts import AMEX, FEES, NETWORKS, PROCESSORS, Array

_SURCHARGE_ABROAD: Final = np.array([0.006, 0.004, 0.007, 0.005, 0.003])
_SURCHARGE_AMEX: Final = np.array([0.004, 0.006, 0.003, 0.005, 0.005])
Region = Literal["intra", "cross_border"]
ELSEWHERE: Final[tuple[Region, ...]] = ("intra", "cross_border")
"""The regions of a fee line that a card from abroad falls into."""


@dataclass(frozen=True, slots=True)
class Tariffs:
    """Fees by tariff and processor; a tariff holds until the next one begins.

    Attributes
    ----------
    since_us
        When each tariff begins, microseconds since the start of the world, shape (tariffs,); the first with the world.
    fixed, failed
        Minor units of an approved and of a failed attempt, shape (tariffs, processors).
    share
        Share of an approved amount by (tariff, network, abroad, processor).
    """

    since_us: Array
    fixed: Array
    failed: Array
    share: Array

    @classmethod
    def build(cls) -> "Tariffs":
        """Return the one tariff of a world in which prices do not change."""
        fees = np.array([FEES[name] for name in PROCESSORS])
        share = np.broadcast_to(fees[:, 1], (len(NETWORKS), 2, len(PROCESSORS))).copy()
        share[:, 1] += _SURCHARGE_ABROAD
        share[AMEX] += _SURCHARGE_AMEX
        return cls(np.zeros(1, dtype=np.int64), fees[None, :, 0], fees[None, :, 2], share[None])

    def at(self, at_us: Array) -> Array:
        """Return the tariff in force at each time, int64."""
        return np.searchsorted(self.since_us, at_us, side="right") - 1

    def changed(self, at_us: int, processor: int, share: float) -> "Tariffs":
        """Return the tariffs with one more from `at_us` on, in which one processor's every share is raised by `share`."""
        raised = self.share[-1].copy()
        raised[..., processor] += share
        return replace(
            self,
            since_us=np.append(self.since_us, at_us),
            fixed=np.concatenate([self.fixed, self.fixed[-1:]]),
            failed=np.concatenate([self.failed, self.failed[-1:]]),
            share=np.concatenate([self.share, raised[None]]),
        )

    def joined(self, like: int) -> "Tariffs":
        """Return the tariffs with one more processor, which charges what processor `like` does."""
        return replace(
            self,
            fixed=np.concatenate([self.fixed, self.fixed[:, [like]]], axis=1),
            failed=np.concatenate([self.failed, self.failed[:, [like]]], axis=1),
            share=np.concatenate([self.share, self.share[..., [like]]], axis=3),
        )

    def value(
        self, approval: Array, amount: Array, network: Array, abroad: Array, at_us: Array, margin_share: float
    ) -> Array:
        """Return the expected margin in minor units of an attempt through each processor, float64 (n, processors).

        Approved it earns the margin less the fee; failed it costs the fee for a failed attempt.
        """
        tariff = self.at(at_us)
        worth: Array = (margin_share - self.share[tariff, network, abroad.astype(np.int64)]) * amount[:, None]
        failed = self.failed[tariff]
        worth += failed - self.fixed[tariff]
        worth *= approval
        worth -= failed
        return worth

    def of(self, at_us: Array, processor: Array, network: Array, abroad: Array) -> tuple[Array, Array, Array]:
        """Return fixed part, share and cost of a failure of each attempt, three times (n,)."""
        tariff = self.at(at_us)
        share = self.share[tariff, network, abroad.astype(np.int64), processor]
        return self.fixed[tariff, processor], share, self.failed[tariff, processor]

    def lines(self, tariff: int, processor: int) -> Iterator[tuple[str | None, Region | None, float]]:
        """Yield network, region and share of what a contract says beside its general share, the general one first."""
        share = self.share[tariff, :, :, processor]
        amex = NETWORKS[AMEX]
        yield None, None, float(share[0, 0])
        yield amex, None, float(share[AMEX, 0])
        for region in ELSEWHERE:
            yield None, region, float(share[0, 1])
            yield amex, region, float(share[AMEX, 1])
