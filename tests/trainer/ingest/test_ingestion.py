import json

import polars as pl
import pytest

from trainer.errors import HistoryError, MappingError
from trainer.ingest import ingestion

CARD = "4111111111111111"
HEADER = "order,try,when,total,money,result\n"


def left_over(shop):
    return sorted(path.name for path in shop.folder.iterdir())


def test_what_is_written_can_be_read_back_and_adds_up(shop):
    shop.rows({}, {"try": "2", "total": "x"}, {"try": "3"})
    report = shop.ingest()
    assert sorted(path.name for path in shop.out.iterdir()) == ["history", "ingest.json", "quarantine.parquet"]
    written = json.loads((shop.out / "ingest.json").read_bytes())
    assert written["rows_read"] == 3 == report.rows_written + report.rows_quarantined
    assert written["reasons"] == {
        "unparsable:amount_minor": {"rows": 1, "first_source": str(shop.folder / "shop.csv"), "first_row": 2}
    }
    assert written["mapping"]["columns"]["currency"] == "money"
    assert left_over(shop) == ["mapping.toml", "out", "shop.csv"]


def test_there_is_no_quarantine_file_when_nothing_was_refused(shop):
    shop.rows({})
    shop.ingest()
    assert not (shop.out / "quarantine.parquet").exists()


def test_the_history_is_sorted_by_time_and_split_into_parts(shop, monkeypatch):
    monkeypatch.setattr(ingestion, "ROWS_PER_PART", 2)
    shop.rows(*({"order": f"o{index}", "when": f"2026-01-0{9 - index}"} for index in range(5)))
    shop.ingest()
    names = sorted(path.name for path in (shop.out / "history").iterdir())
    assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert shop.history["occurred_at"].is_sorted()
    assert shop.history["payment_id"].to_list() == ["o4", "o3", "o2", "o1", "o0"]


def test_the_same_input_gives_the_same_bytes(shop):
    shop.rows({"order": "b"}, {"order": "a"}, {"order": "c", "total": "-1"})
    shop.ingest()
    before = {path.name: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()}
    shop.ingest(force=True)
    assert {path.name: path.read_bytes() for path in shop.out.rglob("*") if path.is_file()} == before


def test_the_quarantine_keeps_the_row_as_it_was_with_card_numbers_masked(shop):
    shop.map(columns='card_token = "token"')
    shop.rows({}, {"try": "2", "token": CARD, "note": f"paid with {CARD}"}, {"try": "3", "total": "-1", "note": CARD})
    shop.ingest()
    refused = shop.quarantine
    assert refused["row"].to_list() == [2, 3]
    assert refused["reasons"].to_list() == [["pan_detected:card_token"], ["negative:amount_minor"]]
    first, second = (json.loads(text) for text in refused["original"])
    assert (first["token"], first["note"]) == ("************1111", "paid with ************1111")
    assert (second["note"], second["total"], second["order"]) == ("************1111", "-1", "o1")
    assert not any(CARD.encode() in path.read_bytes() for path in shop.out.rglob("*") if path.is_file())


def test_a_card_number_kept_as_a_number_is_masked_too(shop):
    path = shop.folder / "x.jsonl"
    line = (
        '{"order":"%s","try":1,"when":"2026-01-01T00:00:00Z","total":%s,"money":"EUR","result":"ok","card":'
        + CARD
        + "}"
    )
    path.write_text("\n".join([line % ("a", 1), line % ("b", -1)]))
    shop.ingest(path)
    assert json.loads(shop.quarantine["original"].item())["card"] == "************1111"


def test_types_json_does_not_know_are_still_kept(shop):
    path = shop.folder / "x.parquet"
    frame = pl.DataFrame(
        {
            "order": ["a", "b"],
            "try": [1, 1],
            "when": ["2026-01-01"] * 2,
            "total": [1.0, float("nan")],
            "money": ["EUR"] * 2,
            "result": ["ok"] * 2,
        }
    ).with_columns(
        day=pl.date(2026, 1, 1), span=pl.duration(hours=1), raw=pl.lit(b"x"), deep=pl.struct(a=pl.lit([1.5]))
    )
    frame.write_parquet(path)
    shop.ingest(path)
    original = json.loads(shop.quarantine["original"].item())
    assert (original["total"], original["day"], original["raw"]) == ("nan", "2026-01-01", "<1 bytes>")


def test_a_column_the_file_does_not_have_is_one_sentence_with_the_nearest(shop):
    shop.map(('column = "total"', 'column = "totl"'))
    shop.rows({})
    with pytest.raises(MappingError) as caught:
        shop.ingest()
    assert str(caught.value).endswith(
        "has no column 'totl', which the mapping names at amount.column; did you mean 'total'?"
    )
    assert left_over(shop) == ["mapping.toml", "shop.csv"]


def test_a_column_of_lists_is_one_sentence(shop):
    path = shop.folder / "x.jsonl"
    path.write_text('{"order":["a"],"try":1,"when":"2026-01-01","total":1,"money":"EUR","result":"ok"}\n')
    with pytest.raises(
        MappingError, match=r"expected column 'order' \(payment.column\) to hold text, numbers or times"
    ):
        shop.ingest(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.csv", None, "expected a file with payments, found nothing at"),
        ("empty.csv", "", "cannot be read: it is empty"),
        ("header.csv", HEADER, "expected at least one payment in"),
        ("ragged.csv", HEADER + "a,1,2026-01-01,1,EUR,ok,more\n", "a row has more fields than the header"),
        ("latin.csv", (HEADER + "\xe9,1,2026-01-01,1,EUR,ok\n").encode("latin-1"), "it is not UTF-8"),
        ("open.csv", HEADER + 'a,1,2026-01-01,1,EUR,"ok\nb,1,2026-01-01,1,EUR,ok\n', "a quoted cell does not end"),
        ("twice.csv", "order,order\na,b\n", "has two columns named 'order'"),
        ("x.parquet", "not parquet", "cannot be read:"),
        ("x.xlsx", "not a workbook", "cannot be read:"),
        ("x.jsonl", '{"order": \n', "cannot be read:"),
        ("x.jsonl", "", "x.jsonl"),
        ("x.pdf", "%PDF", "expected a name that ends in .csv"),
        (
            "all.csv",
            HEADER + "a,1,2026-01-01,-1,EUR,ok\n",
            "none of the 1 rows can be used; most often the reason is negative:amount_minor (1 rows, first ",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_leaves_nothing(shop, name, content, sentence):
    path = shop.folder / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(HistoryError) as caught:
        shop.ingest(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not shop.out.exists()
    assert len(left_over(shop)) == (1 if content is None else 2)


def test_a_folder_that_is_not_empty_is_replaced_only_when_asked(shop):
    shop.rows({})
    shop.ingest()
    with pytest.raises(HistoryError, match="is not empty: name another folder, or replace it with --force"):
        shop.ingest()
    shop.rows({}, {"try": "2"})
    assert shop.ingest(force=True).rows_written == 2
    assert shop.history.height == 2


def test_a_folder_with_other_things_in_it_is_never_replaced(shop):
    shop.rows({})
    shop.out.mkdir()
    (shop.out / "thesis.txt").write_text("dear")
    with pytest.raises(HistoryError, match=r"holds 'thesis.txt', which ingest did not write"):
        shop.ingest(force=True)
    assert (shop.out / "thesis.txt").exists()


def test_a_failed_run_leaves_the_earlier_one(shop):
    shop.rows({})
    shop.ingest()
    shop.rows({"total": "-1"})
    with pytest.raises(HistoryError):
        shop.ingest(force=True)
    assert shop.history.height == 1
    assert left_over(shop) == ["mapping.toml", "out", "shop.csv"]


def test_an_empty_folder_is_taken(shop):
    shop.rows({})
    shop.out.mkdir()
    assert shop.ingest().rows_written == 1


def test_blank_lines_are_counted_not_dropped(shop):
    path = shop.rows({})
    path.write_text(path.read_text() + "\n\n")
    report = shop.ingest()
    assert report.rows_read == report.rows_written + report.rows_quarantined
