"""Distinct counts over windows, exactly: how many different members came with an entity between a window's start and now.

A member's attempt at s', the one before at s, is the first of its member in every window that starts in (s, s']. Most are
the first in *any* window that still sees them (s is more than a window ago, or there is none): these are summed like
any measure (`is_first`). The others are expanded, one row per start in (s, s'] (`counted`), and counted per entity and start.

This module must not know the cap of a count.
"""

from typing import Final

import polars as pl

from features.offline.increments import AT
from features.offline.moments import CODE, place

PREVIOUS: Final = "_previous"
NUMBER: Final = "_number_of_member"
START: Final = "_start"
COUNT: Final = "_count"

_DECIDED: Final = "decided_at"
_CODE: Final = 1 << 32


def with_previous(attempts: pl.LazyFrame) -> pl.LazyFrame:
    """Return the attempts with `PREVIOUS`: when the same member came for the same entity last, null for the first time.

    Parameters
    ----------
    attempts
        With `CODE`, `decided_at` and `NUMBER`, of the member (below 2^32), null where an attempt has none.
    """
    pair = pl.col(CODE).cast(pl.Int64) * _CODE + pl.col(NUMBER).cast(pl.Int64)
    is_same = pl.col("_pair") == pl.col("_pair").shift(1)
    return (
        attempts.with_columns(pair.alias("_pair"))
        .sort(place(pl.col("_pair"), pl.col(_DECIDED)))
        .with_columns(pl.when(is_same).then(pl.col(_DECIDED).shift(1)).alias(PREVIOUS))
        .drop("_pair")
    )


def _is_near(width: int, hop: int) -> pl.Expr:
    """Tell whether some window that sees this event also sees the one before of its member."""
    return (pl.col(PREVIOUS) // hop) >= ((pl.col(_DECIDED) - width) // hop)


def is_first(width: int, hop: int) -> pl.Expr:
    """Return 1 for an attempt that is the first of its member in every window of a width that sees it, else 0."""
    return (pl.col(NUMBER).is_not_null() & ~_is_near(width, hop).fill_null(value=False)).cast(pl.UInt8)


def counted(attempts: pl.LazyFrame, width: int, hop: int) -> pl.LazyFrame:
    """Return the running count of the other firsts: one row per entity, window start and attempt.

    Returns
    -------
    `START` (Int64: the entity's code and the start in hops, see `start`), `AT`, and `COUNT` (UInt32), the count
    until then of that entity and start, sorted by `START` and `AT`.
    """
    hops = pl.int_ranges(pl.col(PREVIOUS) // hop + 1, pl.col(_DECIDED) // hop + 1)
    rows = (
        attempts.filter(_is_near(width, hop), pl.col(PREVIOUS) // hop != pl.col(_DECIDED) // hop)
        .select(CODE, pl.col(_DECIDED).alias(AT), hops.alias("_hop"))
        .explode("_hop")
        .select(start(pl.col("_hop")).alias(START), AT)
        .sort(place(pl.col(START), pl.col(AT)))
    )
    number = pl.int_range(pl.len(), dtype=pl.UInt32)
    is_new = pl.col(START) != pl.col(START).shift(1)
    since = pl.when(is_new.fill_null(value=True)).then(number).forward_fill()
    return rows.select(START, AT, (number - since + 1).alias(COUNT))


def start(hops: pl.Expr) -> pl.Expr:
    """Return an entity's window start as one number: its code, then the start in hops (below 2^32)."""
    return pl.col(CODE).cast(pl.Int64) * _CODE + hops
