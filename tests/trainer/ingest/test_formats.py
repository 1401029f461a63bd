import gzip
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

ROWS = [
    {
        "order": f"o{index}",
        "try": 1,
        "when": datetime(2026, 1, 2, 3, 4, index, tzinfo=UTC),
        "total": 10.1 + index,
        "money": "EUR",
        "result": "ok" if index % 2 else "no",
    }
    for index in range(5)
]
FRAME = pl.DataFrame(ROWS).with_columns(pl.col("total").round(2))
TEXT = FRAME.with_columns(pl.col("when").dt.to_string("iso:strict"))


def csv(path):
    TEXT.write_csv(path / "x.csv")
    return path / "x.csv"


def csv_gz(path):
    (path / "x.csv.gz").write_bytes(gzip.compress(TEXT.write_csv().encode()))
    return path / "x.csv.gz"


def parquet(path):
    FRAME.write_parquet(path / "x.parquet")
    return path / "x.parquet"


def parquet_folder(path):
    (path / "x").mkdir()
    FRAME[:2].write_parquet(path / "x" / "a.parquet")
    FRAME[2:].write_parquet(path / "x" / "b.parquet")
    return path / "x"


def ndjson(path):
    TEXT.write_ndjson(path / "x.jsonl")
    return path / "x.jsonl"


def delta(path):
    FRAME[:3].write_delta(path / "table")
    FRAME[3:].write_delta(path / "table", mode="append")
    return path / "table"


def xlsx(path):
    FRAME.with_columns(pl.col("when").dt.replace_time_zone(None)).write_excel(path / "x.xlsx")
    return path / "x.xlsx"


@pytest.mark.parametrize("write", [csv, csv_gz, parquet, parquet_folder, ndjson, delta, xlsx])
def test_every_format_gives_the_same_history(shop, tmp_path, write):
    report = shop.ingest(write(tmp_path))
    assert report.rows_written == report.rows_read == 5
    assert shop.history.select("payment_id", "attempt", "occurred_at", "amount_minor", "status").rows() == [
        (row["order"], 1, row["when"], 1010 + 100 * index, "approved" if index % 2 else "declined")
        for index, row in enumerate(ROWS)
    ]


def test_a_csv_with_semicolons_and_decimal_commas(shop):
    shop.map(extra='[csv]\nseparator = ";"\n[numbers]\ndecimal = ","\nthousands = "."')
    path = shop.folder / "eu.csv"
    path.write_text(
        "order;try;when;total;money;result\n"
        'a;1;2026-01-01T00:00:00Z;1.234,56;EUR;ok\n"b";1;2026-01-01T00:00:01Z;0,5;EUR;no\nc;1;2026-01-01T00:00:02Z;1.5;EUR;no\n'
    )
    shop.ingest(path)
    assert shop.history["amount_minor"].to_list() == [123456, 50]
    assert shop.quarantine.select("row", "reasons").rows() == [(3, ["unparsable:amount_minor"])]


def test_a_named_sheet_and_numbers_kept_as_identifiers(shop):
    shop.map(extra='[xlsx]\nsheet = "March"', columns='card_token = "token"')
    path = shop.folder / "book.xlsx"
    workbook = pytest.importorskip("xlsxwriter").Workbook(path)
    workbook.add_worksheet("Notes").write(0, 0, "nothing here")
    sheet = workbook.add_worksheet("March")
    for column, (name, value) in enumerate(
        {
            "order": 1001,
            "try": 1,
            "when": "2026-03-01T00:00:00Z",
            "total": 12.5,
            "money": "EUR",
            "result": "ok",
            "token": 77,
        }.items()
    ):
        sheet.write(0, column, name)
        sheet.write(1, column, value)
    workbook.close()
    shop.ingest(path)
    assert shop.history.select("payment_id", "card_token", "amount_minor").rows() == [("1001", "77", 1250)]


def test_local_times_across_the_end_of_summer_time(shop):
    shop.map(('"UTC"', '"Europe/Berlin"'))
    shop.rows(
        {"when": "2026-10-25 01:59:00"},
        {"when": "2026-10-25 02:30:00", "try": "2"},
        {"when": "2026-10-25 03:00:00", "try": "3"},
        {"when": "2026-03-29 02:30:00", "try": "4"},
    )
    shop.ingest()
    first, last = shop.history["occurred_at"]
    assert last - first == timedelta(hours=2, minutes=1)
    assert shop.quarantine["reasons"].to_list() == [["time_ambiguous:occurred_at"], ["time_nonexistent:occurred_at"]]


def test_json_lines_of_mixed_types_keep_their_values(shop):
    path = shop.folder / "x.jsonl"
    path.write_text(
        '{"order":"a","try":1,"when":"2026-01-01T00:00:00Z","total":10.10,"money":"EUR","result":"ok","more":{"a":[1]}}\n'
        '{"order":7,"try":"1","when":"2026-01-01T00:00:01Z","total":"3","money":"EUR","result":"no"}\n'
    )
    shop.ingest(path)
    assert shop.history.select("payment_id", "amount_minor").rows() == [("a", 1010), ("7", 300)]


def test_files_may_have_different_further_columns(shop):
    first = shop.rows({"a": "1"}, name="a.csv")
    second = shop.folder / "b.parquet"
    FRAME.with_columns(extra=pl.lit(1)).write_parquet(second)
    report = shop.ingest(first, second)
    assert [(source.rows_read, source.rows_written) for source in report.sources] == [(1, 1), (5, 4)]
    assert shop.quarantine["source"].to_list() == [str(second)]
