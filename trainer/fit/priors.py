"""What a bundle answers when a model cannot: smoothed rates by processor, network and decline, from the training window."""

import polars as pl

from features.encoding import smoothed
from trainer.fit.dataset import Dataset, Rows

WEIGHT = 200.0


def _table(train: Rows, inputs: tuple[str, ...]) -> dict[str, float]:
    if train.frame.is_empty():
        return {}
    overall = float(train.labels.mean())
    key = pl.concat_str([pl.col(name).fill_null("") for name in inputs], separator="|")
    counted = (
        train.frame.select(key.alias("key"), label=pl.Series(train.labels))
        .group_by("key")
        .agg(rows=pl.len(), positives=pl.col("label").sum())
    )
    return {
        row["key"]: smoothed(row["positives"], row["rows"], overall, WEIGHT) for row in counted.iter_rows(named=True)
    }


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
        priors[model] = {"": float(train.labels.mean()) if len(train.labels) else 0.0}
    for model in ("approval", "routing"):
        train = data.parts[model]["train"]
        priors[model] |= _table(train, ("processor", "card_network")) | _table(train, ("processor",))
    priors["retry"] |= _table(data.parts["retry"]["train"], ("card_network", "response_code"))
    return priors
