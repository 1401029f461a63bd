"""What is particular to a processor beyond what a model says: learnt from answers to rows that it did not learn from.

Level by level, as the hierarchy is (`trainer.fit.hierarchy`): offsets in log-odds, each shrunk by what the groups of its level
show beyond chance. Where a model misses nothing every spread is 0 and nothing is added. On the simulated shop, 80,000 rows, the
forest sends a payment 0.72 points of approval below the best processor without and 0.39 with them (3.9 by chance).

This module must not know any estimator.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.hierarchy import Level
from features.effects import ABROAD, AMOUNT_BAND, PROCESSOR
from trainer.fit.hierarchy import Floats, shrunk

LEVELS: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("card_network",),
    ("merchant_country",),
    (ABROAD,),
    ("card_network", "merchant_country"),
    (AMOUNT_BAND,),
    ("is_network_token",),
    ("card_network", "merchant_country", ABROAD),
    ("merchant_id",),
)
"""From the coarse to the fine, each beside the processor."""

LEAST_ROWS: Final = 1000
"""Fewer tell nothing that the model does not."""

_EDGE: Final = 1e-6


def learn(frame: pl.DataFrame, labels: npt.NDArray[np.bool_], p: Floats) -> tuple[Level, ...]:
    """Return the effects of one model.

    Parameters
    ----------
    frame
        Rows of the training window with their columns.
    labels, p
        Whether each was approved, and the calibrated answer of a model that did not learn from it; shape (n,).
    """
    if len(labels) < LEAST_ROWS:
        return ()
    kept = np.clip(p, _EDGE, 1.0 - _EDGE)
    odds = np.log(kept / (1.0 - kept))
    levels = []
    for fields in LEVELS:
        names, offsets, codes, spread = shrunk(_keys(frame, (PROCESSOR, *fields)), labels.astype(np.float64), odds)
        if spread <= 0.0:
            continue
        odds = odds + offsets[codes]
        levels.append(
            Level(fields=(PROCESSOR, *fields), spread=spread, offsets=dict(zip(names, offsets.tolist(), strict=True)))
        )
    return tuple(levels)


def offsets(frame: pl.DataFrame, levels: Sequence[Level]) -> Floats:
    """Return what is added to the log-odds of each row, shape (n,): the same as `features.effects.Effects`."""
    total = np.zeros(len(frame))
    for level in levels:
        total += (
            _keys(frame, level.fields).replace_strict(level.offsets, default=0.0, return_dtype=pl.Float64).to_numpy()
        )
    return total


def applied(p: Floats, frame: pl.DataFrame, levels: Sequence[Level]) -> Floats:
    """Return answers of a model with its effects, shape (n,)."""
    if not levels:
        return p
    kept = np.clip(p.astype(np.float64), _EDGE, 1.0 - _EDGE)
    moved = offsets(frame, levels)
    there: Floats = np.where(moved == 0.0, p, 1.0 / (1.0 + (1.0 - kept) / kept * np.exp(-moved)))
    return there


def _keys(frame: pl.DataFrame, fields: Sequence[str]) -> pl.Series:
    return frame.select(pl.concat_str([_text(frame, field) for field in fields], separator="|"))[:, 0]


def _text(frame: pl.DataFrame, field: str) -> pl.Expr:
    """Return a field as `features.effects.text` writes it; a column that is not there is absent."""
    if field == ABROAD:
        if not {"issuer_country", "merchant_country"} <= set(frame.columns):
            return pl.lit("")
        return (pl.col("issuer_country") != pl.col("merchant_country")).cast(pl.Int8).cast(pl.String).fill_null("")
    if field == AMOUNT_BAND:
        # The bits of a whole number: a float's logarithm is off by one where a band begins.
        amount = pl.col("amount_minor")
        bits = pl.sum_horizontal([(amount >= 1 << power).cast(pl.Int64) for power in range(41)])
        return (bits // 2).cast(pl.String)
    if field not in frame.columns:
        return pl.lit("")
    column = pl.col(field)
    if frame.schema[field] == pl.Boolean:
        column = column.cast(pl.Int8)
    return column.cast(pl.String).fill_null("")
