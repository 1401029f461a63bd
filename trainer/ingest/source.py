"""A source: one file (or table folder) of a shop, opened lazily, its rows numbered from 1.

This module must not know what the columns mean.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from trainer.errors import HistoryError, MappingError
from trainer.ingest.keys import nearest
from trainer.ingest.mapping import Format, Mapping
from trainer.ingest.pan import mask_text

ROW: Final = "#row"
FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "ndjson",
    ".ndjson": "ndjson",
    ".json": "ndjson",
    ".xlsx": "xlsx",
    ".xls": "xlsx",
    ".xlsb": "xlsx",
    ".ods": "xlsx",
}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file, its rows, and the type of every column it has."""

    path: Path
    frame: pl.LazyFrame
    schema: dict[str, pl.DataType]

    def dtype(self, column: str, where: str) -> pl.DataType:
        """Return the type of a column.

        Raises
        ------
        MappingError
            When the file has no such column, or it holds lists or records.
        """
        if column not in self.schema:
            hint = nearest(column, self.schema) or f"; it has {', '.join(self.schema)}"
            msg = f"{self.path} has no column {column!r}, which the mapping names at {where}{hint}"
            raise MappingError(msg)
        dtype = self.schema[column]
        if dtype.is_nested() or dtype == pl.Binary or dtype == pl.Object:
            msg = f"{self.path}: expected column {column!r} ({where}) to hold text, numbers or times, got {dtype}"
            raise MappingError(msg)
        return dtype


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into one sentence.

    Raises
    ------
    HistoryError
        With the path and the reader's first words.
    """
    try:
        yield
    except FileNotFoundError as error:
        msg = f"expected a file with payments, found nothing at {path}"
        raise HistoryError(msg) from error
    except (HistoryError, MappingError):
        raise
    except Exception as error:
        # The readers of five formats raise types of their own.
        msg = f"{path} cannot be read: {_sentence(error)}"
        raise HistoryError(msg) from error


_KNOWN: Final[dict[str, str]] = {
    "found more fields": "a row has more fields than the header (is csv.separator or csv.quote right?)",
    "invalid utf-8": 'it is not UTF-8 (save it as UTF-8, or set csv.encoding = "utf8-lossy")',
    # These two would repeat the cell.
    "could not parse": "a quoted cell does not end (is csv.quote right?)",
    "CSV malformed": "a quoted cell does not end (is csv.quote right?)",
    "empty CSV": "it is empty",
}


def _sentence(error: Exception) -> str:
    words = mask_text(" ".join(str(error).split())) or type(error).__name__
    for part, sentence in _KNOWN.items():
        if part in words:
            return sentence
    return words if len(words) <= 200 else words[:197] + "..."


def open_source(path: Path, mapping: Mapping) -> Source:
    """Open one file by the mapping's `format`, else by its name.

    Raises
    ------
    HistoryError
        When it is missing, of no known format, or unreadable.
    """
    with reading(path):
        if not path.exists():
            raise FileNotFoundError(path)
        form = mapping.format or _format(path)
        frame = _OPENERS[form](path, mapping)
        schema = dict(frame.collect_schema())
        if not schema:
            msg = f"{path} has no columns"
            raise HistoryError(msg)
        twice = [name for name in schema if name.rpartition("_duplicated_")[0] in schema] if form == "csv" else []
        if twice:
            msg = f"{path} has two columns named {twice[0].rpartition('_duplicated_')[0]!r}"
            raise HistoryError(msg)
        return Source(path=path, frame=frame.with_row_index(ROW, offset=1), schema=schema)


def _format(path: Path) -> Format:
    if path.is_dir():
        return "delta" if (path / "_delta_log").is_dir() else "parquet"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = suffixes[-2] if suffixes[-1:] in ([".gz"], [".zst"]) and len(suffixes) > 1 else "".join(suffixes[-1:])
    if last not in FORMATS:
        msg = (
            f"{path}: expected a name that ends in {', '.join(FORMATS)} or the folder of a Delta table"
            ' (or format = "csv" and the like in the mapping)'
        )
        raise HistoryError(msg)
    return FORMATS[last]


def _csv(path: Path, mapping: Mapping) -> pl.LazyFrame:
    # Nothing is inferred: every cell is text, so that 0012 stays 0012 and 10.10 stays exact.
    separator = "\t" if path.suffix == ".tsv" and mapping.csv.separator == "," else mapping.csv.separator
    return pl.scan_csv(
        path,
        separator=separator,
        quote_char=mapping.csv.quote,
        encoding=mapping.csv.encoding,
        infer_schema=False,
        glob=False,
    )


def _parquet(path: Path, _: Mapping) -> pl.LazyFrame:
    if path.is_file():
        return pl.scan_parquet(path, glob=False)
    files = sorted(path.glob("*.parquet"))
    if not files:
        msg = f"{path} is a folder without Parquet files and without a Delta log"
        raise HistoryError(msg)
    return pl.scan_parquet(files, glob=False)


def _delta(path: Path, _: Mapping) -> pl.LazyFrame:
    return pl.scan_delta(str(path))


def _ndjson(path: Path, _: Mapping) -> pl.LazyFrame:
    return pl.scan_ndjson(path, infer_schema_length=None)


def _xlsx(path: Path, mapping: Mapping) -> pl.LazyFrame:
    # A workbook cannot be read piece by piece; its sheets end at a million rows.
    frame = pl.read_excel(
        path,
        sheet_name=mapping.xlsx.sheet,
        infer_schema_length=None,
        drop_empty_rows=False,
        drop_empty_cols=False,
        raise_if_empty=False,
    )
    return frame.lazy()


_OPENERS: Final[dict[Format, Callable[[Path, Mapping], pl.LazyFrame]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "delta": _delta,
    "ndjson": _ndjson,
    "xlsx": _xlsx,
}
