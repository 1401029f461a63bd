"""The size of state as it is measured: a real redis-server, and figures that say what is in it."""

from pathlib import Path

import msgspec
import polars as pl
import pytest

from benchmarks import processes
from benchmarks.population import END, write_history
from benchmarks.state_size import PERSONAL, Report, main
from features.entity import KINDS
from trainer import history

CARDS = 400


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    file = tmp_path_factory.mktemp("size") / "report.json"
    assert main(["--cards", str(CARDS), "--json", str(file)]) == 0
    return msgspec.json.decode(file.read_bytes(), type=Report)


def test_every_kind_is_measured(report: Report) -> None:
    assert tuple(size.kind for size in report.kinds) == KINDS
    sizes = {size.kind: size for size in report.kinds}
    # Each card has paid within ninety days, and the longest window sees a little more.
    assert sizes["card"].keys == CARDS
    assert sizes["merchant_card"].keys > CARDS
    assert sizes["processor"].keys == 5
    for size in report.kinds:
        assert 0 < size.p50 <= size.p95 <= size.p99 <= size.largest
        # Redis keeps the key, its time to live and the blob; what a few keys take is lost in what its clients do.
        assert size.keys < 100 or size.per_key > size.mean


def test_marks_and_records_are_two_keys_each_and_a_card_has_a_ledger(report: Report) -> None:
    assert report.payment_keys == pytest.approx(5.0, abs=0.01)
    assert report.answer_bytes > 1500
    assert report.payment_bytes > 300


def test_what_is_printed_sums_up_what_a_card_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cards", "50"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("50 cards, ")
    assert "a card, with its customer, devices and shops: " in said
    assert "a million cards: " in said
    assert all(f"\n{kind} " in said for kind in KINDS)
    assert set(PERSONAL) < set(KINDS)


def test_without_a_redis_server_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert processes.redis_program() is None
    assert main(["--cards", "10"]) == 2
    assert "expected a redis-server on PATH" in capsys.readouterr().err


def test_a_population_without_cards_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--cards", "0"])


def test_the_population_is_a_canonical_history_of_cards_that_pay_seldom(tmp_path: Path) -> None:
    attempts = write_history(tmp_path / "history", 20_000)
    frame = history.load(tmp_path / "history").collect()
    assert len(frame) == attempts
    per_card = frame.group_by("card_token").len()["len"]
    assert len(per_card) == 20_000
    assert per_card.median() <= 2
    assert 3.5 < per_card.mean() < 4.5
    assert per_card.quantile(0.99) >= 15
    assert frame.select((pl.col("occurred_at") < END).mean()).item() > 0.999
    assert 0.2 < frame["device_id"].null_count() / attempts < 0.3
