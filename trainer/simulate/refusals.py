"""Why an issuer refuses: want of funds, a limit, or anything else, each with its own probability.

Funds depend on the payday, the hour and the amount; the rest on card, shop, hour, incidents and risk. This module must not
know processors.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.simulate.facts import BINS_A_DAY, MINUTE_US, Array

if TYPE_CHECKING:
    from trainer.simulate.world import World

_RECENT_US: Final = 15 * MINUTE_US
_ANGLE: Final = np.arange(BINS_A_DAY) / 6.0
_SINCE_BEST: Final = (_ANGLE - 15.0) % 24.0
NIGHT: Final = (
    0.5 - 0.5 * np.cos(np.pi * np.where(_SINCE_BEST < 15.0, _SINCE_BEST / 15.0, (24.0 - _SINCE_BEST) / 9.0))
).astype(np.float32)
"""0 at 15 h, 1 at 06 h of the shop's standard time (14 h and 05 h UTC in Central Europe), by ten minutes."""
NIGHT_EFFECT: Final = 3.1
FRAUD_EFFECT: Final = 1.5
"""Log-odds that an issuer, who sees more than the shop, adds to the refusal of a fraud."""
_SINCE_PAYDAY: Final = (0.95 * ((np.arange(-31, 32) % 30) / 30.0) - 0.5).astype(np.float32)
BLOCKED: Final = 0.985
"""How often the issuer refuses a card that is lost, closed or expired."""
_FUNDS: Final = -4.1
_BAND_FUNDS: Final = np.array([-0.35, 0.1, 0.75], dtype=np.float32)
_BAND_OTHER: Final = np.array([-0.05, 0.0, 0.25], dtype=np.float32)


def refusals(
    world: "World",
    merchant: Array,
    card: Array,
    at_us: Array,
    night: Array,
    abroad: Array,
    band: Array,
    token: Array,
    with_3ds: Array,
    merchant_initiated: Array,
    is_fraud: Array,
    risk: Array,
) -> tuple[Array, Array, Array]:
    """Return how likely the issuer refuses for want of funds, for a limit and for anything else, three times float32 (n,).

    The three are independent. Parameters are the arrays of ``Payments`` of the same names, `night` from `NIGHT`, and
    `risk`, the part of a payment's risk that issuer and shop both see.
    """
    cards = world.cards
    day = world.calendar.day_of_month[world.calendar.day(at_us)]
    funds = cards.funds[card] + _SINCE_PAYDAY[day - cards.payday[card] + 31]
    funds += _BAND_FUNDS[band] + np.float32(_FUNDS) + np.float32(0.55 * NIGHT_EFFECT) * night
    funds += world.calendar.short[world.calendar.bins(at_us)]
    other = cards.effect_at(card, at_us) + world.merchants.effect[merchant] + _BAND_OTHER[band]
    other += np.where(abroad, np.float32(world.abroad), np.float32(world.home))
    other += np.float32(NIGHT_EFFECT) * night + np.float32(0.45) * risk
    other -= np.float32(0.3) * token + np.float32(0.15) * with_3ds
    other += np.float32(0.2) * merchant_initiated + np.float32(FRAUD_EFFECT) * is_fraud
    other += world.incident(card, at_us)
    limit = np.where(_recent(card, at_us), np.float32(0.12), np.float32(0.002))
    refused = sigmoid(other)
    refused[at_us >= cards.blocked_us[card]] = BLOCKED
    return sigmoid(funds), limit, refused


def _recent(card: Array, at_us: Array) -> Array:
    """Whether the card paid within the 15 minutes before, as far as this batch knows."""
    count = len(card)
    shift = max(1, int(count - 1).bit_length())
    ordered = np.sort((card.astype(np.int64) << shift) | np.arange(count))
    row = ordered & ((1 << shift) - 1)
    ordered >>= shift
    at = at_us[row]
    recent = np.zeros(count, dtype=bool)
    recent[row[1:]] = (ordered[1:] == ordered[:-1]) & (at[1:] - at[:-1] < _RECENT_US)
    return recent


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), made in place."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1.0
    result: Array = np.reciprocal(x, out=x)
    return result
