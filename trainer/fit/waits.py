"""The retry model over the grid of waits: what it says of waiting so long, beside what became of those who did.

The observed rates are of whoever waited so long, the mean answer of all: they differ where some wait for a reason. The mean
answer to those who did stands between them and must agree with the observed.

This module must not know how the model was fitted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Wait(NamedTuple):
    """One wait of the grid: rows that waited from it up to the next, the mean answer to all, and to those rows."""

    seconds: int
    said: float
    rows: int
    said_there: float
    observed: float


def by_wait(
    grid: Sequence[int],
    said: dict[int, float],
    waited: npt.NDArray[np.int64],
    p: Floats,
    labels: npt.NDArray[np.bool_],
) -> list[Wait]:
    """Return one `Wait` per wait of the grid.

    Parameters
    ----------
    grid
        Waits in seconds, rising.
    said
        Mean answer to all held-out declines, were they retried after each wait.
    waited, p, labels
        What the held-out retries waited, the answers to them as they were, and whether they succeeded; shape (n,).
    """
    bucket = np.searchsorted(np.asarray(grid), waited, side="right") - 1
    table = []
    for number, seconds in enumerate(grid):
        there = bucket == number
        rows = int(there.sum())
        table.append(
            Wait(
                seconds,
                said[seconds],
                rows,
                float(p[there].mean()) if rows else float("nan"),
                float(labels[there].mean()) if rows else float("nan"),
            )
        )
    return table
