"""The catalog over a history: one row per question, one float32 column per feature."""

from collections.abc import Sequence

import polars as pl

from features.catalog import CATALOG
from features.encoding import Encodings
from features.entity import KINDS
from features.offline.expressions import STATIC, finished, prior
from features.offline.windows import ROW, entity_features
from features.spec import FeatureSpec


def request_features(queries: pl.LazyFrame, encodings: Encodings, specs: Sequence[FeatureSpec]) -> pl.LazyFrame:
    """Return the features of the payment's own columns, one row per question, in the order of the questions.

    Parameters
    ----------
    queries
        `row` and the columns that the specs name.
    encodings
        One for every `prior` feature among `specs`, by name.
    specs
        Features without an entity.

    Returns
    -------
    `row` and one float32 column ``f:<name>`` per spec.
    """
    values = [
        finished(spec, prior(spec, encodings) if spec.operation == "prior" else STATIC[spec.operation](spec))
        for spec in specs
    ]
    return queries.select(ROW, *values)


def compute(
    queries: pl.LazyFrame,
    history: pl.LazyFrame,
    encodings: Encodings,
    specs: Sequence[FeatureSpec] = CATALOG,
) -> pl.LazyFrame:
    """Return `queries`, sorted by `at`, with one float32 column per feature.

    It is computed here and now, one kind of entity after the other, so that memory holds the working columns of one kind
    and the answer. Past the memory of one machine, run `features.offline.windows.entity_features` by partitions of the keys.

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
    asked = queries.sort("at").collect(engine="streaming")
    # The questions may have a column `row` of their own.
    numbered = asked.drop(ROW, strict=False).with_row_index(ROW).lazy()
    parts = [asked]
    own = [spec for spec in specs if spec.entity is None]
    if own:
        parts.append(request_features(numbered, encodings, own).drop(ROW).collect())
    for kind in KINDS:
        of_kind = [spec for spec in specs if spec.entity == kind]
        if of_kind:
            found = entity_features(numbered, history, kind, of_kind).sort(ROW).drop(ROW)
            parts.append(found.collect(engine="streaming"))
    names = [f"f:{spec.name}" for spec in specs]
    return pl.concat(parts, how="horizontal").lazy().select(*asked.columns, *names)
