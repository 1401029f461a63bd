"""Candidates: what each processor's attempt is expected to cost and to earn, and which is best.

This module must not know risk thresholds or chance.
"""

from math import exp
from typing import Final

import msgspec

from contracts.inputs import Standing
from contracts.terms import Volume
from service.policy.fees import Fee
from service.policy.modes import Way

SLOW: Final = 3.0
"""From how many times its usual latency on a processor counts as slow."""
_MOST_SHIFT: Final = 50.0

Weight = tuple[float, ...]
"""What candidates, and ways of sending, are ordered by; the lower is the better."""


class Weighed(msgspec.Struct, gc=False):
    """One way of sending through one processor, as it was weighed; money in minor units.

    Attributes
    ----------
    probability
        Of approval, of an attempt that is sent.
    unbroken
        The same if the processor itself worked as always.
    cost, value
        Expected, of a payment that takes this way.
    gain
        What an approval is worth more than a decline, times the share of payments that are sent at all.
    worth
        What an approval leaves.
    order
        The lower, the better: among ways and among candidates alike.
    """

    way: Way
    probability: float
    unbroken: float
    cost: float
    value: float
    gain: float
    worth: float
    order: Weight


class Candidate(msgspec.Struct, gc=False):
    """One processor with its best way of sending.

    Attributes
    ----------
    index
        Its place in the static order.
    best, ways
        The best way, and every way that was weighed.
    doubt
        Standard error of the log-odds of approval there.
    trial
        Whether it was down and is being tried.
    codes
        What speaks against it; it is eligible without any.
    """

    index: int
    processor: str
    best: Weighed
    ways: list[Weighed]
    doubt: float
    trial: bool
    codes: tuple[str, ...]


class Scale(msgspec.Struct, gc=False):
    """What turns probabilities into money at one processor, whatever the way of sending.

    Attributes
    ----------
    amount
        Minor units.
    approved, failed
        What an approved attempt costs less what it saves of a promise, and what a failed one does.
    three_ds
        What an authentication costs.
    odds
        By how much recent outcomes multiply the odds of approval.
    working
        Share of attempts that do not fail by the processor's own fault beyond what it always has.
    slow
        Whether it answers much slower than usual.
    """

    amount: int
    approved: float
    failed: float
    three_ds: float
    odds: float
    working: float
    slow: bool


def scale(amount: int, fee: Fee, three_ds: int, standing: Standing | None, volume: Volume | None) -> Scale:
    """Return what an attempt costs at a processor, and how far its estimates are to be trusted.

    Below a promised volume an approval saves `shortfall_share` of what it still counts towards the promise.
    """
    fixed, share, failed = fee
    approved = fixed + amount * share
    if standing is None:
        standing = _NEUTRAL
    if volume is not None:
        missing = volume.commit_minor - standing.month_minor
        if missing > 0.0:
            approved -= volume.shortfall_share * min(amount, missing)
    shift = standing.shift
    return Scale(
        amount,
        approved,
        failed,
        three_ds,
        exp(max(-_MOST_SHIFT, min(shift, _MOST_SHIFT))) if shift else 1.0,
        1.0 - standing.excess,
        standing.slowdown > SLOW,
    )


def weigh(way: Way, index: int, estimate: float, at: Scale) -> Weighed:
    """Weigh one way of sending through one processor.

    With o the factor on the odds, e the excess of faults, s the share of payments that come back from a challenge, and
    q the fee of the authentication (s = 1 and q = 0 without one)::

        p     = o * estimate / (o * estimate + 1 - estimate) * (1 - e)
        cost  = s * (p * approved + (1 - p) * failed) + q
        value = s * p * earned - cost

    What is best: the higher value among ways by which an approval leaves something; behind them, the others. Did
    an approval leave nothing everywhere (no margin is configured, fees eat it, or the expected chargeback does), the order
    by value would turn over and praise whoever declines most. A payment that is sent is meant to be approved: then the
    higher chance of an approval is best, then the lower cost. Of equals one that is not slow is best, then the static
    order. Slowness decides between equals alone: a processor so slow that it loses payments fails them, which is counted,
    and no source says what a second is worth.
    """
    unbroken = estimate
    odds = at.odds
    if odds != 1.0:
        unbroken = odds * estimate / (odds * estimate + 1.0 - estimate)
    p = unbroken * at.working
    sent = way.passing
    cost = sent * (p * at.approved + (1.0 - p) * at.failed)
    if way.challenge:
        cost += at.three_ds
    value = sent * p * way.earned - cost
    worth = way.earned - at.approved
    order: Weight = (0, -value, at.slow, index) if worth > 0.0 else (1, -sent * p, cost, at.slow, index)
    return Weighed(way, p, unbroken, cost, value, sent * (worth + at.failed), worth, order)


_NEUTRAL: Final = Standing()
