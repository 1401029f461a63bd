from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from trainer.ingest.ingestion import IngestReport, ingest

MAPPING = """
[time]
column = "when"
time_zone = "UTC"

[amount]
column = "total"
unit = "major"

[status]
column = "result"
approved = ["ok"]
declined = ["no"]

[payment]
column = "order"
attempt = "try"

[columns]
merchant_id = { constant = "shop" }
currency = "money"
"""

ROW = {"order": "o1", "try": "1", "when": "2026-01-02T03:04:05Z", "total": "12.34", "money": "EUR", "result": "ok"}


class Shop:
    """A shop with a mapping and one CSV file; `ingest` gives the report, `history` and `quarantine` what was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.mapping = folder / "mapping.toml"
        self.mapping.write_text(MAPPING)

    def map(self, *changes: tuple[str, str], extra: str = "", columns: str = "") -> None:
        text = MAPPING
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.mapping.write_text(text + columns + "\n" + extra)

    def rows(self, *rows: dict[str, object], name: str = "shop.csv") -> Path:
        path = self.folder / name
        frame = pl.DataFrame([{**ROW, **row} for row in rows], infer_schema_length=None)
        frame.write_csv(path)
        return path

    def ingest(self, *files: Path, force: bool = False) -> IngestReport:
        return ingest(self.mapping, files or (self.folder / "shop.csv",), self.out, force=force)

    @property
    def history(self) -> pl.DataFrame:
        return pl.read_parquet(self.out / "history" / "*.parquet")

    @property
    def quarantine(self) -> pl.DataFrame:
        return pl.read_parquet(self.out / "quarantine.parquet")

    def reasons(self, *rows: dict[str, object]) -> list[list[str]]:
        """Ingest `rows` after one good row; return the reasons of each refused one."""
        self.rows({"order": "good"}, *rows)
        self.ingest(force=True)
        return self.quarantine["reasons"].to_list() if (self.out / "quarantine.parquet").exists() else []


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def write_mapping(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "m.toml"
        path.write_text(text)
        return path

    return write
