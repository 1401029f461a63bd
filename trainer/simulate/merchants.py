"""The merchants: segment, country, size, and the order in which each prefers its processors.

This module must not know cards or time.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from trainer.simulate import facts
from trainer.simulate.facts import PROCESSORS, SEGMENTS, SHOP_COUNTRIES, Array

ZIPF: Final = 0.85
_FIRST_RANK: Final = np.array([1, 2, 1, 2, 3, 0, 1, 4, 2, 0])
ORDER_SHARE: Final = np.array([0.70, 0.12, 0.08, 0.06, 0.04])
"""The logged policy: how often a merchant sends a payment to its first, second, ... preference."""


@dataclass(frozen=True, slots=True)
class Merchants:
    """Merchants, largest first; arrays of shape (merchants,) unless said otherwise.

    Attributes
    ----------
    name
        Identifiers such as ``m-0007``.
    country, segment
        Indices into ``facts.SHOP_COUNTRIES`` and ``facts.SEGMENTS``.
    weight
        Share of all payments, Zipf-like.
    amount_log, amount_spread
        Mean and deviation of the log of an amount in euros.
    merchant_initiated, with_3ds, abroad, fraud
        Shares of payments (`with_3ds`: of those a customer is present for).
    circle_begin, circle_width
        The regulars: a stretch of the country's cards by popularity, as shares of them.
    effect
        Log-odds added to the issuer's other declines.
    order
        Processors, best liked first, shape (merchants, processors).
    """

    name: tuple[str, ...]
    country: Array
    segment: Array
    weight: Array
    amount_log: Array
    amount_spread: Array
    merchant_initiated: Array
    with_3ds: Array
    abroad: Array
    fraud: Array
    circle_begin: Array
    circle_width: Array
    effect: Array
    order: Array

    @classmethod
    def build(cls, seed: int, count: int) -> "Merchants":
        """Build `count` merchants; their order of processors is set by `prefer`."""
        rng = np.random.default_rng((seed, 13))
        country = rng.choice(len(SHOP_COUNTRIES), count, p=facts.SHOP_COUNTRY_WEIGHT / facts.SHOP_COUNTRY_WEIGHT.sum())
        segment = rng.choice(len(SEGMENTS), count, p=facts.SEGMENT_WEIGHT / facts.SEGMENT_WEIGHT.sum())
        weight = 1.0 / np.arange(1, count + 1) ** ZIPF
        spread = rng.normal(0.0, 0.25, count)
        sca = facts.SCA_COUNTRY[country]
        return cls(
            tuple(f"m-{i + 1:04d}" for i in range(count)),
            country.astype(np.int8),
            segment.astype(np.int8),
            weight / weight.sum(),
            (np.log(facts.SEGMENT_AMOUNT[segment]) + spread).astype(np.float32),
            rng.uniform(0.5, 0.95, count).astype(np.float32),
            np.clip(facts.SEGMENT_MERCHANT_INITIATED[segment] * rng.uniform(0.7, 1.2, count), 0, 0.95).astype(
                np.float32
            ),
            np.where(sca, rng.uniform(0.3, 0.6, count), rng.uniform(0.0, 0.05, count)).astype(np.float32),
            (facts.SEGMENT_ABROAD[segment] * rng.uniform(0.7, 1.3, count)).astype(np.float32),
            (facts.SEGMENT_FRAUD[segment] * rng.uniform(0.6, 1.4, count)).astype(np.float32),
            rng.random(count),
            np.minimum(0.01 + 2.0 * weight / weight.sum(), 1.0),
            (facts.SEGMENT_EFFECT[segment] + rng.normal(0.0, 0.15, count)).astype(np.float32),
            np.tile(np.arange(len(PROCESSORS)), (count, 1)),
        )

    def prefer(self, seed: int, loss_by_country: Array) -> "Merchants":
        """Return the merchants with their order of processors: contracts and habit, little knowledge.

        The first preference of merchant i is the processor of rank ``_FIRST_RANK[i % 10]`` in its country, so that large
        and small shops alike are neither always right nor always wrong; the rest follows in any order.

        Parameters
        ----------
        seed
            The world's seed.
        loss_by_country
            Mean log loss by (shop country, processor).
        """
        rng = np.random.default_rng((seed, 17))
        count = len(self.country)
        ranked = np.argsort(loss_by_country[self.country], axis=1)
        first = ranked[np.arange(count), _FIRST_RANK[np.arange(count) % len(_FIRST_RANK)]]
        habit = rng.random(self.order.shape)
        habit[np.arange(count), first] = -1.0
        return replace(self, order=np.argsort(habit, axis=1).astype(np.int64))
