"""What a history adds to the state of each kind of entity, as rows: the offline twin of ``features.increment``.

This module must not know how the rows are summed.
"""

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
    layout = LAYOUTS[kind]
    measures = layout.measures if "declined" in layout.measures or not layout.streak else (*layout.measures, "declined")
    rows = history.with_columns(key(kind).alias(KEY)).filter(pl.col(KEY).is_not_null())
    parts = [
        _known(rows, layout, measures, clock)
        for clock in _COLUMNS
        if any(CLOCKS[name] == clock for name in layout.measures)
    ]
    return pl.concat(parts)


def _known(rows: pl.LazyFrame, layout: Layout, measures: tuple[str, ...], clock: str) -> pl.LazyFrame:
    """Return what becomes known at one of the three moments of an attempt."""
    column = _COLUMNS[clock]
    code = result_code() if clock == "settled_at" else pl.lit(0, dtype=pl.UInt8)
    member = pl.lit(None, dtype=pl.String)
    if clock == "decided_at" and layout.distinct:
        member = pl.col(layout.distinct)
    known = rows.filter(pl.col(column).is_not_null()).select(
        pl.col(KEY),
        pl.col(column).dt.timestamp("us").alias(AT),
        "status",
        "amount_minor",
        code.alias(RESULT),
        member.alias(MEMBER),
    )
    adding = known.select(KEY, AT, *(_added(name, clock) for name in measures), RESULT, MEMBER)
    if _ONE[clock] in layout.measures:
        return adding
    own = [pl.col(name) != 0 for name in layout.measures if CLOCKS[name] == clock]
    return adding.filter(pl.any_horizontal(own))


def _added(name: str, clock: str) -> pl.Expr:
    if name == MEASURES[AMOUNT]:
        return (pl.col(name) if clock == "decided_at" else pl.lit(0)).cast(pl.Int64).alias(name)
    if CLOCKS[name] != clock:
        added = pl.lit(0)
    elif name == _ONE[clock]:
        added = pl.lit(1)
    elif name == "declined":
        added = pl.col("status") == "declined"
    else:
        added = pl.col(RESULT) == CODES[name]
    return added.cast(pl.UInt32).alias(name)
