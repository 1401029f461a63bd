"""Held-out rows as they would have looked had something else been asked: every candidate processor, every planned wait.

The features of a payment do not depend on the candidate, so only those that do are computed again. This module must not
know what is made of the answers.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from features.catalog import CANDIDATE, RETRY
from features.clock import SECOND
from features.encoding import Encodings
from features.offline.plan import compute
from features.spec import FeatureSpec
from trainer.fit.dataset import INPUTS, Floats, Rows

MOST_PAYMENTS: Final = 20_000
MOST_RETRIES: Final = 5_000

_ROW: Final = "row"


def first_attempts(test: Rows, seed: int) -> pl.DataFrame:
    """Return the held-out first attempts whose propensity was logged, at most 20,000, with their place in `test` as "row"."""
    found = test.frame.with_row_index(_ROW).filter(pl.col("attempt") == 1, pl.col("propensity") > 0)
    return found if len(found) <= MOST_PAYMENTS else found.sample(MOST_PAYMENTS, seed=seed).sort(_ROW)


def each_processor(
    asked: pl.DataFrame, train: Rows, test: Rows, history: pl.LazyFrame, encodings: Encodings
) -> tuple[pl.DataFrame, Floats]:
    """Return one row per attempt and candidate: a frame with "row" and "processor", and the routing model's inputs.

    A merchant's candidates are the processors that it used in training, all of training's for a merchant not seen there; the
    one that was used is always among them.

    Parameters
    ----------
    asked
        From `first_attempts`.
    train, test
        The routing model's rows.
    history, encodings
        As in ``trainer.fit.dataset``.
    """
    pairs = train.frame.select("merchant_id", "processor").unique()
    everywhere = pairs.select("processor").unique()
    unknown = asked.select("merchant_id").unique().join(pairs, on="merchant_id", how="anti")
    offered = pl.concat(
        [pairs, unknown.join(everywhere, how="cross"), asked.select("merchant_id", "processor").unique()]
    ).unique()
    crossed = asked.drop("processor").join(offered, on="merchant_id", how="inner")
    return _asked_again(crossed, test, "routing", CANDIDATE, history, encodings)


def each_wait(
    test: Rows, waits: Sequence[int], history: pl.LazyFrame, encodings: Encodings, seed: int
) -> tuple[pl.DataFrame, Floats]:
    """Return one row per failed attempt and wait: a frame with "row" and "wait_seconds", and the retry model's inputs."""
    asked = test.frame.with_row_index(_ROW)
    if len(asked) > MOST_RETRIES:
        asked = asked.sample(MOST_RETRIES, seed=seed).sort(_ROW)
    grid = pl.DataFrame({"wait_seconds": list(waits)}, schema={"wait_seconds": pl.Int64})
    crossed = asked.drop("wait_seconds", "retry_at").join(grid, how="cross")
    crossed = crossed.with_columns(retry_at=pl.col("at") + pl.col("wait_seconds") * SECOND)
    return _asked_again(crossed, test, "retry", RETRY, history, encodings)


def _asked_again(
    crossed: pl.DataFrame,
    test: Rows,
    model: str,
    changing: Sequence[FeatureSpec],
    history: pl.LazyFrame,
    encodings: Encodings,
) -> tuple[pl.DataFrame, Floats]:
    inputs: tuple[str, ...] = INPUTS[model]  # type: ignore[index]
    specs = [spec for spec in changing if spec.name in inputs]
    frame = compute(crossed.lazy(), history, encodings, specs).collect(engine="streaming").sort(_ROW, "processor")
    features = test.features[frame[_ROW].to_numpy()]
    for spec in specs:
        features[:, inputs.index(spec.name)] = frame[f"f:{spec.name}"].to_numpy()
    return frame.select(_ROW, "processor", "wait_seconds" if model == "retry" else "merchant_id"), np.ascontiguousarray(
        features
    )
