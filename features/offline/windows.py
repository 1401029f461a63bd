"""The window features of one kind of entity over a whole history, as one lazy Polars plan.

A window of a question at t covers [floor((t - W) / h) * h, t), the same as ``features.state`` reads from a blob. The plan
depends on the rows of the same key alone: it may run on any partition of the keys. Its cost is linear but for the sorts.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from features.layout import LAYOUTS, Layout
from features.offline import distinct
from features.offline.expressions import Columns, before, columns, first, near, now, windowed
from features.offline.increments import AT, KEY, MEMBER, added, attempts, increments, key
from features.offline.moments import CODE, PLACE, moments, place
from features.spec import FeatureSpec

__all__ = ["entity_features", "increments"]

ROW: Final = "row"

_AMOUNT: Final = "amount_minor"


def entity_features(
    queries: pl.LazyFrame, history: pl.LazyFrame, kind: str, specs: Sequence[FeatureSpec]
) -> pl.LazyFrame:
    """Return the window features of one kind of entity, one row per question, in no order.

    Parameters
    ----------
    queries
        The questions: `row` (unique), the fields of the kind's key (`features.entity.FIELDS`), `at` (Int64 microseconds) and
        `amount_minor`.
    history
        The canonical history (``contracts.history``) with `settled_at` filled; what became known at or after `at` is not seen.
    kind
        One of `features.entity.KINDS`.
    specs
        Window features of this kind.

    Returns
    -------
    `row` and one float32 column ``f:<name>`` per spec.
    """
    layout = LAYOUTS[kind]
    needed = columns(specs)
    # What several joins read is kept (`cache`): each use has filters of its own pushed into it, so that Polars would not
    # see that they are the same, and would compute them again (measured: a third of the time).
    asked = queries.select(ROW, "at", _AMOUNT, key(kind).alias(KEY))
    codes = _numbered(asked, KEY, CODE).cache()
    known = asked.join(codes, on=KEY, how="inner").select(ROW, "at", _AMOUNT, CODE)
    known = known.with_columns(place(pl.col(CODE), pl.col("at")).alias(PLACE)).sort(PLACE)
    known = _with_state(known, _attempts(history, kind, codes, needed), layout, needed)
    features = known.select(ROW, *(windowed(spec) for spec in specs))
    nobody = asked.filter(pl.col(KEY).is_null()).select(
        ROW, *(pl.lit(spec.default, dtype=pl.Float32).alias(f"f:{spec.name}") for spec in specs)
    )
    return pl.concat([features, nobody])


def _hop(layout: Layout, width: int) -> int:
    """Return the hop of a window: that of the finest ring that reaches far enough."""
    return next(ring.hop for ring in layout.rings if ring.reach >= width)


def _numbered(values: pl.LazyFrame, column: str, number: str) -> pl.LazyFrame:
    """Return the different values of a column, each with a number.

    They are numbered in their own order, so that the plan may compute them twice and get the same.
    """
    return values.select(column).filter(pl.col(column).is_not_null()).unique().sort(column).with_row_index(number)


def _attempts(history: pl.LazyFrame, kind: str, codes: pl.LazyFrame, needed: Columns) -> pl.LazyFrame:
    """Return the attempts of the entities that are asked about, with what distinct counts need of each."""
    layout = LAYOUTS[kind]
    rows = attempts(history, kind).join(codes, on=KEY, how="inner").drop(KEY)
    if not needed.distinct:
        return rows
    rows = rows.join(_numbered(rows, MEMBER, distinct.NUMBER), on=MEMBER, how="left").drop(MEMBER)
    return (
        distinct.with_previous(rows)
        .cache()
        .with_columns(distinct.is_first(width, _hop(layout, width)).alias(first(width)) for width in needed.distinct)
    )


def _with_state(known: pl.LazyFrame, rows: pl.LazyFrame, layout: Layout, needed: Columns) -> pl.LazyFrame:
    """Return the questions, sorted by place, with the running columns as of now and as of each window's start."""
    events = added(rows, layout.kind, CODE, [first(width) for width in needed.distinct])
    running = moments(events, layout, needed.now.union(*needed.before.values())).cache()
    known = _as_of(known, PLACE, running, {name: now(name) for name in needed.now})
    for width, names in needed.before.items():
        hop = _hop(layout, width)
        start = (pl.col("at") - width) // hop * hop
        known = known.with_columns(place(pl.col(CODE), start).alias("_window"))
        known = _as_of(known, "_window", running, {name: before(width, name) for name in names}).drop("_window")
    for width in needed.distinct:
        hop = _hop(layout, width)
        start = distinct.start((pl.col("at") - width) // hop)
        known = known.with_columns(start.alias(distinct.START)).join_asof(
            distinct.counted(rows, width, hop).rename({distinct.COUNT: near(width)}),
            left_on="at",
            right_on=AT,
            by=distinct.START,
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
            coalesce=False,
        )
        known = known.drop(distinct.START, AT)
    return known


def _as_of(known: pl.LazyFrame, moment: str, running: pl.LazyFrame, names: dict[str, str]) -> pl.LazyFrame:
    """Return the questions with columns of the last event before `moment`: an event of that very moment is not seen."""
    found = running.select(pl.col(PLACE).alias("_found"), *(pl.col(name).alias(new) for name, new in names.items()))
    return known.join_asof(
        found,
        left_on=moment,
        right_on="_found",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    ).drop("_found")
