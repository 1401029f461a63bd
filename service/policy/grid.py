"""The grid of retries: every permitted wait and way of sending by every candidate, and the best of it.

This module must not know rules, nor how an answer is worded.
"""

from collections.abc import Callable, Sequence
from math import exp, inf
from typing import Final, NamedTuple

from contracts.inputs import Variant
from service.policy.outlook import Span, fades

IMPATIENCE: Final = 0.001 / 86_400
"""Share of its value that a retry loses a second: one in a thousand a day, so that of near equals the sooner is made
(the customer is waiting, and a forecast further off is worth less); no more, for nobody publishes what a day costs."""

_FADED_SECONDS: Final = 86_400
"""From here on, where a sixteenth is left of what recent outcomes say, standings are left out: models err by more."""


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


Best = Callable[[Sequence[Block], float], tuple[Retry | None, Retry | None]]
"""Finds the best retry, and the best after another wait or sent in another way."""

_Weighed = tuple[float, float, float, int, int, Variant]
"""A `Retry` before it is known to be one that is looked at again."""


def best_of(blocks: Sequence[Block], least: float) -> tuple[Retry | None, Retry | None]:
    """Return the best retry, and the best after another wait or sent in another way.

    With p as it is after the standing, each is worth ``reached * (p * gain - failed - (1 - p) * burnt)``. Only those with a
    p of `least` are looked at; ties go to the likelier, then the sooner, then the static order.
    """
    best: _Weighed | None = None
    second: _Weighed | None = None
    for mode, reached, columns, rows in blocks:
        settled = _settled(columns)
        cells = [column[:4] for column in columns]
        for row in rows:
            wait = row[0]
            worth, p, place = _far(row, cells, least) if wait >= settled else _near(row, columns, least)
            if place < 0:
                continue
            worth *= reached
            score = worth * (1.0 - wait * IMPATIENCE) if worth > 0.0 else worth
            if best is None or score > best[0] or (score == best[0] and p > best[1]):
                best, second = (score, p, worth, wait, place, mode), best
            elif second is None or score > second[0]:
                second = (score, p, worth, wait, place, mode)
    return best and Retry(*best), second and Retry(*second)


def likeliest_of(blocks: Sequence[Block]) -> tuple[float, float]:
    """Return probability and value of the likeliest retry; a probability of -1 when none was scored."""
    most, value = -1.0, 0.0
    for _, reached, columns, rows in blocks:
        for row in rows:
            for column in columns:
                worth, p, place = _near(row, (column,), 0.0)
                if place >= 0 and p > most:
                    most, value = p, reached * worth
    return most, value


def within(wait: int, spans: tuple[Span, ...]) -> bool:
    """Say whether a wait ends in one of the spans."""
    return any(begins <= wait < ends for begins, ends in spans)


def _settled(columns: Sequence[Column]) -> float:
    """Return the wait from which on every candidate is there, and no standing matters any more."""
    settled: float = 0
    for _, soonest, _, _, excess, shift, away in columns:
        if away:
            return inf
        if excess or shift:
            settled = max(settled, _FADED_SECONDS)
        if soonest > settled:
            settled = soonest
    return settled


def _far(row: Row, cells: Sequence[tuple[int, int, float, float]], least: float) -> tuple[float, float, int]:
    """Return value, probability and place of the best candidate of a row that is likely enough; a place of -1: there is none.

    `_near` without all that no longer matters: most rows are these.
    """
    _, burnt, likely = row
    found, most, best = -inf, -1.0, -1
    for place, _, gain, failed in cells:
        p = likely[place]
        if least <= p <= 1.0:
            worth = p * (gain + burnt) - failed
            if worth > found or (worth == found and p > most):
                found, most, best = worth, p, place
    return found - burnt, most, best


def _near(row: Row, columns: Sequence[Column], least: float) -> tuple[float, float, int]:
    wait, burnt, likely = row
    faults, shifts = fades(wait) if wait < _FADED_SECONDS else (0.0, 0.0)
    found, most, best = -inf, -1.0, -1
    for place, soonest, gain, failed, excess, shift, away in columns:
        p = likely[place]
        if wait < soonest or not 0.0 <= p <= 1.0 or (away and within(wait, away)):
            continue
        if shift:
            odds = exp(shift * shifts) * p
            p = odds / (odds + (1.0 - p))
        if excess:
            p *= 1.0 - excess * faults
        if p >= least:
            worth = p * (gain + burnt) - failed
            if worth > found or (worth == found and p > most):
                found, most, best = worth, p, place
    return found - burnt, most, best
