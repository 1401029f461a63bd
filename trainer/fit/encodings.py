"""The rates behind the `prior` features, learnt from the training window alone.

This module must not know any model.
"""

from typing import Final

import polars as pl

from contracts.bundle import Encoding
from features.catalog import CATALOG
from features.encoding import SEPARATOR, neutral, smoothed
from features.spec import Target

WEIGHT: Final = 100.0
"""Rows of the overall rate that every category starts with."""

LEAST_ROWS: Final = 20
"""A category with fewer rows stays unknown: it takes the overall rate, like one never seen."""

MOST_CATEGORIES: Final = 2000
"""Categories kept of one feature, the most frequent first: a bundle must stay small."""


def rates(rows: pl.DataFrame, inputs: tuple[str, ...], label: str, overall: float) -> Encoding:
    """Return the smoothed rate of the boolean column `label` for each category of `inputs`."""
    key = pl.concat_str([pl.col(name).fill_null("") for name in inputs], separator=SEPARATOR)
    table = (
        rows.group_by(key.alias("key"))
        .agg(rows=pl.len(), positives=pl.col(label).sum())
        .filter(pl.col("rows") >= LEAST_ROWS)
        .sort(["rows", "key"], descending=[True, False])
        .head(MOST_CATEGORIES)
    )
    values = {
        row["key"]: smoothed(row["positives"], row["rows"], overall, WEIGHT) for row in table.iter_rows(named=True)
    }
    return Encoding(default=overall, values=values)


def learn(tables: dict[Target, tuple[pl.DataFrame, str]]) -> dict[str, Encoding]:
    """Return an encoding for every `prior` feature of the catalog.

    Parameters
    ----------
    tables
        For each target the rows of the training window and the name of their boolean label. A target without rows (no
        chargebacks, no retries) gives encodings that know no category.
    """
    found = {}
    for spec in CATALOG:
        if spec.target is None:
            continue
        rows, label = tables[spec.target]
        share = rows[label].mean() if len(rows) else None
        overall = float(share) if isinstance(share, float) else 0.0
        found[spec.name] = rates(rows, spec.inputs, label, overall) if len(rows) else neutral(overall)
    return found
