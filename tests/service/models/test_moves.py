"""What an estimate would be without its largest moves: in C the same floats as in Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.models import moves as reference

kernel = pytest.importorskip("service.models.moves_native", reason="the kernels were not built: no C compiler here")

STEP = st.floats(-2, 2, width=32)


@settings(max_examples=500, deadline=None)
@given(
    rows=st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(STEP, min_size=n, max_size=n), min_size=1, max_size=4)),
    most=st.integers(0, 4),
    base=st.floats(-1, 1),
    log_odds=st.booleans(),
    calibrated=st.booleans(),
    slopes=st.tuples(st.floats(0.05, 20), st.floats(0.05, 20), st.floats(-20, 20)),
    shift=st.sampled_from((0.0, 0.4, -30.0)),
)
def test_the_same_floats(
    rows: list[list[float]],
    most: int,
    base: float,
    log_odds: bool,
    calibrated: bool,
    slopes: tuple[float, float, float],
    shift: float,
) -> None:
    moves = np.array(rows, dtype=np.float32)
    for row in range(len(rows)):
        given_ = (moves, row, most, base, log_odds, *slopes, calibrated, shift)
        assert kernel.without(*given_) == reference.without(*given_)
