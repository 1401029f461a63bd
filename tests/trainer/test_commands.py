"""Bad input to fit and bundle: one clear sentence on stderr, exit code 2, and nothing on the shelf."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from trainer.__main__ import main
from trainer.simulate import batch

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "simulated"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    batch.simulate(batch.Plan(payments=1_500, days=20, start=start, seed=3, merchants=5, cards=300), folder)
    return folder


@pytest.fixture
def refused(tmp_path: Path, simulated: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Fit with these options and return the one sentence, having seen that nothing was left behind."""

    def run(*options: str, history: Path | None = None) -> str:
        shelf = tmp_path / "shelf"
        told = ["fit", "--history", str(history or simulated / "history"), "--bundles", str(shelf), *options]
        assert main(told) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if not line.startswith("  ")]
        assert captured.out == ""
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("fit: ")
        assert "Traceback" not in captured.err
        assert not shelf.exists() or list(shelf.iterdir()) == []
        return lines[0]

    return run


def test_a_history_that_is_not_there(refused: Refused, tmp_path: Path) -> None:
    assert "does not exist" in refused(history=tmp_path / "nowhere")


def test_a_folder_without_a_history(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "found none in" in refused(history=tmp_path / "empty")


def test_a_history_without_attempts(refused: Refused, tmp_path: Path, simulated: Path) -> None:
    pl.scan_parquet(simulated / "history" / "*.parquet").head(0).collect().write_parquet(tmp_path / "none.parquet")
    assert "expected a history with attempts" in refused(history=tmp_path / "none.parquet")


def test_a_truncated_file(refused: Refused, tmp_path: Path, simulated: Path) -> None:
    whole = next((simulated / "history").glob("*.parquet")).read_bytes()
    (tmp_path / "part.parquet").write_bytes(whole[:-1000])
    assert "part.parquet cannot be read as a history: " in refused(history=tmp_path / "part.parquet")


def test_a_required_column_that_is_missing(refused: Refused, tmp_path: Path, simulated: Path) -> None:
    frame = pl.scan_parquet(simulated / "history" / "*.parquet").drop("amount_minor").collect()
    frame.write_parquet(tmp_path / "part.parquet")
    assert "amount_minor is missing" in refused(history=tmp_path / "part.parquet")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (
            "[processors.north]\napproved_fixd_minor = 5\n",
            "unknown processors.north.approved_fixd_minor, expected one of",
        ),
        ("[procesors.north]\napproved_fixed_minor = 5\n", "unknown procesors, expected one of processors"),
        (
            "[processors.north]\nfailed_fixed_minor = -1\n",
            "expected processors.north.failed_fixed_minor to be 0 or more",
        ),
        (
            "[processors.north]\napproved_share = nan\n",
            "expected processors.north.approved_share to be 0 or more, got nan",
        ),
        (
            "[processors.north]\napproved_fixed_minor = 1.5\n",
            "Expected `int`, got `float` - at `$.processors[...].approved",
        ),
        ("processors = 3\n", "Expected `object`, got `int`"),
        ("[processors.north\n", "is not TOML: "),
    ],
)
def test_a_fees_file_that_is_wrong(refused: Refused, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "fees.toml"
    if content is not None:
        path.write_text(content)
    sentence = refused("--fees", str(path))
    assert str(path) in sentence
    assert said in sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("version = 'x'\nmargin = 3\n", "policy parameter `margin`: expected one of version, margin_share"),
        ("version = 'x'\n", "missing required field"),
        ("\x00", "is not TOML: "),
    ],
)
def test_a_policy_file_that_is_wrong(refused: Refused, tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_text(content)
    sentence = refused("--policy", str(path))
    assert str(path) in sentence
    assert said in sentence


def test_dates_in_the_wrong_order(refused: Refused) -> None:
    sentence = refused("--train-until", "2026-01-15", "--test-from", "2026-01-10")
    assert "expected train from < train until <= test from < test until, got 2026-01-01T" in sentence


def test_dates_outside_the_history(refused: Refused) -> None:
    assert "expected train from" in refused("--test-from", "2030-01-01")
    assert "expected train from" in refused("--train-until", "2020-01-01")


def test_no_rows_to_learn_from_allowed(refused: Refused) -> None:
    assert "expected --max-rows to be at least 1, got 0" in refused("--max-rows", "0")


def test_a_date_that_is_none_is_a_mistake_of_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--history", "x", "--test-from", "soon"])
    assert stopped.value.code == 2
    assert "expected a date or time such as 2026-02-01, got 'soon'" in capsys.readouterr().err


def test_a_shelf_that_cannot_be_written_is_known_before_anything_is_learnt(
    tmp_path: Path, simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    told = ["fit", "--history", str(simulated / "history"), "--bundles", str(tmp_path / "file" / "shelf")]
    assert main(told) == 2
    assert capsys.readouterr().err == f"fit: bundles cannot be written to {tmp_path}/file/shelf: Not a directory\n"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("show",), "expected a version in"),
        (("show", "20260101T000000Z-aaaaaa"), "expected a bundle '20260101T000000Z-aaaaaa' in"),
        (("activate",), "expected a version in"),
        (("activate", "../elsewhere"), "expected a version in"),
        (("rollback",), "there is no earlier activation in"),
    ],
)
def test_a_bundle_that_is_not_there(
    tmp_path: Path, told: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", *told, "--bundles", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("bundle: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_an_empty_shelf_is_listed_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "list", "--bundles", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"no bundles in {tmp_path / 'none'}\n"
