"""What a history adds to the state of each kind of entity, as rows: the offline twin of ``features.increment``.

This module must not know how the rows are summed.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from features.decline import ANY, CLASSES
from features.entity import FIELDS
from features.increment import CODES, TECHNICAL
from features.layout import AMOUNT, CLOCKS, LAYOUTS, MEASURES, Layout

KEY: Final = "_key"
AT: Final = "_at"
RESULT: Final = "_code"
MEMBER: Final = "_member"

_AMOUNT: Final = MEASURES[AMOUNT]
_COLUMNS: Final = {"decided_at": "occurred_at", "settled_at": "settled_at", "chargeback_at": "chargeback_at"}
_ONE: Final = {"decided_at": "attempts", "settled_at": "results", "chargeback_at": "chargebacks"}


def key(kind: str) -> pl.Expr:
    """Return the key of a kind of entity, null where a field of it is (`features.entity.key`)."""
    first, *rest = FIELDS[kind]
    if not rest:
        return pl.col(first)
    head = pl.col(first).str.len_chars().cast(pl.String) + pl.lit(":") + pl.col(first)
    return head + pl.col(rest[0])


def decline_class() -> pl.Expr:
    """Return the class of a history's response code, null where it has none (`features.decline.decline_class`)."""
    networks = sorted({network for network, _ in CLASSES} - {ANY})
    own = pl.lit(None, dtype=pl.String)
    for network in networks:
        own = pl.when(pl.col("card_network") == network).then(_classes(network)).otherwise(own)
    return pl.coalesce(own, _classes(ANY))


def _classes(network: str) -> pl.Expr:
    classes = {code: name for (of, code), name in CLASSES.items() if of == network}
    return pl.col("response_code").replace_strict(classes, default=None, return_dtype=pl.String)


def result_code() -> pl.Expr:
    """Return the code of an attempt's result (`features.increment.CODES`)."""
    status = pl.col("status")
    name = (
        pl.when(status == "declined")
        .then(decline_class().fill_null("declined"))
        .when(status.is_in(sorted(TECHNICAL)))
        .then(pl.lit("technical"))
        .otherwise(status)
    )
    return name.replace_strict(CODES, return_dtype=pl.UInt8)


def increments(history: pl.LazyFrame, kind: str) -> pl.LazyFrame:
    """Return what a history adds to the state of one kind of entity, one row per event that its layout takes.

    Parameters
    ----------
    history
        The canonical history (``contracts.history``) with `settled_at` filled.
    kind
        One of `features.entity.KINDS`.

    Returns
    -------
    `_key`, `_at` (Int64 microseconds), a column per measure of the layout (Int64 for an amount, else UInt32), `declined`
    too where the layout keeps a streak, `_code` (UInt8, 0 for what is no result), and `_member`, the value of an attempt's
    distinct field, null for all else.
    """
    counts = [name for name in measures(LAYOUTS[kind]) if name != _AMOUNT]
    return added(attempts(history, kind), kind, KEY, [MEMBER]).with_columns(pl.col(counts).cast(pl.UInt32))


def attempts(history: pl.LazyFrame, kind: str) -> pl.LazyFrame:
    """Return the attempts that name an entity of a kind, as narrow as can be.

    Returns
    -------
    `_key`, `_member` (the value of the kind's distinct field), `amount_minor`, `_code` of the result, whether it was `declined`,
    and when each became known, Int64 microseconds: `decided_at`, `settled_at` and `chargeback_at`.
    """
    field = LAYOUTS[kind].distinct
    return history.select(
        key(kind).alias(KEY),
        (pl.col(field) if field else pl.lit(None, dtype=pl.String)).alias(MEMBER),
        pl.col(_AMOUNT).cast(pl.Int64),
        result_code().alias(RESULT),
        (pl.col("status") == "declined").alias("declined"),
        *(pl.col(column).dt.timestamp("us").alias(clock) for clock, column in _COLUMNS.items()),
    ).filter(pl.col(KEY).is_not_null())


def measures(layout: Layout) -> tuple[str, ...]:
    """Return the measures of a layout, and `declined` where it keeps a streak of them."""
    if layout.streak and "declined" not in layout.measures:
        return (*layout.measures, "declined")
    return layout.measures


def added(rows: pl.LazyFrame, kind: str, by: str, of_attempts: Sequence[str] = ()) -> pl.LazyFrame:
    """Return the events of attempts, as `increments` does, but for the counts, which are UInt8.

    Parameters
    ----------
    rows
        From `attempts`, or with a column `by` in place of the key.
    kind
        One of `features.entity.KINDS`.
    by
        The column that stands for the key.
    of_attempts
        Columns of `rows` to keep for attempts; null for all else.
    """
    layout = LAYOUTS[kind]
    clocks = {CLOCKS[name] for name in layout.measures}
    return pl.concat([_known(rows, layout, clock, by, of_attempts) for clock in _COLUMNS if clock in clocks])


def _known(rows: pl.LazyFrame, layout: Layout, clock: str, by: str, of_attempts: Sequence[str]) -> pl.LazyFrame:
    """Return what becomes known at one of the three moments of an attempt."""
    code = pl.col(RESULT) if clock == "settled_at" else pl.lit(0, dtype=pl.UInt8)
    # A condition that never holds, rather than a null, for it has the type of the column.
    own = [pl.when(pl.lit(clock == "decided_at")).then(pl.col(name)).alias(name) for name in of_attempts]
    known = rows.filter(pl.col(clock).is_not_null()).select(
        by, pl.col(clock).alias(AT), *(_delta(name, clock) for name in measures(layout)), code.alias(RESULT), *own
    )
    if _ONE[clock] in layout.measures:
        return known
    return known.filter(pl.any_horizontal(pl.col(name) != 0 for name in layout.measures if CLOCKS[name] == clock))


def _delta(name: str, clock: str) -> pl.Expr:
    if name == _AMOUNT:
        return (pl.col(name) if clock == "decided_at" else pl.lit(0, dtype=pl.Int64)).alias(name)
    if CLOCKS[name] != clock:
        delta = pl.lit(0)
    elif name == _ONE[clock]:
        delta = pl.lit(1)
    elif name == "declined":
        delta = pl.col(name)
    else:
        delta = pl.col(RESULT) == CODES[name]
    return delta.cast(pl.UInt8).alias(name)
