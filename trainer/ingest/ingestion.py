"""One run of ingest, top to bottom: open, map, number, keep or quarantine, write.

This module must not know how any column is read.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from contracts.history import COLUMNS
from trainer.errors import HistoryError
from trainer.history import SCHEMA
from trainer.ingest import folder, quarantine
from trainer.ingest.attempt import ID, number_attempts
from trainer.ingest.canonical import FAULT, FILE, plan
from trainer.ingest.mapping import Mapping
from trainer.ingest.mapping_file import load
from trainer.ingest.source import ROW, Source, open_source, reading

ROWS_PER_PART: Final = 2_000_000


class SourceCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows one file had and how many of them were kept."""

    path: str
    rows_read: int
    rows_written: int


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows have one reason (a row can have several), and where the first of them stands."""

    rows: int
    first_source: str
    first_row: int


class IngestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ingest did; also ``ingest.json``."""

    rows_read: int
    rows_written: int
    rows_quarantined: int
    reasons: dict[str, ReasonCount]
    payments: int
    statuses: dict[str, int]
    chargebacks: int
    first: datetime
    last: datetime
    columns_present: tuple[str, ...]
    columns_absent: tuple[str, ...]
    sources: tuple[SourceCount, ...]
    mapping_file: str
    mapping: Mapping


def ingest(mapping: Path, files: Sequence[Path], out: Path, *, force: bool = False) -> IngestReport:
    """Turn `files` into a canonical history under `out` and return what was done.

    `out` gets ``history/part-*.parquet``, ``ingest.json`` and, when a row was refused, ``quarantine.parquet``; on any error
    it is left as it was.

    Raises
    ------
    MappingError
        When the mapping is wrong, by itself or for one of the files.
    HistoryError
        When a file cannot be read, nothing usable is in them, or `out` is taken.
    """
    rules = load(mapping)
    folder.check(out, force=force)
    if not files:
        msg = "expected at least one file to ingest, got none"
        raise HistoryError(msg)
    sources = [open_source(path, rules) for path in files]
    with folder.replaced(out, force=force) as scratch:
        staged = _stage(sources, rules, scratch / "staged")
        whole = scratch / "numbered.parquet"
        number_attempts(staged, rules).sink_parquet(whole, compression="lz4", engine="streaming")
        return _write(sources, rules, pl.scan_parquet(whole), scratch / "result", str(mapping))


def _stage(sources: Sequence[Source], rules: Mapping, place: Path) -> pl.LazyFrame:
    """Write the canonical columns and faults of every source, row by row, and open them as one frame."""
    place.mkdir()
    plans = [plan(source, rules) for source in sources]
    faults = sorted({code for each in plans for code in each.faults})
    paths = [place / f"{number:05}.parquet" for number in range(len(sources))]
    for number, (source, each, path) in enumerate(zip(sources, plans, paths, strict=True)):
        with reading(source.path):
            each.select(source, number, faults).sink_parquet(path, compression="lz4", engine="streaming")
    return pl.scan_parquet(paths, glob=False).with_row_index(ID)


def _write(
    sources: Sequence[Source], rules: Mapping, numbered: pl.LazyFrame, place: Path, mapping_file: str
) -> IngestReport:
    codes = [name for name in numbered.collect_schema().names() if name.startswith(FAULT)]
    wrong = pl.any_horizontal(codes)
    read = _by_source(numbered)
    if not read:
        msg = f"expected at least one payment in {', '.join(str(source.path) for source in sources)}, found none"
        raise HistoryError(msg)
    reasons = pl.concat_list(
        pl.when(pl.col(code)).then(pl.lit(code.removeprefix(FAULT))) for code in codes
    ).list.drop_nulls()
    faulty = numbered.filter(wrong).select(ID, FILE, ROW, reasons=reasons).collect(engine="streaming").sort(ID)
    counted = _counted(sources, faulty)
    good = numbered.filter(~wrong)
    written = _by_source(good)
    if not written:
        reason, count = next(iter(counted.items()))
        msg = (
            f"none of the {faulty.height} rows can be used; most often the reason is {reason} ({count.rows} rows,"
            f" first {count.first_source} row {count.first_row})"
        )
        raise HistoryError(msg)
    history = place / folder.HISTORY
    history.mkdir()
    good.sort("occurred_at", ID).select(SCHEMA.names()).cast(SCHEMA).sink_parquet(
        pl.PartitionBy(
            history,
            file_path_provider=lambda part: f"part-{part.index_in_partition:05}.parquet",
            max_rows_per_file=ROWS_PER_PART,
            approximate_bytes_per_file=None,
        )
    )
    if faulty.height:
        quarantine.write(place / folder.QUARANTINE, sources, faulty)
    report = IngestReport(
        rows_read=sum(read.values()),
        rows_written=sum(written.values()),
        rows_quarantined=faulty.height,
        reasons=counted,
        sources=tuple(
            SourceCount(path=str(source.path), rows_read=read.get(number, 0), rows_written=written.get(number, 0))
            for number, source in enumerate(sources)
        ),
        mapping_file=mapping_file,
        mapping=rules,
        **_seen(history),
    )
    (place / folder.REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report


def _by_source(rows: pl.LazyFrame) -> dict[int, int]:
    counts = rows.group_by(FILE).len().sort(FILE).collect()
    return dict(counts.iter_rows())


def _counted(sources: Sequence[Source], faulty: pl.DataFrame) -> dict[str, ReasonCount]:
    """Return the reasons, most frequent first."""
    counts = (
        faulty.explode("reasons")
        .group_by("reasons")
        .agg(pl.len(), pl.col(FILE).first(), pl.col(ROW).first())
        .sort("len", "reasons", descending=[True, False])
    )
    return {
        reason: ReasonCount(rows=rows, first_source=str(sources[number].path), first_row=row)
        for reason, rows, number, row in counts.iter_rows()
    }


def _seen(history: Path) -> dict[str, Any]:
    frame = pl.scan_parquet(history / "*.parquet")
    totals = frame.select(
        pl.col("payment_id").n_unique().alias("#payments"),
        pl.col("chargeback_at").count().alias("#chargebacks"),
        pl.col("occurred_at").min().alias("#first"),
        pl.col("occurred_at").max().alias("#last"),
        *[pl.col(name).count().alias(name) for name in COLUMNS],
    ).collect()
    found = totals.row(0, named=True)
    statuses = frame.group_by("status").len().sort("status").collect()
    return {
        "payments": found["#payments"],
        "chargebacks": found["#chargebacks"],
        "first": found["#first"],
        "last": found["#last"],
        "statuses": dict(statuses.iter_rows()),
        "columns_present": tuple(name for name in COLUMNS if found[name]),
        "columns_absent": tuple(name for name in COLUMNS if not found[name]),
    }
