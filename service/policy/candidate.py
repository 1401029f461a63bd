"""Candidates: what each processor's attempt is expected to cost and to earn, and which is best.

This module must not know risk thresholds or chance.
"""

from collections.abc import Sequence
from math import exp
from typing import Final

import msgspec

from contracts.inputs import Standing
from contracts.terms import Volume
from service.policy.fees import Fee
from service.policy.modes import Way

SLOW: Final = 3.0
"""From how many times its usual latency on a processor counts as slow."""
NEUTRAL: Final = Standing()
"""Of a processor about which nothing is known."""
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
    order
        The lower, the better: among ways and among candidates alike.
    """

    way: Way
    probability: float
    unbroken: float
    cost: float
    value: float
    gain: float
    order: Weight


class Candidate(msgspec.Struct, gc=False):
    """One processor with its best way of sending.

    Attributes
    ----------
    index
        Its place in the static order.
    best, ways
        The best way, and every way that was weighed, the best first.
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


def weigh(
    ways: Sequence[Way],
    index: int,
    approval: Sequence[Sequence[float]],
    amount: int,
    fee: Fee,
    three_ds: int,
    standing: Standing,
    volume: Volume | None,
) -> list[Weighed]:
    """Weigh the ways of sending through one processor; the best comes first, the others as they came.

    With d the shift of recent outcomes, e the excess of faults, s the share of payments that come back from a challenge,
    q the fee of the authentication (s = 1 and q = 0 without one), and what an approval saves of a promised volume::

        p        = sigmoid(logit(estimate) + d) * (1 - e)
        approved = fixed + share * amount - shortfall_share * min(amount, what is missing of the promise)
        cost     = s * (p * approved + (1 - p) * failed) + q
        value    = s * p * earned - cost

    What is best: the higher value among ways by which an approval leaves something; behind them, the others. Did
    an approval leave nothing everywhere (no margin is configured, fees eat it, or the expected chargeback does), the order
    by value would turn over and praise whoever declines most. A payment that is sent is meant to be approved: then the
    higher chance of an approval is best, then the lower cost. Of equals one that is not slow is best, then the static
    order. Slowness decides between equals alone: a processor so slow that it loses payments fails them, which is counted,
    and no source says what a second is worth.

    Parameters
    ----------
    ways : sequence of Way
        A way without an estimate (NaN, outside 0 to 1) is left out.
    index : int
        The processor's place.
    approval : sequence of sequences of float
        By variant and processor.
    amount : int
        Minor units.
    fee, three_ds
        What attempts and an authentication cost there.
    standing : Standing
        How the processor has been doing.
    volume : Volume or None
        What the merchant has promised it.
    """
    fixed, share, failed = fee
    approved = fixed + amount * share
    if volume is not None:
        missing = volume.commit_minor - standing.month_minor
        if missing > 0.0:
            approved -= volume.shortfall_share * min(amount, missing)
    shift = standing.shift
    odds = exp(max(-_MOST_SHIFT, min(shift, _MOST_SHIFT))) if shift else 1.0
    working = 1.0 - standing.excess
    slow = standing.slowdown > SLOW
    weighed: list[Weighed] = []
    for way in ways:
        unbroken = approval[way.variant][index]
        if not 0.0 <= unbroken <= 1.0:
            continue
        if odds != 1.0:
            unbroken *= odds / (odds * unbroken + (1.0 - unbroken))
        p = unbroken * working
        worth = way.earned - approved
        if way.challenge:
            sent = way.passing
            cost = sent * (p * approved + (1.0 - p) * failed) + three_ds
        else:
            sent = 1.0
            cost = p * approved + (1.0 - p) * failed
        value = sent * p * way.earned - cost
        order: Weight = (0, -value, slow, index) if worth > 0.0 else (1, -sent * p, cost, slow, index)
        one = Weighed(way, p, unbroken, cost, value, sent * (worth + failed), order)
        if weighed and order < weighed[0].order:
            weighed.insert(0, one)
        else:
            weighed.append(one)
    return weighed
