"""What a history cannot teach is said, a prior stands in its place, and nothing falls over."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from contracts.bundle import Manifest
from service.models.bundle import load
from service.policy.rules import Rules
from tests.trainer.fit.conftest import fitted
from trainer import history as canonical
from trainer.__main__ import main

SMALL = ("--max-rows", "500")


@pytest.fixture(scope="module")
def whole(world: Path) -> pl.DataFrame:
    return canonical.scan(world / "history").head(3_000).collect()


def fit(folder: Path, history: pl.DataFrame, *options: str) -> Manifest:
    (folder / "history").mkdir()
    history.write_parquet(folder / "history" / "part.parquet")
    manifest = fitted(folder / "shelf", folder / "history", *SMALL, *options)
    # Whatever could not be learnt: the service takes it up.
    load(folder / "shelf" / manifest.version, Rules.load())
    return manifest


def noted(manifest: Manifest, model: str) -> str:
    entry = manifest.models[model]
    assert entry.file is None
    assert entry.untrained_because is not None
    assert 0.0 < entry.prior < 1.0
    note = next(note for note in manifest.notes if note.startswith(f"{model}: "))
    assert entry.untrained_because in note
    assert f"a prior of {entry.prior:.3g} answers in its place" in note
    return note


def test_without_chargebacks_risk_is_a_prior(tmp_path: Path, whole: pl.DataFrame) -> None:
    manifest = fit(tmp_path, whole.with_columns(chargeback_at=pl.lit(None, canonical.TIME)))
    assert "have the same label (no)" in noted(manifest, "risk")
    assert any(
        "chargeback_at" in note for note in manifest.notes if note.startswith("columns the history does not have")
    )
    assert manifest.models["approval"].file == "approval.onnx"


def test_a_handful_of_chargebacks_is_not_called_a_model(tmp_path: Path, whole: pl.DataFrame) -> None:
    few = pl.when(pl.int_range(pl.len()) % 200 == 0).then(pl.col("occurred_at") + pl.duration(hours=1))
    manifest = fit(tmp_path, whole.with_columns(chargeback_at=few))
    assert "have the label yes, at least 20 are needed" in noted(manifest, "risk")


def test_without_retries_retry_is_a_prior(tmp_path: Path, whole: pl.DataFrame) -> None:
    manifest = fit(tmp_path, whole.filter(pl.col("attempt") == 1))
    assert "only 0 rows to learn from, at least 200 are needed" in noted(manifest, "retry")
    assert manifest.models["retry"].prior == pytest.approx(0.06)


def test_with_one_processor_routing_has_nothing_to_compare_and_says_so(tmp_path: Path, whole: pl.DataFrame) -> None:
    manifest = fit(tmp_path, whole.with_columns(processor=pl.lit("north"), propensity=pl.lit(1.0)))
    assert "one processor only (north): routing has nothing to compare" in manifest.notes
    value = manifest.models["routing"].policy_value
    assert value is not None
    assert value.gain.value == pytest.approx(0.0)


def test_without_propensities_routing_is_not_judged_off_policy(tmp_path: Path, whole: pl.DataFrame) -> None:
    manifest = fit(tmp_path, whole.drop("propensity"))
    assert manifest.models["routing"].policy_value is None
    assert manifest.models["routing"].file == "routing.onnx"
    assert any(note.startswith("routing: no propensities were logged") for note in manifest.notes)


def test_without_card_tokens_card_features_are_absent_and_it_is_said(tmp_path: Path, whole: pl.DataFrame) -> None:
    manifest = fit(tmp_path, whole.drop("card_token"))
    assert any("card_token" in note for note in manifest.notes if note.startswith("columns the history does not have"))
    entry = manifest.models["approval"]
    place = entry.inputs.index("card_attempts_24h")
    assert {row[place] for row in entry.golden_rows} == {-1.0}


def test_when_everything_is_approved_only_risk_can_be_learnt(tmp_path: Path, whole: pl.DataFrame) -> None:
    likely = pl.when(pl.col("amount_minor") > pl.col("amount_minor").quantile(0.8)).then(
        pl.col("occurred_at") + pl.duration(minutes=1)
    )
    manifest = fit(
        tmp_path, whole.filter(pl.col("attempt") == 1).with_columns(status=pl.lit("approved"), chargeback_at=likely)
    )
    assert "have the same label (yes)" in noted(manifest, "approval")
    assert manifest.models["risk"].file == "risk.onnx"
    assert manifest.models["approval"].prior < 1.0


def test_a_history_too_short_for_its_chargebacks_says_that_the_level_is_too_low(
    tmp_path: Path, whole: pl.DataFrame
) -> None:
    # Chargebacks take as long as the history is: none of the second half can have arrived.
    span = whole["occurred_at"].max() - whole["occurred_at"].min()  # type: ignore[operator]
    end = whole["occurred_at"].max()
    late = pl.col("occurred_at") + pl.lit(span * 0.9)
    back = pl.when((pl.int_range(pl.len()) % 3 == 0) & (late <= end)).then(late)
    manifest = fit(tmp_path, whole.with_columns(chargeback_at=back))
    assert any(
        "the history is too short for that" in note and "its level is too low" in note for note in manifest.notes
    )


def test_with_boundaries_told_it_is_said_that_chargebacks_may_still_come(tmp_path: Path, whole: pl.DataFrame) -> None:
    end = whole["occurred_at"].max()
    back = pl.when(pl.int_range(pl.len()) % 5 == 0).then(pl.col("occurred_at") + pl.duration(days=3))
    back = pl.when(back <= end).then(back)
    middle = whole["occurred_at"].min() + (end - whole["occurred_at"].min()) * 0.7  # type: ignore[operator]
    manifest = fit(tmp_path, whole.with_columns(chargeback_at=back), "--test-from", middle.isoformat())
    assert any("may still come" in note for note in manifest.notes)


def test_a_test_window_of_one_class_is_not_judged_and_nothing_falls_over(
    tmp_path: Path, whole: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    late = pl.col("occurred_at") >= whole["occurred_at"].max() - timedelta(days=2)
    kept = whole.filter((pl.col("status") == "approved") | ~late, (pl.col("attempt") == 1) | ~late)
    boundary = kept.filter(late)["occurred_at"].min()
    manifest = fit(tmp_path, kept, "--test-from", boundary.isoformat())
    entry = manifest.models["approval"]
    assert entry.file is not None
    assert entry.evaluation is None
    assert "approval  not judged: the test window has no rows of both classes" in capsys.readouterr().out


def test_when_nothing_at_all_can_be_learnt_one_sentence_is_said_and_the_shelf_stays_as_it_was(
    tmp_path: Path, whole: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    history = tmp_path / "history.parquet"
    whole.head(50).write_parquet(history)
    assert main(["fit", "--history", str(history), "--bundles", str(tmp_path / "shelf")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("fit: nothing can be learnt from this history: approval: only ")
    assert list((tmp_path / "shelf").iterdir()) == []
