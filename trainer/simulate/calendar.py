"""When payments happen: the day and night cycle, the weekdays, and the attacks that burst into it.

Time inside the simulator is microseconds since the start of the world. This module must not know approval.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from trainer.simulate.cards import Cards
from trainer.simulate.facts import BIN_US, BINS_A_DAY, DAY_US, UTC_OFFSET_HOURS, Array, slots
from trainer.simulate.merchants import Merchants

MERCHANT_SLOTS: Final = 16_384
_VOLUME: Final = np.array(
    (
        *(0.34, 0.22, 0.15, 0.12, 0.11, 0.15, 0.28, 0.5, 0.75, 0.95, 1.08, 1.15),
        *(1.2, 1.18, 1.15, 1.13, 1.14, 1.18, 1.25, 1.32, 1.35, 1.22, 0.9, 0.57),
    )
)
_WEEKDAY: Final = np.array([1.0, 0.97, 0.98, 1.0, 1.08, 1.05, 0.92])
BINS_AN_HOUR: Final = 6


@dataclass(frozen=True, slots=True)
class Calendar:
    """Everything that depends on time alone, in bins of ten minutes.

    Attributes
    ----------
    start_us
        Start of the world, microseconds since 1970 UTC.
    edges_us, mass
        Bin edges since the start and the cumulative expected volume at them, shape (bins + 1,).
    day_of_month
        Day of the month minus one by day, shape (days,).
    merchant_at
        Merchant by (UTC hour, slot), shape (24, MERCHANT_SLOTS).
    attack_at, attack_share
        Attack that runs in a bin (-1: none) and the share of the traffic it takes.
    attack_merchant, attack_card, attack_cards
        By attack: the merchant, the first card and the number of cards used.
    short
        Log-odds added to declines for want of funds, by bin: how short everybody is of money, float32.
    common_paydays_us
        Moments at which every account is filled, beside each card's own payday.
    """

    start_us: int
    edges_us: Array
    mass: Array
    day_of_month: Array
    merchant_at: Array
    attack_at: Array
    attack_share: Array
    attack_merchant: Array
    attack_card: Array
    attack_cards: Array
    short: Array
    common_paydays_us: tuple[int, ...] = ()

    @classmethod
    def build(cls, seed: int, start: datetime, days: int, merchants: Merchants, cards: Cards) -> "Calendar":
        """Build `days` days from `start` (midnight UTC); a longer calendar begins like a shorter one."""
        hours = np.arange(24)
        offsets = UTC_OFFSET_HOURS[merchants.country]
        by_hour = merchants.weight[:, None] * _VOLUME[(hours[None, :] + offsets[:, None]) % 24]
        weekday = _WEEKDAY[(start.weekday() + np.arange(days)) % 7]
        curve = by_hour.sum(axis=0)
        smooth = np.interp(np.arange(BINS_A_DAY) / BINS_AN_HOUR - 0.5, np.arange(-1, 25), curve[np.arange(-1, 25) % 24])
        volume = (weekday[:, None] * smooth[None, :]).ravel()
        merchant_at = np.stack([slots(by_hour[:, hour], MERCHANT_SLOTS) for hour in range(24)]).astype(np.int32)
        return cls(
            int(start.timestamp()) * 1_000_000,
            np.arange(days * BINS_A_DAY + 1, dtype=np.float64) * BIN_US,
            np.concatenate([[0.0], np.cumsum(volume)]),
            np.array([(start + timedelta(days=day)).day - 1 for day in range(days)], dtype=np.int8),
            merchant_at,
            *_attacks(seed, days, merchants, cards),
            np.zeros(days * BINS_A_DAY, dtype=np.float32),
        )

    def times(self, rng: np.random.Generator, count: int, start_us: int, end_us: int) -> Array:
        """Return `count` sorted times in [start_us, end_us), int64, as dense as the volume is at each hour."""
        low, high = np.interp([start_us, end_us], self.edges_us, self.mass)
        waits = np.cumsum(rng.standard_exponential(count + 1))
        drawn = np.interp(low + waits[:-1] * ((high - low) / waits[-1]), self.mass, self.edges_us)
        clipped: Array = np.clip(drawn.astype(np.int64), start_us, max(end_us - 1, start_us))
        return clipped

    def split(self, end_us: int, parts: int) -> list[int]:
        """Return the `parts` + 1 times that cut [0, end_us) into slices of equal expected volume."""
        total = np.interp(end_us, self.edges_us, self.mass)
        return [int(t) for t in np.interp(np.linspace(0.0, total, parts + 1), self.mass, self.edges_us)]

    def bins(self, at_us: Array) -> Array:
        """Return the bin of each time, the last one for times beyond the calendar, int64."""
        clipped: Array = np.minimum(at_us // BIN_US, len(self.attack_at) - 1)
        return clipped

    def day(self, at_us: Array) -> Array:
        """Return the day of each time, the last one for times beyond the calendar, int64."""
        clipped: Array = np.minimum(at_us // DAY_US, len(self.day_of_month) - 1)
        return clipped


def _attacks(seed: int, days: int, merchants: Merchants, cards: Cards) -> tuple[Array, Array, Array, Array, Array]:
    """One burst of card testing on about every second day: one merchant, the cards of two or three BINs."""
    at = np.full(days * BINS_A_DAY, -1, dtype=np.int32)
    share = np.zeros(days * BINS_A_DAY, dtype=np.float32)
    merchant: list[int] = []
    first: list[int] = []
    count: list[int] = []
    popular = np.argsort(-merchants.weight)[: max(1, len(merchants.weight) // 3)]
    for day in range(days):
        rng = np.random.default_rng((seed, 31, day))
        if rng.random() > 0.55:
            continue
        begin = day * BINS_A_DAY + int(rng.integers(BINS_A_DAY))
        end = begin + int(rng.integers(3, 10))
        at[begin:end] = len(merchant)
        share[begin:end] = rng.uniform(0.15, 0.45)
        merchant.append(int(rng.choice(popular)))
        low = int(rng.integers(len(cards.bin_first) - 1))
        high = min(low + int(rng.integers(2, 4)), len(cards.bin_first) - 1)
        first.append(int(cards.bin_first[low]))
        count.append(max(1, int(cards.bin_first[high] - cards.bin_first[low])))
    pick = [np.array(values or [0], dtype=np.int64) for values in (merchant, first, count)]
    return at, share, pick[0], pick[1], pick[2]
