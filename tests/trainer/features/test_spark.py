"""Spark on this machine against the single machine's result, byte for byte. Needs the extra and a Java."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.trainer.features.agreement import assert_same_files
from trainer.__main__ import main
from trainer.errors import FeaturesError
from trainer.features.prerequisites import require_spark

Written = Callable[..., Path]
BytesOf = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module", autouse=True)
def _spark() -> None:
    try:
        require_spark()
    except FeaturesError as missing:
        pytest.skip(str(missing))


# PySpark leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_gives_the_bytes_of_the_single_machine(tmp_path: Path, written: Written, bytes_of: BytesOf) -> None:
    history = written()
    told = ["features", "--history", str(history), "--out"]
    assert main([*told, str(tmp_path / "single")]) == 0
    assert main([*told, str(tmp_path / "spark"), "--engine", "spark", "--master", "local[2]", "--partitions", "3"]) == 0
    assert bytes_of(tmp_path / "spark") == bytes_of(tmp_path / "single")
    files = sorted((tmp_path / "spark").iterdir())
    assert {file.suffix for file in files} == {".parquet"}
    frame = pl.read_parquet(files).select("occurred_at", "payment_id", "attempt")
    assert frame.equals(frame.sort(pl.all()))

    from pyspark.sql import SparkSession  # not before it is known to be there

    assert SparkSession.getActiveSession() is None


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_slices_of_days_on_spark_are_those_of_the_single_machine(
    tmp_path: Path, written: Written, bytes_of: BytesOf
) -> None:
    told = ["features", "--history", str(written()), "--slice-days", "50", "--partitions", "2", "--out"]
    assert main([*told, str(tmp_path / "single")]) == 0
    assert main([*told, str(tmp_path / "spark"), "--engine", "spark", "--master", "local[2]"]) == 0
    assert bytes_of(tmp_path / "spark") == bytes_of(tmp_path / "single")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_cuts_large_parts_into_slices_that_give_what_whole_parts_give(
    tmp_path: Path, written: Written, capfd: pytest.CaptureFixture[str]
) -> None:
    told = ["features", "--history", str(written()), "--out"]
    assert main([*told, str(tmp_path / "whole")]) == 0
    cut = ["--engine", "spark", "--master", "local[2]", "--partitions", "2", "--slice-rows", "900"]
    assert main([*told, str(tmp_path / "sliced"), *cut]) == 0
    assert "cut by time into" in capfd.readouterr().out
    assert_same_files(tmp_path / "sliced", tmp_path / "whole")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_spark_refuses_a_history_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, written: Written, attempts: pl.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    history = written(attempts.with_columns(status=pl.lit("perhaps")))
    out = tmp_path / "out"
    assert main(["features", "--history", str(history), "--out", str(out), "--engine", "spark"]) == 2
    assert "features: expected each status to be one of" in capfd.readouterr().err
    assert not out.exists()
