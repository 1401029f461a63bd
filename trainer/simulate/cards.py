"""The cards: who issued them, what they are, how full the account is and when it is filled.

This module must not know merchants, processors or time.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from trainer.simulate.facts import CARD_COUNTRY_WEIGHT, CLOSED, COUNTRIES, DAY_US, EXPIRED, LOST, Array, slots
from trainer.simulate.issuers import ISSUERS, ISSUERS_A_COUNTRY

BINS_AN_ISSUER: Final = 5
SKEW: Final = 1.7
"""Card i of m in a country is drawn as floor(m * u ** SKEW): a few cards pay often, many pay rarely."""

_NETWORK_WEIGHT: Final = np.array([0.53, 0.43, 0.04, 0.0])
_NETWORK_WEIGHT_US: Final = np.array([0.5, 0.28, 0.11, 0.11])
_NETWORK_EFFECT: Final = np.array([0.0, 0.05, 0.12, 0.1])
_FUNDING_EFFECT: Final = np.array([0.0, 0.05, 0.5])
_FUNDING_FUNDS: Final = np.array([-0.8, 0.15, 0.8])
_PREFIX: Final = (("4",), ("51", "52", "53", "54", "55"), ("34", "37"), ("6011", "65"))
_SAFE: Final = np.frombuffer(b"abcdefghjkmnpqrs", dtype=np.uint8)
_ANY: Final = np.frombuffer(b"abcdefghijkmnpqrstuvwxyz23456789", dtype=np.uint8)
_DAYS_TO_BLOCK: Final = 3_600.0
_BLOCKED_BEFORE_DAYS: Final = 15.0
_TOKEN_BITS: Final = 45
_PREFIXES: Final = ("tok_", "cus_", "dev_")


@dataclass(frozen=True, slots=True)
class Reissue:
    """Some cards go over to an issuer that nobody has seen before.

    Attributes
    ----------
    at_us
        From when on, microseconds since the start of the world.
    card
        Which cards, shape (cards,).
    bin
        Their new BIN, an index into ``Cards.bins``.
    effect
        Log-odds that the new issuer adds to its other declines.
    """

    at_us: int
    card: Array
    bin: int
    effect: float

    def holds(self, card: Array, at_us: Array) -> Array:
        """Return for each card whether it has gone over by then."""
        gone: Array = self.card[card] & (at_us >= self.at_us)
        return gone


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards sorted by country and BIN; arrays of shape (cards,) unless said otherwise.

    Attributes
    ----------
    country, network, funding, bin, issuer
        Indices into the tables of `facts`, into `bins` and of the issuer.
    effect
        Log-odds added to the issuer's other declines: issuer, network, funding and the card itself.
    funds
        Log-odds added to declines for want of funds.
    payday
        Day of the month, minus one, on which the account is filled.
    tokenised
        Whether a network token exists for the card.
    blocked_us, blocked_as
        From when on the card is lost, closed or expired (microseconds since the start), and which cause that is.
    token
        The card's token as bytes, shape (cards, 14).
    order
        Cards of each country in order of popularity: a shuffled index within the country's range.
    country_first
        First card of each country, shape (countries + 1,).
    bins, bin_first
        The BINs, and the first card of each, shape (bins + 1,).
    reissue
        None when every card stays what it is.
    """

    country: Array
    network: Array
    funding: Array
    bin: Array
    issuer: Array
    effect: Array
    funds: Array
    payday: Array
    tokenised: Array
    blocked_us: Array
    blocked_as: Array
    token: Array
    order: Array
    country_first: Array
    bins: tuple[str, ...]
    bin_first: Array
    reissue: Reissue | None = None

    def bin_at(self, card: Array, at_us: Array) -> Array:
        """Return the BIN of each card at a time, an index into `bins`."""
        bins: Array = self.bin[card]
        if self.reissue is not None:
            bins[self.reissue.holds(card, at_us)] = self.reissue.bin
        return bins

    def effect_at(self, card: Array, at_us: Array) -> Array:
        """Return the log-odds that each card adds to the issuer's other declines at a time, float32."""
        effect: Array = self.effect[card]
        if self.reissue is not None:
            effect += np.float32(self.reissue.effect) * self.reissue.holds(card, at_us)
        return effect

    @classmethod
    def build(cls, seed: int, count: int) -> "Cards":
        """Build `count` cards (a few more where a country would have fewer cards than BINs)."""
        rng = np.random.default_rng((seed, 11))
        countries = len(COUNTRIES)
        network, funding, numbers = _bins(rng, ISSUERS * BINS_AN_ISSUER)
        issuer_of_bin = np.arange(len(numbers)) // BINS_AN_ISSUER
        country_of_bin = issuer_of_bin // ISSUERS_A_COUNTRY
        a_country = ISSUERS_A_COUNTRY * BINS_AN_ISSUER
        wanted = np.maximum((CARD_COUNTRY_WEIGHT / CARD_COUNTRY_WEIGHT.sum() * count).astype(np.int64), a_country)
        popular = rng.gamma(2.0, size=len(numbers)).reshape(countries, a_country)
        popular /= popular.sum(axis=1, keepdims=True)
        a_bin = np.maximum((popular * wanted[:, None]).astype(np.int64).ravel(), 1)
        bin_index = np.repeat(np.arange(len(numbers)), a_bin)
        total = len(bin_index)
        issuer = issuer_of_bin[bin_index]
        country_first = np.searchsorted(country_of_bin[bin_index], np.arange(countries + 1))
        issuer_effect = rng.normal(0.0, 0.25, ISSUERS)
        effect = issuer_effect[issuer] + _NETWORK_EFFECT[network[bin_index]] + _FUNDING_EFFECT[funding[bin_index]]
        order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in pairwise(country_first)])
        return cls(
            country_of_bin[bin_index].astype(np.int8),
            network[bin_index].astype(np.int8),
            funding[bin_index].astype(np.int8),
            bin_index.astype(np.int16),
            issuer.astype(np.int16),
            (effect + rng.normal(0.0, 0.5, total)).astype(np.float32),
            (_FUNDING_FUNDS[funding[bin_index]] + rng.normal(0.0, 0.9, total)).astype(np.float32),
            np.array([0, 14, 24, 27])[rng.integers(0, 4, total)].astype(np.int8),
            (rng.random(total) < 0.45) & (network[bin_index] < 2),
            *_blocks(rng, total),
            tokens(seed, total, "tok_"),
            order.astype(np.int32),
            country_first.astype(np.int64),
            numbers,
            np.concatenate([[0], np.cumsum(a_bin)]),
        )


def _bins(rng: np.random.Generator, count: int) -> tuple[Array, Array, tuple[str, ...]]:
    america = COUNTRIES.index("US")
    country = np.arange(count) // (ISSUERS_A_COUNTRY * BINS_AN_ISSUER)
    draw = rng.random(count)
    usual = np.searchsorted(np.cumsum(_NETWORK_WEIGHT)[:3], draw)
    network = np.where(country == america, np.searchsorted(np.cumsum(_NETWORK_WEIGHT_US)[:3], draw), usual)
    funding = slots(np.array([0.38, 0.54, 0.08]), 100)[rng.integers(0, 100, count)]
    funding = np.where(network >= 2, 0, funding)
    numbers: dict[str, None] = {}
    for chosen in network:
        while True:
            prefix = _PREFIX[chosen][int(rng.integers(len(_PREFIX[chosen])))]
            number = prefix + str(int(rng.integers(10 ** (6 - len(prefix))))).zfill(6 - len(prefix))
            if number not in numbers:
                break
        numbers[number] = None
    return network, funding, tuple(numbers)


def _blocks(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Cards are blocked at a steady rate; some already are when the world begins."""
    days = rng.exponential(_DAYS_TO_BLOCK, count) - _BLOCKED_BEFORE_DAYS
    kind = np.array([LOST, LOST, CLOSED, EXPIRED], dtype=np.int8)[rng.integers(0, 4, count)]
    return (days * DAY_US).astype(np.int64), kind


def tokens(seed: int, count: int, prefix: str) -> Array:
    """Return distinct tokens as bytes, shape (count, len(prefix) + 10).

    At least every second character is a letter, so none looks like a card number. Each prefix has tokens of its own.
    """
    mask = np.uint64(2**_TOKEN_BITS - 1)
    salt = np.uint64(seed % 2**32 + (_PREFIXES.index(prefix) << 40))
    value = (np.arange(count, dtype=np.uint64) + salt) * np.uint64(0x5851F42D4C957F2D) & mask
    value = (value ^ (value >> np.uint64(22))) * np.uint64(0x14057B7EF767814F) & mask
    value ^= value >> np.uint64(23)
    token = np.empty((count, len(prefix) + 10), dtype=np.uint8)
    token[:, : len(prefix)] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    for column in range(10):
        letters = _ANY if column % 2 else _SAFE
        width = np.uint64(len(letters))
        token[:, len(prefix) + column] = letters[(value % width).astype(np.int64)]
        value //= width
    return token
