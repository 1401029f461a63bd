"""The features of a history in parts, against the plan over the whole of it."""

import errno
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalog import CATALOG
from features.offline.plan import compute
from trainer.__main__ import main
from trainer.features import single
from trainer.features.ranges import SLOTS
from trainer.features.selection import select
from trainer.features.spill import Sliced, scratch
from trainer.history import scan

Written = Callable[..., Path]
BytesOf = Callable[[Path], dict[str, bytes]]


def features(history: Path, out: Path, *options: str) -> int:
    return main(["features", "--history", str(history), "--out", str(out), *options])


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "ROWS", 700)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("parts", ["1", "3", "20"])
def test_any_number_of_parts_gives_what_the_whole_gives(
    tmp_path: Path, written: Written, bytes_of: BytesOf, parts: str
) -> None:
    history = written()
    assert features(history, tmp_path / "out", "--partitions", parts) == 0
    specs = select(None).specs
    queries = scan(history).with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
    queries = queries.collect().with_row_index("row").lazy()
    whole = compute(queries, scan(history), {}, specs).collect().sort("occurred_at", "payment_id", "attempt")
    (tmp_path / "whole").mkdir()
    names = ["payment_id", "attempt", "occurred_at", *(f"f:{spec.name}" for spec in specs)]
    whole.select(names).write_parquet(tmp_path / "whole" / "part.parquet")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


@pytest.mark.usefixtures("small_ranges")
def test_the_files_follow_each_other_in_time_and_nothing_else_is_left(tmp_path: Path, written: Written) -> None:
    assert features(written(), tmp_path / "out") == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"part-{number:05}.parquet" for number in range(len(files))]
    assert len(files) > 3
    frame = pl.read_parquet(files).select("occurred_at", "payment_id", "attempt")
    assert frame.equals(frame.sort(pl.all()))
    assert len(frame) == 3_000


def test_an_entity_nobody_has_is_absent_and_planned_retries_are_left_out(
    tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    assert features(written(), tmp_path / "out") == 0
    frame = pl.read_parquet(tmp_path / "out")
    assert frame.select(pl.col("^f:device_.*_(1h|24h|7d|declines)$").unique().implode()).row(0)
    assert set(frame["f:device_attempts_24h"]) == {-1.0}
    assert set(frame["f:card_attempts_24h"]) > {-1.0, 0.0}
    assert "f:wait_seconds" not in frame.columns
    priors = sum(spec.target is not None and spec.scope != "retry" for spec in CATALOG)
    assert f"{priors} prior features are left out" in capsys.readouterr().out


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path,
    written: Written,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
) -> None:
    def fail(*_: object) -> pl.DataFrame:
        raise failure

    monkeypatch.setattr(single, "window_features", fail)
    history = written()
    if isinstance(failure, OSError):
        assert features(history, tmp_path / "out") == 2
        assert capsys.readouterr().err.endswith(
            f"features: the features cannot be written to {tmp_path}/out: [Errno 28] No space left on device\n"
        )
    else:
        with pytest.raises(KeyboardInterrupt):
            features(history, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history"]


@settings(deadline=None, max_examples=40)
@given(
    counts=st.dictionaries(st.integers(0, SLOTS - 1), st.integers(1, 10_000), max_size=60),
    parts=st.integers(1, 20),
)
def test_dealing_gives_no_part_more_than_its_share_and_the_fullest_slot(counts: dict[int, int], parts: int) -> None:
    rows_of = np.zeros(SLOTS, dtype=np.int64)
    for number, rows in counts.items():
        rows_of[number] = rows
    loads = np.bincount(single.deal(rows_of, parts), weights=rows_of, minlength=parts)
    assert len(loads) == parts
    assert loads.sum() == rows_of.sum()
    assert loads.max() <= rows_of.sum() / parts + rows_of.max()


def test_a_cut_is_read_back_from_all_files_in_order(tmp_path: Path) -> None:
    sliced = Sliced(tmp_path / "cuts", [0, 10, 20, 30])
    for rows in ([0, 3, 11], [1, 12, 13], []):
        sliced.write(pl.DataFrame({"row": pl.Series(rows, dtype=pl.Int64), "f:x": pl.Series(rows, dtype=pl.Float32)}))
    read = [sliced.read(cut) for cut in range(3)]
    assert [None if frame is None else frame["row"].to_list() for frame in read] == [[0, 1, 3], [11, 12, 13], None]
    assert read[1] is not None
    assert read[1]["f:x"].to_list() == [11.0, 12.0, 13.0]


def test_a_process_that_is_told_to_end_removes_what_it_spilled(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def be_told() -> None:
        with scratch(tmp_path / "work") as folder:
            (folder / "spilled").touch()
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        be_told()
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before
