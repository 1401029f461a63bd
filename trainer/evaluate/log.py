"""What was done and what came of it: the log from which another policy is judged, and what that policy would have done.

This module must not know payments: questions, actions and rewards only.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Log:
    """n questions, each answered with one of k actions by whoever decided.

    Attributes
    ----------
    actions
        Names of the k actions.
    taken
        Place of the action that was taken, shape (n,).
    propensity
        Probability with which it was taken, shape (n,).
    reward
        What came of it, shape (n,).
    payment
        Number of the payment of each question, shape (n,): questions of one payment are one observation.
    offered
        Which actions there were to choose from, shape (n, k).
    """

    actions: tuple[str, ...]
    taken: Places
    propensity: Floats
    reward: Floats
    payment: Places
    offered: Flags

    def __len__(self) -> int:
        return len(self.taken)

    def of(self, values: Floats) -> Floats:
        """Return of `values` (n, k) those of the actions that were taken, shape (n,)."""
        taken: Floats = values[np.arange(len(self.taken)), self.taken]
        return taken


class Target(NamedTuple):
    """What another policy would have done about the questions of a `Log`.

    Attributes
    ----------
    policy
        Its name.
    chosen
        Probability with which it would have taken each action that the log could have taken too, shape (n, k); None: it is
        whoever decided.
    nothing
        Probability with which it would have done nothing, which is known to be worth nothing, shape (n,); None: never.
    lost
        Probability with which it would have done what was never tried, shape (n,); None: never.
    notes
        What a reader must know of it.
    """

    policy: str
    chosen: Floats | None
    nothing: Floats | None = None
    lost: Floats | None = None
    notes: tuple[str, ...] = ()
