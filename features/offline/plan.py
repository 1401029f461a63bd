"""The catalog over a history, as one lazy Polars plan: one row per query, one float32 column per feature."""

from collections.abc import Sequence

import polars as pl

from features.catalog import CATALOG
from features.encoding import Encodings
from features.layout import LAYOUTS
from features.offline.expressions import STATIC, WINDOWED, prior, seen
from features.offline.windows import with_windows
from features.spec import FeatureSpec


def compute(
    queries: pl.LazyFrame,
    history: pl.LazyFrame,
    encodings: Encodings,
    specs: Sequence[FeatureSpec] = CATALOG,
) -> pl.LazyFrame:
    """Return `queries`, sorted by `at`, with one float32 column per feature.

    Parameters
    ----------
    queries
        Columns of the canonical history, plus `at` (the moment of the decision, Int64 microseconds); for features of
        scope "retry" also `retry_at` (Int64 microseconds), `wait_seconds` and `same_processor`.
    history
        The canonical history (``contracts.history``) with `settled_at` filled.
    encodings
        One for every `prior` feature among `specs`, by name.
    specs
        Which features; all of the catalog by default.
    """
    frame = queries.sort("at")
    entities = sorted({spec.entity for spec in specs if spec.entity is not None})
    for entity in entities:
        frame = with_windows(frame, history, entity, [spec for spec in specs if spec.entity == entity])
    frame = frame.with_columns(_column(spec, encodings) for spec in specs)
    return frame.select(pl.all().exclude(r"^_(card|merchant|bin|issuer|processor)_.*$"))


def _column(spec: FeatureSpec, encodings: Encodings) -> pl.Expr:
    value: pl.Expr
    if spec.entity is not None:
        known = pl.col(seen(spec.entity, LAYOUTS[spec.entity].horizon)) != 0
        value = pl.when(known).then(WINDOWED[spec.operation](spec))
    elif spec.operation == "prior":
        value = prior(spec, encodings)
    else:
        value = STATIC[spec.operation](spec)
    # A feature may bear the name of the field it is made of; features live under their own prefix.
    return value.fill_null(spec.default).cast(pl.Float32).alias(f"f:{spec.name}")
