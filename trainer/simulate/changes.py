"""What may happen to a world: each change is data, and says of itself how it alters the tables of a world.

A change holds within the stretch it is given and touches one thing only; who is hit is drawn from the stream it is handed.
This module must not know which changes make up which scenario.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trainer.simulate.approval import first_attempt
from trainer.simulate.cards import Reissue
from trainer.simulate.facts import BIN_US, BINS_A_DAY, DAY_US, HOUR_US, VISA, Array
from trainer.simulate.payments import generate
from trainer.simulate.processors import Trouble, without_outages

if TYPE_CHECKING:
    from trainer.simulate.world import World

NEWCOMER: Final = "quayside"
"""The processor that joins."""
_PILOT: Final = 4_000
_YARDSTICK: Final = 0.25
_ATTACKED: Final = 6


class Stretch(NamedTuple):
    """A stretch of a world's time, microseconds since its start."""

    begins_us: int
    ends_us: int

    def at(self, share: float) -> int:
        """Return the moment after a share of the stretch."""
        return self.begins_us + int((self.ends_us - self.begins_us) * share)


class Mark(NamedTuple):
    """Where something happened: to which processor, issuer, merchant or BIN (an index), and from when until when.

    A change for good ends with the stretch.
    """

    subject: int
    begins_us: int
    ends_us: int


Altered = tuple["World", tuple[Mark, ...]]


def calmed(world: "World", begins_us: int) -> "World":
    """Return the world with nothing out of the ordinary from `begins_us` on.

    The processors' day of before repeats itself without outages, no issuer has a bad hour and no attack runs.
    """
    first = begins_us // BIN_US
    pressure, outage = world.processors.pressure.copy(), world.processors.outage.copy()
    usual = without_outages(pressure, outage)
    rows = np.arange(first, len(pressure))
    pressure[rows] = usual[first - BINS_A_DAY + (rows - first) % BINS_A_DAY]
    outage[first:] = False
    incidents = world.incidents.copy()
    incidents[-(-begins_us // HOUR_US) :] = 0.0
    attack_at, attack_share = world.calendar.attack_at.copy(), world.calendar.attack_share.copy()
    attack_at[first:] = -1
    attack_share[first:] = 0.0
    return replace(
        world,
        processors=replace(world.processors, pressure=pressure, outage=outage),
        incidents=incidents,
        calendar=replace(world.calendar, attack_at=attack_at, attack_share=attack_share),
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """The processors' losses change slowly: the better one was, the more it loses in the end.

    Attributes
    ----------
    log_factor
        What the end of the stretch multiplies the best one's loss by, as a logarithm; the worst one's is divided by it.
    """

    log_factor: float

    def alter(self, world: "World", stretch: Stretch, _rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        order = best_share(world, stretch).argsort()[::-1]
        by_processor = np.empty(len(order))
        by_processor[order] = np.linspace(self.log_factor, -self.log_factor, len(order))
        bins = np.arange(len(world.processors.pressure)) * BIN_US
        along = np.clip((bins - stretch.begins_us) / (stretch.ends_us - stretch.begins_us), 0.0, 1.0)
        pressure = world.processors.pressure * np.exp(along[:, None] * by_processor)
        return (
            replace(world, processors=replace(world.processors, pressure=pressure)),
            (Mark(int(order[0]), stretch.begins_us, stretch.ends_us),),
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """A processor fails, slows down, or both, for a part of the stretch; it is one that much ought to go through.

    Attributes
    ----------
    begins, ends
        As shares of the stretch.
    fails, slowdown
        As in ``Trouble``.
    """

    begins: float
    ends: float
    fails: float
    slowdown: float = 1.0

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        hit = int(rng.choice(len(world.processors), p=best_share(world, stretch)))
        trouble = Trouble(hit, stretch.at(self.begins), stretch.at(self.ends), self.fails, self.slowdown)
        processors = replace(world.processors, troubles=(*world.processors.troubles, trouble))
        return replace(world, processors=processors), (Mark(hit, trouble.begins_us, trouble.ends_us),)


@dataclass(frozen=True, slots=True)
class IssuersDown:
    """A few issuers refuse nearly everything for a part of the stretch (whole hours), whoever asks.

    Attributes
    ----------
    begins, ends
        As shares of the stretch.
    issuers
        How many; large ones are likelier.
    log_odds
        What it adds to the log-odds of a refusal.
    """

    begins: float
    ends: float
    issuers: int
    log_odds: float

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        size = np.bincount(world.cards.issuer, minlength=world.incidents.shape[1]).astype(np.float64)
        hit = rng.choice(len(size), self.issuers, replace=False, p=size / size.sum())
        first, last = round(stretch.at(self.begins) / HOUR_US), round(stretch.at(self.ends) / HOUR_US)
        last = max(last, first + 1)
        incidents = world.incidents.copy()
        incidents[first:last, hit] = self.log_odds
        marks = tuple(Mark(int(issuer), first * HOUR_US, last * HOUR_US) for issuer in hit)
        return replace(world, incidents=incidents), marks


@dataclass(frozen=True, slots=True)
class Attack:
    """Cards are tested at one merchant: small amounts, the cards of a few BINs, devices of the attackers' own.

    Attributes
    ----------
    begins, ends
        As shares of the stretch.
    share
        Of all payments meanwhile.
    """

    begins: float
    ends: float
    share: float

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        calendar, cards = world.calendar, world.cards
        first, last = stretch.at(self.begins) // BIN_US, -(-stretch.at(self.ends) // BIN_US)
        attack_at, attack_share = calendar.attack_at.copy(), calendar.attack_share.copy()
        attack_at[first:last] = len(calendar.attack_merchant)
        attack_share[first:last] = self.share
        merchant = int(rng.choice(np.argsort(-world.merchants.weight)[:_ATTACKED]))
        low = int(rng.integers(len(cards.bin_first) - 3))
        altered = replace(
            calendar,
            attack_at=attack_at,
            attack_share=attack_share,
            attack_merchant=np.append(calendar.attack_merchant, merchant),
            attack_card=np.append(calendar.attack_card, cards.bin_first[low]),
            attack_cards=np.append(calendar.attack_cards, cards.bin_first[low + 3] - cards.bin_first[low]),
        )
        return replace(world, calendar=altered), (Mark(merchant, first * BIN_US, last * BIN_US),)


@dataclass(frozen=True, slots=True)
class CommonPayday:
    """Everybody is short of money until one day, on which everybody is paid.

    Attributes
    ----------
    day
        Midnights from the beginning of the stretch to the payday.
    short, paid
        Log-odds added to declines for want of funds before and from then on.
    """

    day: int
    short: float
    paid: float

    def alter(self, world: "World", stretch: Stretch, _rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        payday_us = (stretch.begins_us // DAY_US + self.day) * DAY_US
        level = world.calendar.short.copy()
        level[stretch.begins_us // BIN_US : payday_us // BIN_US] = self.short
        level[payday_us // BIN_US :] = self.paid
        common = (*world.calendar.common_paydays_us, payday_us)
        calendar = replace(world.calendar, short=level, common_paydays_us=common)
        return replace(world, calendar=calendar), (Mark(0, payday_us, stretch.ends_us),)


@dataclass(frozen=True, slots=True)
class Joins:
    """A processor joins that nobody has seen before.

    Attributes
    ----------
    begins
        As a share of the stretch.
    better
        Its loss is the usual one of each cell times this, give or take its own strengths.
    """

    begins: float
    better: float

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        loss = world.processors.loss
        usual = np.exp(np.log(loss).mean(axis=1)) * self.better
        own = np.exp(rng.normal(0.0, 0.35, len(loss)))
        at_us = stretch.at(self.begins)
        like = int(rng.integers(len(world.processors)))
        processors = world.processors.joined(NEWCOMER, at_us, np.minimum(usual * own, loss.max()), like)
        return replace(world, processors=processors), (Mark(len(processors) - 1, at_us, stretch.ends_us),)


@dataclass(frozen=True, slots=True)
class NewBin:
    """A share of the Visa cards goes over to an issuer whose BIN nobody has seen, and which refuses more.

    Attributes
    ----------
    begins
        As a share of the stretch.
    share
        Of the Visa cards.
    log_odds
        What the new issuer adds to the log-odds of a refusal.
    """

    begins: float
    share: float
    log_odds: float

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        cards = world.cards
        taken = set(cards.bins)
        number = next(name for name in map(str, range(400_000, 500_000)) if name not in taken)
        hit = (rng.random(len(cards.bin)) < self.share) & (cards.network == VISA)
        reissue = Reissue(stretch.at(self.begins), hit, len(cards.bins), self.log_odds)
        altered = replace(cards, bins=(*cards.bins, number), reissue=reissue)
        return replace(world, cards=altered), (Mark(len(cards.bins), reissue.at_us, stretch.ends_us),)


@dataclass(frozen=True, slots=True)
class PriceChange:
    """A processor that much goes through raises its share of every amount.

    Attributes
    ----------
    begins
        As a share of the stretch.
    share
        Added to every share it charges.
    """

    begins: float
    share: float

    def alter(self, world: "World", stretch: Stretch, rng: np.random.Generator) -> Altered:
        """Return the altered world and its marks."""
        hit = int(rng.choice(len(world.processors), p=best_share(world, stretch)))
        at_us = stretch.at(self.begins)
        tariffs = world.processors.tariffs.changed(at_us, hit, self.share)
        altered = replace(world, processors=replace(world.processors, tariffs=tariffs))
        return altered, (Mark(hit, at_us, stretch.ends_us),)


Change = Drift | Fault | IssuersDown | Attack | CommonPayday | Joins | NewBin | PriceChange


def best_share(world: "World", stretch: Stretch) -> Array:
    """Return for which share of a stretch's payments each processor has the highest expected margin, float64."""
    pilot = generate(world, (0, 1), _PILOT, stretch.begins_us, stretch.ends_us)
    issuer, passing = first_attempt(world, pilot)
    value = world.processors.tariffs.value(
        issuer[:, None] * passing, pilot.amount, pilot.network, pilot.abroad, pilot.at_us, _YARDSTICK
    )
    share: Array = np.bincount(value.argmax(axis=1), minlength=len(world.processors)) / _PILOT
    return share
