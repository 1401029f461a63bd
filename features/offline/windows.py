"""Window sums over a whole history: a cumulative sum per entity and as-of joins on a window's two ends.

The same integers as ``features.state`` reads from a blob: a window of an event at t covers [floor((t - W) / h) * h, t).
"""

from collections.abc import Sequence

import polars as pl

from features.increment import ENTITY_COLUMN, TECHNICAL
from features.layout import LAYOUTS, MEASURES
from features.offline.expressions import last_attempt
from features.spec import FeatureSpec

_AT = "_at"
_KEY = "_key"


def _us(column: str) -> pl.Expr:
    return pl.col(column).dt.timestamp("us")


def _zero(**measures: pl.Expr) -> list[pl.Expr]:
    return [measures.get(name, pl.lit(0)).cast(pl.Int64).alias(name) for name in MEASURES]


def increments(history: pl.LazyFrame, entity: str) -> pl.LazyFrame:
    """Return what a history adds to the state of one kind of entity: key, time in microseconds, one column per measure.

    The offline twin of ``features.increment``.
    """
    key = pl.col(ENTITY_COLUMN[entity]).alias(_KEY)
    rows = history.filter(pl.col(ENTITY_COLUMN[entity]).is_not_null())
    one = pl.lit(1)
    attempts = rows.select(
        key, _us("occurred_at").alias(_AT), *_zero(events=one, attempts=one, amount_minor=pl.col("amount_minor"))
    )
    results = rows.select(
        key,
        _us("settled_at").alias(_AT),
        *_zero(
            events=one,
            results=one,
            approved=pl.col("status") == "approved",
            technical=pl.col("status").is_in(sorted(TECHNICAL)),
        ),
    )
    chargebacks = rows.filter(pl.col("chargeback_at").is_not_null()).select(
        key, _us("chargeback_at").alias(_AT), *_zero(events=one, chargebacks=one)
    )
    return pl.concat([attempts, results, chargebacks])


def _cumulative(history: pl.LazyFrame, entity: str) -> pl.LazyFrame:
    """Return the running totals of each entity, one row per moment at which something was added."""
    per_moment = increments(history, entity).group_by(_KEY, _AT).agg(pl.col(name).sum() for name in MEASURES).sort(_AT)
    return per_moment.with_columns(
        *(pl.col(name).cum_sum().over(_KEY) for name in MEASURES),
        # The time of the last attempt, carried forward over moments that only brought results.
        pl.when(pl.col("attempts") > 0).then(pl.col(_AT)).forward_fill().over(_KEY).alias("last"),
    )


def with_windows(
    queries: pl.LazyFrame, history: pl.LazyFrame, entity: str, specs: Sequence[FeatureSpec]
) -> pl.LazyFrame:
    """Return `queries` with the sums that the window features of one kind of entity are made of.

    Parameters
    ----------
    queries
        Needs the entity's column and `at`, the moment of the decision in microseconds; comes back sorted by `at`.
    history
        What is known of the past; an event at or after `at` is not seen.
    entity
        Kind of entity.
    specs
        The window features of this entity.
    """
    layout = LAYOUTS[entity]
    widths = {spec.width: spec.hop for spec in specs}
    widths[layout.horizon] = layout.rings[-1].hop
    needed = {
        spec.width: sorted({name for each in specs if each.width == spec.width for name in each.inputs})
        for spec in specs
    }
    needed[layout.horizon] = sorted({*needed.get(layout.horizon, []), "events"})
    every = sorted({name for names in needed.values() for name in names})
    totals = _cumulative(history, entity)
    column = ENTITY_COLUMN[entity]
    frame = queries.sort("at").join_asof(
        totals.select(
            _KEY,
            _AT,
            *(pl.col(name).alias(f"_now_{name}") for name in every),
            pl.col("last").alias(last_attempt(entity)),
        ),
        left_on="at",
        right_on=_AT,
        by_left=column,
        by_right=_KEY,
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=True,
    )
    for width, hop in widths.items():
        tail = ((pl.col("at") - width) // hop * hop).alias("_tail")
        names = needed[width]
        frame = frame.with_columns(tail).join_asof(
            totals.select(_KEY, _AT, *(pl.col(name).alias(f"_before_{name}") for name in names)),
            left_on="_tail",
            right_on=_AT,
            by_left=column,
            by_right=_KEY,
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
            coalesce=True,
        )
        frame = frame.with_columns(
            (pl.col(f"_now_{name}").fill_null(0) - pl.col(f"_before_{name}").fill_null(0)).alias(
                f"_{entity}_{width}_{name}"
            )
            for name in names
        ).drop("_tail", *(f"_before_{name}" for name in names), "_at", "_at_right", strict=False)
    return frame.drop(f"_now_{name}" for name in every)
