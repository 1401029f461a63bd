"""From a history to a published bundle, top to bottom.

Each model is fitted on the first four fifths of its training window, calibrated on the last fifth, fitted again on all of it
with that calibration, and judged on the test window that follows. What the history cannot teach is said, and a prior stands
in its place.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import (
    FORMAT,
    Calibration,
    DataWindow,
    FeeSchedule,
    Manifest,
    ModelEntry,
    ModelName,
    PolicyParameters,
)
from features.catalog import FINGERPRINT, NAMES
from service.policy.defaults import default_parameters
from trainer import history as canonical
from trainer.errors import FitError
from trainer.fit import baselines, calibration, estimators, evaluation, export, priors
from trainer.fit.dataset import INPUTS, Rows, build, label_delay
from trainer.fit.report import Curves, card
from trainer.fit.split import Split, split
from trainer.progress import step
from trainer.publish import shelf

LEAST_ROWS: Final = 200
"""Fewer training rows teach nothing worth shipping."""

GOLDEN_ROWS: Final = 16


class FitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `fit` may be told; everything has a sensible default but the history and the shelf."""

    history: Path
    bundles: Path
    fees: Path | None = None
    policy: Path | None = None
    train_from: datetime | None = None
    train_until: datetime | None = None
    test_from: datetime | None = None
    test_until: datetime | None = None
    exclude_compromised: bool = False
    max_rows: int = 400_000
    seed: int = 0
    activate: bool = True


class Fitted(NamedTuple):
    """A model ready to be put on the shelf, or why there is none."""

    entry: ModelEntry
    graph: bytes | None
    curves: Curves | None


def fit(options: FitOptions) -> Manifest:
    """Fit, calibrate, export, prove and publish; return the manifest of the new bundle.

    Raises
    ------
    TrainerError
        One sentence; nothing is on the shelf then.
    """
    fees = read_fees(options.fees)
    with step("reading the history"):
        history = canonical.scan(options.history)
        window = _window(history)
    if window["attempts"] == 0:
        msg = f"expected a history with attempts, {options.history} has none"
        raise FitError(msg)
    splits, notes = _splits(history, window, options)
    with step("computing features and labels"):
        data = build(
            history, splits, exclude_compromised=options.exclude_compromised, most=options.max_rows, seed=options.seed
        )
    if len(data.parts["approval"]["train"].labels) + len(data.parts["risk"]["train"].labels) < LEAST_ROWS:
        msg = (
            f"expected at least {LEAST_ROWS} attempts before {splits['approval'].train_until.isoformat()} to learn from, "
            f"got {len(data.parts['approval']['train'].labels)}"
        )
        raise FitError(msg)
    fitted: dict[ModelName, Fitted] = {}
    for model in INPUTS:
        with step(f"fitting {model}"):
            fitted[model] = fit_model(model, data.parts[model], options.seed)
    if all(each.graph is None for each in fitted.values()):
        msg = "nothing can be learnt from this history: " + "; ".join(
            f"{model}: {each.entry.untrained_because}" for model, each in fitted.items()
        )
        raise FitError(msg)
    now = datetime.now(UTC)
    manifest = Manifest(
        format=FORMAT,
        version=now.strftime("%Y%m%dT%H%M%SZ") + f"-{FINGERPRINT[:6]}",
        created_at=now,
        feature_fingerprint=FINGERPRINT,
        features=NAMES,
        encodings=data.encodings,
        models={model: each.entry for model, each in fitted.items()},
        processors=_processors(window["processors"], fees),
        priors=priors.learn(data),
        policy=read_policy(options.policy),
        data=DataWindow(
            first=window["first"],
            last=window["last"],
            attempts=window["attempts"],
            payments=window["payments"],
            train_until=splits["approval"].train_until,
            test_from=splits["approval"].test_from,
        ),
        notes=(*notes, *_untaught(history, fitted, window, fees)),
    )
    with step("publishing"):
        files = {f"{model}.onnx": each.graph for model, each in fitted.items() if each.graph is not None}
        curves = {model: each.curves for model, each in fitted.items() if each.curves is not None}
        files["card.html"] = card(manifest, curves).encode()
        shelf.publish(options.bundles, manifest, files)
        if options.activate:
            shelf.activate(options.bundles, manifest.version)
    return manifest


def fit_model(model: ModelName, parts: dict[str, Rows], seed: int) -> Fitted:
    """Fit, calibrate, export and judge one model; one that cannot be learnt becomes a prior with the reason."""
    train, calibrate, test = parts["train"], parts["calibrate"], parts["test"]
    labels = np.concatenate([train.labels, calibrate.labels])
    prior = priors.overall(model, int(labels.sum()), len(labels))
    reason = _unlearnable(train, labels)
    if reason is not None:
        entry = ModelEntry(
            algorithm=estimators.ALGORITHMS[model], inputs=INPUTS[model], prior=prior, untrained_because=reason
        )
        return Fitted(entry, None, None)
    early = estimators.fit(model, train.features, train.labels, train.weights, seed)
    scaling = (
        calibration.calibrate(export.raw_probability(early, calibrate.features), calibrate.labels)
        if len(calibrate.labels)
        else Calibration(method="none")
    )
    features = np.vstack([train.features, calibrate.features])
    final = estimators.fit(model, features, labels, np.concatenate([train.weights, calibrate.weights]), seed)
    graph = export.export(final, len(INPUTS[model]), scaling)
    proof = test.features if len(test.features) else features[:2000]
    export.prove(graph, final, scaling, proof, model)
    golden = proof[np.linspace(0, len(proof) - 1, min(GOLDEN_ROWS, len(proof))).astype(int)]
    entry = ModelEntry(
        algorithm=estimators.ALGORITHMS[model],
        inputs=INPUTS[model],
        prior=prior,
        file=f"{model}.onnx",
        sha256=shelf.sha256(graph),
        golden_rows=tuple(tuple(float(value) for value in row) for row in golden),
        golden_expected=tuple(float(value) for value in export.run(graph, golden)),
        calibration=scaling,
    )
    if test.one_class:
        return Fitted(entry, graph, None)
    p = export.run(graph, test.features).astype(np.float64)
    groups = test.frame["payment_id"].rank("dense").to_numpy().astype(np.int64)
    both = Rows(
        features=features, labels=labels, weights=np.ones(len(labels)), frame=pl.concat([train.frame, calibrate.frame])
    )
    judged = msgspec.structs.replace(
        entry,
        evaluation=evaluation.evaluate(test.labels, p, groups, seed),
        baselines={
            "base rate": evaluation.evaluate(test.labels, np.full(len(p), baselines.base_rate(both)), groups, seed),
            "cell means": evaluation.evaluate(test.labels, baselines.cell_means(model, both, test), groups, seed),
        },
    )
    return Fitted(judged, graph, Curves(labels=test.labels, p=p, importances=importances(final, INPUTS[model])))


def importances(estimator: Any, inputs: Sequence[str]) -> list[tuple[str, float]]:
    """Return the share of each input in what the estimator uses, largest first.

    For trees the impurity or gain importance, for the regression the absolute standardised coefficients.
    """
    if hasattr(estimator, "feature_importances_"):
        weights = np.asarray(estimator.feature_importances_, dtype=np.float64)
    else:
        coefficients: npt.NDArray[np.float64] = np.abs(estimator.named_steps["regress"].coef_[0])
        weights = coefficients.reshape(-1, len(inputs)).sum(axis=0)
    total = weights.sum() or 1.0
    return sorted(zip(inputs, (weights / total).tolist(), strict=True), key=lambda pair: -pair[1])


def read_fees(path: Path | None) -> dict[str, FeeSchedule]:
    """Read what each processor charges: a TOML file with ``[processors.NAME]`` tables of `FeeSchedule` fields."""
    if path is None:
        return {}

    class Fees(msgspec.Struct, forbid_unknown_fields=True):
        processors: dict[str, FeeSchedule]

    try:
        return msgspec.toml.decode(path.read_bytes(), type=Fees).processors
    except OSError as error:
        msg = f"the fees file {path} cannot be read: {error.strerror}"
        raise FitError(msg) from error
    except msgspec.DecodeError as error:
        msg = f"the fees file {path} is not what was expected: {error}"
        raise FitError(msg) from error


def read_policy(path: Path | None) -> PolicyParameters:
    """Return the policy parameters of a TOML file, or the documented defaults."""
    return default_parameters() if path is None else default_parameters(path)


def _window(history: pl.LazyFrame) -> dict[str, Any]:
    return (
        history.select(
            first=pl.col("occurred_at").min(),
            last=pl.col("occurred_at").max(),
            known=pl.max_horizontal(pl.col("occurred_at").max(), pl.col("chargeback_at").max()),
            attempts=pl.len(),
            payments=pl.col("payment_id").n_unique(),
            processors=pl.col("processor").drop_nulls().unique().sort().implode(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )


def _splits(
    history: pl.LazyFrame, window: dict[str, Any], options: FitOptions
) -> tuple[dict[ModelName, Split], list[str]]:
    """Return each model's split. Risk labels are late, so its windows end early enough for them to have arrived."""
    asked = {
        "train_from": options.train_from,
        "train_until": options.train_until,
        "test_from": options.test_from,
        "test_until": options.test_until,
    }
    common = split(window["first"], window["last"], **asked)
    splits: dict[ModelName, Split] = dict.fromkeys(INPUTS, common)
    delay = label_delay(history)
    told = options.train_until is not None or options.test_from is not None
    if delay is None or told:
        return splits, []
    known_until = min(window["known"] - delay, window["last"])
    span = window["last"] - window["first"]
    note = f"nine of ten chargebacks arrive within {delay.days} days"
    if known_until - window["first"] < span * 0.2:
        known_until = window["first"] + span * 0.5
        note += (
            "; the history is too short for that: risk learns from its first half, where chargebacks still to come count "
            "as none, so its level is too low"
        )
    elif known_until < window["last"]:
        note += (
            f"; risk learns from and is judged on payments before {known_until:%Y-%m-%d}, whose chargebacks are known"
        )
    if known_until < window["last"]:
        splits["risk"] = split(window["first"], known_until)
    return splits, [note]


def _unlearnable(train: Rows, labels: npt.NDArray[np.bool_]) -> str | None:
    if len(labels) < LEAST_ROWS:
        return f"only {len(labels)} rows to learn from, at least {LEAST_ROWS} are needed"
    if train.one_class:
        return f"all {len(train.labels):,} rows have the same label ({'yes' if labels.all() else 'no'})"
    return None


def _processors(seen: Sequence[str], fees: dict[str, FeeSchedule]) -> dict[str, FeeSchedule]:
    return {name: fees.get(name, FeeSchedule()) for name in sorted({*seen, *fees})}


def _untaught(
    history: pl.LazyFrame, fitted: dict[ModelName, Fitted], window: dict[str, Any], fees: dict[str, FeeSchedule]
) -> list[str]:
    """Say what this history cannot teach."""
    notes = [
        f"{model}: {each.entry.untrained_because}; a prior of {each.entry.prior:.4f} answers in its place"
        for model, each in fitted.items()
        if each.entry.untrained_because is not None
    ]
    if len(window["processors"]) == 1:
        notes.append(f"one processor only ({window['processors'][0]}): routing has nothing to compare")
    unpriced = [name for name in window["processors"] if name not in fees]
    if unpriced:
        notes.append(f"no fees known for {', '.join(unpriced)}: they count as free")
    absent = [
        name for name, null in history.select(pl.all().is_null().all()).collect().row(0, named=True).items() if null
    ]
    if absent:
        notes.append(f"columns the history does not have: {', '.join(absent)}")
    return notes
