"""What may be concluded from an estimate, and when nothing may.

This module must not know how anything is estimated.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from trainer.evaluate.estimate import Estimate
from trainer.evaluate.log import Floats

LEAST_EFFECTIVE: Final = 100.0
"""Below this effective sample size nothing is concluded."""

MOST_CUT: Final = 0.05
"""Share of the weight that clipping may take: what it takes makes an estimate lean to what was logged."""

MOST_LOST: Final = 0.05
"""Share of what a policy would do that may never have been tried."""

ERRORS: Final = 4.0
"""Standard errors by which the mean weight may be off before the propensities are doubted."""

_VERBS: Final = {"approval": "approved", "margin": "earned", "click": "been clicked"}


OWN: Final = "what was done, and so known"


def conclude(estimate: Estimate, weights: Floats, expected: Floats, doubts: Sequence[str] = ()) -> Estimate:
    """Return the estimate of another policy with its `conclusive` and `reading`.

    Parameters
    ----------
    estimate
        What was found.
    weights, expected
        Weights before clipping, and what right propensities would make of each on average, shape (n,).
    doubts
        Why the propensities cannot be right.
    """
    reasons = [*_ignorance(estimate), *doubts]
    doubt = _unbalanced(estimate, weights, expected)
    if doubt is not None:
        reasons.append(doubt)
    reading = f"no conclusion: {'; '.join(reasons)}" if reasons else _difference(estimate)
    return msgspec.structs.replace(estimate, conclusive=not reasons, reading=reading)


def _ignorance(estimate: Estimate) -> list[str]:
    """Return what was not seen often enough."""
    reasons = []
    if estimate.effective < LEAST_EFFECTIVE:
        reasons.append(
            f"the effective sample size is {estimate.effective:.0f}, under {LEAST_EFFECTIVE:.0f}; more exploration would tell"
        )
    if estimate.cut > MOST_CUT:
        reasons.append(
            f"without the weights above {estimate.clip:.0f} the estimate would leave out {estimate.cut:.1%} of what the "
            f"policy would do, more than {MOST_CUT:.0%}"
        )
    if estimate.lost > MOST_LOST:
        reasons.append(f"{estimate.lost:.1%} of what the policy would do was never tried, more than {MOST_LOST:.0%}")
    return reasons


def _unbalanced(estimate: Estimate, weights: Floats, expected: Floats) -> str | None:
    """Return why the propensities cannot be right: what the weights add up to is known beforehand.

    Where one action is all but certain the others may not have been seen yet, and the weights seen are all alike: what the odds
    themselves say of their spread counts too.
    """
    variance = max(float((weights - expected).var()), float((weights * (weights - expected)).mean()))
    error = (variance / len(weights)) ** 0.5
    # Weights that are all alike have no error, but numbers have.
    if abs(estimate.mean_weight - estimate.expected_weight) <= ERRORS * error + 1e-9:
        return None
    return (
        f"the weights average {estimate.mean_weight:.2f} where right propensities that reach every candidate give "
        f"{estimate.expected_weight:.2f}"
    )


def _difference(estimate: Estimate) -> str:
    verb = _VERBS[estimate.reward]
    if estimate.gain.low > 0:
        return f"{estimate.policy} would have {verb} more than whoever decided"
    if estimate.gain.high < 0:
        return f"{estimate.policy} would have {verb} less than whoever decided"
    return "no difference from whoever decided can be told"
