"""How likely a payment is fraud, given all that can be seen of it: the exact posterior of the simulated world.

It knows every parameter of the world (rates, attacks under way, how scores are made) and whose device a device is once it has
been seen on another customer's card. It does not look at whether a payment is fraud. This module must not know a policy.
"""

from typing import Final

import numpy as np

from trainer.simulate.facts import BINS_A_DAY, COUNTRIES, CURRENCY_OF, CURRENCY_SCALE, UTC_OFFSET_HOURS, Array
from trainer.simulate.payments import IP_ELSEWHERE, Payments
from trainer.simulate.refusals import NIGHT
from trainer.simulate.world import World

_SCORES: Final = np.array([[0.75**2 + 0.7**2, -0.75 * 0.5], [-0.75 * 0.5, 0.5**2 + 0.8**2]])
"""Covariance of the two scores' log-odds: they share the payment's risk."""
_SHIFT: Final = np.array([1.9, -1.3])
_LEVEL: Final = np.array([-2.3, 1.4])
_CVV_WRONG: Final = (4 / 256, 40 / 256)
_TOKENS_USED: Final = 205 / 256
_SMALL: Final = (1.0, 5.0)
"""Euros that attacks try."""


def suspicion(world: World, payments: Payments, seen: frozenset[int]) -> Array:
    """Return the probability of fraud for each of a batch's payments, float64 (n,).

    Parameters
    ----------
    world, payments
        The world, and payments in order of time.
    seen
        Fraudsters' devices and customers that the history has shown, by their numbers in the world (`strangers`).
    """
    log_odds = _prior(world, payments) + _scores(payments) + _data(world, payments)
    chance: Array = 1.0 / (1.0 + np.exp(-log_odds))
    chance[payments.merchant_initiated | payments.token] = 0.0
    chance[_known(world, payments, seen)] = 1.0
    return chance


def strangers(world: World, payments: Payments) -> Array:
    """Return the number of the fraudster that each payment's device or customer belongs to; -1 for nobody's."""
    device = payments.device - world.holders.device.size
    customer = payments.customer - len(world.holders.device)
    return np.where(device >= 0, device, np.where(customer >= 0, customer, -1)).astype(np.int64)


def _known(world: World, payments: Payments, seen: frozenset[int]) -> Array:
    known = np.zeros(len(payments), dtype=bool)
    met = set(seen)
    for row, stranger in enumerate(strangers(world, payments).tolist()):
        if stranger >= 0:
            known[row] = stranger in met
            met.add(stranger)
    return known


def _prior(world: World, payments: Payments) -> Array:
    """Log-odds of fraud from who is paid when, by which card, how much; an attack on top of everyday fraud."""
    shops, calendar = world.merchants, world.calendar
    at_bin = calendar.bins(payments.at_us)
    local = (at_bin % BINS_A_DAY + UTC_OFFSET_HOURS[payments.country] * 6) % BINS_A_DAY
    everyday = shops.fraud[payments.merchant] * (1.0 + 3.0 * payments.abroad) * (0.7 + NIGHT[local])
    share = calendar.attack_share[at_bin].astype(np.float64)
    attack = calendar.attack_at[at_bin]
    first, cards = calendar.attack_card[attack], calendar.attack_cards[attack]
    euros = payments.amount / (100.0 * CURRENCY_SCALE[CURRENCY_OF[payments.country]])
    fits = (attack >= 0) & (payments.merchant == calendar.attack_merchant[attack]) & ~payments.with_3ds
    fits &= (payments.card >= first) & (payments.card < first + cards) & (euros >= _SMALL[0]) & (euros <= _SMALL[1])
    # How dense each kind of payment is there: attackers take any of their cards and amounts alike.
    spread = shops.amount_spread[payments.merchant]
    far = (np.log(np.maximum(euros, 0.01)) - shops.amount_log[payments.merchant]) / spread
    usual = np.exp(-0.5 * far**2) / (euros * spread * np.sqrt(2.0 * np.pi))
    at_home = np.diff(world.cards.country_first)[payments.country]
    usual *= shops.weight[payments.merchant] / at_home
    attacked = np.where(fits, share / (cards * (_SMALL[1] - _SMALL[0])), 0.0)
    rest = (1.0 - share) * usual
    odds = (attacked + rest * everyday) / np.maximum(rest * (1.0 - everyday), 1e-300)
    log_odds: Array = np.log(odds)
    return log_odds


def _scores(payments: Payments) -> Array:
    """Log-likelihood ratio of the two scores, as far as they are there."""
    both = np.stack([payments.fraud_score, payments.trust], axis=1).astype(np.float64)
    there = ~np.isnan(both)
    both = np.clip(np.where(there, both, 0.5), 1e-9, 1.0 - 1e-9)
    off = np.log(both / (1.0 - both)) - _LEVEL
    ratio = np.zeros(len(payments))
    for pattern in ((True, True), (True, False), (False, True)):
        rows = (there == pattern).all(axis=1)
        used = np.flatnonzero(pattern)
        weight = np.linalg.solve(_SCORES[np.ix_(used, used)], _SHIFT[used])
        ratio[rows] = (off[np.ix_(rows, used)] - _SHIFT[used] / 2.0) @ weight
    return ratio


def _data(world: World, payments: Payments) -> Array:
    """Log-likelihood ratio of address, verification value, and of being neither a token's nor the merchant's own."""
    home = world.cards.country[payments.card]
    away: Array = payments.ip_country != home
    by_chance = [share / len(COUNTRIES) for share in IP_ELSEWHERE]
    at_home = [1.0 - share + chance for share, chance in zip(IP_ELSEWHERE, by_chance, strict=True)]
    ratio = np.full(len(payments), np.log(at_home[1] / at_home[0]))
    ratio[away] = np.log(by_chance[1] / by_chance[0])
    wrong, right = payments.cvv == 1, payments.cvv == 0
    usual = 1.0 - 6 / 256
    ratio += np.where(wrong, np.log(_CVV_WRONG[1] / _CVV_WRONG[0]), 0.0)
    ratio += np.where(right, np.log((usual - _CVV_WRONG[1]) / (usual - _CVV_WRONG[0])), 0.0)
    ratio -= np.log(1.0 - _TOKENS_USED * world.cards.tokenised[payments.card])
    ratio -= np.log(1.0 - world.merchants.merchant_initiated[payments.merchant].astype(np.float64))
    return ratio
