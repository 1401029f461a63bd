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


class Row(NamedTuple):
    """One wait: what a failure then uses up of a quota (minor units), and how likely each processor asked about is."""

    wait: int
    burnt: float
    likely: Sequence[float]


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
    mode, reached, columns, rows = block
    hurdle, always, told = 0, True, False
    for column in columns:
        hurdle = max(hurdle, column.soonest)
        always = always and not column.away
        told = told or column.shift != 0.0 or column.excess != 0.0
    dense = [column.place for column in columns] == list(range(len(columns)))
    worths = _Worths(columns)
    most = -inf if best is None else best.score
    next_most = -inf if second is None else second.score
    for wait, burnt, likely in rows:
        here = columns if always and wait >= hurdle else _here(columns, wait)
        if not here:
            continue
        chances: Sequence[float]
        if told and wait < _FADED_SECONDS:
            chances = _after(likely, here, wait)
        elif dense and here is columns:
            chances = likely
        else:
            chances = [likely[column[0]] for column in here]
        gains, faileds = worths.of(here, burnt)
        values = list(map(sub, map(mul, chances, gains), faileds))
        top = max(values)
        which = values.index(top) if top == top else 0
        if not least <= chances[which] <= 1.0 or values.count(top) > 1:
            which = _likely_enough(values, chances, least)
            if which < 0:
                continue
            top = values[which]
        worth = reached * top
        score = worth * (1.0 - wait * IMPATIENCE) if worth > 0.0 else worth
        p = chances[which]
        if best is None or score > most or (score == most and p > best.p):
            best, second = Retry(score, p, worth, wait, here[which].place, mode), best
            most, next_most = score, most
        elif score > next_most or second is None:
            second = Retry(score, p, worth, wait, here[which].place, mode)
            next_most = score
    return best, second


class _Worths:
    """What an approval earns more than a failure and what a failure costs, of each candidate, as lists to multiply with."""

    __slots__ = ("_all", "_burnt", "_columns", "_lists")

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._all = ([column.gain for column in columns], [column.failed for column in columns])
        self._burnt = 0.0
        self._lists = self._all

    def of(self, here: Sequence[Column], burnt: float) -> tuple[list[float], list[float]]:
        """Return both for the candidates that are here, with what a failure burns of a quota."""
        if here is not self._columns:
            return [column.gain + burnt for column in here], [column.failed + burnt for column in here]
        if burnt != self._burnt:
            gains, faileds = self._all
            self._lists = ([gain + burnt for gain in gains], [failed + burnt for failed in faileds])
            self._burnt = burnt
        return self._lists


def _likely_enough(values: Sequence[float], chances: Sequence[float], least: float) -> int:
    """Return the place of the highest value of those likely enough, the likelier of equals; -1 where there is none."""
    found = -1
    for place, (value, p) in enumerate(zip(values, chances, strict=True)):
        if least <= p <= 1.0 and (
            found < 0 or value > values[found] or (value == values[found] and p > chances[found])
        ):
            found = place
    return found


def likeliest_of(blocks: Sequence[Block]) -> tuple[float, float]:
    """Return probability and value of the likeliest retry; a probability of -1 when none was scored."""
    most, value = -1.0, 0.0
    for _, reached, columns, rows in blocks:
        for wait, burnt, likely in rows:
            here = _here(columns, wait)
            for p, column in zip(_after(likely, here, wait), here, strict=True):
                if most < p <= 1.0:
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
        return [likely[column[0]] for column in here]
    faults, shifts = fades(wait)
    chances = []
    for place, _, _, _, excess, shift, _ in here:
        p = likely[place]
        if shift:
            odds = exp(shift * shifts) * p
            p = odds / (odds + 1.0 - p)
        if excess:
            p *= 1.0 - excess * faults
        chances.append(p)
    return chances
