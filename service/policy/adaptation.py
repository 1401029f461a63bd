"""What recent outcomes say against the model: a correction of its log-odds, and how sure that is.

Residuals are taken against what the model said, never against what was corrected, so that corrections do not feed on themselves.
Sums as of this moment come in; this module must not know how they are kept.

A level's sums are those of `service.standing` over results that are no faults of the processor: A approvals, E the sum of the p
that the model gave, V the sum of p * (1 - p). The model learnt from all attempts, faults among them, so that its p is the
probability of an approval in usual times: of results without a fault it expects E / (1 - usual) approvals. What is left
over is::

    R = (1 - usual) * A - E

and one Newton step on the log likelihood of a shift d with the prior N(0, 1 / kappa) is d = R / (V + kappa). It is taken on the
sums of six hours, then on those of ten minutes for what is left, R - V * d; first for the processor, then for the
processor on the network, then for the merchant there. Why these values of kappa, and what they reach: docs/health.md.
"""

from typing import Final

BOUND: Final = 1.5
"""The most that is added to or taken from log-odds."""
PRIOR: Final = (80.0, 200.0, 200.0)
"""Precision of the prior by level for what lasts for hours: a standard deviation of 0.11 log-odds, then 0.07."""
PRIOR_FAST: Final = (150.0, 400.0, 400.0)
"""And for what has come up in the last minutes: 0.08, then 0.05. With half of these routing lost more by chasing noise than it
won by following drift (`python -m benchmarks.policies`)."""
RESTLESS: Final = 8.0
"""The same where a processor answers `RESTLESS_FROM` times slower than usual or faults are in excess: 0.35. Something is another
than it was, so what it was says less. A processor that loses a part hides half of it in ordinary declines, which are nobody's
fault to read, and is slow about it."""
RESTLESS_FROM: Final = 2.0

CHANCE: Final = 2.0
"""How many times V a squared residual must reach before it moves anything: twice its standard error, since of sums that fade the
variance is half of V."""


def step(
    slow: float,
    total: float,
    residual: float,
    spread: float,
    residual_fast: float,
    spread_fast: float,
    kappa: float,
    kappa_fast: float,
) -> tuple[float, float]:
    """Return the shift after one more level: by the last hours, and by the last minutes too.

    A residual that chance explains is left alone, and a larger one loses a part (the positive part of a James-Stein estimator)::

        d = max(0, 1 - CHANCE * V / R^2) * R / (V + kappa)

    Parameters
    ----------
    slow, total : float
        What the levels above say, by the last hours, and by the last minutes too.
    residual, spread : float
        R and V of the last six hours.
    residual_fast, spread_fast : float
        The same of the last ten minutes.
    kappa, kappa_fast : float
        Precision of the priors.
    """
    residual -= spread * slow
    chance = CHANCE * spread
    if residual * residual > chance:
        move = (residual - chance / residual) / (spread + kappa)
        slow += move
        total += move
    residual_fast -= spread_fast * total
    chance = CHANCE * spread_fast
    if residual_fast * residual_fast > chance:
        total += (residual_fast - chance / residual_fast) / (spread_fast + kappa_fast)
    return slow, total


def bounded(total: float) -> float:
    """Return a shift within `BOUND`; one that is no number corrects nothing.

    >>> bounded(-0.3), bounded(7.0), bounded(float("nan"))
    (-0.3, 1.5, 0.0)
    """
    if -BOUND <= total <= BOUND:
        return total
    return BOUND if total > BOUND else -BOUND if total < -BOUND else 0.0
