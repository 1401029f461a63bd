"""How candidates have been doing lately: from packed standings to what the policy takes into account.

Health (`service.policy.health`) and adaptation (`service.policy.adaptation`) of three levels are read and concluded in one go,
since this is done for every candidate of every decision. This module must not know where standings are kept.
"""

from collections.abc import Container, Sequence
from math import exp2, sqrt
from typing import Final

from contracts.inputs import Standing
from features.clock import SECOND
from service.policy.adaptation import PRIOR, PRIOR_FAST, RESTLESS, RESTLESS_FROM, bounded, step
from service.policy.health import (
    FEWEST,
    MOST,
    SCREEN_EXCESS,
    SCREEN_SHARE,
    STRENGTH,
    USUAL,
    Level,
    narrowed,
    slowdown,
    trouble,
)
from service.standing import FORM, LEVELS, MEASURES, SCALES, VERSION, month_of, view

_PARTS: Final = ("results", "faults", "timed", "log_latency")
_unpack: Final = view(_PARTS, _PARTS, MEASURES, MEASURES).unpack
_FADE_FAST: Final = -1.0 / SCALES[2]
_FADE_SLOW: Final = -1.0 / SCALES[3]
_SIZE: Final = FORM.size
_Priors = tuple[tuple[float, float, int], ...]
"""By level: precision of the prior of the last hours, of the last minutes, and the level's number."""
_PRIORS: Final[_Priors] = tuple([(PRIOR[depth], PRIOR_FAST[depth], depth) for depth in range(len(LEVELS))])
_MERCHANT: Final = LEVELS.index("merchant")
_SOON: Final = SECOND
"""Sums no older than this count as of now: in a second those of ten minutes fade by a thousandth."""
_BASE, _SLOPE = SCREEN_SHARE


def standings_of(
    processors: Sequence[str],
    blobs: Sequence[bytes | None],
    at: int,
    *,
    known: Container[str] | None = None,
    spread: float = 0.5,
) -> tuple[Standing, ...]:
    """Conclude how each candidate has been doing.

    Parameters
    ----------
    processors : sequence of str
        The candidates.
    blobs : sequence of bytes or None
        Packed standings (`service.standing`): for each candidate one for each of `service.standing.LEVELS`, one candidate after
        the other. None, too few, and one that cannot be read: nothing is known.
    at : int
        Moment of the question, microseconds.
    known : container of str, optional
        Processors that the bundle learnt from; None: all. What the model says of another is worth little: outcomes are
        believed sooner, and until they come the doubt is large.
    spread : float
        Standard deviation, over processors, of how far one is from what is expected of its payments, log-odds.

    Returns
    -------
    tuple of Standing
        One for each candidate.
    """
    month = month_of(at)
    width = len(LEVELS)
    # Nobody knows more of a stranger than of a processor that the model has seen.
    strange = ((min(1.0 / max(spread * spread, 1e-6), PRIOR[0]), PRIOR_FAST[0], 0), *_PRIORS[1:])
    missing = width * len(processors) - len(blobs)
    if missing > 0:
        blobs = (*blobs, *[None] * missing)
    return tuple(
        [
            _standing(blobs, width * place, at, month, _PRIORS if known is None or name in known else strange)
            for place, name in enumerate(processors)
        ]
    )


# One pass without calls, for it is done for every candidate of every question.
def _standing(  # noqa: C901
    blobs: Sequence[bytes | None], place: int, at: int, month: int, priors: _Priors
) -> Standing:
    """Conclude what the three standings from `place` on say of a candidate."""
    wrong = None
    slower = 1.0
    usual = USUAL
    slow = total = variance = minor = 0.0
    for kappa, kappa_fast, depth in priors:
        blob = blobs[place + depth]
        if blob is None or len(blob) != _SIZE or blob[0] != VERSION:
            variance += 1.0 / kappa
            continue
        (
            _, newest, approved_minor, then,
            n0, f0, t0, l0, n1, f1, t1, l1, n2, f2, a2, e2, v2, t2, l2, n3, f3, a3, e3, v3, t3, l3,
        ) = _unpack(blob)  # fmt: skip
        since = at - then if at > then else 0
        # health.usual_of, without a call.
        usual = (f3 - f2 + STRENGTH * usual) / (n3 - n2 + STRENGTH)
        if usual > MOST:
            usual = MOST
        if f2 >= FEWEST or wrong is not None:
            share = _BASE + _SLOPE * usual
            if (
                wrong is not None
                or f0 - share * n0 > SCREEN_EXCESS
                or f1 - share * n1 > SCREEN_EXCESS
                or f2 - share * n2 > SCREEN_EXCESS
            ):
                level = Level(n0, f0, n1, f1, n2, f2, n3, f3, since / SECOND)
                wrong = narrowed(wrong, trouble(level, usual), level, usual)
        if depth == 0:
            slower = slowdown(t0, l0, t1, l1, t2, l2, t3, l3, since / SECOND)
        elif depth == _MERCHANT and newest == month:
            minor = approved_minor
        passing = 1.0 - usual
        residual = passing * a3 - e3
        residual_fast = passing * a2 - e2
        if since > _SOON:
            keep = exp2(since * _FADE_SLOW)
            residual *= keep
            v3 *= keep
            keep = exp2(since * _FADE_FAST)
            residual_fast *= keep
            v2 *= keep
        # What was taken back again may leave less than nothing behind.
        if v3 < 0.0:
            v3 = 0.0
        if v2 < 0.0:
            v2 = 0.0
        if slower > RESTLESS_FROM or wrong is not None:
            kappa_fast = RESTLESS
        slow, total = step(slow, total, residual, v3, residual_fast, v2, kappa, kappa_fast)
        variance += 1.0 / (v3 + kappa)
    if wrong is None:
        return Standing("up", 0.0, slower, bounded(total), sqrt(variance), minor)
    return Standing(wrong.state, wrong.excess, slower, bounded(total), sqrt(variance), minor)
