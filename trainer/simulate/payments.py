"""Payments: who pays what, where and when, and how likely the issuer is to refuse it.

This module must not know processors' probabilities or what becomes of a payment.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.simulate import facts
from trainer.simulate.calendar import MERCHANT_SLOTS
from trainer.simulate.cards import SKEW
from trainer.simulate.draws import keys
from trainer.simulate.facts import BINS_A_DAY, Array
from trainer.simulate.processors import BAND_EDGES, cell
from trainer.simulate.refusals import NIGHT, refusals, sigmoid

if TYPE_CHECKING:
    from trainer.simulate.world import World

ACQUIRER_FRAUD_BASIS_POINTS: Final = 1.0
"""Fraud rate of every simulated acquirer, low enough to exempt up to `_EXEMPT`."""
_EXEMPT: Final = np.array([44_000, 50_000, 0, 0, 0], dtype=np.int64)
"""Minor units by currency up to which a payment may go without authentication by transaction risk analysis at that rate
(EU RTS 2018/389, annex; its British counterpart). No amount is stated in the other currencies."""
_REGULAR: Final = 0.5
IP_ELSEWHERE: Final = (0.02, 0.45)
"""How often a payment comes from any country's address instead of its card's, without and with fraud."""
_AVS_BY_DRAW: Final = facts.slots(np.array([0.7, 0.08, 0.07, 0.07, 0.08]), 256).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Payments:
    """A batch of payments in order of time; every array has shape (n,).

    Attributes
    ----------
    number, key
        The payment's number and the key of its fates.
    at_us
        Microseconds since the start of the world.
    merchant, card, country, network
        Indices; `country` is the shop's.
    customer, device
        Numbers of who pays and on what, -1 where no device was seen.
    amount, band
        Minor units of the shop's currency; amount band.
    abroad, merchant_initiated, token, with_3ds, is_fraud, is_attack
        Flags. `is_fraud` is truth, never to be shown.
    channel, ip_country, cvv, avs
        Codes, -1 for absent.
    fraud_score, trust
        Scores in 0 to 1, NaN for absent.
    funds, limit, other
        True probability that the issuer refuses for want of funds, for a limit, for anything else.
    cell
        The processors' cell.
    """

    number: Array
    key: Array
    at_us: Array
    merchant: Array
    card: Array
    country: Array
    network: Array
    customer: Array
    device: Array
    amount: Array
    band: Array
    abroad: Array
    merchant_initiated: Array
    token: Array
    with_3ds: Array
    is_fraud: Array
    is_attack: Array
    channel: Array
    ip_country: Array
    cvv: Array
    avs: Array
    fraud_score: Array
    trust: Array
    funds: Array
    limit: Array
    other: Array
    cell: Array

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: Array) -> "Payments":
        """Return the payments of the given rows, in that order."""
        return Payments(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def generate(
    world: "World", stream: tuple[int, ...], count: int, start_us: int, end_us: int, first: int = 0
) -> Payments:
    """Draw `count` payments of [start_us, end_us).

    Parameters
    ----------
    world
        Who may pay whom.
    stream
        Names the draw together with the world's seed: the same stream gives the same payments.
    count
        How many.
    start_us, end_us
        Microseconds since the start of the world.
    first
        Number of the first payment.
    """
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((world.seed, 41, *stream))))
    shops, cards = world.merchants, world.cards
    at_us = world.calendar.times(rng, count, start_us, end_us)
    at_bin = world.calendar.bins(at_us)
    ten_minutes = at_bin % BINS_A_DAY
    merchant, is_attack, attack = _merchants(world, rng, at_bin, ten_minutes)
    country = shops.country[merchant]
    card = _cards(world, rng, merchant, country, is_attack, attack)
    abroad = cards.country[card] != country
    local = (ten_minutes + facts.UTC_OFFSET_HOURS[country] * 6) % BINS_A_DAY
    night = NIGHT[local]
    fraud_rate = shops.fraud[merchant] * (1.0 + 3.0 * abroad) * (0.7 + night)
    is_fraud = is_attack | (rng.random(count, dtype=np.float32) < fraud_rate)
    amount, band = _amounts(world, rng, merchant, country, is_attack)
    merchant_initiated = rng.random(count, dtype=np.float32) < shops.merchant_initiated[merchant]
    merchant_initiated &= ~is_fraud
    with_3ds = rng.random(count, dtype=np.float32) < shops.with_3ds[merchant]
    # Where the law wants authentication and nothing exempts, these shops have it.
    in_scope = facts.SCA_COUNTRY[country] & facts.SCA_COUNTRY[cards.country[card]]
    with_3ds |= in_scope & (amount > _EXEMPT[facts.CURRENCY_OF[country]])
    with_3ds &= ~(merchant_initiated | is_attack)
    draw = rng.integers(0, 256, (4, count), dtype=np.uint8)
    token = cards.tokenised[card] & (draw[0] < 205) & ~is_fraud
    channel = np.where(merchant_initiated, 2, draw[1] < 110).astype(np.int8)
    risk = rng.standard_normal(count, dtype=np.float32)
    fraud_score, trust = _scores(rng, risk, is_fraud, merchant_initiated, draw[2])
    network = cards.network[card]
    number = np.arange(first, first + count, dtype=np.int64)
    key = keys(world.seed, number)
    # A device is seen where it could be judged: a payment without a trust score has none.
    customer, device = world.holders.payers(
        world.calendar, key, at_us, card, is_fraud, np.where(is_attack, attack, -1), ~np.isnan(trust)
    )
    funds, limit, other = refusals(
        world, merchant, card, at_us, night, abroad, band, token, with_3ds, merchant_initiated, is_fraud, risk
    )
    return Payments(
        number,
        key,
        at_us,
        merchant,
        card,
        country,
        network,
        customer,
        device,
        amount,
        band,
        abroad,
        merchant_initiated,
        token,
        with_3ds,
        is_fraud,
        is_attack,
        channel,
        _ip_country(rng, cards.country[card], is_fraud, merchant_initiated),
        _cvv(draw[3], merchant_initiated, is_fraud),
        np.where((country == 0) | (country == 10), np.where(merchant_initiated, -1, _AVS_BY_DRAW[draw[2]]), -1).astype(
            np.int8
        ),
        fraud_score,
        trust,
        funds,
        limit,
        other,
        cell(network, country, abroad, band, token),
    )


def _merchants(
    world: "World", rng: np.random.Generator, at_bin: Array, ten_minutes: Array
) -> tuple[Array, Array, Array]:
    calendar = world.calendar
    slot = rng.integers(0, MERCHANT_SLOTS, len(at_bin), dtype=np.uint16)
    merchant = calendar.merchant_at.reshape(-1)[ten_minutes // 6 * MERCHANT_SLOTS + slot]
    attack = calendar.attack_at[at_bin]
    is_attack = rng.random(len(at_bin), dtype=np.float32) < calendar.attack_share[at_bin]
    rows = np.flatnonzero(is_attack)
    merchant[rows] = calendar.attack_merchant[attack[rows]]
    return merchant, is_attack, attack


def _cards(
    world: "World", rng: np.random.Generator, merchant: Array, country: Array, is_attack: Array, attack: Array
) -> Array:
    """Half of the payments at home come from the shop's regulars, the rest from anyone of its country."""
    cards, calendar = world.cards, world.calendar
    first = cards.country_first
    low = first[country]
    size = np.diff(first)[country]
    drawn = rng.random(len(country))
    skewed = np.power(drawn, SKEW)
    regular = rng.random(len(country), dtype=np.float32) < _REGULAR
    begin, width = world.merchants.circle_begin[merchant], world.merchants.circle_width[merchant]
    rank = np.where(regular, begin + skewed * width, skewed)
    card: Array = cards.order[low + ((rank - (rank >= 1.0)) * size).astype(np.int64)]
    rows = np.flatnonzero(rng.random(len(country), dtype=np.float32) < world.merchants.abroad[merchant])
    card[rows] = (drawn[rows] * len(cards.country)).astype(np.int32)
    rows = np.flatnonzero(is_attack)
    pool = attack[rows]
    card[rows] = calendar.attack_card[pool] + (drawn[rows] * calendar.attack_cards[pool]).astype(np.int64)
    return card


def _amounts(
    world: "World", rng: np.random.Generator, merchant: Array, country: Array, is_attack: Array
) -> tuple[Array, Array]:
    shops = world.merchants
    spread = rng.standard_normal(len(merchant), dtype=np.float32)
    euros = np.exp(shops.amount_log[merchant] + shops.amount_spread[merchant] * spread)
    rows = np.flatnonzero(is_attack)
    # Of the draw that is there already: an attack must not change what comes after it in the stream.
    euros[rows] = 1.0 + 4.0 * sigmoid(1.7 * spread[rows])
    np.clip(euros, 0.5, 20_000.0, out=euros)
    band = (euros >= BAND_EDGES[0]).astype(np.int8) + (euros >= BAND_EDGES[1])
    scale = facts.CURRENCY_SCALE[facts.CURRENCY_OF[country]]
    return (euros * (scale * np.float32(100.0))).astype(np.int64), band


def _scores(
    rng: np.random.Generator, risk: Array, is_fraud: Array, merchant_initiated: Array, draw: Array
) -> tuple[Array, Array]:
    """Informative and imperfect: the shop's scores share part of the payment's risk with what the issuer sees."""
    noise = rng.standard_normal((2, len(risk)), dtype=np.float32)
    score = sigmoid(-2.3 + 0.75 * risk + 0.7 * noise[0] + 1.9 * is_fraud.astype(np.float32))
    trust = sigmoid(1.4 - 0.5 * risk + 0.8 * noise[1] - 1.3 * is_fraud.astype(np.float32))
    score[draw < 5] = np.nan
    trust[merchant_initiated | (draw > 240)] = np.nan
    return score, trust


def _ip_country(rng: np.random.Generator, home: Array, is_fraud: Array, merchant_initiated: Array) -> Array:
    draw = rng.random(len(home), dtype=np.float32)
    share = np.where(is_fraud, np.float32(IP_ELSEWHERE[1]), np.float32(IP_ELSEWHERE[0]))
    elsewhere = np.flatnonzero(draw < share)
    seen: Array = home.copy()
    drawn = draw[elsewhere] / share[elsewhere] * len(facts.COUNTRIES)
    seen[elsewhere] = np.minimum(drawn, len(facts.COUNTRIES) - 1).astype(np.int8)
    seen[merchant_initiated] = -1
    return seen


def _cvv(draw: Array, merchant_initiated: Array, is_fraud: Array) -> Array:
    """M mostly, N seldom and more often in fraud, P now and then; none where no customer is there."""
    wrong = np.where(is_fraud, 40, 4)
    cvv = np.where(draw < wrong, 1, np.where(draw >= 250, 2, 0)).astype(np.int8)
    cvv[merchant_initiated] = -1
    return cvv
