"""The quarantine: rows that break the contract, each with where it stood, why it is there and what it said.

Card numbers are masked in what it said, in every column, mapped or not. This module must not know the contract.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from trainer.ingest.canonical import FILE
from trainer.ingest.pan import CANDIDATE, mask
from trainer.ingest.source import ROW, Source, reading

SCHEMA: Final = pl.Schema(
    {"source": pl.String(), "row": pl.Int64(), "reasons": pl.List(pl.String()), "original": pl.String()}
)
"""`source`: the file; `row`: counted from 1 without a header; `original`: the row as JSON, by the file's own columns."""


def write(path: Path, sources: Sequence[Source], faulty: pl.DataFrame) -> None:
    """Write the rows of `faulty` (`FILE`, `ROW`, `reasons`) with what the sources said in them.

    Raises
    ------
    HistoryError
        When a source can no longer be read.
    """
    parts = [
        _originals(source, faulty.filter(pl.col(FILE) == number).select(ROW, "reasons"))
        for number, source in enumerate(sources)
    ]
    pl.concat(parts).write_parquet(path)


def _originals(source: Source, faulty: pl.DataFrame) -> pl.DataFrame:
    if faulty.is_empty():
        return SCHEMA.to_frame()
    with reading(source.path):
        rows = source.frame.join(faulty.lazy().select(ROW), on=ROW, how="semi").sort(ROW).collect(engine="streaming")
    texts = [_json(row) for row in rows.drop(ROW).iter_rows(named=True)]
    originals = pl.DataFrame({ROW: rows[ROW], "original": texts}, schema_overrides={"original": pl.String})
    joined = originals.with_columns(_masked(originals["original"])).join(faulty, on=ROW).sort(ROW)
    named = joined.select(pl.lit(str(source.path)).alias("source"), pl.col(ROW).alias("row"), "reasons", "original")
    return named.cast(SCHEMA)


def _json(row: dict[str, Any]) -> str:
    return msgspec.json.encode(_readable(row), enc_hook=str).decode()


def _readable(value: Any) -> Any:
    """Return a value as JSON can say it: NaN and infinity as text, bytes by their length only."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {name: _readable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value


def _masked(texts: pl.Series) -> pl.Series:
    """Mask the card numbers in JSON texts; only those that could hold one are decoded."""
    hits = texts.str.contains(CANDIDATE).to_list()
    masked = [
        msgspec.json.encode(mask(msgspec.json.decode(text))).decode() if hit else text
        for hit, text in zip(hits, texts.to_list(), strict=True)
    ]
    return pl.Series(texts.name, masked, dtype=pl.String)
