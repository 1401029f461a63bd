"""Is a processor up, is a part of what it gets lost there, and does it answer slower than usual?

Concluded from the decayed sums of `service.standing` alone: no clock, and no memory of what was concluded before. A fault is a
result that failed by the processor's own fault (`service.policy.blame`); an issuer's decline is a result like an approval.

How it is done, why these values, and what is reached: docs/health.md. This module must not know how sums are kept, nor what
follows for routing.
"""

from collections.abc import Sequence
from math import exp, exp2, log
from typing import Final, NamedTuple

from contracts.inputs import Health
from features.clock import SECOND
from service.standing import SCALES

USUAL: Final = 0.02
"""Share of faults expected where nothing is known, and `STRENGTH` how many results that is worth."""
STRENGTH: Final = 30.0
LEAST: Final = 0.002
MOST: Final = 0.12
"""Bounds of what passes for usual: an outage that lasts does not become the usual."""
EXCESSES: Final = (0.1, 0.25, 0.5, 0.95)
"""Excess shares that are tested for, besides the least that is worth knowing (`_alternatives`)."""
DECISIVE: Final = 10.0
FEWEST: Final = 5.0
"""Log likelihood ratio from which faults are no chance, and how many there must be: faults like company."""
REFUTED: Final = -3.0
"""Log likelihood ratio from which down an outage is over, or elsewhere."""
DOWN_FROM: Final = 0.35
"""Share of faults from which nothing more is sent there."""
TRIED_FROM: Final = 0.15
"""Share of faults from which a processor that hardly gets anything now is tried before it gets its part again."""
FEW: Final = 2.0
"""Results that a scale must hold, as of the last one, to say how it is going now."""
GONE: Final = 0.5
"""Part of the usual traffic below which traffic has been taken away."""
PATIENCE: Final = 30.0
"""Results that would usually have come during a silence after which what was before counts no more."""
LEAST_PATIENCE: Final = 120.0
"""And the seconds that such a silence lasts at least."""
TIMED: Final = 20.0
"""Answers from which a usual latency is known."""
STEADY: Final = 6.0
"""Answers as usual that are put beside the recent ones."""
SLOW: Final = log(1.5)
"""Logarithm of how many times slower than usual answers must be to be called slow: less is chance where they are few."""
SCREEN_SHARE: Final = (0.0085, 1.3)
SCREEN_EXCESS: Final = 1.09
"""No trouble without so many faults beyond (0.0085 + 1.3 * u) of the results on one of the three fast scales, whatever the usual
share u, and `FEWEST` on the slowest: it spares the logarithms nearly always (`service.policy.standings`)."""

SPANS: Final = tuple(half_life / SECOND / log(2.0) for half_life in SCALES)
"""Seconds of a steady stream that a scale's sum holds."""


class Level(NamedTuple):
    """Results and faults of one level by scale, as of the last result, and the silence since, seconds."""

    n0: float
    f0: float
    n1: float
    f1: float
    n2: float
    f2: float
    n3: float
    f3: float
    silence: float = 0.0


class Trouble(NamedTuple):
    """What is wrong on one level.

    Attributes
    ----------
    state
        "up" when only a part is lost.
    excess
        Share of attempts lost beyond the usual, of those that are not lost usually.
    rate
        Share of faults by the freshest scale that is decisive.
    scale
        The scale that says how it is going now.
    """

    state: Health
    excess: float
    rate: float
    scale: int


def usual_of(n2: float, f2: float, n3: float, f3: float, expected: float = USUAL) -> float:
    """Return the usual share of faults, up to `MOST`: that of the last hours without the last minutes.

    A result of age a weighs ``2**(-a / 6 h) - 2**(-a / 10 min)``: nothing at first, so that an outage does not pass for the usual
    while it is being noticed, and nearly 1 after an hour.

    Parameters
    ----------
    n2, f2, n3, f3 : float
        Results and faults of ten minutes and of six hours.
    expected : float
        What is expected before anything is known: the usual share of the level above.
    """
    usual = (f3 - f2 + STRENGTH * expected) / (n3 - n2 + STRENGTH)
    return usual if usual < MOST else MOST


def trouble(level: Level, usual: float) -> Trouble | None:
    """Judge one level; None when its faults are no more than usual, or too long ago.

    Parameters
    ----------
    level : Level
        Results and faults.
    usual : float
        As `usual_of` returns it.
    """
    usual = min(max(usual, LEAST), MOST)
    # What was taken back again may leave less than nothing behind.
    faults = [max(faulty, 0.0) for faulty in level[1:6:2]]
    results = [max(all_of_them, faulty) for all_of_them, faulty in zip(level[0:6:2], faults, strict=True)]
    tests = _alternatives(usual)
    decisive = next(
        (k for k in range(3) if faults[k] >= FEWEST and _evidence(results[k], faults[k], tests) >= DECISIVE), None
    )
    if decisive is None:
        return None
    traffic = max(results[1] / SPANS[1], results[2] / SPANS[2], level.n3 / SPANS[3], 1e-9)
    if level.silence > max(LEAST_PATIENCE, PATIENCE / traffic):
        return None
    rate = _share(results[decisive], faults[decisive], usual)
    freshest = next((k for k in range(3) if results[k] >= FEW), 2)
    now = _share(results[freshest], faults[freshest], usual)
    recent = results[freshest] * exp2(-level.silence * SECOND / SCALES[freshest])
    if recent < GONE * traffic * SPANS[freshest]:
        # What comes now are a few that try it, and older scales hold what came before: these few decide.
        return Trouble("half_open" if now >= TRIED_FROM else "up", _excess(now, usual), rate, freshest)
    if now >= DOWN_FROM:
        return Trouble("down", _excess(now, usual), rate, freshest)
    # The decisive scale may hold what came before: its share is the mean of an exponential prior, the freshest scale adds to it.
    steady = (faults[freshest] + 1.0) / (results[freshest] + 1.0 / rate)
    return Trouble("up", _excess(steady, usual), rate, freshest)


def narrowed(broad: Trouble | None, own: Trouble | None, level: Level, usual: float) -> Trouble | None:
    """Return what holds on a narrower level: on one network of a processor, for one merchant there.

    The level's own outage comes first. Trouble of the level above holds here too, unless this level's results of the same
    moment refute it: then it is another network, or another merchant, that is in trouble there.

    Parameters
    ----------
    broad, own : Trouble, optional
        Of the level above, and of this one.
    level : Level
        This level's results.
    usual : float
        This level's usual share of faults.
    """
    if broad is None or (own is not None and own.state != "up"):
        return own
    usual = min(max(usual, LEAST), MOST)
    rate = max(broad.rate, usual + LEAST)
    fault, other = log(rate / usual), log((1.0 - rate) / (1.0 - usual))
    for scale in range(broad.scale + 1):
        # As of this moment: results from before the trouble began must not speak against it.
        keep = exp2(-level.silence * SECOND / SCALES[scale])
        results, faults = level[2 * scale] * keep, level[2 * scale + 1] * keep
        if faults * fault + (results - faults) * other <= REFUTED:
            return own
    return broad if own is None or broad.state != "up" or broad.excess > own.excess else own


def slowdown(
    t0: float, l0: float, t1: float, l1: float, t2: float, l2: float, t3: float, l3: float, silence: float
) -> float:
    """Return how many times slower than usual answers are; 1 up to 1.5 times, and for faster ones.

    The usual is the geometric mean latency of the last hours without the last minutes, as in `usual_of`. It is compared with that
    of the freshest scale that has enough answers, `STEADY` usual ones put beside them.

    Parameters
    ----------
    t0, l0, t1, l1, t2, l2, t3, l3 : float
        Answers with a latency and the sum of the logarithms of it by scale, as of the last result.
    silence : float
        Seconds since then.
    """
    known = t3 - t2
    if known < TIMED:
        return 1.0
    usual = (l3 - l2) / known
    recent, beyond, scale = (t0, l0 - usual * t0, 0) if t0 >= STEADY else (t1, l1 - usual * t1, 1)
    if beyond < SLOW * (recent + STEADY):
        return 1.0
    keep = exp2(-silence * SECOND / SCALES[scale])
    slower = beyond * keep / (recent * keep + STEADY)
    return exp(min(slower, 10.0)) if slower >= SLOW else 1.0


def _alternatives(usual: float) -> list[tuple[float, float]]:
    """Return what a fault and what another result add to the log likelihood ratio of each alternative.

    The least alternative is twice the usual and three in a hundred more: a smaller rise is no trouble.
    """
    least = 2.0 * usual + 0.03
    rates = [least, *[rate for excess in EXCESSES if (rate := usual + (1.0 - usual) * excess) > least]]
    return [(log(rate / usual), log((1.0 - rate) / (1.0 - usual))) for rate in rates]


def _evidence(results: float, faults: float, tests: Sequence[tuple[float, float]]) -> float:
    """Return the log likelihood ratio of the likeliest alternative."""
    passed = results - faults
    return max([faults * fault + passed * other for fault, other in tests])


def _share(results: float, faults: float, usual: float) -> float:
    """Return the share of faults, with one usual result beside those that came."""
    return (faults + usual) / (results + 1.0)


def _excess(share: float, usual: float) -> float:
    return min(max((share - usual) / (1.0 - usual), 0.0), 1.0)
