"""Fit, end to end: a history in, four proved models out, the same for the same seed."""

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.bundle import FORMAT
from features.catalog import FINGERPRINT, NAMES
from service.models.bundle import load
from service.policy.rules import Rules
from tests.trainer.fit.conftest import Made, fitted, random_rows
from trainer import history as canonical
from trainer.__main__ import main
from trainer.fit import estimators, export
from trainer.fit.dataset import INPUTS, build
from trainer.fit.evaluation import METRICS
from trainer.fit.split import split
from trainer.fit.what_if import each_processor, first_attempts
from trainer.publish import shelf


def test_four_models_are_made_and_every_file_is_the_one_the_manifest_names(bundle: Made) -> None:
    manifest = bundle.manifest
    assert set(manifest.models) == {"approval", "risk", "routing", "retry"}
    names = {entry.file for entry in manifest.models.values()}
    assert {path.name for path in bundle.folder.iterdir()} == {*names, "manifest.json", "card.html"}
    for model, entry in manifest.models.items():
        assert entry.untrained_because is None
        assert entry.inputs == INPUTS[model]
        assert entry.sha256 == shelf.sha256((bundle.folder / f"{model}.onnx").read_bytes())
        assert 0.0 < entry.prior < 1.0
        assert entry.calibration is not None
        assert entry.calibration.method in {"beta", "platt", "none"}


def test_the_manifest_says_what_it_was_made_of(bundle: Made) -> None:
    manifest = bundle.manifest
    assert manifest.format == FORMAT
    assert (manifest.feature_fingerprint, manifest.features) == (FINGERPRINT, NAMES)
    assert manifest.data.first < manifest.data.train_until <= manifest.data.test_from < manifest.data.last
    assert manifest.data.attempts > manifest.data.payments == 9_000
    assert set(manifest.encodings) == {name for name in NAMES if name.endswith("_prior")}
    assert set(manifest.priors) == set(manifest.models)
    assert all(fee.approved_fixed_minor >= 0 for fee in manifest.processors.values())
    assert not any("fees" in note for note in manifest.notes)


def test_golden_rows_are_held_out_rows_with_the_graphs_own_answers(bundle: Made) -> None:
    for model, entry in bundle.manifest.models.items():
        rows = np.array(entry.golden_rows, dtype=np.float32)
        assert rows.shape == (16, len(entry.inputs))
        answers = export.run((bundle.folder / f"{model}.onnx").read_bytes(), rows)
        assert np.abs(answers - np.array(entry.golden_expected)).max() <= 1e-6


def test_every_model_stands_beside_its_baselines_with_intervals(bundle: Made) -> None:
    for model, entry in bundle.manifest.models.items():
        assert entry.evaluation is not None, model
        assert set(entry.baselines) == {"base rate", "cell means"}
        for evaluation in (entry.evaluation, *entry.baselines.values()):
            assert set(evaluation.metrics) == set(METRICS)
            assert evaluation.rows == entry.evaluation.rows
            for metric in evaluation.metrics.values():
                assert metric.low <= metric.value <= metric.high
    approval = bundle.manifest.models["approval"]
    assert approval.evaluation is not None
    assert approval.evaluation.metrics["auc"].low > approval.baselines["cell means"].metrics["auc"].high


def test_routing_is_judged_off_policy_from_logged_propensities(bundle: Made) -> None:
    value = bundle.manifest.models["routing"].policy_value
    assert value is not None
    assert value.rows > 1_000
    assert 0 < value.matched < value.rows
    assert value.value.low <= value.value.value <= value.value.high
    assert value.conclusive == (value.effective >= 100)
    assert [model for model, entry in bundle.manifest.models.items() if entry.policy_value is not None] == ["routing"]


def test_what_routing_is_said_to_be_worth_is_what_the_simulation_knows_it_to_be(bundle: Made) -> None:
    history = canonical.load(bundle.history)
    first, last = history.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max()).collect().row(0)
    splits = dict.fromkeys(INPUTS, split(first, last))
    data = build(history, splits, exclude_compromised=False, most=400_000, seed=0)
    train, test = data.parts["routing"]["train"], data.parts["routing"]["test"]
    asked = first_attempts(test, 0)
    candidates, rows = each_processor(asked, train, test, history, bundle.manifest.encodings)
    answers = export.run((bundle.folder / "routing.onnx").read_bytes(), rows)
    chosen = (
        candidates.with_columns(p=pl.Series(answers))
        .sort(["row", "p", "processor"], descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    # No trainer may read this table: each processor's own probability of approving each attempt.
    truth = pl.read_parquet(bundle.history.parent / "truth" / "*.parquet").filter(pl.col("attempt") == 1)
    known = asked.select("row", "payment_id").join(chosen, on="row").join(truth, on="payment_id")
    columns = [name for name in truth.columns if name.startswith("p_")]
    value = pl.coalesce(pl.when(pl.col("processor") == name[2:]).then(pl.col(name)) for name in columns)
    said = bundle.manifest.models["routing"].policy_value
    assert said is not None
    true = known.select(value.mean()).item()
    assert abs(said.value.value - true) <= 4 * (true * (1 - true) / said.effective) ** 0.5


def test_the_service_takes_the_bundle_up(bundle: Made) -> None:
    assert load(bundle.folder, Rules.load()).manifest == bundle.manifest


def test_the_card_holds_the_plots_the_notes_and_the_waits_and_loads_nothing(bundle: Made) -> None:
    page = (bundle.folder / "card.html").read_text(encoding="utf-8")
    images = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    assert {alt for alt, _ in images} == {*(f"plots of {model}" for model in bundle.manifest.models), "retry by wait"}
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for _, image in images)
    for note in bundle.manifest.notes:
        assert note.split("'")[0] in page
    for words in (
        "What routing by it would have been worth",
        "By wait",
        "said of all declines",
        "effective sample size",
    ):
        assert words in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_same_seed_gives_the_same_probabilities_and_another_seed_others(world: Path, tmp_path: Path) -> None:
    small = ("--max-rows", "600")
    first, again = (fitted(tmp_path / name, world / "history", *small, "--seed", "1") for name in ("a", "b"))
    for model, entry in first.models.items():
        assert entry.golden_expected == again.models[model].golden_expected, model
        assert entry.evaluation == again.models[model].evaluation, model
        assert entry.sha256 == again.models[model].sha256, model
    rows = random_rows("approval", 300)
    one, other = (estimators.fit("forest", rows.features, rows.labels, rows.weights, seed) for seed in (1, 2))
    assert not np.array_equal(one.predict_proba(rows.features), other.predict_proba(rows.features))
    assert first.models["routing"].policy_value == again.models["routing"].policy_value


def test_a_graph_that_does_not_answer_like_its_model_is_never_published(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = export.answers

    def off(graph: bytes) -> object:
        answer = honest(graph)
        return lambda rows: answer(rows) + np.float32(0.001)

    monkeypatch.setattr(export, "answers", off)
    command = ["fit", "--history", str(world / "history"), "--bundles", str(tmp_path / "shelf"), "--max-rows", "500"]
    assert main(command) == 2
    assert "fit: the exported approval model differs from the fitted one by 1.00e-03" in capsys.readouterr().err
    assert list((tmp_path / "shelf").iterdir()) == []


def test_no_activate_publishes_and_leaves_the_active_one(bundle: Made, tmp_path: Path) -> None:
    bundles = tmp_path / "shelf"
    shutil.copytree(bundle.bundles, bundles)
    before = shelf.active(bundles)
    command = ["fit", "--history", str(bundle.history), "--bundles", str(bundles), "--max-rows", "400", "--no-activate"]
    assert main(command) == 0
    assert shelf.active(bundles) == before
    assert len(shelf.versions(bundles)) == 2
