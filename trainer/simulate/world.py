"""The world: all parameters of one simulation, built from a seed and calibrated to the facts it should resemble.

This module must not know how payments are drawn or what becomes of them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from trainer.simulate.calendar import BINS_AN_HOUR, Calendar
from trainer.simulate.calibration import calibrate
from trainer.simulate.cards import Cards
from trainer.simulate.facts import Array
from trainer.simulate.holders import Holders
from trainer.simulate.issuers import ISSUERS, incidents
from trainer.simulate.merchants import Merchants
from trainer.simulate.processors import Processors

START: Final = datetime(2026, 6, 1, tzinfo=UTC)
BEYOND_DAYS: Final = 60
"""Days after the history for which the world goes on: the live stretch and late retries happen there."""
MARGIN_SHARE: Final = 0.25
"""What an approved payment is worth to its shop, as a share of the amount: the yardstick of `best_processor`."""


@dataclass(frozen=True, slots=True)
class World:
    """All parameters, as arrays.

    Attributes
    ----------
    seed, days, start
        What it was built from; `start` is midnight UTC.
    merchants, cards, processors, calendar, holders
        The five parts.
    incidents
        Log-odds of refusal added by an issuer's bad hour, by (hour, issuer).
    home, abroad
        Intercepts of the issuer's other declines for a card of the shop's own country and for one from abroad,
        calibrated by `build`.
    """

    seed: int
    days: int
    start: datetime
    merchants: Merchants
    cards: Cards
    processors: Processors
    calendar: Calendar
    holders: Holders
    incidents: Array
    home: float
    abroad: float

    def incident(self, card: Array, at_us: Array) -> Array:
        """Return the log-odds of refusal that each card's issuer adds at a time, float32 (n,)."""
        hour = self.calendar.bins(at_us) // BINS_AN_HOUR
        added: Array = self.incidents.reshape(-1)[hour * ISSUERS + self.cards.issuer[card]]
        return added

    @classmethod
    def build(
        cls, seed: int, merchants: int = 200, cards: int = 50_000, days: int = 90, start: datetime = START
    ) -> "World":
        """Build a world; the same arguments give the same world, bit for bit.

        Parameters
        ----------
        seed
            Any integer of 0 or more.
        merchants, cards
            How many of each.
        days
            Length of the history; the world goes on for `BEYOND_DAYS` more.
        start
            First day, midnight UTC.
        """
        processors = Processors.build(seed, days + BEYOND_DAYS)
        shops = Merchants.build(seed, merchants).prefer(seed, processors.by_country())
        issued = Cards.build(seed, cards)
        calendar = Calendar.build(seed, start, days + BEYOND_DAYS, shops, issued)
        holders = Holders.build(seed, issued, calendar)
        trouble = incidents(seed, days + BEYOND_DAYS)
        raw = cls(seed, days, start, shops, issued, processors, calendar, holders, trouble, -2.9, -0.6)
        fitted = calibrate(raw)
        processors = processors.scaled(fitted.spread, fitted.factor)
        return replace(raw, processors=processors, home=fitted.home, abroad=fitted.abroad)
