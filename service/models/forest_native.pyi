"""The types of the kernel `forest_native.pyx`."""

import numpy as np
import numpy.typing as npt

from features.assemble import Matrix
from service.models.kernel import Tail
from service.models.packed import Packed

class Forest:
    def __init__(self, packed: Packed, tail: Tail, tells: bool) -> None: ...
    def score(self, rows: Matrix) -> tuple[list[float], Walk | None]: ...

class Walk:
    def row(self, row: int) -> npt.NDArray[np.float32]: ...
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
    ) -> list[tuple[int, float]]: ...
