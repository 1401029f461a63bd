from pathlib import Path

import polars as pl
import pytest

from trainer.history import scan
from trainer.ingest.ingestion import ingest

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data folder {DATA} is not on this machine"),
]


def run(tmp_path, name):
    source = DATA / name
    out = tmp_path / "out"
    return ingest(ROOT / "docs" / "mappings" / f"{source.stem}.toml", [source], out), scan(out / "history").collect()


def test_routing_attempts_of_2019(tmp_path):
    report, history = run(tmp_path, "psp_routing_2019.csv")
    assert (report.rows_read, report.rows_written, report.rows_quarantined) == (39_488, 39_488, 0)
    assert report.statuses == {"approved": 8_021, "declined": 31_467}
    assert report.payments == 21_107
    assert {"card_token", "card_bin", "response_code"} <= set(report.columns_absent)
    assert sorted(history["card_network"].unique()) == ["diners", "mastercard", "visa"]
    assert sorted(history["issuer_country"].unique()) == ["AT", "CH", "DE"]
    # The logged probabilities are those of the payments as they were grouped.
    drawn = history.group_by(pl.col("attempt") > 1, "processor", "propensity").len()
    drawn = drawn.with_columns(share=pl.col("len") / pl.col("len").sum().over("attempt"))
    assert drawn.height == 8
    assert (drawn["share"] - drawn["propensity"]).abs().max() < 0.0002


def test_fraud_labels_of_2018(tmp_path):
    report, history = run(tmp_path, "fraud_handbook_2018.parquet")
    assert (report.rows_read, report.rows_written, report.rows_quarantined) == (1_169_723, 1_169_723, 0)
    charged = history.filter(pl.col("chargeback_at").is_not_null())
    assert charged.height == report.chargebacks == 9_465
    assert (charged["chargeback_at"] - charged["occurred_at"]).unique().dt.total_days().to_list() == [7]
    assert history["card_token"].str.contains(r"^c[0-9]+$").all()
    assert history["merchant_id"].str.contains(r"^t[0-9]+$").all()


def test_acceptance_without_a_signal(tmp_path):
    report, history = run(tmp_path, "negative_control_acceptance.csv")
    assert (report.rows_read, report.rows_written) == (5_430, 5_429)
    assert {code: count.rows for code, count in report.reasons.items()} == {"negative:amount_minor": 1}
    assert "GB" in history["issuer_country"].to_list()
    assert history["cvv_result"].value_counts().height == 2
