"""What routing by a model would have been worth, from attempts that somebody else routed with known probabilities.

Self-normalised inverse propensity score (Swaminathan and Joachims 2015): the attempts that were routed as the policy would
have routed them, each weighing one over the probability with which it was. It needs no model of the world, only logged
propensities, and it says how little it knows: the effective sample size.

This module must not know how a policy chooses.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.bundle import Metric, PolicyValue
from trainer.fit.evaluation import ROUNDS, interval

CLIP: Final = 50.0
"""The largest weight of one attempt: an approval seen once in fifty draws must not stand for more."""

LEAST_EFFECTIVE: Final = 100.0
"""Below this effective sample size nothing is concluded."""

_DEVIATE: Final = 1.96

_DOUBT: Final = 4.0
"""Standard errors by which the mean weight may differ from 1 before the logged propensities are doubted."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def judge(policy: str, approved: Flags, matched: Flags, propensity: Floats, seed: int = 0) -> PolicyValue:
    """Return the value of a policy beside that of whoever routed.

    Parameters
    ----------
    policy
        Its name.
    approved
        Whether each first attempt was approved, shape (n,).
    matched
        Whether it was routed as the policy would have.
    propensity
        The probability with which it was routed as it was, above 0.
    seed
        Draws the bootstrap over payments.
    """
    full = np.where(matched, 1.0 / propensity, 0.0)
    weights = np.minimum(full, CLIP)
    reward = approved.astype(np.float64)
    value, logged = _ratio(weights, reward), float(reward.mean())
    chance = np.random.default_rng(seed)
    values, loggeds, gains = [], [], []
    for _ in range(ROUNDS):
        times = chance.poisson(1.0, len(reward)).astype(np.float64)
        if not (times * weights).sum() > 0:
            continue
        drawn, drawn_logged = _ratio(times * weights, reward), _ratio(times, reward)
        values.append(drawn)
        loggeds.append(drawn_logged)
        gains.append(drawn - drawn_logged)
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares if squares else 0.0
    worth = _wider(interval(value, values), effective)
    gain = interval(value - logged, gains, least=-1.0)
    gain = Metric(value=gain.value, low=min(gain.low, worth.low - logged), high=max(gain.high, worth.high - logged))
    doubt = _doubt(full)
    return PolicyValue(
        policy=policy,
        value=worth,
        logged=interval(logged, loggeds),
        gain=gain,
        rows=len(reward),
        matched=int(matched.sum()),
        effective=effective,
        clip=CLIP,
        clipped=int((full > CLIP).sum()),
        conclusive=effective >= LEAST_EFFECTIVE and doubt is None,
        reading=_reading(effective, doubt, gain),
    )


def _ratio(weights: Floats, reward: Floats) -> float:
    total = float(weights.sum())
    return float((weights * reward).sum()) / total if total > 0 else 0.0


def _wider(found: Metric, effective: float) -> Metric:
    """Return an interval no narrower than Wilson's for a rate seen in `effective` rows.

    A bootstrap only redraws what it saw: where the few heavy attempts all happened to be approved it finds no spread.
    """
    if effective <= 0:
        return Metric(value=found.value, low=0.0, high=1.0)
    square = _DEVIATE**2 / effective
    middle = (found.value + square / 2) / (1 + square)
    half = (found.value * (1 - found.value) * square + square**2 / 4) ** 0.5 / (1 + square)
    return Metric(value=found.value, low=min(found.low, middle - half), high=max(found.high, middle + half))


def _doubt(weights: Floats) -> str | None:
    """Return why the propensities cannot be right: what one over them adds up to is known beforehand, the number of rows."""
    mean, error = float(weights.mean()), float(weights.std()) / len(weights) ** 0.5
    if abs(mean - 1.0) <= _DOUBT * error:
        return None
    return f"the weights average {mean:.2f} where right propensities that reach every candidate give 1"


def _reading(effective: float, doubt: str | None, gain: Metric) -> str:
    if effective < LEAST_EFFECTIVE:
        return (
            f"no conclusion: the effective sample size is {effective:.0f}, under {LEAST_EFFECTIVE:.0f}; "
            "more exploration would tell"
        )
    if doubt is not None:
        return f"no conclusion: {doubt}"
    if gain.low > 0:
        return "routing by the model would have approved more than the logged routing"
    if gain.high < 0:
        return "routing by the model would have approved less than the logged routing"
    return "no difference from the logged routing can be told"
