"""From a history to a published bundle, top to bottom.

Each model is fitted on its training window, calibrated on answers to rows of that window which it did not learn from, and
judged on the test window that follows. What the history cannot teach is said, and a prior stands in its place.

How one model is fitted is in ``trainer.fit.model``; this module joins the four into a bundle.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from contracts.bundle import FORMAT, DataWindow, Manifest, ModelName
from contracts.terms import FeeSchedule
from features.catalog import FINGERPRINT, NAMES
from trainer import history as canonical
from trainer.errors import FitError
from trainer.fit import hierarchy, priors
from trainer.fit.dataset import INPUTS, build, label_delay
from trainer.fit.model import Fitted, fit_model
from trainer.fit.parameters import read_fees, read_policy, read_terms
from trainer.fit.report import card
from trainer.fit.split import Split, split
from trainer.progress import step
from trainer.publish import shelf

SHORTEST: Final = 0.2
"""Share of the history that must have its chargebacks known for risk to learn from that part alone."""


class FitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `fit` may be told; everything has a sensible default but the history and the shelf."""

    history: Path
    bundles: Path
    fees: Path | None = None
    terms: Path | None = None
    policy: Path | None = None
    train_from: datetime | None = None
    train_until: datetime | None = None
    test_from: datetime | None = None
    test_until: datetime | None = None
    exclude_compromised: bool = False
    max_rows: int = 400_000
    seed: int = 0
    activate: bool = True


def fit(options: FitOptions) -> Manifest:
    """Fit, calibrate, export, prove and publish; return the manifest of the new bundle.

    Raises
    ------
    TrainerError
        One sentence; nothing is on the shelf then.
    """
    fees, terms, policy = read_fees(options.fees), read_terms(options.terms), read_policy(options.policy)
    shelf.prepare(options.bundles)
    with step("reading the history"):
        history = canonical.load(options.history)
        window = _window(history)
    splits, notes = _splits(history, window, options)
    with step("computing features and labels"):
        data = build(
            history, splits, exclude_compromised=options.exclude_compromised, most=options.max_rows, seed=options.seed
        )
    fitted: dict[ModelName, Fitted] = {}
    for model in INPUTS:
        with step(f"fitting {model}"):
            fitted[model] = fit_model(model, data, history, policy.retry.waits_seconds, options.seed)
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
        policy=policy,
        data=DataWindow(
            first=window["first"],
            last=window["last"],
            attempts=window["attempts"],
            payments=window["payments"],
            train_until=splits["approval"].train_until,
            test_from=splits["approval"].test_from,
        ),
        notes=(*notes, *_untaught(history, fitted, window, fees)),
        capabilities=terms.processors,
        merchants=terms.merchants,
        hierarchy=hierarchy.learn(data.parts["approval"]["train"], fitted["approval"].entry.prior),
    )
    with step("publishing"):
        files = {f"{model}.onnx": each.graph for model, each in fitted.items() if each.graph is not None}
        curves = {model: each.curves for model, each in fitted.items() if each.curves is not None}
        files["card.html"] = card(manifest, curves).encode()
        shelf.publish(options.bundles, manifest, files)
        if options.activate:
            shelf.activate(options.bundles, manifest.version)
    return manifest


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
    first, last = window["first"], window["last"]
    common = split(first, last, **asked)
    splits: dict[ModelName, Split] = dict.fromkeys(INPUTS, common)
    delay = label_delay(history)
    if delay is None:
        return splits, []
    note = f"nine of ten chargebacks arrive within {max(1, round(delay / timedelta(days=1)))} days"
    known_until = min(window["known"] - delay, last)
    if options.train_until is not None or options.test_from is not None:
        if known_until < min(common.test_until, last):
            note += f"; risk is judged as told, though chargebacks of payments from {known_until:%Y-%m-%d} on may still come"
        return splits, [note]
    begin = options.train_from or first
    end = min(last, options.test_until or last)
    if known_until - begin < (end - begin) * SHORTEST:
        known_until = begin + (end - begin) / 2
        note += (
            "; the history is too short for that: risk learns from its first half, where chargebacks still to come count "
            "as none, so its level is too low"
        )
    elif known_until < end:
        note += (
            f"; risk learns from and is judged on payments before {known_until:%Y-%m-%d}, whose chargebacks are known"
        )
    if known_until < end:
        splits["risk"] = split(begin, known_until)
    return splits, [note]


def _processors(seen: Sequence[str], fees: dict[str, FeeSchedule]) -> dict[str, FeeSchedule]:
    return {name: fees.get(name, FeeSchedule()) for name in sorted({*seen, *fees})}


def _untaught(
    history: pl.LazyFrame, fitted: dict[ModelName, Fitted], window: dict[str, Any], fees: dict[str, FeeSchedule]
) -> list[str]:
    """Say what this history cannot teach."""
    notes = [
        f"{model}: {each.entry.untrained_because}; a prior of {each.entry.prior:.3g} answers in its place"
        for model, each in fitted.items()
        if each.entry.untrained_because is not None
    ]
    if len(window["processors"]) == 1:
        notes.append(f"one processor only ({window['processors'][0]}): routing has nothing to compare")
    routing = fitted["routing"].entry
    if routing.evaluation is not None and routing.policy_value is None:
        notes.append("routing: no propensities were logged, so what it would have been worth cannot be told")
    unpriced = [name for name in window["processors"] if name not in fees]
    if unpriced:
        notes.append(f"no fees known for {', '.join(unpriced)}: they count as free")
    absent = [
        name for name, null in history.select(pl.all().is_null().all()).collect().row(0, named=True).items() if null
    ]
    if absent:
        notes.append(f"columns the history does not have: {', '.join(absent)}")
    return notes
