"""Drift in simulated time: attempts through one processor whose truth moves away from what the model says.

What corrects is the service's own (`service.policy.standings`). This module must not know how results are shown.
"""

import random
from collections.abc import Callable
from math import exp, log
from statistics import fmean
from typing import Final, NamedTuple

from features.clock import SECOND
from service.policy.standings import standings_of
from service.standing import Note, add

START: Final = 1_780_000_000 * SECOND
NETWORKS: Final = ("visa", "mastercard", "amex")
MERCHANTS: Final = tuple(f"m{number}" for number in range(8))

Drift = Callable[[float, str, str], float]
"""Log-odds that are added to what the model says: by the seconds since the start, network and merchant."""


def sigmoid(odds: float) -> float:
    """Return the probability of log-odds."""
    return 1.0 / (1.0 + exp(-odds))


def logit(p: float) -> float:
    """Return the log-odds of a probability."""
    return log(p / (1.0 - p))


class World(NamedTuple):
    """What happens: drift, attempts a second, hours, usual share of faults, and whether the model knows the processor."""

    drift: Drift
    rate: float
    hours: float
    usual: float = 0.0
    known: bool = True


class Errors(NamedTuple):
    """Mean squared error of the model's probabilities and of the corrected ones, and the last shift of all."""

    model: float
    corrected: float
    shift: float


def played(world: World, seed: int) -> Errors:
    """Simulate attempts through one processor; errors are counted after a quarter of the time.

    The model is calibrated, and off by 0.2 log-odds for the single attempt, which nothing can correct.
    """
    draw = random.Random(seed)
    kept: dict[str, bytes] = {}
    model, corrected = [], []
    now, shift = 0.0, 0.0
    while now < world.hours * 3600.0:
        now += draw.expovariate(world.rate)
        at = START + int(now * SECOND)
        network = draw.choices(NETWORKS, (5, 4, 1))[0]
        merchant = draw.choices(MERCHANTS, (8, 7, 6, 5, 4, 3, 2, 1))[0]
        keys = ("p", network, merchant)
        odds = draw.gauss(1.5, 0.8)
        passes = sigmoid(odds + world.drift(now, network, merchant) + draw.gauss(0.0, 0.2))
        truth = passes * (1.0 - world.usual)
        said = sigmoid(odds) * (1.0 - world.usual)
        (standing,) = standings_of(("p",), [kept.get(key) for key in keys], at, known=("p",) if world.known else ())
        shift = standing.shift
        if now > world.hours * 900.0:
            model.append((said - truth) ** 2)
            corrected.append((sigmoid(logit(said) + shift) * (1.0 - standing.excess) - truth) ** 2)
        fault = draw.random() < world.usual
        note = Note(at, fault=fault, approved=not fault and draw.random() < passes, expected=said)
        for key in keys:
            kept[key] = add(kept.get(key), note)
    return Errors(fmean(model), fmean(corrected), shift)


def nothing(_seconds: float, _network: str, _merchant: str) -> float:
    """The model is right."""
    return 0.0


def lasting(_seconds: float, network: str, merchant: str) -> float:
    """Off since the training: the processor, one network, some merchants."""
    return -0.3 + (0.3 if network == "visa" else 0.0) + (-0.3 if merchant in {"m0", "m3"} else 0.0)


def walking(seconds: float, _network: str, _merchant: str) -> float:
    """Up by 0.4 in three hours, then down again."""
    return 0.4 * max(1.0 - abs(1.0 - seconds / (3.0 * 3600.0)), 0.0)


def bursting(seconds: float, network: str, _merchant: str) -> float:
    """For half an hour one network's issuers refuse much more."""
    return -1.0 if network == "visa" and 2.5 * 3600.0 < seconds < 3.0 * 3600.0 else 0.0
