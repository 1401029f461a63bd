"""The window features of one partition of keys: what runs N times on one machine, or on the workers of a cluster.

This module must not know how a partition came about, nor where its result goes.
"""

from collections.abc import Sequence

import polars as pl

from features.offline.windows import entity_features
from features.spec import FeatureSpec


def window_features(attempts: pl.DataFrame, kind: str, specs: Sequence[FeatureSpec]) -> pl.DataFrame:
    """Return the features of every attempt as of its own moment, sorted by `row`.

    Parameters
    ----------
    attempts
        All attempts of the keys of this partition: `row` (unique) and ``trainer.features.selection.event_columns``.
    kind
        Kind of entity.
    specs
        Its window features.

    Returns
    -------
    polars.DataFrame
        `row` (Int64) and one float32 column a feature, as many rows as there are attempts.
    """
    history = attempts.lazy()
    queries = history.with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
    return entity_features(queries, history, kind, specs).collect(engine="in-memory").sort("row")
