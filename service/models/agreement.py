"""Whether a kernel answers as ONNX Runtime does: on the golden rows, and on hundreds drawn around them.

The rows are meant to find a difference: every one takes values of other golden rows, numbers on and beside the thresholds that
the trees ask about, absent ones, none, and such as are far out. This module must not know what a bundle is.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from features.assemble import Matrix
from service.models.kernel import Kernel
from service.models.moves import Moves
from service.models.packed import Packed

TOLERANCE: Final = 1e-6
"""How far a kernel's answer, and each of its moves, may be from ONNX Runtime's."""

DRAWN: Final = 384
_SEED: Final = 20_261_124
_ALTERED: Final = 0.3
_FARTHEST: Final = 1e30

Answer = Callable[[Matrix], tuple[list[float], Moves | None]]


def disagreement(kernel: Kernel, answer: Answer, rows: Matrix, columns: npt.NDArray[np.intp], width: int) -> str | None:
    """Return where kernel and reference differ by more than 1e-6, or None where they do not.

    Parameters
    ----------
    kernel
        Takes rows of `width` columns.
    answer
        The reference, which takes rows of the model's own inputs.
    rows
        Shape (n, inputs).
    columns
        Where in the whole row each input is.
    """
    whole = np.full((len(rows), width), np.nan, dtype=np.float32)
    whole[:, columns] = rows
    expected, told = answer(rows)
    found, walked = kernel.score(whole)
    off = float(np.abs(np.subtract(found, expected)).max())
    if not off <= TOLERANCE:
        return f"an answer is {off:.2e} off"
    if (told is None) != (walked is None):
        return "only one of the two tells what moved it"
    if told is not None and walked is not None:
        # Equal sums of the moves of every tree: the same leaves.
        for row in range(len(rows)):
            off = float(np.abs(walked.row(row) - told.row(row)).max(initial=0.0))
            if not off <= TOLERANCE:
                return f"a move is {off:.2e} off"
    return None


def around(golden: Matrix, packed: Packed | None, columns: npt.NDArray[np.intp]) -> Matrix:
    """Return rows drawn around golden ones, always the same, shape (384, inputs).

    Parameters
    ----------
    packed
        The trees whose thresholds are taken; None where there are none, and then nothing is missing: of a regression that makes
        no number.
    """
    random = np.random.default_rng(_SEED)
    rows = golden[random.integers(0, len(golden), DRAWN)].copy()
    shape = rows.shape
    others = golden[random.integers(0, len(golden), shape), np.arange(shape[1])]
    far = random.choice(np.array([-1, 0, 1, -_FARTHEST, _FARTHEST, 1e-30], dtype=np.float32), shape)
    scaled = np.clip(rows * random.lognormal(0.0, 1.0, shape), -_FARTHEST, _FARTHEST).astype(np.float32)
    made = [others, far, scaled]
    if packed is not None:
        on = _thresholds(packed, columns, random, shape)
        made += [on, np.nextafter(on, np.float32(np.inf)), np.nextafter(on, np.float32(-np.inf)), on]
        made.append(np.full(shape, np.nan, dtype=np.float32))
    which = random.integers(0, len(made), shape)
    altered = random.random(shape) < _ALTERED
    for number, values in enumerate(made):
        here = altered & (which == number)
        rows[here] = values[here]
    return rows


def _thresholds(
    packed: Packed, columns: npt.NDArray[np.intp], random: np.random.Generator, shape: tuple[int, ...]
) -> Matrix:
    """Return for every input of a row a number that some node asks about."""
    inner = packed.nodes[packed.nodes["skip"] > 0]
    asked = inner["feature"] & 0x7FFF
    made = np.zeros(shape, dtype=np.float32)
    for place, column in enumerate(columns):
        known = inner["threshold"][asked == column]
        if len(known):
            made[:, place] = random.choice(known, shape[0])
    return made
