"""One model: fitted, calibrated, exported, proved and judged; or a prior, and why.

This module must not know how the models become a bundle.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import Evaluation, ModelEntry, ModelName
from contracts.hierarchy import Level
from features.catalog import GROUP_OF
from trainer.evaluate import off_policy
from trainer.fit import (
    baselines,
    calibration,
    choice,
    effects,
    estimators,
    evaluation,
    export,
    priors,
    waits,
    what_if,
)
from trainer.fit.dataset import INPUTS, Dataset, Rows, label_delay
from trainer.fit.report import Curves
from trainer.publish import shelf

LEAST_ROWS: Final = 200
"""Fewer training rows teach nothing worth shipping."""

LEAST_OF_A_CLASS: Final = 20
"""So few approvals, chargebacks or successes are anecdotes: a rate says more about them than a model."""

GOLDEN_ROWS: Final = 16

THROUGH_PROCESSORS: Final[tuple[ModelName, ...]] = ("approval", "routing")
"""Models that compare processors."""

MOST_AVERAGED: Final = 10_000
"""Training rows of which the means in a tree's nodes are made, at the most."""

MOST_PROVED: Final = 50_000
"""Held-out rows on which graph and estimator are compared at the most."""


class Fitted(NamedTuple):
    """A model ready to be put on the shelf, or why there is none."""

    entry: ModelEntry
    graph: bytes | None
    curves: Curves | None


def fit_model(model: ModelName, data: Dataset, history: pl.LazyFrame, grid: Sequence[int], seed: int) -> Fitted:
    """Fit, calibrate, export and judge one model; one that cannot be learnt becomes a prior with the reason.

    Parameters
    ----------
    model
        Which.
    data, history
        The rows of all models, and the history they were made of.
    grid
        Waits in seconds over which the retry model is shown.
    seed
        Draws everything that is drawn.

    Raises
    ------
    ExportError
        When the exported graph does not answer like the fitted model.
    """
    train, test = data.parts[model]["train"], data.parts[model]["test"]
    entry = ModelEntry(
        algorithm=estimators.describe(estimators.CHAMPIONS[model], weighted=model == "routing"),
        inputs=INPUTS[model],
        prior=priors.overall(model, int(train.labels.sum()), len(train.labels)),
    )
    reason = unlearnable(train)
    if reason is not None:
        return Fitted(msgspec.structs.replace(entry, untrained_because=reason), None, None)
    # Every other label is there a moment after its attempt.
    delay = label_delay(history) if model == "risk" else None
    algorithm, selection = choice.choose(model, train, delay or timedelta(0), seed)
    estimator = estimators.fit(algorithm, train.features, train.labels, train.weights, seed)
    raw, labels, answered = calibration.held_out(algorithm, estimator, train, seed)
    scaling = calibration.calibrate(raw, labels, method=calibration.METHOD[algorithm])
    particular: tuple[Level, ...] = ()
    if model in THROUGH_PROCESSORS:
        particular = effects.learn(train.frame.filter(answered), labels, calibration.apply(scaling, raw))
    # Nobody is told what moved the risk.
    groups = () if model == "risk" else tuple(GROUP_OF[name] for name in INPUTS[model])
    graph, attribution = export.export(
        estimator, len(INPUTS[model]), scaling, groups, _spread(train.features, MOST_AVERAGED)
    )
    proof = _spread(test.features if len(test.features) else train.features, MOST_PROVED)
    export.prove(graph, estimator, scaling, proof, model)
    golden = _spread(proof, GOLDEN_ROWS)
    entry = msgspec.structs.replace(
        entry,
        algorithm=estimators.describe(algorithm, weighted=model == "routing"),
        selection=selection,
        file=f"{model}.onnx",
        sha256=shelf.sha256(graph),
        golden_rows=tuple(tuple(float(value) for value in row) for row in golden),
        golden_expected=tuple(float(value) for value in export.run(graph, golden)),
        calibration=scaling,
        effects=particular,
        attribution=attribution,
    )
    if test.one_class:
        return Fitted(entry, graph, None)
    answer = export.answers(graph)
    p = effects.applied(answer(test.features).astype(np.float64), test.frame, particular)
    entry = msgspec.structs.replace(entry, **_judged(model, train, test, p, seed))
    curves = Curves(labels=test.labels, p=p, importances=importances(estimator, INPUTS[model]))
    if model == "routing":
        value = _routing_value(answer, particular, data, history, seed)
        entry = msgspec.structs.replace(entry, policy_value=value)
    if model == "retry":
        curves = curves._replace(waits=_waits(answer, data, history, grid, p, seed))
    return Fitted(entry, graph, curves)


def unlearnable(train: Rows) -> str | None:
    """Return why these rows teach nothing, or None when they do."""
    rows, positives = len(train.labels), int(train.labels.sum())
    if rows < LEAST_ROWS:
        return f"only {rows} rows to learn from, at least {LEAST_ROWS} are needed"
    if train.one_class:
        return f"all {rows:,} rows have the same label ({'yes' if positives else 'no'})"
    rarer = min(positives, rows - positives)
    if rarer < LEAST_OF_A_CLASS:
        return (
            f"only {rarer} of {rows:,} rows have the label {'yes' if positives < rows / 2 else 'no'}, "
            f"at least {LEAST_OF_A_CLASS} are needed"
        )
    return None


def importances(estimator: Any, inputs: Sequence[str]) -> list[tuple[str, float]]:
    """Return the share of each input in what the estimator uses, largest first.

    For trees the impurity or gain importance, for the regression the absolute standardised coefficients.
    """
    if hasattr(estimator, "feature_importances_"):
        weights = np.asarray(estimator.feature_importances_, dtype=np.float64)
    else:
        weights = np.abs(estimator.coefficients).sum(axis=0)
    total = weights.sum() or 1.0
    return sorted(zip(inputs, (weights / total).tolist(), strict=True), key=lambda pair: -pair[1])


def _spread(rows: npt.NDArray[np.float32], most: int) -> npt.NDArray[np.float32]:
    """Return at most `most` rows, evenly spread over time."""
    chosen: npt.NDArray[np.float32] = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    return chosen


def _judged(
    model: ModelName, train: Rows, test: Rows, p: npt.NDArray[np.float64], seed: int
) -> dict[str, Evaluation | dict[str, Evaluation]]:
    payments = test.frame["payment_id"].rank("dense").to_numpy().astype(np.int64)
    base = np.full(len(p), baselines.base_rate(train))
    cells = baselines.cell_means(model, train, test)
    return {
        "evaluation": evaluation.evaluate(test.labels, p, payments, seed),
        "baselines": {
            "base rate": evaluation.evaluate(test.labels, base, payments, seed),
            "cell means": evaluation.evaluate(test.labels, cells, payments, seed),
        },
    }


Answer = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def _routing_value(answer: Answer, particular: Sequence[Level], data: Dataset, history: pl.LazyFrame, seed: int) -> Any:
    """Return what sending each held-out first attempt to the processor with the highest answer would have been worth."""
    parts = data.parts["routing"]
    asked = what_if.first_attempts(parts["test"], seed)
    if asked.is_empty():
        return None
    candidates, rows = what_if.each_processor(asked, parts["train"], parts["test"], history, data.encodings)
    told = candidates.select("row", "processor").join(
        asked.drop("processor"), on="row", how="left", maintain_order="left"
    )
    p = effects.applied(answer(rows).astype(np.float64), told, particular)
    best = (
        candidates.with_columns(p=pl.Series(p))
        .sort(["row", "p", "processor"], descending=[False, True, False])
        .group_by("row", maintain_order=True)
        .agg(best=pl.col("processor").first())
    )
    judged = asked.join(best, on="row", how="left", maintain_order="left")
    return off_policy.judge(
        "the processor with the highest approval probability",
        judged["label"].to_numpy(),
        (judged["processor"] == judged["best"]).to_numpy(),
        judged["propensity"].to_numpy(),
        seed,
    )


def _waits(
    answer: Answer, data: Dataset, history: pl.LazyFrame, grid: Sequence[int], p: npt.NDArray[np.float64], seed: int
) -> list[waits.Wait]:
    test = data.parts["retry"]["test"]
    asked, rows = what_if.each_wait(test, grid, history, data.encodings, seed)
    means = asked.with_columns(p=pl.Series(answer(rows))).group_by("wait_seconds").agg(pl.col("p").mean())
    said = dict(means.select("wait_seconds", "p").iter_rows())
    waited = test.frame["wait_seconds"].to_numpy()
    return waits.by_wait(grid, said, waited, p, test.labels)
