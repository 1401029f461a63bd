"""With which probability each action was taken: whether logged ones can be right, and estimates where none were logged.

This module must not know payments, nor what the probabilities are used for.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from trainer.evaluate.log import Flags, Floats, Log, Places
from trainer.evaluate.verdict import ERRORS

STRENGTH: Final = 4.0
"""How many questions the shares of the level above are worth against a cell's own. What is drawn one time in ten of 400 questions
is then taken for 3 % more than it is where the whole draws it three times in ten."""

LOUD: Final = (
    "PROPENSITIES ARE ESTIMATED, not logged: right only if whoever decided looked at nothing but the segment. "
    "What it knew beside (an outage, a customer's history) makes these figures wrong, and no interval shows it"
)


def doubts(log: Log) -> list[str]:
    """Return why the propensities of a log cannot be right; nothing when they may be.

    A probability lies above 0 and is at most 1. And among the questions where an action was offered, one over its propensity
    adds up to no more than their number, whatever the policy was: too little may be an action that was not always there.
    """
    wrong = ~((log.propensity > 0) & (log.propensity <= 1))
    if wrong.any():
        return [f"{int(wrong.sum()):,} of {len(log):,} propensities are no probability above 0 and up to 1"]
    found = []
    for place, name in enumerate(log.actions):
        offered = log.offered[:, place]
        count = int(offered.sum())
        inverse = np.where(log.taken[offered] == place, 1.0 / log.propensity[offered], 0.0)
        if count == 0:
            continue
        # Where an action is all but certain no other may have been seen yet: the spread that the odds themselves say counts too.
        variance = max(float(inverse.var()), float((inverse * (inverse - 1.0)).mean()))
        mean, error = float(inverse.mean()), (variance / count) ** 0.5
        if mean - 1.0 > ERRORS * error + 1e-9:
            found.append(
                f"one over the propensities of {name} averages {mean:.2f} where right ones give 1 at the most: they are too low"
            )
    return found


def estimated(cells: Sequence[Places], taken: Places, offered: Flags, fold: Places) -> Floats:
    """Return the probability of every action from its share among the like questions of the other folds, shape (n, k).

    A multinomial by segment. The shares of a cell are shrunk towards those of the cell above it (a Dirichlet prior), and what
    is not offered has none. No question says anything of itself: its own fold is left out.

    Parameters
    ----------
    cells
        Each question's cell on each level, coarse to fine, each array of shape (n,); a finer cell lies in one coarser.
    taken, offered
        As in ``trainer.evaluate.log.Log``.
    fold
        Number of each question's fold, shape (n,).
    """
    shares = np.zeros(offered.shape)
    for number in np.unique(fold):
        asked = fold == number
        shares[asked] = _shares(cells, taken, ~asked, asked, offered.shape[1])
    shares = np.where(offered, shares, 0.0)
    total = shares.sum(axis=1, keepdims=True)
    probabilities: Floats = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    return probabilities


def _shares(cells: Sequence[Places], taken: Places, learnt: Flags, asked: Flags, actions: int) -> Floats:
    counts = np.bincount(taken[learnt], minlength=actions).astype(np.float64)
    above: npt.NDArray[np.float64] = np.tile((counts + 1.0) / (counts.sum() + actions), (int(asked.sum()), 1))
    for cell in cells:
        names, place = np.unique(cell, return_inverse=True)
        table = np.bincount(place[learnt] * actions + taken[learnt], minlength=len(names) * actions)
        own = table.reshape(-1, actions)[place[asked]]
        above = (own + STRENGTH * above) / (own.sum(axis=1, keepdims=True) + STRENGTH)
    return above
