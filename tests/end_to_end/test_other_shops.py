"""Other people's data: the risk model on the Fraud Detection Handbook's protocol, and a set with nothing in it to find."""

from pathlib import Path

import pytest

from tests.end_to_end.shared import MAPPINGS, data
from trainer.__main__ import main
from trainer.publish import shelf


def fitted(name: str, folder: Path, source: Path, *options: str) -> dict[str, float]:
    """Ingest and fit; return the held-out AUC and average precision of every trained model, as ``model.metric``."""
    assert main(["ingest", "--mapping", str(MAPPINGS / f"{name}.toml"), "--out", str(folder / "in"), str(source)]) == 0
    bundles = folder / "bundles"
    assert main(["fit", "--history", str(folder / "in" / "history"), "--bundles", str(bundles), *options]) == 0
    version = shelf.active(bundles)
    assert version is not None
    manifest = shelf.read(bundles, version)
    return {
        f"{model}.{metric}": entry.evaluation.metrics[metric].value
        for model, entry in manifest.models.items()
        if entry.evaluation is not None
        for metric in ("auc", "average_precision")
    }


@pytest.mark.real_data
# A minute of one core: on a machine that does much else at once, more than the time of any other test.
@pytest.mark.timeout(600)
def test_risk_reaches_the_handbook_on_its_own_week(tmp_path: Path) -> None:
    week = ["--train-from", "2018-07-11", "--train-until", "2018-07-18", "--test-from", "2018-07-25"]
    source = data("fraud_handbook_2018.parquet")
    figures = fitted(
        "fraud_handbook_2018", tmp_path, source, *week, "--test-until", "2018-08-01", "--exclude-compromised"
    )
    assert figures["risk.auc"] >= 0.85
    assert figures["risk.average_precision"] >= 0.67
    # There are no declines and no processors in it: nothing else may claim to have learnt.
    assert set(figures) == {"risk.auc", "risk.average_precision"}


@pytest.mark.real_data
def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    figures = fitted("negative_control_acceptance", tmp_path, data("negative_control_acceptance.csv"))
    assert 0.45 <= figures["approval.auc"] <= 0.55
    assert 0.45 <= figures["routing.auc"] <= 0.55
