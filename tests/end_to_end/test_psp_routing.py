"""A shop's own file, all the way: ingest, fit on January, serve, and ask what the first fortnight of February asked."""

import json
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import numpy as np
import polars as pl
import pytest

from benchmarks.processes import running
from contracts.bundle import Manifest
from contracts.payment import AuthRequest
from features.catalog import CATALOG
from features.clock import micros
from features.effects import Effects, shifted
from features.offline.plan import compute
from tests.end_to_end.shared import MAPPINGS, data
from trainer import history as canonical
from trainer.__main__ import main
from trainer.backfill.command import backfill
from trainer.fit.export import run
from trainer.publish import shelf

ASKED = 1000


@pytest.fixture(scope="module")
def psp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest and fit once; return the folder with ``history`` and ``bundles``."""
    source = data("psp_routing_2019.csv")
    folder = tmp_path_factory.mktemp("psp")
    mapping = MAPPINGS / "psp_routing_2019.toml"
    assert main(["ingest", "--mapping", str(mapping), "--out", str(folder / "in"), str(source)]) == 0
    fit = ["fit", "--history", str(folder / "in" / "history"), "--bundles", str(folder / "bundles")]
    assert main([*fit, "--test-from", "2019-02-01"]) == 0
    return folder


def manifest(folder: Path) -> Manifest:
    """Return the manifest of the active bundle."""
    version = shelf.active(folder / "bundles")
    assert version is not None
    return shelf.read(folder / "bundles", version)


@pytest.mark.real_data
def test_the_models_reach_the_references_and_nothing_leaks(psp: Path) -> None:
    made = manifest(psp)
    evaluation = made.models["approval"].evaluation
    assert evaluation is not None
    assert 0.635 <= evaluation.metrics["auc"].value < 0.70
    assert (
        evaluation.metrics["log_loss"].value < made.models["approval"].baselines["cell means"].metrics["log_loss"].value
    )
    assert any("chargeback" in note or note.startswith("risk:") for note in made.notes)
    assert made.models["risk"].untrained_because is not None


@pytest.mark.real_data
def test_held_out_attempts_get_the_offline_probability_over_http(psp: Path, tmp_path: Path) -> None:
    made = manifest(psp)
    history = canonical.scan(psp / "in" / "history")
    held_out = history.filter(pl.col("occurred_at") >= made.data.test_from).collect()
    asked = held_out.head(ASKED * 2)
    queries = asked.with_row_index("row").lazy().with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
    specs = [spec for spec in CATALOG if spec.name in made.models["approval"].inputs]
    vectors = compute(queries, history, made.encodings, specs).sort("row").collect()
    rows = vectors.select(pl.col(f"f:{spec.name}") for spec in specs).to_numpy().astype(np.float32)
    graph = (psp / "bundles" / made.version / "approval.onnx").read_bytes()
    expected = run(graph, np.ascontiguousarray(rows))
    effects = Effects(made.models["approval"].effects)
    # Attempts of one second at one shop have no order: online sees those answered before, offline none of them.
    same_moment = Counter(asked["occurred_at"])

    snapshot = f"memory://{tmp_path / 'state'}"
    backfill(history, snapshot, micros(made.data.test_from))
    settings = {
        "POINTSMAN_BUNDLES": str(psp / "bundles"),
        "POINTSMAN_STORE": snapshot,
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
        # What a late disk has not taken in the usual time is on its way, and not to be read back yet.
        "POINTSMAN_BUDGET_MS": "10000",
    }
    compared = 0
    with running(settings, log=tmp_path / "log") as (url, _), httpx.Client(base_url=url) as client:
        for number, row in enumerate(asked.iter_rows(named=True)):
            ask = {
                "payment_id": row["payment_id"],
                "attempt": row["attempt"],
                "occurred_at": row["occurred_at"].isoformat(),
                "merchant_id": row["merchant_id"],
                "amount_minor": row["amount_minor"],
                "currency": row["currency"],
                # The shop has no tokens: one never seen before is what absence looks like.
                "card_token": f"absent-{number}",
                "card_network": row["card_network"],
                "issuer_country": row["issuer_country"],
                "uses_3ds": row["uses_3ds"],
                "processors": [row["processor"]],
            }
            decided = client.post("/api/decisioning/auth", json=ask)
            assert decided.status_code == 200, decided.text
            answer = decided.json()
            # The payments are of 2019.
            assert answer["degraded"] == ["clock:occurred_long_ago"]
            if same_moment[row["occurred_at"]] == 1:
                # What the policy was told, before what recent outcomes say of the processor.
                audit = client.get(f"/api/decisions/{answer['decision_id']}").json()
                told = audit["decision"]["inputs"]["approval"][0][0]
                (offset,) = effects.offsets(msgspec.convert(ask, AuthRequest), (row["processor"],))
                offline = shifted(float(expected[number]), offset)
                assert abs(told - offline) <= 1e-5, (number, row, answer, offline)
                compared += 1
            report = {
                "payment_id": row["payment_id"],
                "attempt": row["attempt"],
                "decision_id": answer["decision_id"],
                "processor": row["processor"],
                "status": row["status"],
                "occurred_at": row["occurred_at"].isoformat(),
            }
            settled = client.post("/api/decisioning/outcomes", json=report)
            assert settled.json() == {"results": ["applied"], "degraded": ["clock:occurred_long_ago"]}, json.dumps(
                report
            )
            if compared == ASKED:
                break
    assert compared == ASKED
