"""The history on disk: conformed to the contract, or refused with one sentence."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.history import COLUMNS, REQUIRED
from trainer import history as canonical
from trainer.errors import HistoryError

T = datetime(2026, 1, 1, tzinfo=UTC)


def table(**columns: Any) -> pl.DataFrame:
    """Return two rows with what is required, changed as told; a column told to be None is left out."""
    given = {
        "payment_id": ["a", "b"],
        "attempt": [1, 1],
        "occurred_at": [T, T],
        "merchant_id": ["m", "m"],
        "amount_minor": [100, 200],
        "currency": ["EUR", "EUR"],
        "status": ["approved", "declined"],
        **columns,
    }
    return pl.DataFrame({name: values for name, values in given.items() if values is not None})


def written(folder: Path, *frames: pl.DataFrame) -> Path:
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"part-{number}.parquet")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(HistoryError) as refused:
        canonical.load(folder)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_every_column_of_the_contract_is_there_in_order_and_absent_ones_are_null(tmp_path: Path) -> None:
    frame = canonical.load(written(tmp_path, table(latency_ms=[250, None]))).collect()
    assert frame.columns == list(COLUMNS)
    assert frame["card_token"].null_count() == 2
    # Without a time of the result it is that of the attempt and what the answer took.
    assert frame["settled_at"].to_list() == [T + timedelta(milliseconds=250), T]


def test_files_of_a_folder_may_have_other_columns_and_are_one_history(tmp_path: Path) -> None:
    second = table(payment_id=["c", "d"], channel=["ecom", "moto"], extra=[1, 2])
    frame = canonical.load(written(tmp_path, table(channel=["ecom", None]), second)).collect()
    assert len(frame) == 4
    assert "extra" not in frame.columns


def test_one_file_is_a_history_too(tmp_path: Path) -> None:
    written(tmp_path, table())
    assert len(canonical.load(tmp_path / "part-0.parquet").collect()) == 2


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("nowhere does not exist")
    assert f"found none in {tmp_path}" in refusal(tmp_path)


def test_a_history_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, table().clear())) == f"expected a history with attempts, {tmp_path} has none"


@pytest.mark.parametrize("damage", ["truncated", "garbage", "nothing"])
def test_a_damaged_file_is_named_even_when_it_is_not_the_first(tmp_path: Path, damage: str) -> None:
    written(tmp_path, table(), table(payment_id=["c", "d"]))
    path = tmp_path / "part-1.parquet"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "garbage": b"PAR1" * 200, "nothing": b""}[damage])
    assert refusal(tmp_path).startswith(f"{path} cannot be read as a history: ")


def test_pages_that_were_altered_are_refused_and_not_a_crash(tmp_path: Path) -> None:
    frame = pl.concat([table(payment_id=[f"a{n}", f"b{n}"]) for n in range(500)])
    written(tmp_path, frame)
    path = tmp_path / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[20:400] = b"\xff" * 380
    path.write_bytes(bytes(content))
    assert "cannot be read as a history" in refusal(tmp_path)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_column_that_is_missing_or_has_nulls_is_named(tmp_path: Path, name: str) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    assert refusal(written(missing, table(**{name: None}))).endswith(f"; {name} is missing")
    holes = tmp_path / "holes"
    holes.mkdir()
    values = table()[name].to_list()
    assert refusal(written(holes, table(**{name: [values[0], None]}))) == (
        f"expected {name} in every row, 1 of 2 have none"
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status": ["approved", "refused"]}, "expected each status to be one of approved, declined, error, timeout"),
        ({"attempt": [1, 0]}, "expected attempt to be 1 or more, got 0"),
        ({"amount_minor": [100, -5]}, "expected amount_minor to be 0 or more, got -5"),
        ({"payment_id": ["a", "a"]}, "expected one row per payment and attempt, 1 of 2 rows repeat another"),
        ({"amount_minor": ["ten", "20"]}, "cannot be read as a history"),
    ],
)
def test_values_outside_the_contract_are_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    assert said in refusal(written(tmp_path, table(**changed)))


def test_a_history_too_large_for_memory_is_streamed_and_held_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canonical, "MOST_IN_MEMORY", 1)
    assert len(canonical.load(written(tmp_path, table())).collect()) == 2
    written(tmp_path, table(amount_minor=[1, -1]))
    assert "amount_minor" in refusal(tmp_path)
