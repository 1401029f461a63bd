"""Policies to judge that need no model: chance, whoever decided, one action always, and the best of those.

This module must not know payments.
"""

from typing import Final

import numpy as np

from trainer.errors import EvaluateError
from trainer.evaluate.log import Flags, Floats, Log, Places, Target
from trainer.evaluate.off_policy import effective, weigh
from trainer.evaluate.verdict import LEAST_EFFECTIVE

UNIFORM: Final = "uniform"
LOGGED: Final = "logged"
BEST_FIXED: Final = "best-fixed"
PROCESSOR: Final = "processor:"
BUNDLE: Final = "bundle:"

SYNTAX: Final = f"{UNIFORM}, {LOGGED}, {BEST_FIXED}, {PROCESSOR}NAME or {BUNDLE}VERSION"


def simple(policy: str, log: Log, fold: Places) -> Target:
    """Return what a policy without a model would have done.

    Parameters
    ----------
    policy
        "uniform": every action that is offered alike. "logged": what was done. "processor:NAME": that one, and chance where
        it is not offered. "best-fixed": the processor that is worth most on the other folds.
    log
        What was done.
    fold
        Of each question, shape (n,).

    Raises
    ------
    EvaluateError
        When it is none of these, or names an action that is not in the log.
    """
    if policy == UNIFORM:
        return Target(policy, _even(log.offered))
    if policy == LOGGED:
        return Target(policy, None)
    if policy == BEST_FIXED:
        return _best_fixed(log, fold)
    name = policy.removeprefix(PROCESSOR)
    if name == policy:
        msg = f"expected a policy as {SYNTAX}, got {policy!r}"
        raise EvaluateError(msg)
    if name not in log.actions:
        msg = f"expected one of {', '.join(log.actions)} after {PROCESSOR}, got {name!r}"
        raise EvaluateError(msg)
    return _fixed(log, log.actions.index(name), policy)


def _even(offered: Flags) -> Floats:
    count = offered.sum(axis=1, keepdims=True)
    even: Floats = np.divide(offered, count, out=np.zeros(offered.shape), where=count > 0)
    return even


def _always(log: Log, place: int) -> Floats:
    """Return the choices of one action, and chance where it is not offered."""
    chosen = _even(log.offered)
    there = log.offered[:, place]
    chosen[there] = 0.0
    chosen[there, place] = 1.0
    return chosen


def _fixed(log: Log, place: int, policy: str) -> Target:
    absent = 1.0 - float(log.offered[:, place].mean())
    notes = (f"by chance in the {absent:.1%} of questions where it is not offered",) if absent > 0 else ()
    return Target(policy, _always(log, place), notes=notes)


def _best_fixed(log: Log, fold: Places) -> Target:
    """The best of the fixed ones, judged where it was not chosen: chosen and judged on the same, the luckiest would win."""
    chosen = np.zeros(log.offered.shape)
    named = []
    for number in np.unique(fold):
        rest = fold != number
        best = max(range(len(log.actions)), key=lambda place: _worth(log, place, rest))
        chosen[~rest] = _always(log, best)[~rest]
        named.append(log.actions[best])
    return Target(BEST_FIXED, chosen, notes=(f"it is {' or '.join(dict.fromkeys(named))}, chosen on the other half",))


def _worth(log: Log, place: int, rows: Flags) -> tuple[bool, float]:
    """Return whether enough is known of one action on some questions, and its self-normalised value there."""
    weights = weigh(log, Target(BEST_FIXED, _always(log, place)))
    total = float(weights.clipped[rows].sum())
    if not total > 0:
        return False, -np.inf
    value = float((weights.clipped[rows] * log.reward[rows]).sum()) / total
    return effective(weights.full[rows]) >= LEAST_EFFECTIVE, value
