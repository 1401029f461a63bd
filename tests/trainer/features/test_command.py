"""What the features command refuses, and the catalog in words."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import pytest

from contracts.bundle import FORMAT, DataWindow, Encoding, Manifest, ModelEntry
from features.catalog import CATALOG, FINGERPRINT
from trainer.__main__ import main
from trainer.features import prerequisites
from trainer.features.describe import page
from trainer.fit.parameters import default_parameters

Written = Callable[..., Path]


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["features", *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("features: ")
    return lines[0]


def bundle(folder: Path, fingerprint: str, encodings: dict[str, Encoding]) -> Path:
    moment = pl.datetime(2026, 1, 1, time_zone="UTC")
    at = pl.select(moment).item()
    manifest = Manifest(
        format=FORMAT,
        version="v",
        created_at=at,
        feature_fingerprint=fingerprint,
        features=(),
        encodings=encodings,
        models={"approval": ModelEntry(algorithm="a", inputs=(), prior=0.5)},
        processors={},
        priors={},
        policy=default_parameters(),
        data=DataWindow(first=at, last=at, attempts=1, payments=1, train_until=at, test_from=at),
    )
    folder.mkdir()
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


def test_the_page_of_features_is_not_stale() -> None:
    written = Path(__file__).resolve().parents[3] / "docs" / "features.md"
    assert written.read_text(encoding="utf-8") == page() + "\n", (
        "run: python -m trainer features --write docs/features.md"
    )


def test_the_table_has_a_line_for_every_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "--describe"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{len(CATALOG)} features, fingerprint {FINGERPRINT}"
    assert [line.split()[1] for line in lines[3:]] == [spec.name for spec in CATALOG]


def test_with_a_bundle_the_priors_are_there_too(tmp_path: Path, written: Written) -> None:
    names = [spec.name for spec in CATALOG if spec.target is not None and spec.scope != "retry"]
    encodings = dict.fromkeys(names, Encoding(default=0.25, values={"visa": 0.75}))
    folder = bundle(tmp_path / "bundle", FINGERPRINT, encodings)
    told = ["features", "--history", str(written()), "--out", str(tmp_path / "out"), "--bundle", str(folder)]
    assert main(told) == 0
    frame = pl.read_parquet(tmp_path / "out")
    assert frame.columns[3:] == [f"f:{spec.name}" for spec in CATALOG if spec.scope != "retry"]
    assert set(frame["f:card_network_approval_prior"]) == {0.25, 0.75}


def test_a_bundle_of_other_features_or_without_an_encoding_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ("--history", "x", "--out", str(tmp_path / "out"), "--bundle")
    other = refused(capsys, *told, str(bundle(tmp_path / "other", "0123", {})))
    assert "was made for the features 0123" in other
    assert FINGERPRINT in other
    assert "card_network_approval_prior" in refused(capsys, *told, str(bundle(tmp_path / "bare", FINGERPRINT, {})))
    assert "cannot be read: No such file or directory" in refused(capsys, *told, str(tmp_path / "none"))


def test_histories_that_cannot_be_used(
    tmp_path: Path, written: Written, attempts: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert "does not exist" in refused(capsys, "--history", str(tmp_path / "none"), *out)
    assert "expected --history and --out" in refused(capsys, *out)
    folder = written(attempts.drop("amount_minor"))
    assert "amount_minor is missing" in refused(capsys, "--history", str(folder), *out)
    empty = tmp_path / "empty.parquet"
    attempts.clear().write_parquet(empty)
    assert "expected a history with attempts" in refused(capsys, "--history", str(empty), *out)
    odd = tmp_path / "odd.parquet"
    attempts.with_columns(status=pl.lit("perhaps")).write_parquet(odd)
    assert "'perhaps'" in refused(capsys, "--history", str(odd), *out)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "holds mine.txt" in refused(capsys, "--history", str(written()), "--out", str(out))
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.fixture
def with_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    """PySpark looks as if it were there; Java is what the test says."""
    monkeypatch.setattr(prerequisites.importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv(prerequisites.GATEWAY, raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)


SPARK = ("--history", "x", "--out", "y", "--engine", "spark")


def test_spark_without_pyspark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(prerequisites.importlib.util, "find_spec", lambda name: None)
    assert "needs PySpark, which is an extra" in refused(capsys, *SPARK)


@pytest.mark.usefixtures("with_pyspark")
def test_spark_without_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs Java 17 or newer, found none on PATH" in refused(capsys, *SPARK)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert f"found none in JAVA_HOME, which is {tmp_path}" in refused(capsys, *SPARK)


@pytest.mark.usefixtures("with_pyspark")
def test_spark_with_a_java_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    java = tmp_path / "java"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for said, number in (("11.0.2", 11), ("1.8.0_202", 8)):
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{said}\"' >&2\n")
        java.chmod(0o755)
        assert f"{java} is version {number}" in refused(capsys, *SPARK)
