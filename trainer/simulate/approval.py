"""The truth: how likely each attempt is to be approved through each processor.

An attempt is approved when the issuer says yes and the processor passes it on unharmed; the issuer does not care which
processor asks. This module must not know what was drawn: it holds probabilities only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.simulate.facts import (
    AUTHENTICATION,
    DAY_US,
    FADE,
    FIRST_PROCESSOR_CAUSE,
    FUNDS,
    PERSISTENCE,
    RECOVERY,
    WAIT_KNOTS,
    Array,
)
from trainer.simulate.payments import Payments

if TYPE_CHECKING:
    from trainer.simulate.world import World


@dataclass(frozen=True, slots=True)
class Declined:
    """What is true of attempts that failed and are tried again; arrays of shape (n,).

    Attributes
    ----------
    cause
        Why the attempt before failed, an index into ``facts.CAUSES``.
    processor
        The processor of the attempt before.
    passed
        The highest probability of passing among the processors that have refused it so far.
    attempt
        Number of the attempt to come, 2 or more.
    wait_s
        Seconds between the attempt before and the attempt to come.
    authenticated
        Whether the attempt to come is with 3DS.
    """

    cause: Array
    processor: Array
    passed: Array
    attempt: Array
    wait_s: Array
    authenticated: Array


def first_attempt(world: "World", payments: Payments) -> tuple[Array, Array]:
    """Return the issuer's yes (n,) and each processor's passing (n, processors); their product is the approval."""
    issuer = 1.0 - payments.funds.astype(np.float64)
    issuer *= 1.0 - payments.other
    issuer *= 1.0 - payments.limit
    passing = world.processors.passing(payments.cell, world.calendar.bins(payments.at_us), payments.at_us)
    return issuer, passing


def next_attempt(world: "World", payments: Payments, declined: Declined, at_us: Array) -> tuple[Array, Array]:
    """Return the same two for an attempt after a decline, at `at_us` (microseconds since the start of the world).

    The issuer's answer recovers with the cause and the wait, and fades with each attempt. A processor's refusal meets
    the next attempt again in part: the same processor refuses again, another passes it on as far as it is the better.
    """
    wait = np.log1p(np.minimum(np.maximum(declined.wait_s, 0.0), 604_800.0))
    knot = np.minimum(np.searchsorted(WAIT_KNOTS, wait, side="right"), len(WAIT_KNOTS) - 1)
    along = np.clip((wait - WAIT_KNOTS[knot - 1]) / (WAIT_KNOTS[knot] - WAIT_KNOTS[knot - 1]), 0.0, 1.0)
    issuer = _between(RECOVERY, declined.cause, knot, along)
    persistence = _between(PERSISTENCE, declined.cause, knot, along)
    issuer = np.where(declined.cause == FUNDS, issuer * _paid_since(world, payments, declined, at_us), issuer)
    issuer = np.where((declined.cause == AUTHENTICATION) & declined.authenticated, 0.7, issuer)
    issuer *= FADE[np.minimum(declined.attempt, len(FADE) - 1)]
    passing = world.processors.passing(payments.cell, world.calendar.bins(at_us), at_us)
    mine = np.flatnonzero(declined.cause >= FIRST_PROCESSOR_CAUSE)
    if len(mine):
        before = declined.passed[mine, None]
        better = np.maximum(passing[mine] - before, 0.0) / np.maximum(1.0 - before, 1e-9)
        better[np.arange(len(mine)), declined.processor[mine]] = 0.0
        again = persistence[mine, None]
        passing[mine] = again * better + (1.0 - again) * passing[mine]
    return np.minimum(issuer, 1.0), passing


def carry(world: "World", payments: Payments, declined: Declined, processor: Array, at_us: Array) -> Array:
    """Return ``Declined.passed`` after one more failure through `processor` at `at_us`."""
    passing = world.processors.passing(payments.cell, world.calendar.bins(at_us), at_us)
    alone = passing[np.arange(len(payments)), processor]
    return np.where(declined.cause >= FIRST_PROCESSOR_CAUSE, np.maximum(alone, declined.passed), alone)


def _between(table: Array, cause: Array, knot: Array, along: Array) -> Array:
    low = table[cause, knot - 1]
    interpolated: Array = low + (table[cause, knot] - low) * along
    return interpolated


def _paid_since(world: "World", payments: Payments, declined: Declined, at_us: Array) -> Array:
    """An account that was filled between the two attempts says yes more often, one that was not less often."""
    calendar = world.calendar
    payday = world.cards.payday[payments.card]
    after = (calendar.day_of_month[calendar.day(at_us)] - payday) % 31
    wait_us = np.maximum(declined.wait_s, 0.0) * 1_000_000
    days = wait_us / DAY_US
    paid = after < days
    for common_us in calendar.common_paydays_us:
        paid |= (at_us >= common_us) & (at_us - wait_us < common_us)
    return np.where(paid & (days > 0.2), 2.4, 0.85)
