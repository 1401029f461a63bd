"""The processors: how often each loses a payment that its issuer would approve, when, and what each charges.

A loss is a cell's base (network, shop country, abroad, amount band, token) times the pressure of the moment (drift, hour,
outage). This module must not know issuers.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from trainer.simulate.facts import BINS_A_DAY, FEES, NETWORKS, PROCESSORS, SHOP_COUNTRIES, Array

BANDS: Final = 3
BAND_EDGES: Final = (20.0, 100.0)
"""Amount bands in euros: below 20, 20 to 100, from 100."""
MOST_LOST: Final = 0.97
_COUNT: Final = len(PROCESSORS)
_OUTAGE: Final = 25.0
_SURCHARGE_ABROAD: Final = np.array([0.006, 0.004, 0.007, 0.005, 0.003])
_SURCHARGE_AMEX: Final = np.array([0.004, 0.006, 0.003, 0.005, 0.005])


@dataclass(frozen=True, slots=True)
class Processors:
    """Losses and true costs by processor.

    Attributes
    ----------
    loss
        Base loss by (cell, processor), float64; `cell` finds a payment's cell.
    pressure
        Factor on the loss by (bin, processor), float64.
    outage
        Whether the processor was down, by (bin, processor).
    charged_fixed, charged_failed
        Fixed minor units of an approved and of a failed attempt, shape (processors,).
    charged_share
        True share of an approved amount by (network, abroad, processor): the known fee plus what it hides.
    """

    loss: Array
    pressure: Array
    outage: Array
    charged_fixed: Array
    charged_failed: Array
    charged_share: Array

    @classmethod
    def build(cls, seed: int, days: int) -> "Processors":
        """Build the tables; a longer world begins like a shorter one."""
        rng = np.random.default_rng((seed, 19))
        by_network = rng.normal(0.0, 0.45, (len(NETWORKS), 1, 1, 1, 1, _COUNT))
        by_country = rng.normal(0.0, 0.40, (1, len(SHOP_COUNTRIES), 1, 1, 1, _COUNT))
        by_abroad = rng.normal(0.0, 0.40, (1, 1, 2, 1, 1, _COUNT))
        by_band = rng.normal(0.0, 0.30, (1, 1, 1, BANDS, 1, _COUNT))
        by_token = rng.normal(0.0, 0.25, (1, 1, 1, 1, 2, _COUNT))
        both = rng.normal(0.0, 0.25, (len(NETWORKS), len(SHOP_COUNTRIES), 1, 1, 1, _COUNT))
        general = rng.normal(0.0, 0.1, _COUNT)
        log_loss = by_network + by_country + by_abroad + by_band + by_token + both + general
        fees = np.array([FEES[name] for name in PROCESSORS])
        share = np.broadcast_to(fees[:, 1], (len(NETWORKS), 2, _COUNT)).copy()
        share[:, 1] += _SURCHARGE_ABROAD
        share[2] += _SURCHARGE_AMEX
        pressure, outage = _pressure(seed, days)
        return cls(0.045 * np.exp(log_loss.reshape(-1, _COUNT)), pressure, outage, fees[:, 0], fees[:, 2], share)

    def scaled(self, spread: float, factor: float) -> "Processors":
        """Return the processors with every base loss raised to `spread` and then multiplied by `factor`."""
        return replace(self, loss=np.minimum(self.loss**spread * factor, MOST_LOST))

    def by_country(self) -> Array:
        """Return the mean log loss at home by (shop country, processor): what a shop notices over the years."""
        shape = (len(NETWORKS), len(SHOP_COUNTRIES), 2, BANDS, 2, _COUNT)
        at_home: Array = np.log(self.loss).reshape(shape)[:2, :, 0].mean(axis=(0, 2, 3))
        return at_home

    def passing(self, cell: Array, at_bin: Array) -> Array:
        """Return the probability that each processor passes an attempt on unharmed, float64 (n, processors)."""
        lost = np.take(self.loss, cell, axis=0)
        lost *= np.take(self.pressure, at_bin, axis=0)
        np.minimum(lost, MOST_LOST, out=lost)
        kept: Array = np.subtract(1.0, lost, out=lost)
        return kept

    def value(self, approval: Array, amount: Array, network: Array, abroad: Array, margin_share: float) -> Array:
        """Return the expected margin in minor units of an attempt through each processor, float64 (n, processors).

        Approved it earns the margin less the true fee; failed it costs the fee for a failed attempt.
        """
        share = np.take(self.charged_share.reshape(-1, _COUNT), network * 2 + abroad, axis=0)
        worth: Array = (margin_share - share) * amount[:, None]
        worth += self.charged_failed - self.charged_fixed
        worth *= approval
        worth -= self.charged_failed
        return worth


def cell(network: Array, country: Array, abroad: Array, band: Array, token: Array) -> Array:
    """Return the index of a payment's cell in ``Processors.loss``, int64."""
    index = network.astype(np.int64) * len(SHOP_COUNTRIES) + country
    index = (index * 2 + abroad) * BANDS + band
    return index * 2 + token


def _pressure(seed: int, days: int) -> tuple[Array, Array]:
    """Drift (a daily walk and a slow trend), an hour of weakness each day, and outages of 20 minutes to 3 hours."""
    walk = np.cumsum(np.random.default_rng((seed, 23)).normal(0.0, 0.04, (days, _COUNT)), axis=0)
    rng = np.random.default_rng((seed, 29))
    trend = rng.permutation(np.array([0.55, -0.45, 0.15, 0.0, -0.2]))
    phase = rng.uniform(0, 2 * np.pi, _COUNT)
    time = np.arange(days * BINS_A_DAY) / BINS_A_DAY
    log = np.repeat(np.clip(walk, -0.6, 0.6), BINS_A_DAY, axis=0)
    log += trend * np.minimum(time / 90.0, 2.0)[:, None] + 0.25 * np.sin(2 * np.pi * time[:, None] + phase)
    outage = np.zeros_like(log, dtype=bool)
    for day in range(days):
        drawn = np.random.default_rng((seed, 37, day)).random((_COUNT, 3))
        for k in np.flatnonzero(drawn[:, 0] < 0.035):
            begin = day * BINS_A_DAY + int(drawn[k, 1] * BINS_A_DAY)
            outage[begin : begin + 2 + int(drawn[k, 2] * 16), k] = True
    pressure = np.exp(log)
    pressure[outage] *= _OUTAGE
    return pressure, outage
