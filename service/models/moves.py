"""What an estimate would be without what moved it most: from a graph's moves, by its own calibration.

This module must not know groups by name. `moves_native` is the same in C.
"""

from math import log, log1p
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from features.effects import shifted
from features.hierarchy import probability

Floats = npt.NDArray[np.float32]


class Moves(Protocol):
    """How far each group of features moved the answers to rows before they were calibrated."""

    def row(self, row: int) -> Floats:
        """Return the moves of one row, one for each group."""

    def without(
        self,
        row: int,
        most: int,
        base: float,
        log_odds: bool,
        slope: float,
        high: float,
        offset: float,
        calibrated: bool,
        shift: float,
    ) -> list[tuple[int, float]]:
        """Return what `service.models.moves.without` does, for one row."""


EDGE: Final = 1e-6
"""How far a share is kept from 0 and 1 when it is calibrated, as in the graphs."""


def without(
    moves: Floats,
    row: int,
    most: int,
    base: float,
    log_odds: bool,
    slope: float,
    high: float,
    offset: float,
    calibrated: bool,
    shift: float,
) -> list[tuple[int, float]]:
    """Return the columns of the largest moves of a row, and the probability without each, largest first.

    Parameters
    ----------
    moves, row
        Shape (rows, groups), and of which row.
    most
        How many at the most.
    base, log_odds
        What the moves begin with; whether they are log-odds, not shares (`contracts.bundle.Attribution`).
    slope, high, offset, calibrated
        The calibration p = sigmoid(slope ln p - high ln(1 - p) + offset), if there is one (``trainer.fit.calibration``).
    shift
        What is added to the log-odds at last.
    """
    steps: list[float] = moves[row].tolist()
    # Term by term, as in C: `sum` adds otherwise from Python 3.12 on.
    total = 0.0
    for step in steps:
        total += step
    answer = base + total
    largest = sorted(range(len(steps)), key=lambda place: -abs(steps[place]))[:most]
    made = []
    for place in largest:
        p = answer - steps[place]
        if log_odds:
            p = probability(p)
        if calibrated:
            p = min(max(p, EDGE), 1.0 - EDGE)
            p = probability(slope * log(p) - high * log1p(-p) + offset)
        else:
            p = min(max(p, 0.0), 1.0)
        made.append((place, shifted(p, shift)))
    return made
