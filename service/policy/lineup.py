"""The line-up: every candidate asked about, weighed in each way it may be used, and who of them is in the running.

This module must not know chance, nor why a way of sending is allowed.
"""

from collections.abc import Sequence
from datetime import datetime
from math import inf
from typing import Final

import msgspec

from contracts.inputs import Standing
from contracts.payment import Payment
from contracts.terms import Volume
from service.policy.candidate import NEUTRAL, Candidate, weigh
from service.policy.constraints import Able, severity
from service.policy.exploration import BOUND, on_trial, shares
from service.policy.fees import Fees
from service.policy.modes import Way, Ways
from service.policy.terms import Terms

_NONE: Final[tuple[str, ...]] = ()


class Lineup(msgspec.Struct, gc=False):
    """The candidates of one question.

    Attributes
    ----------
    running
        Those that may be chosen, best first, those on trial behind the others.
    out
        Those that may not, in the static order.
    refused
        Place, name and code of those that could not even be weighed.
    forced
        Whether none is eligible, and `running` holds the least bad instead.
    """

    running: list[Candidate]
    out: list[Candidate]
    refused: list[tuple[int, str, str]]
    forced: bool


class Weigher:
    """Weighs candidates for one bundle.

    Parameters
    ----------
    fees : Fees
        What attempts cost.
    ables : dict
        What processors can do, where something is known against them.
    """

    __slots__ = ("_ables", "_fees")

    def __init__(self, fees: Fees, ables: dict[str, Able]) -> None:
        self._fees = fees
        self._ables = ables

    def authenticates(self, processors: tuple[str, ...]) -> bool:
        """Say whether every one of some candidates can send an authentication along, as far as is known."""
        ables = self._ables
        return all(able.three_ds for able in map(ables.get, processors) if able is not None)

    def lineup(
        self,
        request: Payment,
        network: str,
        processors: tuple[str, ...],
        approval: Sequence[Sequence[float]],
        standings: Sequence[Standing],
        terms: Terms,
        ways: Ways,
        now: datetime,
    ) -> Lineup:
        """Weigh every candidate, and say who is in the running.

        One is out by a code of `service.policy.constraints`, or because it is down. Are all out, the least bad are in the
        running all the same, so that no payment is lost for want of a processor; only what makes an attempt impossible
        is final.
        """
        challenged = ways.allowed[-1].challenge if ways.allowed else False
        volumes, ables = terms.volumes, self._ables
        amount, currency = request.amount_minor, request.currency
        issuer, merchant = request.issuer_country, request.merchant_country
        tariff = self._fees.tariff(network, issuer, merchant)
        fees = tariff.by_processor
        lineup = Lineup([], [], [], False)
        seen: set[str] = set()
        for index, processor in enumerate(processors):
            if processor in seen:
                lineup.refused.append((index, processor, "repeated"))
                continue
            seen.add(processor)
            standing = standings[index] if standings else NEUTRAL
            volume = volumes.get(processor) if volumes else None
            codes = _NONE if volume is None and standing.health != "down" else _objections(standing, volume)
            allowed = ways.allowed
            able = ables.get(processor)
            if able is not None:
                codes += able.against(network, currency, issuer, merchant, now)
                if not able.every_way:
                    allowed, code = _usable(ways, able)
                    codes += code
            fee = fees.get(processor, tariff.unknown)
            three_ds = self._fees.three_ds(processor) if challenged else 0
            weighed = weigh(allowed, index, approval, amount, fee, three_ds, standing, volume)
            if not weighed:
                lineup.refused.append((index, processor, "no_estimate"))
                continue
            trial = standing.health == "half_open"
            candidate = Candidate(index, processor, weighed[0], weighed, standing.doubt, trial, codes)
            (lineup.out if codes else lineup.running).append(candidate)
        if not lineup.running and lineup.out:
            lineup.running, lineup.out = _least_bad(lineup.out)
            lineup.forced = bool(lineup.running)
            lineup.running.sort(key=_by_order)
        else:
            lineup.running.sort(key=_by_trial)
        return lineup


def odds_of(
    lineup: Lineup, margin: float, *, compare: bool, floor: float, total: float, trial_share: float
) -> list[float]:
    """Return with which probability each candidate in the running is drawn, in their order.

    Parameters
    ----------
    margin : float
        What an approval earns without risk and fees, minor units: what near equals are measured by.
    compare : bool
        Whether candidates may be drawn to be compared. Those on trial are drawn in any case: they would never get well.
    floor, total, trial_share : float
        The least of a near equal, the most of all but the best, and what each candidate on trial has.
    """
    running = lineup.running
    count = len(running)
    if count == 1 or lineup.forced:
        return [1.0] + [0.0] * (count - 1)
    on = 0
    if not running[0].trial:
        for candidate in reversed(running):
            if not candidate.trial:
                break
            on += 1
    up = running[: count - on] if on else running
    if compare and total > 0.0 and len(up) > 1:
        best = up[0].best
        kind = best.order[0]
        losses: list[float] = []
        doubts: list[float] = []
        for one in up:
            mine = one.best
            doubt = one.doubt
            if mine.order[0] != kind:
                losses.append(inf)
                doubts.append(0.0)
            elif kind:
                losses.append(best.way.passing * best.probability - mine.way.passing * mine.probability)
                doubts.append(mine.way.passing * mine.probability * (1.0 - mine.unbroken) * doubt)
            else:
                losses.append(best.value - mine.value)
                doubts.append(mine.gain * mine.probability * (1.0 - mine.unbroken) * doubt)
        odds = shares(losses, doubts, bound=BOUND if kind else BOUND * margin, floor=floor, total=total)
    else:
        odds = [1.0] + [0.0] * (len(up) - 1)
    return on_trial(odds, on, trial_share, total) if on else odds


def _objections(standing: Standing, volume: Volume | None) -> tuple[str, ...]:
    """Return the codes of what was agreed, and of how the processor has been doing."""
    down = ("down",) if standing.health == "down" else ()
    if volume is not None and volume.cap_minor is not None and standing.month_minor >= volume.cap_minor:
        return ("cap_reached", *down)
    return down


def _usable(ways: Ways, able: Able) -> tuple[tuple[Way, ...], tuple[str, ...]]:
    """Return the allowed ways that a processor can do; if there are none, what may be tried all the same, and why not."""
    usable = tuple([way for way in ways.allowed if (able.token or not way.token) and (able.three_ds or not way.secure)])
    if usable:
        return usable, ()
    if able.three_ds or not all(way.secure for way in ways.allowed):
        return ways.allowed, ("token_unsupported",)
    return ways.asked, ("three_ds_unsupported",)


def _least_bad(out: list[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Take those with the least severe codes out of candidates that are all ineligible."""
    ranks = [severity(candidate.codes) for candidate in out]
    least = min([rank for rank in ranks if rank is not None], default=None)
    if least is None:
        return [], out
    taken = [candidate for candidate, rank in zip(out, ranks, strict=True) if rank == least]
    return taken, [candidate for candidate, rank in zip(out, ranks, strict=True) if rank != least]


def _by_order(candidate: Candidate) -> tuple[float, ...]:
    return candidate.best.order


def _by_trial(candidate: Candidate) -> tuple[bool, tuple[float, ...]]:
    return (candidate.trial, candidate.best.order)
