"""Features computed in slices held to those of whole parts: bit for bit, but for the decayed sums."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from features.spec import FeatureSpec
from trainer.features.selection import IDENTITY, ORDER, select

TOLERANCE: Final = 1e-6
"""Of decayed sums: relative, and absolute for a rate near 0."""


def assert_same(sliced: pl.DataFrame, whole: pl.DataFrame, specs: Iterable[FeatureSpec]) -> None:
    """Hold features of the same attempts in the same order to each other."""
    assert len(sliced) == len(whole)
    for spec in specs:
        name = f"f:{spec.name}"
        got, expected = sliced[name].to_numpy(), whole[name].to_numpy()
        if spec.operation == "decayed":
            np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(got.view(np.int32), expected.view(np.int32), err_msg=name)


def assert_same_files(sliced: Path, whole: Path) -> None:
    """Hold two results of the command, without priors, to each other."""
    got, expected = (pl.read_parquet(sorted(folder.glob("*.parquet"))).sort(ORDER) for folder in (sliced, whole))
    assert got.select(IDENTITY).equals(expected.select(IDENTITY))
    assert_same(got, expected, select(None).specs)
