"""What a bundle answers when a model cannot: smoothed rates by processor, network and decline, from the training window."""

from typing import Final

import polars as pl

from contracts.bundle import ModelName
from features.encoding import smoothed
from trainer.fit.dataset import Dataset, Rows

WEIGHT: Final = 200.0
"""Rows of what is assumed that every rate starts with: a history of one class must not make a certainty."""

ASSUMED: Final[dict[ModelName, float]] = {"approval": 0.82, "routing": 0.82, "risk": 0.001, "retry": 0.06}
"""What is assumed where a history teaches nothing: approval and retry rates of real e-commerce attempts (82 % overall; a
retry succeeds in 4 % within minutes to 13 % after days), and a chargeback in a thousand."""


def overall(model: ModelName, positives: int, rows: int) -> float:
    """Return a model's overall rate, shrunk towards what is assumed.

    >>> overall("risk", 0, 0)
    0.001
    """
    return smoothed(positives, rows, ASSUMED[model], WEIGHT)


def _table(train: Rows, inputs: tuple[str, ...], rate: float) -> dict[str, float]:
    if train.frame.is_empty():
        return {}
    key = pl.concat_str([pl.col(name).fill_null("") for name in inputs], separator="|")
    counted = (
        train.frame.select(key.alias("key"), label=pl.Series(train.labels))
        .group_by("key")
        .agg(rows=pl.len(), positives=pl.col("label").sum())
    )
    return {row["key"]: smoothed(row["positives"], row["rows"], rate, WEIGHT) for row in counted.iter_rows(named=True)}


def learn(data: Dataset) -> dict[str, dict[str, float]]:
    """Return the priors of a bundle.

    Returns
    -------
    dict
        "approval" by ``processor|network`` and by ``processor``, "retry" by ``network|code``, each model's overall rate
        under "" (an empty key).
    """
    priors: dict[str, dict[str, float]] = {}
    for model, parts in data.parts.items():
        train = parts["train"]
        rate = overall(model, int(train.labels.sum()), len(train.labels))
        priors[model] = {"": rate}
        if model in {"approval", "routing"}:
            priors[model] |= _table(train, ("processor", "card_network"), rate) | _table(train, ("processor",), rate)
        elif model == "retry":
            priors[model] |= _table(train, ("card_network", "response_code"), rate)
    return priors
