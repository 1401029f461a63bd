"""The shop: it sends each payment by its static policy, tries some declines again, and logs what came back.

This module must not know files; its fates come from hashed draws, so they do not depend on order or process.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from trainer.simulate.approval import Declined, carry, first_attempt, next_attempt
from trainer.simulate.calibration import choose
from trainer.simulate.draws import uniform
from trainer.simulate.facts import AUTHENTICATION, HARD, NONE, PROCESSORS, Array, slots
from trainer.simulate.fates import Fate, settle
from trainer.simulate.payments import Payments

if TYPE_CHECKING:
    from trainer.simulate.world import World

MOST_ATTEMPTS: Final = 5
SAME_PROCESSOR: Final = 0.72
_RETRIED: Final = 0.22
_RETRIED_HARD: Final = 0.1
_RETRIED_AGAIN: Final = 0.5
_WAIT_EDGES_S: Final = np.array([2, 300, 3_600, 21_600, 86_400, 259_200, 604_800], dtype=np.float64)
_WAIT_BAND: Final = slots(np.array([0.70, 0.08, 0.06, 0.08, 0.03, 0.05]), 256)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts, one wave or a merged batch; arrays of shape (n,) unless said otherwise.

    Attributes
    ----------
    row
        Row of the payment in its batch.
    attempt, at_us, processor, propensity
        What the shop did.
    with_3ds
        Whether this attempt was authenticated.
    approval
        True approval probability through each processor, float32 (n, processors).
    best
        The processor of the highest expected margin.
    fate
        What came back.
    """

    row: Array
    attempt: Array
    at_us: Array
    processor: Array
    propensity: Array
    with_3ds: Array
    approval: Array
    best: Array
    fate: Fate


def run(world: "World", payments: Payments, margin_share: float) -> Attempts:
    """Return every attempt of `payments`, sorted by time."""
    waves = [_first(world, payments, margin_share)]
    passed = waves[0][1]
    while waves[-1][0].attempt[0] < MOST_ATTEMPTS:
        rows = _retried(payments, waves[-1][0])
        if not len(rows):
            break
        waves.append(_next(world, payments, waves[-1][0], passed, rows, margin_share))
        passed = waves[-1][1]
    return _merge([wave for wave, _ in waves])


def _first(world: "World", payments: Payments, margin_share: float) -> tuple[Attempts, Array]:
    count = len(payments)
    rows = np.arange(count)
    issuer, passing = first_attempt(world, payments)
    processor, propensity = choose(world, payments)
    passed = passing[rows, processor]
    fate = settle(world, payments, 1, processor, issuer, passed, payments.at_us, np.full(count, NONE, dtype=np.int8))
    approval = np.multiply(passing, issuer[:, None], out=passing)
    best = _best(world, payments, approval, payments.at_us, margin_share)
    attempt = np.ones(count, dtype=np.int64)
    wave = Attempts(
        rows, attempt, payments.at_us, processor, propensity, payments.with_3ds, approval.astype(np.float32), best, fate
    )
    return wave, passed


def _retried(payments: Payments, last: Attempts) -> Array:
    """Rows of the last wave that the shop tries again: out of habit, more than out of knowledge."""
    failed = np.flatnonzero(last.fate.cause != NONE)
    number = int(last.attempt[0])
    draw = uniform(payments.key[last.row[failed]], number, 7)
    if number == 1:
        share = np.where(HARD[last.fate.cause[failed]], _RETRIED_HARD, _RETRIED)
    else:
        share = np.full(len(failed), _RETRIED_AGAIN)
    return failed[draw < share]


def _next(
    world: "World", batch: Payments, last: Attempts, passed: Array, rows: Array, margin_share: float
) -> tuple[Attempts, Array]:
    number = int(last.attempt[0]) + 1
    row = last.row[rows]
    payments = batch.take(row)
    before, cause = last.processor[rows], last.fate.cause[rows]
    band = _WAIT_BAND[(uniform(payments.key, number, 8) * len(_WAIT_BAND)).astype(np.int64)]
    low, high = np.log(_WAIT_EDGES_S[band]), np.log(_WAIT_EDGES_S[band + 1])
    wait_s = np.exp(low + (high - low) * uniform(payments.key, number, 9))
    at_us = last.at_us[rows] + last.fate.latency_ms[rows] * 1000 + (wait_s * 1e6).astype(np.int64)
    other = uniform(payments.key, number, 10)
    count = len(PROCESSORS)
    shifted = (before + 1 + ((other - SAME_PROCESSOR) / (1 - SAME_PROCESSOR) * (count - 1)).astype(np.int64)) % count
    processor = np.where(other < SAME_PROCESSOR, before, shifted)
    propensity = np.where(other < SAME_PROCESSOR, SAME_PROCESSOR, (1 - SAME_PROCESSOR) / (count - 1))
    stepped_up = (cause == AUTHENTICATION) & ~payments.merchant_initiated & (uniform(payments.key, number, 11) < 0.3)
    with_3ds = last.with_3ds[rows] | stepped_up
    payments = replace(payments, with_3ds=with_3ds)
    declined = Declined(cause, before, passed[rows], np.full(len(rows), number), wait_s, with_3ds)
    issuer, passing = next_attempt(world, payments, declined, at_us)
    now_passed = passing[np.arange(len(rows)), processor]
    fate = settle(world, payments, number, processor, issuer, now_passed, at_us, cause)
    approval = passing * issuer[:, None]
    best = _best(world, payments, approval, at_us, margin_share)
    attempt = np.full(len(rows), number, dtype=np.int64)
    wave = Attempts(row, attempt, at_us, processor, propensity, with_3ds, approval.astype(np.float32), best, fate)
    return wave, carry(world, payments, declined, processor, at_us)


def _best(world: "World", payments: Payments, approval: Array, at_us: Array, margin_share: float) -> Array:
    value = world.processors.tariffs.value(
        approval, payments.amount, payments.network, payments.abroad, at_us, margin_share
    )
    best: Array = value.argmax(axis=1)
    return best


def _merge(waves: list[Attempts]) -> Attempts:
    """Put the waves into one order of time; ties stay in order of attempt."""
    at_us = np.concatenate([wave.at_us for wave in waves])
    order = np.argsort(at_us, kind="stable")

    def joined(name: str) -> Array:
        merged: Array = np.concatenate([getattr(wave, name) for wave in waves])[order]
        return merged

    fate = Fate.merge([wave.fate for wave in waves], order)
    names = ("row", "attempt", "at_us", "processor", "propensity", "with_3ds", "approval", "best")
    return Attempts(**{name: joined(name) for name in names}, fate=fate)
