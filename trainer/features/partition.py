"""The window features of one partition of keys, or of one slice of it: what runs N times on one machine, or on a cluster.

This module must not know how a partition came about, nor where its result goes.
"""

from collections.abc import Sequence

import polars as pl

from features.offline.windows import entity_features
from features.spec import FeatureSpec
from trainer.features.selection import feature_columns
from trainer.features.slices import ASKED


def window_features(attempts: pl.DataFrame, kind: str, specs: Sequence[FeatureSpec]) -> pl.DataFrame:
    """Return the features of every attempt that is asked about, as of its own moment, sorted by `row`.

    Parameters
    ----------
    attempts
        All attempts of the keys of this partition: `row` (unique) and ``trainer.features.selection.event_columns``. Of a
        slice also `ASKED`, false for what is only history to it (``trainer.features.slices``); without it all are asked about.
    kind
        Kind of entity.
    specs
        Its window features.

    Returns
    -------
    polars.DataFrame
        `row` (Int64) and one float32 column a feature, as many rows as there are attempts asked about.
    """
    history = attempts.lazy()
    asked = history
    if ASKED in attempts.columns:
        if not attempts[ASKED].any():
            return pl.DataFrame(schema={"row": pl.Int64, **dict.fromkeys(feature_columns(specs), pl.Float32)})
        asked = history.filter(ASKED)
    queries = asked.with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
    return entity_features(queries, history, kind, specs).collect(engine="in-memory").sort("row")
