"""The canonical history on disk: a folder of Parquet files with the columns of ``contracts.history``.

This module must not know where a history comes from or what is learnt from it.
"""

from pathlib import Path
from typing import Final

import polars as pl

from contracts.history import COLUMNS, REQUIRED, ColumnKind
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


def scan(folder: Path) -> pl.LazyFrame:
    """Open a history folder (or one Parquet file) lazily.

    Raises
    ------
    HistoryError
        When there is no Parquet file, or the first cannot be read.
    """
    files = [folder] if folder.is_file() else sorted(folder.glob("*.parquet"))
    if not files:
        msg = f"expected a folder with Parquet files of a history, found none in {folder}"
        raise HistoryError(msg)
    try:
        return conform(pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore"))
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{folder} cannot be read as a history: {str(error).splitlines()[0]}"
        raise HistoryError(msg) from error
