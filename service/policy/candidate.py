"""Candidates: what each processor's attempt is expected to cost and to earn, and which is best.

This module must not know risk thresholds or chance.
"""

from collections.abc import Sequence

import msgspec

from service.policy.fees import Fees


class Candidate(msgspec.Struct, gc=False):
    """One eligible processor as it was weighed; money in minor units.

    `worth` is what an approval there leaves, after risk and fees; `value` is the expected value of an attempt.
    """

    index: int
    processor: str
    probability: float
    cost: float
    value: float
    worth: float


def weigh(
    amount: int, earned: float, processors: tuple[str, ...], approval: Sequence[float], fees: Fees
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Give every eligible processor its expected cost and value.

    With p the approval probability::

        cost  = p * (approved_fixed + approved_share * amount) + (1 - p) * failed_fixed
        value = p * earned - cost

    Parameters
    ----------
    amount : int
        Minor units.
    earned : float
        What an approval earns before fees, after expected chargebacks.
    processors, approval
        The candidates in the merchant's static order, and each one's approval probability.
    fees : Fees
        What attempts cost.

    Returns
    -------
    tuple
        Candidates in the static order; and (processor, code) of those that are not eligible: `no_estimate` for a
        probability that is none (NaN, outside 0 to 1), `repeated` for a processor named before.
    """
    candidates: list[Candidate] = []
    refused: list[tuple[str, str]] = []
    seen: set[str] = set()
    for index, processor in enumerate(processors):
        probability = float(approval[index])
        if not 0.0 <= probability <= 1.0:
            refused.append((processor, "no_estimate"))
            continue
        if processor in seen:
            refused.append((processor, "repeated"))
            continue
        seen.add(processor)
        fixed, share, failed = fees.of(processor)
        approved = fixed + amount * share
        cost = probability * approved + (1.0 - probability) * failed
        candidates.append(
            Candidate(index, processor, probability, cost, probability * earned - cost, earned - approved)
        )
    return candidates, refused


def rank(candidates: list[Candidate]) -> bool:
    """Sort candidates best first, in place; say whether expected value decided (else approval probability did).

    The highest expected value is best, and the static order breaks ties. But if an approval at the best one leaves
    nothing (no margin is configured, fees eat it, or the expected chargeback does), the order by value would turn
    over and praise whoever declines most. A payment that is sent is meant to be approved: then the higher approval
    probability is best, then the lower cost, then the static order.
    """
    if not candidates:
        return True
    candidates.sort(key=_by_value)
    if candidates[0].worth > 0.0:
        return True
    candidates.sort(key=_by_approval)
    return False


def _by_value(candidate: Candidate) -> tuple[float, int]:
    return (-candidate.value, candidate.index)


def _by_approval(candidate: Candidate) -> tuple[float, float, int]:
    return (-candidate.probability, candidate.cost, candidate.index)
