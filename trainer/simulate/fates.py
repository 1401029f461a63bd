"""Fates: what becomes of an attempt, drawn from hashes of (payment, attempt) and so the same whoever asks.

One draw speaks for the issuer and one for the processor's side; both are common to all processors, so a better processor
never turns a yes into a no. This module must not know policies.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.simulate import facts
from trainer.simulate.draws import uniform
from trainer.simulate.facts import (
    APPROVED,
    CAUSE_SLOTS,
    CODE_SLOTS,
    DAY_US,
    DECLINED,
    ERROR,
    FIRST_PROCESSOR_CAUSE,
    FUNDS,
    HONOR,
    LIMIT,
    NONE,
    REFUSED,
    TECHNICAL,
    TIMED_OUT,
    TIMEOUT,
    UNAVAILABLE,
    Array,
)
from trainer.simulate.payments import Payments

if TYPE_CHECKING:
    from trainer.simulate.world import World

FRAUD_CHARGED_BACK: Final = 0.75
FRAUD_WITH_3DS: Final = 0.15
FRIENDLY: Final = 0.0015
_LATE: Final = 0.0008
_TIMEOUT_MS: Final = 30_000
_STEPS: Final = 4096
_SAID_SO: Final = 0.8
"""How often an issuer that is not available is named so by the code; else it looks like any other refusal."""


def _latencies() -> Array:
    """Quantiles of a latency over its median by step: log-normal by way of a logistic."""
    p = (np.arange(_STEPS) + 0.5) / _STEPS
    spread: Array = np.exp(0.2 * np.log(p / (1 - p)))
    return spread


def _delays() -> Array:
    """Chargeback delay quantiles in days: 12 + 173 x Beta(2, 2.85), median 81."""
    x = np.linspace(0.0, 1.0, 4001)
    mass = np.cumsum(x * (1 - x) ** 1.85)
    return 12.0 + 173.0 * np.interp((np.arange(_STEPS) + 0.5) / _STEPS, mass / mass[-1], x)


_LATENCY: Final = _latencies()
_DELAY_DAYS: Final = _delays()


@dataclass(frozen=True, slots=True)
class Fate:
    """What came back; arrays of shape (n,).

    Attributes
    ----------
    status, code, advice
        Indices into the tables of `facts`; -1: none.
    cause
        Truth: why it failed, an index into ``facts.CAUSES``.
    latency_ms
        From sending to the answer.
    settled_us, chargeback_us
        Microseconds since the start of the world; a chargeback of -1 never comes.
    """

    status: Array
    code: Array
    advice: Array
    cause: Array
    latency_ms: Array
    settled_us: Array
    chargeback_us: Array

    @classmethod
    def merge(cls, parts: list["Fate"], order: Array) -> "Fate":
        """Join fates and put them into an order."""
        return cls(*[np.concatenate([getattr(p, field.name) for p in parts])[order] for field in fields(cls)])


def settle(
    world: "World",
    payments: Payments,
    attempt: int,
    processor: Array,
    issuer: Array,
    passed: Array,
    at_us: Array,
    before: Array,
) -> Fate:
    """Return what becomes of one attempt of each payment.

    Parameters
    ----------
    world, payments
        The world and the payments tried.
    attempt
        Number of the attempt, the same for all.
    processor, at_us
        Where it is sent and when, shape (n,).
    issuer, passed
        Probabilities that the issuer says yes and that this processor passes it on, shape (n,).
    before
        Cause of the decline before (``facts.NONE`` for a first attempt), shape (n,).
    """
    said_yes = uniform(payments.key, attempt, 1) < issuer
    approved = said_yes & (uniform(payments.key, attempt, 2) < passed)
    failed = np.flatnonzero(~approved)
    cause = np.zeros(len(approved), dtype=np.int8)
    cause[failed] = _causes(world, payments, attempt, processor, passed, at_us, before, said_yes, failed)
    status = np.full(len(approved), APPROVED, dtype=np.int8)
    code = np.full(len(approved), facts.RESPONSE_CODES.index("00"), dtype=np.int8)
    advice = np.full(len(approved), -1, dtype=np.int8)
    step = (uniform(payments.key[failed], attempt, 4) * CODE_SLOTS).astype(np.int64)
    network = payments.network[failed]
    code[failed] = facts.CODE_OF[cause[failed], network, step]
    advice[failed] = facts.ADVICE_OF[cause[failed], network, step]
    timed_out = cause == TIMED_OUT
    status[failed] = DECLINED
    status[failed[(cause[failed] == TECHNICAL) & (code[failed] < 0)]] = ERROR
    status[timed_out] = TIMEOUT
    draw = uniform(payments.key, attempt, 5)
    latency_ms = world.processors.latency(processor, at_us) * _LATENCY[(draw * _STEPS).astype(np.int64)]
    latency_ms = np.minimum(latency_ms, _TIMEOUT_MS - 1).astype(np.int64)
    latency_ms[timed_out] = _TIMEOUT_MS
    settled_us = at_us + latency_ms * 1000
    late = np.flatnonzero(timed_out | (draw < _LATE))
    latency_ms[late] = _TIMEOUT_MS
    settled_us[late] = (
        at_us[late] + (300 + uniform(payments.key[late], attempt, 6) * 21_300).astype(np.int64) * 1_000_000
    )
    chargeback_us = _chargebacks(payments, attempt, at_us, approved)
    return Fate(status, code, advice, cause, latency_ms, settled_us, chargeback_us)


def _causes(
    world: "World",
    payments: Payments,
    attempt: int,
    processor: Array,
    passed: Array,
    at_us: Array,
    before: Array,
    said_yes: Array,
    failed: Array,
) -> Array:
    key = payments.key[failed]
    draw = uniform(key, attempt, 3)
    funds, limit, other = payments.funds[failed], payments.limit[failed], payments.other[failed]
    point = draw * (funds + limit + other)
    cause = np.where(point < funds, FUNDS, LIMIT)
    rest = (point - funds - limit) / other
    sca = facts.SCA_COUNTRY[payments.country] & facts.SCA_COUNTRY[world.cards.country[payments.card]]
    sca &= ~(payments.with_3ds | payments.merchant_initiated)
    context = payments.merchant_initiated + 2 * sca + 4 * payments.is_fraud + 8 * payments.abroad
    slot = np.clip((rest * CAUSE_SLOTS).astype(np.int64), 0, CAUSE_SLOTS - 1)
    cause = np.where(rest >= 0, facts.OTHER_CAUSES[context[failed], slot], cause)
    card = payments.card[failed]
    added = world.incident(card, payments.at_us[failed])
    gone = (point >= funds + limit) & (uniform(key, attempt, 17) < _SAID_SO * (1.0 - np.exp(-added)))
    cause = np.where(gone, UNAVAILABLE, cause)
    blocked = (point >= funds + limit) & (payments.at_us[failed] >= world.cards.blocked_us[card])
    cause = np.where(blocked, world.cards.blocked_as[card], cause)
    earlier = before[failed]
    keeps = (earlier != NONE) & (earlier < FIRST_PROCESSOR_CAUSE)
    cause = np.where(keeps & (draw < 0.9), earlier, cause)
    cause = np.where((earlier != NONE) & ~(keeps & (draw < 0.9)), HONOR, cause)
    down = world.processors.broken(processor[failed], world.calendar.bins(at_us[failed]), at_us[failed], passed[failed])
    technical = 0.2 + 0.42 * down
    timed_out = technical + 0.08 + 0.28 * down
    side = np.where(draw < technical, TECHNICAL, np.where(draw < timed_out, TIMED_OUT, REFUSED))
    return np.where(said_yes[failed], side, cause)


def charged_back(is_fraud: Array, with_3ds: Array) -> Array:
    """Return the true probability that an approved payment is charged back; 3DS shifts most fraud to the issuer."""
    fraud = np.where(with_3ds, FRAUD_CHARGED_BACK * FRAUD_WITH_3DS, FRAUD_CHARGED_BACK)
    return np.where(is_fraud, fraud, FRIENDLY)


def _chargebacks(payments: Payments, attempt: int, at_us: Array, approved: Array) -> Array:
    draw = uniform(payments.key, attempt, 12)
    comes = np.flatnonzero(approved & (draw < charged_back(payments.is_fraud, payments.with_3ds)))
    step = (uniform(payments.key[comes], attempt, 13) * _STEPS).astype(np.int64)
    chargeback_us = np.full(len(approved), -1, dtype=np.int64)
    chargeback_us[comes] = at_us[comes] + (_DELAY_DAYS[step] * DAY_US).astype(np.int64)
    return chargeback_us
