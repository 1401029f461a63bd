"""A small history that looks for trouble: ties, keys that are not there, a hot merchant, columns nobody has."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from benchmarks import synthetic

Written = Callable[..., Path]


@pytest.fixture(scope="session")
def attempts() -> pl.DataFrame:
    """3,000 attempts, a third of them at moments that others have too; every seventh has no processor, no device at all."""
    frame = synthetic.attempts(3_000, hot=0.3)
    coarse = pl.col("occurred_at").dt.truncate("1h")
    number = pl.int_range(pl.len())
    return frame.with_columns(
        occurred_at=pl.when(number % 3 == 0).then(coarse).otherwise(pl.col("occurred_at")),
        processor=pl.when(number % 7 != 0).then(pl.col("processor")),
        card_bin=pl.when(number % 11 != 0).then(pl.col("card_bin")),
    ).drop("device_id")


@pytest.fixture
def written(tmp_path: Path, attempts: pl.DataFrame) -> Written:
    """Write a history (the attempts, in two files, unless told otherwise) and return its folder."""

    def write(frame: pl.DataFrame = attempts) -> Path:
        folder = tmp_path / "history"
        folder.mkdir()
        half = len(frame) // 2
        frame[half:].write_parquet(folder / "a.parquet")
        frame[:half].write_parquet(folder / "b.parquet")
        return folder

    return write


@pytest.fixture(scope="session")
def bytes_of() -> Callable[[Path], dict[str, bytes]]:
    """Read features, in order; return the bytes of each column."""

    def read(folder: Path) -> dict[str, bytes]:
        frame = pl.read_parquet(sorted(folder.glob("*.parquet"))).sort("occurred_at", "payment_id", "attempt")
        floats = [name for name in frame.columns if name.startswith("f:")]
        assert {frame.schema[name] for name in floats} == {pl.Float32}
        identity = frame.drop(floats).write_csv().encode()
        return {"identity": identity, **{name: frame[name].to_numpy().tobytes() for name in floats}}

    return read
