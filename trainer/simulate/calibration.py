"""Calibration: the few numbers that make any seed's world resemble the facts, found on a pilot of payments.

This module must not know single attempts: it compares mean probabilities.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.simulate.approval import first_attempt
from trainer.simulate.draws import uniform
from trainer.simulate.facts import DAY_US, Array
from trainer.simulate.merchants import ORDER_SHARE
from trainer.simulate.payments import Payments, generate
from trainer.simulate.refusals import BLOCKED

if TYPE_CHECKING:
    from trainer.simulate.world import World

PILOT: Final = 60_000
LOST: Final = 0.044
"""Share of payments that the shops' first preferences lose though the issuer would approve."""
GAIN: Final = 0.031
"""Share of payments that perfect routing would pass on and a shop's first preference loses."""
_SPREADS: Final = (0.4, 1.6)
APPROVED_HOME: Final = 0.887
APPROVED_ABROAD: Final = 0.58


def choose(world: "World", payments: Payments) -> tuple[Array, Array]:
    """Return the processor and its propensity by the logged policy: mostly a merchant's first preference.

    A processor that has joined takes the place of the one the merchant likes least.
    """
    draw = uniform(payments.key, 1, 0)
    position = np.searchsorted(np.cumsum(ORDER_SHARE)[:-1], draw, side="right")
    processor = world.merchants.order[payments.merchant, position]
    for late in np.flatnonzero(world.processors.joins_us):
        joined = (position == len(ORDER_SHARE) - 1) & (payments.at_us >= world.processors.joins_us[late])
        processor = np.where(joined, late, processor)
    return processor, ORDER_SHARE[position]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What calibration found: the spread and scale of the processors' losses, and the issuer's two intercepts."""

    spread: float
    factor: float
    home: float
    abroad: float


def calibrate(world: "World") -> Fitted:
    """Return the numbers that make `world` resemble the facts.

    Parameters
    ----------
    world
        A world with starting values.
    """
    pilot = generate(world, (0, 0), PILOT, 0, world.days * DAY_US)
    processor, _ = choose(world, pilot)
    preferred = world.merchants.order[pilot.merchant, 0]
    rows = np.arange(PILOT)
    low, high = _SPREADS
    for _ in range(12):
        spread = (low + high) / 2.0
        factor, passing = _scale(world, pilot, preferred, spread)
        if float((passing.max(axis=1) - passing[rows, preferred]).mean()) < GAIN:
            low = spread
        else:
            high = spread
    issuer, _ = first_attempt(world, pilot)
    kept = issuer / (1.0 - pilot.other) * passing[rows, processor]
    start = np.where(pilot.abroad, world.abroad, world.home)
    odds = np.log(pilot.other / (1.0 - pilot.other)) - start
    open_card = pilot.other < BLOCKED
    home, away = open_card & ~pilot.abroad, open_card & pilot.abroad
    return Fitted(
        spread,
        factor,
        _solve(kept[home], odds[home], APPROVED_HOME),
        _solve(kept[away], odds[away], APPROVED_ABROAD),
    )


def _scale(world: "World", pilot: Payments, preferred: Array, spread: float) -> tuple[float, Array]:
    """Return the factor at which the first preferences lose `LOST`, and the probabilities of passing at it."""
    factor = 1.0
    at_bin = world.calendar.bins(pilot.at_us)
    for _ in range(3):
        passing = world.processors.scaled(spread, factor).passing(pilot.cell, at_bin, pilot.at_us)
        factor *= LOST / float(1.0 - passing[np.arange(PILOT), preferred].mean())
    return factor, passing


def _solve(kept: Array, odds: Array, target: float) -> float:
    """Bisect the intercept at which the mean approval meets the target."""
    low, high = -9.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2.0
        if float(np.mean(kept / (1.0 + np.exp(odds + middle)))) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
