"""What an attempt is truly worth: its expected margin from the true probabilities of everything but its own draw.

With p the true probability of an approval, c that of a chargeback after it, and `stay` that the payer comes back from a
challenge that was not planned::

    worth = stay * (p * (amount * (margin - share) - fixed - c * (amount + chargeback fee)) - (1 - p) * failed)

in minor units of the payment's currency. This module must not know a policy.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.policies.stage import Stage
from trainer.simulate.facts import CURRENCY_OF, CURRENCY_SCALE, Array
from trainer.simulate.fates import charged_back
from trainer.simulate.gateway import Attempt
from trainer.simulate.payments import Payments
from trainer.simulate.policies import CHARGEBACK_FEE_MINOR
from trainer.simulate.refusals import BLOCKED, FRAUD_EFFECT
from trainer.simulate.world import MARGIN_SHARE, World


class Gains(NamedTuple):
    """What an approval and a failure of each attempt bring through each processor, minor units, shape (n, processors)."""

    approved: Array
    failed: Array


def gains(world: World, payments: Payments, at_us: Array) -> Gains:
    """Return what approvals (before chargebacks) and failures bring at a time, by the fees then in force."""
    tariffs = world.processors.tariffs
    tariff = tariffs.at(at_us)
    share = tariffs.share[tariff, payments.network, payments.abroad.astype(np.int64)]
    approved = (MARGIN_SHARE - share) * payments.amount[:, None] - tariffs.fixed[tariff]
    return Gains(approved, -tariffs.failed[tariff])


def at_risk(payments: Payments, is_fraud: Array, with_3ds: Array) -> Array:
    """Return what chargebacks are expected to cost after an approval, minor units, shape (n,)."""
    risk: Array = charged_back(is_fraud, with_3ds) * (payments.amount + CHARGEBACK_FEE_MINOR)
    return risk


def supposing(payments: Payments, is_fraud: bool) -> Payments:
    """Return the payments as they would be were all of them fraud, or none: the issuer refuses a fraud more often."""
    odds = payments.other.astype(np.float64)
    odds = odds / (1.0 - odds) * np.exp(FRAUD_EFFECT * (is_fraud - payments.is_fraud.astype(np.float64)))
    other = np.where(payments.other == np.float32(BLOCKED), payments.other, odds / (1.0 + odds))
    return replace(payments, is_fraud=np.full(len(payments), is_fraud), other=other.astype(np.float32))


def euro_cents(payments: Payments) -> Array:
    """Return how many euro cents a minor unit of each payment's currency is, shape (n,)."""
    cents: Array = 1.0 / CURRENCY_SCALE[CURRENCY_OF[payments.country]].astype(np.float64)
    return cents


def worths(stage: Stage, attempts: list[Attempt], challenged: Array) -> Array:
    """Return the expected margin of attempts as they were sent, euro cents, shape (n,).

    Parameters
    ----------
    attempts
        Of the stage's payments, in any order.
    challenged
        Whether each was sent after an unplanned challenge, bool (n,).
    """
    rows = np.array([attempt.row for attempt in attempts], dtype=np.int64)
    tried = stage.payments.take(rows)
    processor = np.array([attempt.processor for attempt in attempts], dtype=np.int64)
    at_us = np.array([attempt.at_us for attempt in attempts], dtype=np.int64)
    chance = np.array([attempt.chance for attempt in attempts])
    with_3ds = np.array([attempt.with_3ds for attempt in attempts], dtype=bool)
    approved, failed = gains(stage.world, tried, at_us)
    place = np.arange(len(rows)), processor
    worth = chance * (approved[place] - at_risk(tried, tried.is_fraud, with_3ds)) + (1.0 - chance) * failed[place]
    worth *= np.where(challenged, stage.stays[rows], 1.0)
    cents: Array = worth * euro_cents(tried)
    return cents
