"""Outages in simulated time: payments, what a processor makes of them, and what the service concludes.

Everything that concludes is the service's own (`service.standing`, `service.policy`); what is simulated are payments, faults and
how much a policy still sends. This module must not know how results are shown.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from math import log
from typing import Final, NamedTuple

import numpy as np

from features.clock import SECOND
from service.policy.health import (
    FEWEST,
    LEAST_PATIENCE,
    MOST,
    SCREEN_EXCESS,
    SCREEN_SHARE,
    SPANS,
    STRENGTH,
    USUAL,
    Level,
    trouble,
)
from service.policy.standings import standings_of
from service.standing import FORM, SCALES, VERSION, Note, add, month_of

EPOCH: Final = 1_767_225_600 * SECOND
"""When simulated time begins."""
MEDIAN_MS: Final = 400
AVOIDED: Final = 0.15
"""Excess from which a policy is taken to prefer another processor and to leave this one a probe share."""


class Outage(NamedTuple):
    """What happens, and to whom.

    Attributes
    ----------
    rate, share
        Payments a second in all, and the part of them that this processor gets while it is well.
    faults, usual
        Share of what it gets that is lost by its fault: in the outage, and otherwise.
    slower
        How many times longer it takes to answer in the outage.
    seconds, after
        How long the outage lasts, and how long is looked on afterwards.
    probe
        Share of all payments that try it while it is half open, or left to another.
    wait
        Seconds after which a fault is known.
    alone
        There is no other processor: it gets everything, whatever is concluded.
    follow
        Look on for the whole time afterwards, not only until it is up.
    """

    rate: float = 20.0
    share: float = 1.0
    faults: float = 1.0
    usual: float = 0.02
    slower: float = 1.0
    seconds: float = 120.0
    after: float = 300.0
    probe: float = 0.02
    wait: float = 1.0
    alone: bool = False
    follow: bool = False


class Course(NamedTuple):
    """What became of it, seconds: None where it never came.

    Attributes
    ----------
    noticed
        From the beginning to the first sign: down, half open, or an excess of a tenth and more.
    stopped
        From the beginning to down or half open.
    slowed
        From the beginning to a slowdown that is reported.
    up
        From the end to up, with an excess at which it gets its part again.
    lost
        Attempts lost by the processor's fault in the outage.
    relapses
        How often it was stopped again after it had been up; for an outage that is followed.
    """

    noticed: float | None
    stopped: float | None
    slowed: float | None
    up: float | None
    lost: int
    relapses: int


def steady(rate: float, usual: float, at: int, *, approval: float = 0.9, expected: float = 0.9) -> bytes:
    """Return the standing of a processor that has had so many results a second for days."""
    sums: list[float] = []
    for span in SPANS:
        results = rate * span + 0.5
        passed = results * (1.0 - usual)
        sums += (results, results * usual, passed * approval, passed * expected, passed * expected * (1.0 - expected))
        sums += (passed, passed * log(MEDIAN_MS))
    return FORM.pack(VERSION, month_of(at), 0.0, at, *sums)


def micros_of(seconds: float) -> int:
    """Return simulated seconds as a moment."""
    return EPOCH + int(seconds * SECOND)


def course(outage: Outage, seed: int) -> Course:
    """Simulate one outage, with a policy that sends nothing to what is down and a probe share to what is half open."""
    draw = random.Random(seed)
    mine = outage.rate * outage.share
    blob = steady(mine, outage.usual, micros_of(0.0))
    now, pending, lost, relapses = 0.0, list[tuple[float, bool, int | None]](), 0, 0
    begins = 60.0
    ends = begins + outage.seconds
    noticed = stopped = slowed = up = None
    running = True
    while now < ends + outage.after and (up is None or outage.follow):
        now += draw.expovariate(outage.rate)
        while pending and pending[0][0] <= now:
            then, failed, took = heappop(pending)
            blob = add(blob, Note(micros_of(then), fault=failed, approved=not failed, latency_ms=took))
        (standing,) = standings_of(("a",), (blob, None, None), micros_of(now))
        wanted = standing.health == "up" and standing.excess < AVOIDED
        if now >= begins:
            since = now - begins
            if noticed is None and (standing.health != "up" or standing.excess >= 0.1):
                noticed = since
            if stopped is None and standing.health != "up":
                stopped = since
            if slowed is None and standing.slowdown > 1.0:
                slowed = since
            if up is None and now >= ends and wanted:
                up = now - ends
            relapses += up is not None and running and standing.health != "up"
            running = standing.health == "up"
        part = outage.share if wanted or outage.alone else 0.0 if standing.health == "down" else outage.probe
        if draw.random() >= part:
            continue
        out = begins <= now < ends
        fault = draw.random() < (outage.faults if out else outage.usual)
        lost += fault and out
        latency = draw.lognormvariate(log(MEDIAN_MS * (outage.slower if out else 1.0)), 0.5)
        wait = outage.wait * draw.uniform(0.5, 1.5) if fault else latency / 1000.0
        heappush(pending, (now + wait, fault, None if fault else int(latency)))
    return Course(noticed, stopped, slowed, up, lost, relapses)


class Alarms(NamedTuple):
    """False alarms of a simulation: how many days were looked at, and how many alarms began in them."""

    days: float
    alarms: int
    stops: int
    """Of them those that called the processor down or half open."""


Rate = Callable[[float, np.ndarray], np.ndarray]
"""Fault share of each lane, given the seconds since the start and the usual share."""


def constant(_: float, usual: np.ndarray) -> np.ndarray:
    """Faults that come by chance alone."""
    return usual


def daily(seconds: float, usual: np.ndarray) -> np.ndarray:
    """Faults that are half as many again in some hours of the day, and half as many in others."""
    changed: np.ndarray = usual * (1.0 + 0.5 * np.sin(2.0 * np.pi * seconds / 86_400.0))
    return changed


def false_alarms(
    rate: float, usual: float, lanes: int, seconds: float, seed: int, *, changing: Rate = constant, runs: float = 0.0
) -> Alarms:
    """Count the alarms of many processors that are well, each for so long.

    Parameters
    ----------
    rate, usual : float
        Results a second, at random moments, and the share of them that are faults.
    lanes : int
        Processors.
    changing
        How the share of faults changes.
    runs : float
        Probability that the result after a fault is another: faults that come in company.
    """
    draw = np.random.default_rng(seed)
    share = np.full(lanes, usual)
    half_lives = np.array(SCALES)[:, None] / SECOND
    results = rate * np.array(SPANS)[:, None] + np.full((4, lanes), 0.5)
    faults = results * usual
    now, last = 0.0, np.full(lanes, -np.inf)
    before = np.zeros(lanes, dtype=bool)
    alarms = stops = 0
    while now < seconds:
        gaps = draw.exponential(1.0 / rate, lanes)
        now += 1.0 / rate
        fault = draw.random(lanes) < np.where(before, np.maximum(runs, share), changing(now, share))
        before = fault
        keep = np.exp2(-gaps / half_lives)
        results *= keep
        results += 1.0
        faults *= keep
        faults += fault
        for lane in np.flatnonzero(fault & _suspicious(results, faults)):
            sums = np.stack((results[:, lane], faults[:, lane]), axis=1).ravel().tolist()
            found = trouble(Level(*sums), _usual(results[:, lane], faults[:, lane]))
            if found is not None:
                alarms += now - last[lane] > LEAST_PATIENCE
                stops += found.state != "up" and now - last[lane] > LEAST_PATIENCE
                last[lane] = now
    return Alarms(lanes * seconds / 86_400.0, alarms, stops)


def threshold_alarms(rate: float, usual: float, share: float, seed: int, days: int = 100) -> float:
    """Return how often a day the share of faults in a minute rises above a threshold, at a processor that is well."""
    draw = np.random.default_rng(seed)
    results = draw.poisson(60.0 * rate, days * 1440)
    above = draw.binomial(results, usual) > share * results
    return float((above[1:] & ~above[:-1]).sum() / days)


def _usual(results: np.ndarray, faults: np.ndarray) -> float:
    usual = (faults[3] - faults[2] + STRENGTH * USUAL) / (results[3] - results[2] + STRENGTH)
    return float(min(usual, MOST))


def _suspicious(results: np.ndarray, faults: np.ndarray) -> np.ndarray:
    """Say which lanes the service would look at more closely: its own screen, for all lanes at once."""
    usual = np.minimum((faults[3] - faults[2] + STRENGTH * USUAL) / (results[3] - results[2] + STRENGTH), MOST)
    share = SCREEN_SHARE[0] + SCREEN_SHARE[1] * usual
    screened: np.ndarray = (faults[2] >= FEWEST) & ((faults[:3] - share * results[:3]).max(axis=0) > SCREEN_EXCESS)
    return screened
