"""Who holds the cards and on which device they pay, and whose devices fraud comes from.

Every draw is hashed from the payment or has its own stream, so nothing else in the world depends on who pays. This module must
not know merchants, processors or approval.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from trainer.simulate.calendar import Calendar
from trainer.simulate.cards import Cards, tokens
from trainer.simulate.draws import uniform
from trainer.simulate.facts import Array

DEVICES: Final = 3
"""A customer uses at most so many devices."""
_CARDS_SHARE: Final = np.array([0.72, 0.21, 0.07])
_DEVICES_SHARE: Final = np.array([0.55, 0.33, 0.12])
_DEVICE_USE: Final = (0.75, 0.93)
_SHARED: Final = 0.12
_GANGS: Final = 24
_GANG_DAYS: Final = 10
_TAKEN_OVER: Final = 0.5


@dataclass(frozen=True, slots=True)
class Holders:
    """Customers with their cards and devices; numbers from `customers` and `devices` on are the fraudsters' own.

    Attributes
    ----------
    customer
        The customer of each card, shape (cards,): one to three cards of one country each.
    device
        The customer's devices, most used first, shape (customers, DEVICES); one who has fewer repeats the first. Some share
        their first device with a neighbour.
    customer_id, device_id
        Identifiers as bytes, shapes (all customers, 14) and (all devices, 14).
    """

    customer: Array
    device: Array
    customer_id: Array
    device_id: Array

    @classmethod
    def build(cls, seed: int, cards: Cards, calendar: Calendar) -> "Holders":
        """Give each card a customer and each customer devices; a longer calendar only adds fraudsters."""
        rng = np.random.default_rng((seed, 19))
        total = len(cards.country)
        shuffled = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in pairwise(cards.country_first)])
        begins = np.zeros(total, dtype=bool)
        first = np.cumsum(rng.choice(len(_CARDS_SHARE), total, p=_CARDS_SHARE) + 1)
        begins[first[first < total]] = True
        begins[cards.country_first[:-1]] = True
        customer = np.empty(total, dtype=np.int32)
        customer[shuffled] = np.cumsum(begins) - 1
        count = int(begins.sum())
        own = np.arange(count * DEVICES, dtype=np.int32).reshape(count, DEVICES)
        neighbours = np.arange(1, count, 2)
        neighbours = neighbours[rng.random(len(neighbours)) < 2 * _SHARED]
        own[neighbours, 0] = own[neighbours - 1, 0]
        has = rng.choice(DEVICES, count, p=_DEVICES_SHARE)
        device = np.where(np.arange(DEVICES) <= has[:, None], own, own[:, :1])
        epochs = len(calendar.day_of_month) // _GANG_DAYS + 1
        strangers = 2 * max(len(calendar.attack_merchant), epochs * _GANGS)
        return cls(
            customer,
            device,
            tokens(seed, count + strangers, "cus_"),
            tokens(seed, count * DEVICES + strangers, "dev_"),
        )

    def payers(
        self, calendar: Calendar, key: Array, at_us: Array, card: Array, is_fraud: Array, attack: Array, there: Array
    ) -> tuple[Array, Array]:
        """Return the customer and the device of each payment, int32.

        Fraud comes from the fraudster's own device, the same over many cards: one for each attack, and one for each gang
        until it is changed. Half of the gangs' payments are made in the account of the card's holder, everything else in the
        fraudster's own.

        Parameters
        ----------
        calendar
            Whose attacks they are.
        key, at_us, card, is_fraud
            As in ``Payments``, shape (n,).
        attack
            The attack that a payment belongs to, -1 for none.
        there
            Whether a device was seen; the others have -1.
        """
        customer = self.customer[card]
        draw = uniform(key, 1, 15)
        place = (draw >= _DEVICE_USE[0]).astype(np.int8) + (draw >= _DEVICE_USE[1])
        device = self.device[customer, place]
        rows = np.flatnonzero(is_fraud)
        gang = calendar.day(at_us[rows]) // _GANG_DAYS * _GANGS + (draw[rows] ** 2 * _GANGS).astype(np.int64)
        stranger = np.where(attack[rows] >= 0, 2 * attack[rows].astype(np.int64), 2 * gang + 1)
        device[rows] = self.device.size + stranger
        taken_over = (attack[rows] < 0) & (uniform(key[rows], 1, 16) < _TAKEN_OVER)
        customer[rows] = np.where(taken_over, customer[rows], len(self.device) + stranger)
        device[~there] = -1
        return customer, device
