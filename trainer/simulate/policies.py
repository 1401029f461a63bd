"""What three policies earn on the same payments with the same fates: the shop's own, the one served, and an oracle.

The oracle knows true probabilities, causes and fraud, never a draw. This module must not know HTTP.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from trainer.simulate.approval import Declined, carry, first_attempt, next_attempt
from trainer.simulate.facts import APPROVED, CURRENCY_OF, CURRENCY_SCALE, NONE, Array
from trainer.simulate.fates import Fate, charged_back, settle
from trainer.simulate.payments import Payments

if TYPE_CHECKING:
    from trainer.simulate.world import World

CHARGEBACK_FEE_MINOR: Final = 1_500
MOST_RETRIES: Final = 3
NAIVE_WAIT_S: Final = 1.0
_ORACLE_WAITS_S: Final = (1.0, 3_600.0, 86_400.0, 259_200.0, 604_800.0)
_AUTHENTICATION_ODDS: Final = float(np.exp(-0.15))


class PolicyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy made of the payments.

    Attributes
    ----------
    approval
        Share of all payments approved in the end.
    first_approval
        Share of all payments approved at the first attempt.
    honest_approval, honest_first_approval
        The same two among the payments that are no fraud.
    margin_minor
        Mean margin of a payment in euro cents: realised approvals and true fees, expected chargebacks.
    attempts
        Mean attempts of a payment.
    fraud_approved
        Fraudulent payments approved.
    """

    approval: float
    first_approval: float
    honest_approval: float
    honest_first_approval: float
    margin_minor: float
    attempts: float
    fraud_approved: int


@dataclass(frozen=True, slots=True)
class Sent:
    """Attempts that a policy sent, in any order; arrays of shape (n,).

    Attributes
    ----------
    row, attempt, processor, at_us
        Which payment, which attempt, where, and when (microseconds since the start of the world).
    approved, with_3ds
        What came back, and whether it was authenticated.
    """

    row: Array
    attempt: Array
    processor: Array
    at_us: Array
    approved: Array
    with_3ds: Array


def score(world: "World", payments: Payments, sent: Sent, margin_share: float) -> PolicyResult:
    """Return what a policy made of `payments`, given every attempt it sent."""
    count = len(payments)
    row = sent.row
    tried = payments.take(row)
    fixed, share, failed = world.processors.tariffs.of(sent.at_us, sent.processor, tried.network, tried.abroad)
    gained = (margin_share - share) * tried.amount - fixed
    gained -= charged_back(tried.is_fraud, sent.with_3ds) * (tried.amount + CHARGEBACK_FEE_MINOR)
    minor = np.where(sent.approved, gained, -failed)
    minor = minor / CURRENCY_SCALE[CURRENCY_OF[tried.country]]
    approved = np.bincount(row[sent.approved], minlength=count) > 0
    at_first = np.bincount(row[sent.approved & (sent.attempt == 1)], minlength=count) > 0
    honest = ~payments.is_fraud
    return PolicyResult(
        approval=float(approved.mean()),
        first_approval=float(at_first.mean()),
        honest_approval=float(approved[honest].mean()) if honest.any() else 0.0,
        honest_first_approval=float(at_first[honest].mean()) if honest.any() else 0.0,
        margin_minor=float(minor.sum() / count),
        attempts=len(row) / count,
        fraud_approved=int(approved[~honest].sum()),
    )


def without(world: "World", payments: Payments) -> Sent:
    """The shop alone: its first preference, and after any failure one retry at once on its second."""
    issuer, passing = first_attempt(world, payments)
    rows = np.arange(len(payments))
    processor = world.merchants.order[payments.merchant, 0]
    passed = passing[rows, processor]
    nothing = np.full(len(rows), NONE, dtype=np.int8)
    fate = settle(world, payments, 1, processor, issuer, passed, payments.at_us, nothing)
    failed = np.flatnonzero(fate.status != APPROVED)
    again = payments.take(failed)
    second = world.merchants.order[again.merchant, 1]
    declined = Declined(
        fate.cause[failed],
        processor[failed],
        passed[failed],
        np.full(len(failed), 2),
        np.full(len(failed), NAIVE_WAIT_S),
        again.with_3ds,
    )
    at_us = again.at_us + fate.latency_ms[failed] * 1000 + int(NAIVE_WAIT_S * 1e6)
    issuer, passing = next_attempt(world, again, declined, at_us)
    passed = passing[np.arange(len(failed)), second]
    retried = settle(world, again, 2, second, issuer, passed, at_us, declined.cause)
    return _joined(
        [
            (rows, 1, processor, payments.at_us, fate, payments.with_3ds),
            (failed, 2, second, at_us, retried, again.with_3ds),
        ]
    )


def oracle(world: "World", payments: Payments, margin_share: float) -> Sent:
    """The best processor by true expected margin, and further attempts when and where they are truly worth it."""
    issuer, passing = first_attempt(world, payments)
    value = _value(world, payments, issuer[:, None] * passing, payments.at_us, margin_share)
    processor = value.argmax(axis=1)
    rows = np.flatnonzero(value.max(axis=1) > 0)
    tried = payments.take(rows)
    processor = processor[rows]
    passed = passing[rows, processor]
    nothing = np.full(len(rows), NONE, dtype=np.int8)
    fate = settle(world, tried, 1, processor, issuer[rows], passed, tried.at_us, nothing)
    at_us = tried.at_us
    sent = [(rows, 1, processor, at_us, fate, tried.with_3ds)]
    for attempt in range(2, MOST_RETRIES + 2):
        failed = np.flatnonzero(fate.status != APPROVED)
        if not len(failed):
            break
        rows, tried = rows[failed], tried.take(failed)
        ended = at_us[failed] + fate.latency_ms[failed] * 1000
        declined = Declined(
            fate.cause[failed],
            processor[failed],
            passed[failed],
            np.full(len(failed), attempt),
            np.zeros(len(failed)),
            tried.with_3ds,
        )
        wait_s, processor, worth = _best_wait(world, tried, declined, ended, margin_share)
        keep = np.flatnonzero(worth > 0)
        rows, tried, processor, ended = rows[keep], tried.take(keep), processor[keep], ended[keep]
        before, carried = declined.cause[keep], declined.passed[keep]
        at_us = ended + (wait_s[keep] * 1e6).astype(np.int64)
        chosen = Declined(
            before, declined.processor[keep], carried, declined.attempt[keep], wait_s[keep], tried.with_3ds
        )
        issuer, passing = next_attempt(world, tried, chosen, at_us)
        fate = settle(world, tried, attempt, processor, issuer, passing[np.arange(len(keep)), processor], at_us, before)
        passed = carry(world, tried, chosen, processor, at_us)
        sent.append((rows, attempt, processor, at_us, fate, tried.with_3ds))
    return _joined(sent)


def stepped_up(payments: Payments) -> Payments:
    """Return the payments with 3DS wherever a customer is present."""
    newly = ~(payments.with_3ds | payments.merchant_initiated)
    odds = payments.other / (1.0 - payments.other) * _AUTHENTICATION_ODDS
    other = np.where(newly, odds / (1.0 + odds), payments.other).astype(np.float32)
    return replace(payments, with_3ds=payments.with_3ds | newly, other=other)


def _value(world: "World", payments: Payments, approval: Array, at_us: Array, margin_share: float) -> Array:
    value = world.processors.tariffs.value(
        approval, payments.amount, payments.network, payments.abroad, at_us, margin_share
    )
    at_risk = charged_back(payments.is_fraud, payments.with_3ds) * (payments.amount + CHARGEBACK_FEE_MINOR)
    worth: Array = value - approval * at_risk[:, None]
    return worth


def _best_wait(
    world: "World", payments: Payments, declined: Declined, ended: Array, margin_share: float
) -> tuple[Array, Array, Array]:
    count = len(payments)
    wait_s, processor, worth = np.zeros(count), np.zeros(count, dtype=np.int64), np.full(count, -np.inf)
    for wait in _ORACLE_WAITS_S:
        waiting = replace(declined, wait_s=np.full(count, wait))
        at_us = ended + int(wait * 1e6)
        issuer, passing = next_attempt(world, payments, waiting, at_us)
        value = _value(world, payments, issuer[:, None] * passing, at_us, margin_share)
        better = value.max(axis=1) > worth
        wait_s[better] = wait
        processor[better] = value.argmax(axis=1)[better]
        worth = np.maximum(worth, value.max(axis=1))
    return wait_s, processor, worth


def _joined(waves: list[tuple[Array, int, Array, Array, Fate, Array]]) -> Sent:
    return Sent(
        np.concatenate([rows for rows, *_ in waves]),
        np.concatenate([np.full(len(rows), attempt) for rows, attempt, *_ in waves]),
        np.concatenate([processor for _, _, processor, *_ in waves]),
        np.concatenate([at_us for _, _, _, at_us, *_ in waves]),
        np.concatenate([fate.status == APPROVED for *_, fate, _ in waves]),
        np.concatenate([with_3ds for *_, with_3ds in waves]),
    )
