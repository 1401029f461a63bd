"""The canonical history on disk: a folder of Parquet files with the columns of ``contracts.history``.

This module must not know where a history comes from or what is learnt from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from contracts.history import COLUMNS, REQUIRED, STATUSES, ColumnKind
from trainer.errors import HistoryError

TIME: Final = pl.Datetime("us", "UTC")
DTYPES: Final[dict[ColumnKind, pl.DataType]] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "bool": pl.Boolean(),
    "time": TIME,
}
SCHEMA: Final = pl.Schema({name: DTYPES[kind] for name, kind in COLUMNS.items()})


def conform(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return `frame` with exactly the canonical columns, in order; absent ones null, `settled_at` filled.

    Raises
    ------
    HistoryError
        When a required column is not there at all.
    """
    present = frame.collect_schema().names()
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        msg = f"expected a history with the columns {', '.join(REQUIRED)}; {', '.join(missing)} is missing"
        raise HistoryError(msg)
    columns = [
        (pl.col(name) if name in present else pl.lit(None)).cast(dtype).alias(name) for name, dtype in SCHEMA.items()
    ]
    answered = pl.col("occurred_at") + pl.duration(milliseconds=pl.col("latency_ms").fill_null(0))
    return frame.select(columns).with_columns(settled_at=pl.col("settled_at").fill_null(answered))


MOST_IN_MEMORY: Final = 3_000_000
"""A history of up to so many attempts is read once; a larger one is streamed from disk by every step."""


def scan(folder: Path) -> pl.LazyFrame:
    """Open a history folder (or one Parquet file) lazily.

    Raises
    ------
    HistoryError
        When there is no Parquet file, or one cannot be read.
    """
    if not folder.exists():
        msg = f"expected a folder with Parquet files of a history, {folder} does not exist"
        raise HistoryError(msg)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
    if not files:
        msg = f"expected a folder with Parquet files of a history, found none in {folder}"
        raise HistoryError(msg)
    for file in files:
        with _readable(file):
            pl.read_parquet_schema(file)
    with _readable(folder):
        return conform(pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore"))


def load(folder: Path) -> pl.LazyFrame:
    """Open a history, hold it to its contract, and keep it in memory when it is small enough.

    Raises
    ------
    HistoryError
        When it cannot be read, has no attempts, or `check` refuses it.
    """
    history = scan(folder)
    with _readable(folder):
        rows = history.select(pl.len()).collect().item()
        if rows == 0:
            msg = f"expected a history with attempts, {folder} has none"
            raise HistoryError(msg)
        if rows <= MOST_IN_MEMORY:
            history = history.collect().lazy()
        check(history)
    return history


def check(history: pl.LazyFrame, *, repeats: bool = True) -> None:
    """Refuse a history that breaks ``contracts.history``.

    Parameters
    ----------
    history
        The canonical history.
    repeats
        Whether to look for attempts that repeat another, which takes memory for each attempt; the rest does not.

    Raises
    ------
    HistoryError
        When a required column has nulls, a status is none of the four, an attempt's number or an amount is below what it can
        be, or a payment has two attempts of one number.
    """
    numbers = (("attempt", 1), ("amount_minor", 0))
    found = (
        history.select(
            *(pl.col(name).null_count().alias(f"null {name}") for name in REQUIRED),
            *(pl.col(name).min().alias(f"least {name}") for name, _ in numbers),
            rows=pl.len(),
            distinct=pl.struct("payment_id", "attempt").n_unique() if repeats else pl.len(),
            statuses=pl.col("status").drop_nulls().unique().sort().implode(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    strange = sorted(set(found["statuses"]) - set(STATUSES))
    refusals = [
        *(
            f"expected {name} in every row, {found[f'null {name}']:,} of {found['rows']:,} have none"
            for name in REQUIRED
            if found[f"null {name}"]
        ),
        *(
            f"expected {name} to be {least} or more, got {found[f'least {name}']}"
            for name, least in numbers
            if found[f"least {name}"] is not None and found[f"least {name}"] < least
        ),
        *([f"expected each status to be one of {', '.join(STATUSES)}, got {strange[0]!r}"] if strange else []),
        *(
            [
                f"expected one row per payment and attempt, {found['rows'] - found['distinct']:,} of {found['rows']:,} rows "
                "repeat another"
            ]
            if found["distinct"] < found["rows"]
            else []
        ),
    ]
    if refusals:
        raise HistoryError(refusals[0])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say which file or folder it was that could not be read."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} cannot be read as a history: {str(error).splitlines()[0]}"
        raise HistoryError(msg) from error
