"""The record of one estimate: what a policy would have been worth, and how little is known of that.

This module must not know how anything is estimated.
"""

from typing import Final

from contracts.base import Record
from contracts.bundle import Metric

HISTOGRAM: Final[tuple[float, ...]] = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Lower edges of the bars in which the weights above 0 are counted; the last has no upper edge."""


SHARES: Final = frozenset({"approval", "click"})
"""Rewards that are 0 or 1."""


class Estimate(Record, frozen=True, kw_only=True):
    """What a policy would have been worth a question, beside what was.

    Attributes
    ----------
    policy, reward
        Which policy, and of what the value is the mean.
    rows, payments
        Questions of the log, and the payments they belong to.
    matched
        Questions that were answered as the policy might have answered them.
    logged, snips, ips, direct, doubly_robust
        The value of whoever decided, and of the policy by each estimator, each with its 95 % interval; `direct` is the model of
        the rewards alone, None without one.
    gain
        `snips` less what came of what was done, with the interval of the difference; of questions that the policy would have
        answered by what was never tried neither counts.
    effective
        Effective sample size of the weights before clipping, (sum w)^2 / sum w^2.
    mean_weight, expected_weight
        What the weights average, and what right propensities that reach every action would give.
    clip, clipped, cut
        No question weighs more than `clip`; the share of the questions that would have, and of all weight that was cut off.
    lost, nothing
        Share of what the policy would do that was never tried, and that is to do nothing.
    histogram
        Questions by weight, one number for each of `HISTOGRAM`.
    conclusive, reading
        Whether anything can be concluded, and what.
    notes
        What a reader must know beside.
    """

    policy: str
    reward: str
    rows: int
    payments: int
    matched: int
    logged: Metric
    snips: Metric
    ips: Metric
    direct: Metric | None
    doubly_robust: Metric | None
    gain: Metric
    effective: float
    mean_weight: float
    expected_weight: float
    clip: float
    clipped: float
    cut: float
    lost: float
    nothing: float
    histogram: tuple[int, ...]
    conclusive: bool
    reading: str
    notes: tuple[str, ...] = ()
