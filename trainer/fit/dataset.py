"""The rows each model learns from: which attempts, asked when, with which label.

Approval and routing learn from every attempt (approved or not); risk from approved attempts old enough for a chargeback to
have arrived; retry from every attempt that followed a failed one of the same payment, seen from the moment of the failure.

This module must not know any estimator.
"""

from datetime import timedelta
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import Encoding, ModelName
from features.catalog import CATALOG, USES, inputs
from features.encoding import Encodings
from features.offline.plan import compute
from features.spec import FeatureSpec, Target
from trainer.fit.encodings import learn
from trainer.fit.split import Split

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]

INPUTS: Final[dict[ModelName, tuple[str, ...]]] = {model: tuple(spec.name for spec in inputs(model)) for model in USES}
"""Which features each model sees, in catalog order."""

ORDER: Final = ("at", "payment_id", "attempt")

FAILED: Final = ("declined", "error", "timeout")


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """A model's rows of one part of the split.

    `features` is (n, inputs) float32, `labels` (n,) bool, `weights` (n,) float64; `frame` holds the columns behind them.
    """

    features: Floats
    labels: Labels
    weights: npt.NDArray[np.float64]
    frame: pl.DataFrame

    @property
    def one_class(self) -> bool:
        """True when the labels are all the same, or there are none."""
        return len(self.labels) == 0 or bool(self.labels.all()) or not bool(self.labels.any())


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by model and part ("train", "test"), and the encodings they were made with."""

    parts: dict[ModelName, dict[str, Rows]]
    encodings: dict[str, Encoding]


def started(history: pl.LazyFrame) -> pl.LazyFrame:
    """Return the history with `started_at`, the moment of each payment's first attempt."""
    return history.with_columns(started_at=pl.col("occurred_at").min().over("payment_id"))


def approval_rows(history: pl.LazyFrame, split: Split) -> pl.LazyFrame:
    """Return every attempt with a processor, its part of the split, and whether it was approved."""
    return started(history).select(
        pl.all(),
        at=pl.col("occurred_at").dt.timestamp("us"),
        part=split.parts(pl.col("started_at"), pl.col("settled_at")),
        label=pl.col("status") == "approved",
    )


def risk_rows(history: pl.LazyFrame, split: Split, *, exclude_compromised: bool) -> pl.LazyFrame:
    """Return every approved attempt and whether a chargeback is known.

    Parameters
    ----------
    history, split
        The canonical history and the split for this model.
    exclude_compromised
        Leave out of the test the attempts of cards for which, by the day before, a chargeback of an attempt since the
        start of training was known (the protocol of the Fraud Detection Handbook, chapter 5.2).
    """
    rows = started(history.filter(pl.col("status") == "approved")).select(
        pl.all(),
        at=pl.col("occurred_at").dt.timestamp("us"),
        part=split.parts(pl.col("started_at")),
        label=pl.col("chargeback_at").is_not_null(),
    )
    if not exclude_compromised:
        return rows
    known = (
        history.filter(pl.col("chargeback_at").is_not_null() & (pl.col("occurred_at") >= split.train_from))
        .group_by("card_token")
        .agg(compromised_at=pl.col("chargeback_at").min())
    )
    day = pl.col("occurred_at").dt.truncate("1d")
    is_known = (pl.col("part") == "test") & (pl.col("compromised_at") < day)
    return rows.join(known, on="card_token", how="left").filter(~is_known.fill_null(value=False)).drop("compromised_at")


OWN: Final = frozenset(
    {"payment_id", "occurred_at", "processor", "status", "latency_ms", "settled_at", "chargeback_at", "propensity"}
)
"""What a retry row takes from the retry itself: who, when, where and with which result. All else is as it was in the attempt
that failed, since that is what the gateway knows when it asks (so is `attempt`: the number of the one that failed)."""


def retry_rows(history: pl.LazyFrame, split: Split) -> pl.LazyFrame:
    """Return each attempt that followed a failed one, as it looked when that one had failed.

    The state is that of the moment after the failure (when the gateway asks), the planned time that of the retry.
    """
    taken = [name for name in history.collect_schema().names() if name not in OWN]
    rows = (
        started(history)
        .sort("payment_id", "attempt")
        .with_columns(
            *(pl.col(name).shift(1) for name in taken),
            previous_payment=pl.col("payment_id").shift(1),
            previous_processor=pl.col("processor").shift(1),
            previous_status=pl.col("status").shift(1),
            previous_settled=pl.col("settled_at").shift(1),
        )
        .filter(pl.col("payment_id") == pl.col("previous_payment"), pl.col("previous_status").is_in(FAILED))
    )
    at = pl.col("previous_settled").dt.timestamp("us") + 1
    retry_at = pl.max_horizontal(pl.col("occurred_at").dt.timestamp("us"), at)
    return rows.with_columns(
        at=at,
        retry_at=retry_at,
        wait_seconds=((retry_at - at) // 1_000_000),
        same_processor=pl.col("processor") == pl.col("previous_processor"),
        part=split.parts(pl.col("started_at"), pl.col("settled_at")),
        label=pl.col("status") == "approved",
    )


def sample(rows: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """Return at most `most` rows of each part, drawn by seed and kept in time order."""
    kept = [
        part if len(part) <= most else part.sample(most, seed=seed).sort(ORDER)
        for part in rows.partition_by("part", maintain_order=True)
    ]
    return pl.concat(kept) if kept else rows


def build(
    history: pl.LazyFrame, splits: dict[ModelName, Split], *, exclude_compromised: bool, most: int, seed: int
) -> Dataset:
    """Compute the features and labels of all models, streaming through Polars.

    Parameters
    ----------
    history
        The canonical history.
    splits
        The split of each model (risk may need a gap for its late labels).
    exclude_compromised
        See `risk_rows`.
    most
        Rows of each part a model sees at the most; the features always see the whole history.
    seed
        Draws the sample.
    """
    questions: dict[str, pl.LazyFrame] = {
        "approval": approval_rows(history.filter(pl.col("processor").is_not_null()), splits["approval"]),
        "risk": risk_rows(history, splits["risk"], exclude_compromised=exclude_compromised),
        "retry": retry_rows(history, splits["retry"]),
    }
    frames = {
        name: sample(lazy.filter(pl.col("part").is_not_null()).collect(engine="streaming").sort(ORDER), most, seed)
        for name, lazy in questions.items()
    }
    learning = {name: frame.filter(pl.col("part") != "test") for name, frame in frames.items()}
    targets: dict[Target, str] = {"approval": "approval", "chargeback": "risk", "retry": "retry"}
    encodings = learn({target: (learning[name], "label") for target, name in targets.items()})
    parts: dict[ModelName, dict[str, Rows]] = {}
    for model, seen in INPUTS.items():
        name = "approval" if model == "routing" else model
        if model == "routing":
            parts[model] = _weighted(parts["approval"])
            continue
        specs = [spec for spec in CATALOG if spec.name in set(seen)]
        computed = _features(frames[name], history, encodings, specs)
        parts[model] = {part: _rows(computed.filter(pl.col("part") == part), specs) for part in ("train", "test")}
    return Dataset(parts=parts, encodings=encodings)


def _features(
    frame: pl.DataFrame, history: pl.LazyFrame, encodings: Encodings, specs: list[FeatureSpec]
) -> pl.DataFrame:
    if frame.is_empty():
        return frame.with_columns(pl.lit(0.0, dtype=pl.Float32).alias(f"f:{spec.name}") for spec in specs)
    # Rows of one moment come in any order; one seed must give one model.
    return compute(frame.lazy(), history, encodings, specs).collect(engine="streaming").sort(ORDER)


def _rows(frame: pl.DataFrame, specs: list[FeatureSpec]) -> Rows:
    columns = [f"f:{spec.name}" for spec in specs]
    return Rows(
        features=np.ascontiguousarray(frame.select(columns).to_numpy(), dtype=np.float32),
        labels=frame["label"].to_numpy().astype(np.bool_),
        weights=np.ones(len(frame)),
        frame=frame.drop(columns),
    )


MOST_WEIGHT: Final = 10.0
"""An attempt weighs at most this many times the average one: rarely drawn processors must not rule the model."""


def _weighted(parts: dict[str, Rows]) -> dict[str, Rows]:
    """Return the approval rows weighted by one over the probability with which their processor was drawn.

    So weighted, each processor is judged on the mix of payments that all of them see, not on the mix its router gave it
    (inverse propensity weighting, Horvitz and Thompson 1952). Propensities that were not logged are estimated by the
    processor's share per merchant segment, network and country.
    """
    weighted = {}
    for part, rows in parts.items():
        frame = rows.frame
        if frame.is_empty():
            weighted[part] = rows
            continue
        cell = [pl.col(name).fill_null("") for name in ("merchant_segment", "card_network", "issuer_country")]
        share = pl.len().over([*cell, "processor"]) / pl.len().over(cell)
        propensity = frame.select(pl.coalesce(pl.col("propensity"), share).clip(1e-6, 1.0))["propensity"].to_numpy()
        weighted[part] = msgspec.structs.replace(rows, weights=capped(1.0 / propensity))
    return weighted


def capped(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `weights` with mean 1 and none above `MOST_WEIGHT`.

    Cutting the largest lowers the mean, and with it the place to cut: a few rounds find where both hold.
    """
    for _ in range(100):
        weights = weights / weights.mean()
        if weights.max() <= MOST_WEIGHT * (1 + 1e-9):
            break
        weights = np.minimum(weights, MOST_WEIGHT)
    return weights


def label_delay(history: pl.LazyFrame) -> timedelta | None:
    """Return within which time nine of ten chargebacks arrived, or None when there are none."""
    delay = (
        history.filter(pl.col("chargeback_at").is_not_null())
        .select((pl.col("chargeback_at") - pl.col("occurred_at")).dt.total_seconds().quantile(0.9))
        .collect()
        .item()
    )
    return None if delay is None else timedelta(seconds=float(delay))
