"""The kinds of attempt that are looked at apart: by network, processor, country, merchant, amount, token and initiator.

This module must not know what is looked at.
"""

from itertools import pairwise
from typing import Final

import polars as pl

from contracts.currency import EXPONENT

DIMENSIONS: Final = ("network", "processor", "issuer country", "merchant", "amount", "token", "initiator")

BANDS: Final = (10.0, 50.0, 200.0, 1000.0)
"""Where amount bands begin, in whole units of the payment's currency."""

MOST: Final = 15
"""Values of one dimension that are looked at, the commonest."""

UNKNOWN: Final = "unknown"
_CENTS: Final = 2


def segments(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a column of names for each of `DIMENSIONS`, in the order of the rows; a rare value is null.

    Parameters
    ----------
    frame
        Columns of the canonical history.
    """
    scale = pl.col("currency").replace_strict(EXPONENT, default=_CENTS, return_dtype=pl.Int32)
    units = pl.col("amount_minor") / pl.lit(10.0).pow(scale)
    token = pl.col("is_network_token")
    named = frame.select(
        pl.col("card_network").alias("network"),
        pl.col("processor"),
        pl.col("issuer_country").alias("issuer country"),
        pl.col("merchant_id").alias("merchant"),
        _band(units).alias("amount"),
        pl.when(token).then(pl.lit("token")).when(~token).then(pl.lit("card number")).alias("token"),
        pl.col("initiator"),
    ).select(pl.col(name).fill_null(UNKNOWN) for name in DIMENSIONS)
    return named.select(_common(named, name) for name in DIMENSIONS)


def _band(units: pl.Expr) -> pl.Expr:
    names = [f"below {BANDS[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(BANDS))]
    below = [pl.when(units < high).then(pl.lit(name)) for high, name in zip(BANDS, names, strict=True)]
    return pl.coalesce(*below, pl.lit(f"from {BANDS[-1]:g}"))


def _common(named: pl.DataFrame, name: str) -> pl.Series:
    counts = named[name].value_counts().sort(["count", name], descending=[True, False])
    kept = counts[name].head(MOST)
    column = named[name]
    return named.select(pl.when(column.is_in(kept.implode())).then(column).alias(name)).to_series()
