"""What does not fit in memory, on disk for as long as it is needed.

This module must not know what is in the files.
"""

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

COMPRESSION: Final[Literal["lz4"]] = "lz4"
"""Of files that are read once and removed: writing them must not cost more than the disk does."""


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make a folder, and remove it with all that is in it, whatever happens; a polite end (SIGTERM) too."""
    folder.mkdir(parents=True)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _leave) if is_main else None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def divide(frame: pl.LazyFrame, folder: Path, key: str) -> dict[int, list[Path]]:
    """Stream `frame` into files by the value of `key`, a whole number; return the files of each value, values in order.

    The column itself is not written.
    """
    frame.sink_parquet(
        pl.PartitionBy(folder, key=key, include_key=False, approximate_bytes_per_file=None),
        compression=COMPRESSION,
        statistics=False,
        maintain_order=False,
        mkdir=True,
        engine="streaming",
    )
    if not folder.exists():
        return {}
    values = sorted(int(made.name.partition("=")[2]) for made in folder.iterdir())
    return {value: sorted((folder / f"{key}={value}").iterdir()) for value in values}


class Sliced:
    """Files of rows in ascending order, cut at the same places: each cut is read without reading the rest.

    Parameters
    ----------
    folder
        Where the files go.
    bounds
        First row of every cut, ascending, and one past the last row of the last.
    """

    def __init__(self, folder: Path, bounds: Sequence[int]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._bounds = bounds
        self._files: list[tuple[Path, list[int | None]]] = []

    def write(self, frame: pl.DataFrame) -> None:
        """Write one more file; `frame` is sorted by `row`."""
        path = self._folder / f"{len(self._files):05}.parquet"
        edges = np.searchsorted(frame["row"].to_numpy(), self._bounds).tolist()
        table = frame.to_arrow()
        groups: list[int | None] = []
        with pq.ParquetWriter(
            path, table.schema, compression=COMPRESSION, use_dictionary=False, write_statistics=False
        ) as out:
            written = 0
            for begin, end in pairwise(edges):
                if begin == end:
                    groups.append(None)
                    continue
                out.write_table(table.slice(begin, end - begin), row_group_size=end - begin)
                groups.append(written)
                written += 1
        self._files.append((path, groups))

    def read(self, cut: int) -> pl.DataFrame | None:
        """Return the rows of one cut from all files, sorted by `row`; None when there are none."""
        pieces = []
        for path, groups in self._files:
            group = groups[cut]
            if group is not None:
                with pq.ParquetFile(path) as file:
                    pieces.append(file.read_row_group(group))
        if not pieces:
            return None
        frame = pl.from_arrow(pa.concat_tables(pieces))
        assert isinstance(frame, pl.DataFrame)
        return frame.sort("row") if len(pieces) > 1 else frame
