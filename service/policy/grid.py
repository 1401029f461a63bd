"""The grid of retries: every permitted wait and way of sending by every candidate, and the best of it.

This module must not know rules, nor how an answer is worded.
"""

from collections.abc import Sequence
from math import exp, inf
from operator import mul, sub
from typing import Final, NamedTuple

from contracts.inputs import Variant
from service.policy.outlook import Span, fades

IMPATIENCE: Final = 0.001 / 86_400
"""Share of its value that a retry loses a second: one in a thousand a day, so that of near equals the sooner is made
(the customer is waiting, and a forecast further off is worth less); no more, for nobody publishes what a day costs."""

_FADED_SECONDS: Final = 40 * 3600
"""After so long a hundredth is left of a standing, which changes no choice."""


class Column(NamedTuple):
    """One candidate, by its place among the processors asked about.

    Attributes
    ----------
    soonest
        Wait from which it may be used, seconds; `away` are the times when it is out.
    gain, failed
        What an approval earns more than a failure, and what a failure costs, minor units.
    excess, shift
        Of its standing (`contracts.inputs.Standing`).
    """

    place: int
    soonest: int
    gain: float
    failed: float
    excess: float
    shift: float
    away: tuple[Span, ...]


Row = tuple[int, float, Sequence[float]]
"""One wait, seconds; what a failure then uses up of a quota, minor units; how likely each processor asked about is."""


class Block(NamedTuple):
    """One way of sending: the share of payments that are sent at all (after a challenge), candidates and waits."""

    mode: Variant
    reached: float
    columns: Sequence[Column]
    rows: Sequence[Row]


class Retry(NamedTuple):
    """One retry as it was weighed; `score` is its value, a little less the later it is."""

    score: float
    p: float
    value: float
    wait: int
    place: int
    mode: Variant


def best_of(blocks: Sequence[Block], least: float) -> tuple[Retry | None, Retry | None]:
    """Return the best retry, and the best after another wait or sent in another way.

    With p as it is after the standing, each is worth ``reached * (p * gain - failed - (1 - p) * burnt)``. Only those with a
    p of `least` are looked at; ties go to the likelier, then the sooner, then the static order.
    """
    best: Retry | None = None
    second: Retry | None = None
    for block in blocks:
        best, second = _look(block, least, best, second)
    return best, second


def _look(block: Block, least: float, best: Retry | None, second: Retry | None) -> tuple[Retry | None, Retry | None]:
    """Look through one block for something better than what was found before."""
    mode, reached, columns, rows = block
    hurdle, told, dense = _shape(columns)
    next_most = -inf if second is None else second.score
    full = kept = [column.gain for column in columns], [column.failed for column in columns]
    last_burnt = 0.0
    for wait, burnt, likely in rows:
        here = columns
        if burnt != last_burnt:
            kept = [gain + burnt for gain in full[0]], [failed + burnt for failed in full[1]]
            last_burnt = burnt
        gains, faileds = kept
        if wait < hurdle:
            here = _here(columns, wait)
            if not here:
                continue
            gains = [column.gain + burnt for column in here]
            faileds = [column.failed + burnt for column in here]
        chances: Sequence[float]
        if told and wait < _FADED_SECONDS:
            chances = _after(likely, here, wait)
        elif dense and here is columns:
            chances = likely
        else:
            chances = [likely[column.place] for column in here]
        worth = reached * max(map(sub, map(mul, chances, gains), faileds))
        score = worth * (1.0 - wait * IMPATIENCE) if worth > 0.0 else worth
        # Most rows end here. A cell that is not likely enough can only make a row look better than it is, and what is no
        # number is not below anything.
        if score < next_most:
            continue
        one = _best_cell(mode, wait, reached, chances, gains, faileds, here, least)
        if one is None:
            continue
        if best is None or one.score > best.score or (one.score == best.score and one.p > best.p):
            best, second = one, best
        elif second is None or one.score > second.score:
            second = one
        next_most = -inf if second is None else second.score
    return best, second


def _shape(columns: Sequence[Column]) -> tuple[float, bool, bool]:
    """Return from which wait on every candidate is there, whether any has a standing, and whether none is left out."""
    hurdle: float = 0
    told, dense = False, True
    for number, column in enumerate(columns):
        hurdle = max(hurdle, column.soonest)
        if column.away:
            hurdle = inf
        told = told or column.shift != 0.0 or column.excess != 0.0
        dense = dense and number == column.place
    return hurdle, told, dense


def _best_cell(
    mode: Variant,
    wait: int,
    reached: float,
    chances: Sequence[float],
    gains: Sequence[float],
    faileds: Sequence[float],
    here: Sequence[Column],
    least: float,
) -> Retry | None:
    """Return the best candidate of one row that is likely enough, the likelier of equals; None where there is none."""
    found, most, place = -inf, -1.0, -1
    for number, (p, gain, failed) in enumerate(zip(chances, gains, faileds, strict=False)):
        if least <= p <= 1.0:
            worth = p * gain - failed
            if place < 0 or worth > found or (worth == found and p > most):
                found, most, place = worth, p, number
    if place < 0:
        return None
    worth = reached * found
    score = worth * (1.0 - wait * IMPATIENCE) if worth > 0.0 else worth
    return Retry(score, most, worth, wait, here[place].place, mode)


def likeliest_of(blocks: Sequence[Block]) -> tuple[float, float]:
    """Return probability and value of the likeliest retry; a probability of -1 when none was scored."""
    most, value = -1.0, 0.0
    for _, reached, columns, rows in blocks:
        for wait, burnt, likely in rows:
            here = _here(columns, wait)
            for p, column in zip(_after(likely, here, wait), here, strict=True):
                if 0.0 <= p <= 1.0 and p > most:
                    most, value = p, reached * (p * (column.gain + burnt) - column.failed - burnt)
    return most, value


def within(wait: int, spans: tuple[Span, ...]) -> bool:
    """Say whether a wait ends in one of the spans."""
    return any(begins <= wait < ends for begins, ends in spans)


def _here(columns: Sequence[Column], wait: int) -> list[Column]:
    return [column for column in columns if wait >= column.soonest and not (column.away and within(wait, column.away))]


def _after(likely: Sequence[float], here: Sequence[Column], wait: int) -> list[float]:
    """Return probabilities after what is left of the standings."""
    if wait >= _FADED_SECONDS:
        return [likely[column.place] for column in here]
    faults, shifts = fades(wait)
    chances = []
    for place, _, _, _, excess, shift, _ in here:
        p = likely[place]
        if not 0.0 <= p <= 1.0:
            # No standing makes a probability of what is none.
            p = -1.0
        else:
            if shift:
                odds = exp(shift * shifts) * p
                p = odds / (odds + 1.0 - p)
            if excess:
                p *= 1.0 - excess * faults
        chances.append(p)
    return chances
