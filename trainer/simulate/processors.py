"""The processors: how often each loses a payment that its issuer would approve, when, how fast it is and what it charges.

A loss is a cell's base (network, shop country, abroad, amount band, token) times the pressure of the moment (drift, hour,
outage), and then what a trouble takes. This module must not know issuers.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from trainer.simulate.facts import BINS_A_DAY, NETWORKS, PROCESSORS, SHOP_COUNTRIES, Array
from trainer.simulate.tariffs import Tariffs

BANDS: Final = 3
BAND_EDGES: Final = (20.0, 100.0)
"""Amount bands in euros: below 20, 20 to 100, from 100."""
MOST_LOST: Final = 0.97
_COUNT: Final = len(PROCESSORS)
_OUTAGE: Final = 25.0
_LATENCY_MEDIAN_MS: Final = (420.0, 610.0, 350.0, 780.0, 520.0)
_SHAPE: Final = (len(NETWORKS), len(SHOP_COUNTRIES), 2, BANDS, 2)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A time in which a processor loses more than its pressure says, or answers late.

    Attributes
    ----------
    processor, begins_us, ends_us
        Which one and when, microseconds since the start of the world.
    fails
        Share of its attempts that are lost on top, by its own fault.
    slowdown
        Factor on its latencies.
    """

    processor: int
    begins_us: int
    ends_us: int
    fails: float
    slowdown: float = 1.0


@dataclass(frozen=True, slots=True)
class Processors:
    """Losses, latencies and tariffs by processor.

    Attributes
    ----------
    names
        Of the processors.
    loss
        Base loss by (cell, processor), float64; `cell` finds a payment's cell.
    pressure
        Factor on the loss by (bin, processor), float64.
    outage
        Whether the processor was down, by (bin, processor).
    latency_ms
        Median of its latencies, shape (processors,).
    joins_us
        From when on it can be used, microseconds since the start of the world, shape (processors,).
    tariffs
        What each charges.
    troubles
        Exceptional times.
    """

    names: tuple[str, ...]
    loss: Array
    pressure: Array
    outage: Array
    latency_ms: Array
    joins_us: Array
    tariffs: Tariffs
    troubles: tuple[Trouble, ...] = ()

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
        pressure, outage = _pressure(seed, days)
        return cls(
            PROCESSORS,
            0.045 * np.exp(log_loss.reshape(-1, _COUNT)),
            pressure,
            outage,
            np.array(_LATENCY_MEDIAN_MS),
            np.zeros(_COUNT, dtype=np.int64),
            Tariffs.build(),
        )

    def __len__(self) -> int:
        return len(self.names)

    def scaled(self, spread: float, factor: float) -> "Processors":
        """Return the processors with every base loss raised to `spread` and then multiplied by `factor`."""
        return replace(self, loss=np.minimum(self.loss**spread * factor, MOST_LOST))

    def by_country(self) -> Array:
        """Return the mean log loss at home by (shop country, processor): what a shop notices over the years."""
        at_home: Array = np.log(self.loss).reshape((*_SHAPE, len(self)))[:2, :, 0].mean(axis=(0, 2, 3))
        return at_home

    def passing(self, cell: Array, at_bin: Array, at_us: Array) -> Array:
        """Return the probability that each processor passes an attempt on unharmed, float64 (n, processors).

        Parameters
        ----------
        cell, at_bin, at_us
            Of each attempt: the cell, and when, as a bin of the calendar and in microseconds, shape (n,).
        """
        lost = np.take(self.loss, cell, axis=0)
        lost *= np.take(self.pressure, at_bin, axis=0)
        np.minimum(lost, MOST_LOST, out=lost)
        kept: Array = np.subtract(1.0, lost, out=lost)
        for trouble in self.troubles:
            kept[(at_us >= trouble.begins_us) & (at_us < trouble.ends_us), trouble.processor] *= 1.0 - trouble.fails
        for late in np.flatnonzero(self.joins_us):
            kept[at_us < self.joins_us[late], late] = 0.0
        return kept

    def broken(self, processor: Array, at_bin: Array, at_us: Array, passed: Array) -> Array:
        """Return which share of a lost attempt is lost to an outage, float64 (n,); the rest is everyday loss.

        Parameters
        ----------
        processor, at_bin, at_us
            Where the attempt went and when, shape (n,).
        passed
            Probability that it was passed on, as `passing` gave it.
        """
        share = self.outage[at_bin, processor].astype(np.float64)
        for trouble in self.troubles:
            hit = (at_us >= trouble.begins_us) & (at_us < trouble.ends_us) & (processor == trouble.processor)
            lost = np.maximum(1.0 - passed[hit], 1e-9)
            share[hit] = np.maximum(share[hit], np.minimum(trouble.fails / lost, 1.0))
        return share

    def latency(self, processor: Array, at_us: Array) -> Array:
        """Return the median latency of each attempt in milliseconds, float64 (n,)."""
        median: Array = self.latency_ms[processor]
        for trouble in self.troubles:
            hit = (at_us >= trouble.begins_us) & (at_us < trouble.ends_us) & (processor == trouble.processor)
            median[hit] *= trouble.slowdown
        return median

    def joined(self, name: str, at_us: int, loss: Array, like: int) -> "Processors":
        """Return the processors with one more, which can be used from `at_us` on.

        Parameters
        ----------
        name, at_us
            What it is called and when it joins.
        loss
            Its base loss by cell.
        like
            The processor whose pressure, latency and fees it shares.
        """
        return replace(
            self,
            names=(*self.names, name),
            loss=np.concatenate([self.loss, loss[:, None]], axis=1),
            pressure=np.concatenate([self.pressure, self.pressure[:, [like]]], axis=1),
            outage=np.concatenate([self.outage, self.outage[:, [like]]], axis=1),
            latency_ms=np.append(self.latency_ms, self.latency_ms[like]),
            joins_us=np.append(self.joins_us, at_us),
            tariffs=self.tariffs.joined(like),
        )


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


def without_outages(pressure: Array, outage: Array) -> Array:
    """Return the pressure as it would be had no processor been down."""
    return np.where(outage, pressure / _OUTAGE, pressure)
