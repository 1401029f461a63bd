"""What another policy would have been worth, from a log of what was done, with which probability, and what came of it.

Three estimators, all of them with the logged propensities (Dudik et al. 2014): the inverse propensity score (IPS), the
self-normalised one (SNIPS, Swaminathan and Joachims 2015), and the doubly robust one, which starts from a model of the
rewards and corrects it where the log has seen what the policy would do. The verdict is that of SNIPS: against live tests of
a large acquirer IPS and SNIPS did best, models of the rewards and the doubly robust worse (arXiv 2501.10470).

An estimate says how little it knows: the effective sample size of the weights as they are, what clipping took, and whether the
propensities can be right at all. This module must not know payments, nor how a policy chooses.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contracts.bundle import Metric, PolicyValue
from trainer.evaluate.estimate import HISTOGRAM, SHARES, Estimate
from trainer.evaluate.intervals import around, wider, wilson
from trainer.evaluate.log import Flags, Floats, Log, Places, Target
from trainer.evaluate.verdict import OWN, conclude
from trainer.fit.evaluation import interval, rounds

LEAST_CLIP: Final = 50.0
MOST_TAKEN: Final = 0.01
"""Share of all weight that clipping may take unless told otherwise."""


class Weights(NamedTuple):
    """What each question weighs for a policy: as it is, clipped, and what it is expected to be; all of shape (n,)."""

    full: Floats
    clipped: Floats
    expected: Floats
    clip: float

    @property
    def effective(self) -> float:
        """Effective sample size before clipping: a heavy question that is cut down teaches no more than it did."""
        return effective(self.full)


def effective(weights: Floats) -> float:
    """Return (sum w)^2 / sum w^2 (Kish 1965), 0 when nothing weighs anything."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def default_clip(weights: Floats) -> float:
    """Return the largest weight that a question may have: so large that clipping takes a hundredth of all weight at the most.

    And no smaller than the root of the number of questions (Ionides 2008) or 50. What is cut off makes an estimate lean to what
    was logged, and it is the rare outcomes of exploration that would be cut.
    """
    root: float = len(weights) ** 0.5
    falling = np.sort(weights)[::-1]
    sums = np.cumsum(falling)
    # With the k heaviest at c, what is taken is their sum less k * c.
    levels = (sums - MOST_TAKEN * float(sums[-1])) / np.arange(1, len(falling) + 1)
    heavier = int(np.argmax(levels >= np.r_[falling[1:], 0.0]))
    return max(LEAST_CLIP, root, float(levels[heavier]))


def weigh(log: Log, target: Target, clip: float | None = None) -> Weights:
    """Return the weights of a log's questions for a policy.

    Parameters
    ----------
    log, target
        The log, and what the policy would have done.
    clip
        The largest weight; None: `default_clip`.
    """
    if target.chosen is None:
        ones = np.ones(len(log))
        return Weights(ones, ones, ones, default_clip(ones) if clip is None else clip)
    full = np.divide(log.of(target.chosen), log.propensity, out=np.zeros(len(log)), where=log.propensity > 0)
    most = default_clip(full) if clip is None else clip
    return Weights(full, np.minimum(full, most), target.chosen.sum(axis=1), most)


def estimate(
    log: Log,
    target: Target,
    *,
    reward: str,
    expected: Floats | None = None,
    clip: float | None = None,
    doubts: Sequence[str] = (),
    seed: int = 0,
) -> Estimate:
    """Return what a policy would have been worth.

    Parameters
    ----------
    log, target
        The log, and what the policy would have done.
    reward
        What is rewarded; an approval and a click are known to lie between 0 and 1.
    expected
        Expected reward of every action by a model that was not fitted on the question's payment, shape (n, k); None: no
        doubly robust estimate.
    clip
        The largest weight; None: `default_clip`.
    doubts
        Why the log's propensities cannot be right, from ``trainer.evaluate.propensities``.
    seed
        Draws the bootstrap over payments.
    """
    weights = weigh(log, target, clip)
    terms = _Terms.of(log, target, weights, expected)
    values = terms.values(terms.sums(np.ones(terms.payments)))
    draws = [
        terms.values(sums)
        for times in rounds(np.arange(terms.payments), np.random.default_rng(seed))
        if (sums := terms.sums(times))[_WEIGHT] > 0
    ]
    lowest = 0.0 if reward in SHARES else -np.inf
    least = {**dict.fromkeys(values, -np.inf), "logged": lowest, "snips": lowest, "ips": lowest}
    found = {
        name: interval(value, [draw[name] for draw in draws], least=least[name])
        for name, value in values.items()
        if name != "direct" or expected is not None
    }
    if target.chosen is not None:
        _widen(found, log, target, weights, reward, expected)
    total = float(weights.full.sum())
    made = Estimate(
        policy=target.policy,
        reward=reward,
        rows=len(log),
        payments=terms.payments,
        matched=int((weights.full > 0).sum()),
        logged=found["logged"],
        snips=found["snips"],
        ips=found["ips"],
        direct=found.get("direct"),
        doubly_robust=found["doubly_robust"] if expected is not None else None,
        gain=found["gain"],
        effective=weights.effective,
        mean_weight=float(weights.full.mean()),
        expected_weight=float(weights.expected.mean()),
        clip=weights.clip,
        clipped=float((weights.full > weights.clip).mean()),
        cut=1.0 - float(weights.clipped.sum()) / total if total > 0 else 0.0,
        lost=0.0 if target.lost is None else float(target.lost.mean()),
        nothing=0.0 if target.nothing is None else float(target.nothing.mean()),
        histogram=_histogram(weights.full),
        conclusive=False,
        reading="",
        notes=target.notes,
    )
    if target.chosen is None:
        return msgspec.structs.replace(made, conclusive=True, reading=OWN)
    return conclude(made, weights.full, weights.expected, doubts)


_LOGGED, _WEIGHT, _WORTH, _EXPECTED, _NOTHING, _DIRECT, _RESIDUAL, _COUNT, _ALIKE = range(9)


class _Terms(NamedTuple):
    """Sums over each payment of what every estimator adds up, shape (payments, 9)."""

    table: Floats

    @classmethod
    def of(cls, log: Log, target: Target, weights: Weights, expected: Floats | None) -> "_Terms":
        columns = np.zeros((len(log), 9))
        columns[:, _LOGGED] = log.reward
        columns[:, _WEIGHT] = weights.clipped
        columns[:, _WORTH] = weights.clipped * log.reward
        columns[:, _EXPECTED] = weights.expected
        columns[:, _NOTHING] = 0.0 if target.nothing is None else target.nothing
        columns[:, _COUNT] = 1.0
        columns[:, _ALIKE] = (columns[:, _EXPECTED] + columns[:, _NOTHING]) * log.reward
        if expected is not None and target.chosen is not None:
            columns[:, _DIRECT] = (target.chosen * expected).sum(axis=1)
            columns[:, _RESIDUAL] = weights.clipped * (log.reward - log.of(expected))
        elif expected is not None:
            # Whoever decided is judged by what came of it.
            columns[:, _DIRECT] = log.reward
        return cls(_by_payment(columns, log.payment))

    @property
    def payments(self) -> int:
        return len(self.table)

    def sums(self, times: Floats) -> Floats:
        summed: Floats = times @ self.table
        return summed

    def values(self, sums: Floats) -> dict[str, float]:
        """Return each estimator's value; questions whose answer was never tried count for none of them."""
        known = float(sums[_EXPECTED] + sums[_NOTHING])
        count = float(sums[_COUNT])
        logged = float(sums[_LOGGED]) / count if count else 0.0
        weight = float(sums[_WEIGHT])
        mean = float(sums[_WORTH]) / weight if weight > 0 else 0.0
        snips = mean * float(sums[_EXPECTED]) / known if known > 0 else 0.0
        return {
            "logged": logged,
            "snips": snips,
            "ips": float(sums[_WORTH]) / known if known > 0 else 0.0,
            "direct": float(sums[_DIRECT]) / known if known > 0 else 0.0,
            "doubly_robust": float(sums[_DIRECT] + sums[_RESIDUAL]) / known if known > 0 else 0.0,
            # Beside what was done about the same questions: what was never tried counts for neither.
            "gain": snips - float(sums[_ALIKE]) / known if known > 0 else 0.0,
        }


def _by_payment(columns: Floats, payment: Places) -> Floats:
    _, number = np.unique(payment, return_inverse=True)
    return np.stack([np.bincount(number, column) for column in columns.T], axis=1)


def _widen(
    found: dict[str, Metric], log: Log, target: Target, weights: Weights, reward: str, expected: Floats | None
) -> None:
    """Make every interval at least as wide as `effective` independent questions of equal weight would make it."""
    size, rows = weights.effective, len(log)
    names = [name for name in ("snips", "ips", "doubly_robust", "gain") if name in found]
    if size <= 0:
        low, high = (0.0, 1.0) if reward in SHARES else (float(log.reward.min()), float(log.reward.max()))
        for name in names:
            shift = found["logged"].value if name == "gain" else 0.0
            found[name] = wider(found[name], (low - shift, high - shift))
        return
    nothing = 0.0 if target.nothing is None else float(target.nothing.mean())
    share = float(weights.expected.mean()) / (float(weights.expected.mean()) + nothing)
    mean, variance = _spread(log.reward, weights)
    if reward in SHARES:
        low, high = wilson(mean, size)
        found["snips"] = wider(found["snips"], (low * share, high * share))
    else:
        found["snips"] = wider(found["snips"], around(found["snips"].value, share**2 * variance / size))
    # Without the common factor that SNIPS divides by, the mean is as uncertain as the weights themselves.
    second = share**2 * ((mean**2 + variance) / size - mean**2 / rows)
    found["ips"] = wider(found["ips"], around(found["ips"].value, second))
    # Where the policy does what was done there is nothing to estimate: of 1 / size remains what is done otherwise.
    found["gain"] = wider(found["gain"], around(found["gain"].value, variance * max(0.0, 1 / size - 1 / rows)))
    if reward in SHARES:
        found["ips"] = msgspec.structs.replace(found["ips"], low=max(0.0, found["ips"].low))
    if expected is not None and target.chosen is not None:
        off, left = _spread(log.reward - log.of(expected), weights)
        model = float((target.chosen * expected).sum(axis=1).var()) / rows
        least = around(found["doubly_robust"].value, (off**2 + left) / size - off**2 / rows + model)
        found["doubly_robust"] = wider(found["doubly_robust"], least)


def _spread(values: Floats, weights: Weights) -> tuple[float, float]:
    """Return the weighted mean, and a variance that is no smaller than that of all questions alike."""
    total = float(weights.clipped.sum())
    mean = float((weights.clipped * values).sum()) / total
    return mean, max(float((weights.clipped * (values - mean) ** 2).sum()) / total, float(values.var()))


def _histogram(weights: Floats) -> tuple[int, ...]:
    bars = np.searchsorted(np.asarray(HISTOGRAM), weights[weights > 0], side="right") - 1
    return tuple(int(count) for count in np.bincount(bars, minlength=len(HISTOGRAM)))


def judge(policy: str, approved: Flags, matched: Flags, propensity: Floats, seed: int = 0) -> PolicyValue:
    """Return what a policy without chance would have approved, as a bundle's manifest keeps it.

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
    rows = len(approved)
    log = Log(
        actions=(policy, "any other"),
        taken=np.where(matched, 0, 1),
        propensity=propensity,
        reward=approved.astype(np.float64),
        payment=np.arange(rows),
        offered=np.ones((rows, 2), dtype=np.bool_),
    )
    found = estimate(log, Target(policy, np.tile([1.0, 0.0], (rows, 1))), reward="approval", seed=seed)
    return PolicyValue(
        policy=policy,
        value=found.snips,
        logged=found.logged,
        gain=found.gain,
        rows=rows,
        matched=found.matched,
        effective=found.effective,
        clip=found.clip,
        clipped=round(found.clipped * rows),
        conclusive=found.conclusive,
        reading=found.reading,
    )
