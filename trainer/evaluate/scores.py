"""What a bundle's models say of a history that they did not learn from.

This module must not know how an answer is judged.
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import ModelName
from features.catalog import CATALOG
from features.offline.plan import compute
from trainer.evaluate.attempts import Attempts
from trainer.evaluate.bundle import Answer, Matrix, Ready
from trainer.evaluate.log import Flags, Floats
from trainer.evaluate.service_policy import requests
from trainer.fit import effects, what_if
from trainer.fit.dataset import INPUTS, ORDER, Rows, approval_rows, label_delay, retry_rows, risk_rows, sample
from trainer.fit.split import Split


class Scored(NamedTuple):
    """Rows of one model: the columns behind them, shape (n,) labels and probabilities."""

    frame: pl.DataFrame
    labels: Flags
    p: Floats


def held_out(
    ready: Ready, model: ModelName, history: pl.LazyFrame, since: datetime, until: datetime, most: int, seed: int
) -> Scored | str:
    """Return a model's answers to the payments that began in a stretch of time, or why there are none.

    Parameters
    ----------
    ready, model
        The bundle, and which of its models.
    history
        The canonical history: all of it, for the features look back.
    since, until
        The stretch; `until` is not in it.
    most
        Rows at the most, drawn by seed.
    seed
        Draws them.
    """
    answer = ready.answers.get(model)
    if answer is None:
        return f"not trained: {ready.manifest.models[model].untrained_because}"
    if model == "risk":
        delay = label_delay(history)
        if delay is None:
            return "not judged: no chargeback is known"
        known = _known_until(history) - delay
        if known <= since:
            return (
                f"not judged: nine of ten chargebacks arrive within {delay.total_seconds() / 86_400:.0f} days, and no payment "
                "is so old"
            )
        until = min(until, known)
    rows = _rows(model, history, since, until)
    frame = rows.filter(pl.col("part") == "test").collect(engine="streaming").sort(ORDER)
    if frame.is_empty():
        return "not judged: there are no rows"
    frame = sample(frame, most, seed)
    frame, inputs = _inputs(frame, model, history, ready)
    p = effects.applied(answer(inputs).astype(np.float64), frame, ready.manifest.models[model].effects)
    return Scored(frame, frame["label"].to_numpy().astype(np.bool_), p)


def each_processor(ready: Ready, asked: Attempts, history: pl.LazyFrame) -> Floats:
    """Return what the routing model says of every candidate of every attempt, shape (n, k); NaN where not offered.

    Where there is no model, and of a processor that none has seen, the bundle's hierarchy of rates answers, as in the service.
    """
    answer = ready.answers.get("routing")
    found = np.full(asked.offered.shape, np.nan) if answer is None else _modelled(ready, answer, asked, history)
    unknown = [place for place, name in enumerate(asked.processors) if answer is None or not ready.knows(name)]
    if unknown:
        for row, payment in enumerate(requests(asked)):
            for place in unknown:
                if asked.offered[row, place]:
                    found[row, place] = ready.expected("routing", payment, asked.processors[place])
    return found


def _modelled(ready: Ready, answer: Answer, asked: Attempts, history: pl.LazyFrame) -> Floats:
    found = np.full(asked.offered.shape, np.nan)
    inputs = _in_rows(*_inputs(asked.frame, "routing", history, ready))
    candidates, rows = what_if.each_processor(
        asked.frame, _of(_offered(asked)), _of(asked.frame, inputs), history, ready.manifest.encodings
    )
    places = candidates["processor"].replace_strict(
        {name: place for place, name in enumerate(asked.processors)}, return_dtype=pl.Int64
    )
    shown = candidates.select("row", "processor").join(
        asked.frame.drop("processor"), on="row", how="left", maintain_order="left"
    )
    p = effects.applied(answer(rows).astype(np.float64), shown, ready.manifest.models["routing"].effects)
    found[candidates["row"].to_numpy(), places.to_numpy()] = p
    return found


def risk(ready: Ready, asked: Attempts, history: pl.LazyFrame) -> Floats:
    """Return the risk of every attempt, shape (n,)."""
    answer = ready.answers.get("risk")
    if answer is None:
        return np.full(len(asked), ready.prior("risk"))
    return answer(_in_rows(*_inputs(asked.frame, "risk", history, ready))).astype(np.float64)


def _rows(model: ModelName, history: pl.LazyFrame, since: datetime, until: datetime) -> pl.LazyFrame:
    window = Split(train_from=since, train_until=since, test_from=since, test_until=until)
    if model == "risk":
        return risk_rows(history, window, exclude_compromised=False)
    if model == "retry":
        return retry_rows(history, window)
    return approval_rows(history.filter(pl.col("processor").is_not_null()), window)


def _inputs(frame: pl.DataFrame, model: ModelName, history: pl.LazyFrame, ready: Ready) -> tuple[pl.DataFrame, Matrix]:
    """Return rows in the order of time, and a model's inputs of each."""
    specs = [spec for spec in CATALOG if spec.name in set(INPUTS[model])]
    found = compute(frame.lazy(), history, ready.manifest.encodings, specs).collect(engine="streaming").sort(ORDER)
    columns = [f"f:{spec.name}" for spec in specs]
    inputs: npt.NDArray[np.float32] = np.ascontiguousarray(found.select(columns).to_numpy(), dtype=np.float32)
    return found.drop(columns), inputs


def _in_rows(frame: pl.DataFrame, inputs: Matrix) -> Matrix:
    """Return inputs in the order of the column `row`, which numbers the rows from 0 on."""
    ordered = np.empty_like(inputs)
    ordered[frame["row"].to_numpy()] = inputs
    return ordered


def _known_until(history: pl.LazyFrame) -> datetime:
    known: datetime = (
        history.select(pl.max_horizontal(pl.col("occurred_at").max(), pl.col("chargeback_at").max())).collect().item()
    )
    return known


def _offered(asked: Attempts) -> pl.DataFrame:
    """Return which processors each merchant is seen to use."""
    merchants = asked.frame["merchant_id"]
    parts = [
        pl.DataFrame({"merchant_id": merchants.filter(pl.Series(asked.offered[:, place])).unique()}).with_columns(
            processor=pl.lit(name)
        )
        for place, name in enumerate(asked.processors)
    ]
    return pl.concat(parts)


def _of(frame: pl.DataFrame, features: Matrix | None = None) -> Rows:
    nothing = np.empty((0, 0), dtype=np.float32)
    return Rows(
        features=nothing if features is None else features,
        labels=np.empty(0, dtype=np.bool_),
        weights=np.empty(0),
        frame=frame,
    )
