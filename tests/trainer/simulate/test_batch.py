"""The history on disk."""

import hashlib
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest

from contracts.history import COLUMNS, REQUIRED
from contracts.terms import FeeSchedule
from trainer.__main__ import main
from trainer.history import SCHEMA, scan
from trainer.simulate import batch
from trainer.simulate.errors import SimulateError
from trainer.simulate.facts import PROCESSORS

START = datetime(2026, 6, 1, tzinfo=UTC)


def plan(payments: int = 6_000, seed: int = 7) -> batch.Plan:
    return batch.Plan(payments=payments, days=20, start=START, seed=seed, merchants=40, cards=3_000)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "world"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "CHUNK", 4_096)
        batch.simulate(plan(20_000), out)
    return out


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        batch.simulate(plan(seed=seed), tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHUNK", 1_500)
    batch.simulate(plan(), tmp_path / "one", workers=1)
    batch.simulate(plan(), tmp_path / "two", workers=2)
    assert len(list((tmp_path / "one" / "history").iterdir())) == 4
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_the_history_has_exactly_the_canonical_columns(folder: Path) -> None:
    read = pl.read_parquet(folder / "history" / "*.parquet")
    assert read.schema == SCHEMA
    assert read.columns == list(COLUMNS)
    assert read.select(REQUIRED).null_count().row(0) == (0,) * len(REQUIRED)
    assert scan(folder / "history").collect().height == read.height


def test_a_part_is_sorted_and_first_attempts_of_parts_follow_each_other(folder: Path) -> None:
    last = START
    for path in sorted((folder / "history").iterdir()):
        part = pl.read_parquet(path)
        assert part["occurred_at"].is_sorted()
        firsts = part.filter(pl.col("attempt") == 1)["occurred_at"]
        assert firsts[0] >= last
        last = firsts[-1]


def test_truth_lies_beside_the_history_and_nothing_of_it_inside(folder: Path) -> None:
    history = pl.read_parquet(folder / "history" / "*.parquet")
    truth = pl.read_parquet(folder / "truth" / "*.parquet")
    expected = ["payment_id", "attempt", *[f"p_{name}" for name in PROCESSORS], "cause", "is_fraud", "best_processor"]
    assert truth.columns == expected
    assert truth.select("payment_id", "attempt").equals(history.select("payment_id", "attempt"))
    assert not set(truth.columns[2:]) & set(history.columns)
    assert scan(folder / "history").collect_schema().names() == list(COLUMNS)
    chances = truth.select(pl.col("^p_.*$"))
    assert chances.min_horizontal().min() >= 0.0
    assert chances.max_horizontal().max() <= 1.0


def test_attempts_of_a_payment_count_up_and_follow_in_time(folder: Path) -> None:
    history = pl.read_parquet(folder / "history" / "*.parquet").sort("payment_id", "attempt")
    assert history.select(pl.struct("payment_id", "attempt").is_unique().all()).item()
    again = history.filter(pl.col("payment_id") == pl.col("payment_id").shift(1)).height
    assert again == history.filter(pl.col("attempt") > 1).height
    gaps = history.select(
        gap=pl.col("occurred_at").diff().over("payment_id"),
        step=pl.col("attempt").diff().over("payment_id"),
        before=pl.col("status").shift(1).over("payment_id"),
    ).drop_nulls()
    assert (gaps["gap"].dt.total_microseconds() > 0).all()
    assert (gaps["step"] == 1).all()
    assert "approved" not in set(gaps["before"])


def test_no_identifier_looks_like_a_card_number(folder: Path) -> None:
    history = pl.read_parquet(folder / "history" / "*.parquet")
    for column in ("payment_id", "card_token", "customer_id", "device_id", "merchant_id", "card_bin"):
        assert not history[column].str.contains(r"[0-9]{10}").any()
    assert history["payment_id"][0] == "p-7-000000000"


def test_every_field_of_the_history_makes_a_valid_request(folder: Path) -> None:
    from contracts.payment import AuthRequest

    names = [name for name in AuthRequest.__struct_fields__ if name not in ("processors", "credentials")]
    rows = pl.read_parquet(folder / "history" / "part-000000.parquet").head(500).select(names)
    for row in rows.iter_rows(named=True):
        msgspec.convert({name: value for name, value in row.items() if value is not None}, AuthRequest)


def test_an_advice_code_comes_from_mastercard_alone(folder: Path) -> None:
    history = pl.read_parquet(folder / "history" / "*.parquet").filter(pl.col("advice_code").is_not_null())
    assert set(history["card_network"]) == {"mastercard"}


def test_a_result_is_known_after_it_occurred_and_timeouts_are_resolved_later(folder: Path) -> None:
    history = pl.read_parquet(folder / "history" / "*.parquet")
    wait = (pl.col("settled_at") - pl.col("occurred_at")).dt.total_milliseconds()
    assert history.filter(wait < pl.col("latency_ms")).is_empty()
    late = history.filter(pl.col("status") == "timeout").select(wait.min()).item()
    assert late >= 300_000


def test_the_fees_are_fee_schedules(folder: Path) -> None:
    fees = tomllib.loads((folder / "fees.toml").read_text())["processors"]
    assert set(fees) == set(PROCESSORS)
    for fee in fees.values():
        assert msgspec.convert(fee, FeeSchedule).approved_share > 0


def test_it_refuses_to_overwrite_without_force(tmp_path: Path) -> None:
    batch.simulate(plan(100), tmp_path)
    with pytest.raises(SimulateError, match="empty or a new folder"):
        batch.simulate(plan(200), tmp_path)
    assert batch.read_plan(tmp_path).payments == 100
    batch.simulate(plan(200), tmp_path, force=True)
    assert batch.read_plan(tmp_path).payments == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "fees.toml",
        "history",
        "simulation.json",
        "terms.toml",
        "truth",
    ]


def test_force_never_removes_what_the_simulator_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(SimulateError, match="found kept"):
        batch.simulate(plan(100), tmp_path, force=True)
    with pytest.raises(SimulateError, match="is a file"):
        batch.simulate(plan(100), tmp_path / "kept.txt", force=True)
    assert (tmp_path / "kept.txt").read_text() == "mine"


def test_a_crash_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> tuple[int, int]:
        raise RuntimeError

    monkeypatch.setattr(batch, "write_chunk", broken)
    with pytest.raises(RuntimeError):
        batch.simulate(plan(100), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_and_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--out", str(tmp_path / "out"), "--payments", "500", "--days", "3", "--cards", "600"]
    assert main(arguments) == 0
    assert "500 payments" in capsys.readouterr().out
    assert main(arguments) == 2
    assert "simulate: expected --out" in capsys.readouterr().err
    assert batch.read_plan(tmp_path / "out").days == 3


@pytest.mark.parametrize("bad", [["--payments", "0"], ["--start", "June"], ["--seed", "-1"]])
def test_the_command_refuses_arguments_out_of_range(
    bad: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--out", str(tmp_path / "out"), *bad]) == 2
    assert f"expected {bad[0]}" in capsys.readouterr().err
