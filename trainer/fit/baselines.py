"""The honest baselines a model stands beside: the base rate, and the mean of a cell of categories.

Both are learnt from the training window and judged on the same held-out rows as the model.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import ModelName
from features.encoding import smoothed
from trainer.fit.dataset import Rows

CELLS: Final[dict[ModelName, tuple[str, ...]]] = {
    "approval": ("processor", "card_network", "issuer_country"),
    "routing": ("processor", "card_network", "issuer_country"),
    "risk": ("merchant_segment", "card_network", "issuer_country"),
    "retry": ("card_network", "response_code", "advice_code"),
}
"""What a careful analyst would group by."""

WEIGHT: Final = 50.0


def base_rate(train: Rows) -> float:
    """Return the share of positives in training."""
    return float(train.labels.mean())


def cell_means(model: ModelName, train: Rows, test: Rows) -> npt.NDArray[np.float64]:
    """Return for each test row the smoothed rate of its cell in training; the base rate for a cell never seen."""
    overall = base_rate(train)
    key = pl.concat_str([pl.col(name).fill_null("") for name in CELLS[model]], separator="|")
    table = train.frame.select(key.alias("key"), label=pl.Series(train.labels)).group_by("key")
    cells = {
        row["key"]: smoothed(row["positives"], row["rows"], overall, WEIGHT)
        for row in table.agg(rows=pl.len(), positives=pl.col("label").sum()).iter_rows(named=True)
    }
    keys = test.frame.select(key.alias("key"))["key"]
    return np.array([cells.get(each, overall) for each in keys], dtype=np.float64)
