"""What a real service has logged is what the history gives; what was tampered with, dropped or came late is found out."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.event import AuthDecided, JournalEvent, OutcomeSettled
from contracts.outcome import Outcome
from features.assemble import WIDTH
from features.clock import micros
from service import propose, question
from tests.journals import rewrite
from tests.parts import Parts, activate, add_bundle, auth, eager, serving, soon
from tests.trainer.backfill.streams import dense, frame
from tests.trainer.consistency.story import PROCESSORS, Shop, tell
from trainer.__main__ import main
from trainer.backfill.command import backfill
from trainer.consistency import past
from trainer.consistency.command import consistency
from trainer.consistency.compare import Feature
from trainer.consistency.recompute import COLUMN
from trainer.consistency.report import Report
from trainer.history import conform

Scene = Callable[[Parts], Awaitable[Any]]


@pytest.fixture
def shelf(bundle_shelf: Path, tmp_path: Path) -> Path:
    """A shelf whose bundle tries again whenever it may."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    add_bundle(folder, bundle_shelf, "eager", eager)
    activate(folder, "eager")
    return folder


def play(shelf: Path, scene: Scene, store: str = "memory://") -> Path:
    """Play a scene against a service; return its journal."""

    async def whole() -> None:
        async with serving(shelf, shelf.parent / "journal", store, timeout_ms=2000.0) as parts:
            await scene(parts)

    asyncio.run(whole())
    return shelf.parent / "journal"


def named(report: Report, name: str) -> Feature:
    return next(feature for feature in report.features if feature.name == name)


def wrong(report: Report) -> list[str]:
    return [feature.name for feature in report.features if feature.mismatch + feature.missing + feature.extra]


@pytest.mark.parametrize("days", [20.0, 0.0])
def test_all_that_a_service_has_logged_is_what_the_history_gives(shelf: Path, days: float) -> None:
    journal = play(shelf, lambda parts: tell(parts, 1, 150, days))
    report = consistency(journal, bundle=shelf)
    assert report.compared > 180
    assert report.asked_again > 20
    assert wrong(report) == []
    assert report.bundles_without_encodings == {}
    assert all(feature.compared >= report.compared for feature in report.features)
    # Asked one after the other: nothing has to be put down to what came late.
    assert all(feature.equal == feature.compared for feature in report.features)


def test_over_redis_as_well(shelf: Path, redis_url: str) -> None:
    journal = play(shelf, lambda parts: tell(parts, 2, 120), redis_url)
    report = consistency(journal, bundle=shelf)
    assert report.compared > 150
    assert wrong(report) == []


def test_what_was_backfilled_before_the_journal_is_taken_from_the_history(shelf: Path, tmp_path: Path) -> None:
    rows = dense(300, 5)
    begin = datetime.now(UTC) - timedelta(days=20)
    # The stream as the past of the story's cards: it ends where the story begins.
    shift = micros(begin) - 1 - max(row["chargeback_at"] or row["settled_at"] for row in rows)
    for number, row in enumerate(rows):
        moved = {name: row[name] + shift for name in ("occurred_at", "settled_at", "chargeback_at") if row[name]}
        names = {"card_token": f"tok_{number % 8}", "merchant_id": f"shop_{number % 3}", "device_id": "dev_1"}
        row.update(moved | names | {"processor": PROCESSORS[number % 3], "issuer_country": "DE"})
    history = tmp_path / "history"
    history.mkdir()
    frame(rows).collect().write_parquet(history / "a.parquet")
    store = f"memory://{tmp_path}/snapshot"
    assert backfill(conform(frame(rows)), store, micros(begin)) > 20
    journal = play(shelf, lambda parts: tell(parts, 3, 80), store)
    with_history = consistency(journal, bundle=shelf, history=history)
    assert wrong(with_history) == []
    # Without it, what the store knew is more than the journal tells.
    alone = consistency(journal, bundle=shelf)
    assert named(alone, "card_attempts_90d").mismatch + named(alone, "card_attempts_90d").extra > 20
    assert any(feature.extra for feature in alone.features)


UNLIMITED: dict[str, Any] = {"processors": PROCESSORS, "card_network": "orbit"}
"""Of a network without limits, as many attempts of one card are sent as a test makes."""


def test_questions_of_one_moment_do_not_count_as_wrong(shelf: Path) -> None:
    async def scene(parts: Parts) -> None:
        shop = Shop(parts, 4)
        for number in range(30):
            payment = auth(payment_id=f"p{number}", **UNLIMITED, **shop.when())
            await parts.decide.auth(payment, deadline=soon())
            shop.move_on(600.0 if number % 3 == 2 else 0.0)

    report = consistency(play(shelf, scene), bundle=shelf)
    assert wrong(report) == []
    attempts = named(report, "card_attempts_24h")
    # The second and the third of each moment saw what was decided before them.
    assert attempts.late == 20
    assert attempts.equal == attempts.compared - 20


def test_questions_asked_at_once_do_not_count_as_wrong(shelf: Path, redis_url: str) -> None:
    async def scene(parts: Parts) -> None:
        for block in range(10):
            ask = [auth(payment_id=f"p{block}_{number}", **UNLIMITED) for number in range(20)]
            await asyncio.gather(*(parts.decide.auth(one, deadline=soon()) for one in ask))

    report = consistency(play(shelf, scene, redis_url), bundle=shelf)
    assert report.compared == 200
    assert wrong(report) == []
    assert named(report, "card_attempts_1h").late > 20


async def reported_late(parts: Parts) -> None:
    """A decline is known to the gateway at once, and here only after another question about the card."""
    shop = Shop(parts, 5)
    for number in range(20):
        first = auth(payment_id=f"a{number}", **UNLIMITED, **shop.when())
        answer = await parts.decide.auth(first, deadline=soon())
        shop.move_on(1.0)
        declined_at = shop.now
        shop.move_on(60.0)
        await parts.decide.auth(auth(payment_id=f"b{number}", **UNLIMITED, **shop.when()), deadline=soon())
        outcome = {"payment_id": f"a{number}", "status": "declined", "processor": answer.processor or "northpay"}
        await asyncio.sleep(0.02)
        await parts.learn.report([msgspec.convert({**outcome, "occurred_at": declined_at}, Outcome)])
        await asyncio.sleep(0.02)
        shop.move_on(4000.0)


def test_an_outcome_reported_late_is_said_to_be_late_and_not_wrong(shelf: Path) -> None:
    report = consistency(play(shelf, reported_late), bundle=shelf)
    assert wrong(report) == []
    assert named(report, "card_consecutive_declines").late == 8, "up to the eight that are remembered"
    assert named(report, "card_approved_per_results_24h").late == 1
    assert named(report, "card_attempts_24h").late == 0


def test_a_wrong_value_is_not_excused_by_what_came_late(shelf: Path) -> None:
    journal = play(shelf, reported_late)
    decision = tampered(journal, "card_consecutive_declines", 2.5, lambda event: event.request.payment_id == "b6")
    report = consistency(journal, bundle=shelf)
    assert wrong(report) == ["card_consecutive_declines"]
    worst = named(report, "card_consecutive_declines").worst
    assert worst is not None
    assert (worst.decision_id, worst.logged, worst.expected) == (decision, 2.5, 7.0)


def tampered(journal: Path, name: str, value: float, choose: Callable[[AuthDecided], bool]) -> str:
    """Overwrite one value of the first decision chosen, in the first row; return its id."""
    found: list[str] = []

    def change(event: JournalEvent) -> JournalEvent:
        if found or not isinstance(event, AuthDecided) or event.vectors is None or not choose(event):
            return event
        rows = np.frombuffer(event.vectors.rows, dtype="<f4").reshape(-1, WIDTH).copy()
        rows[0, COLUMN[name]] = value
        found.append(event.answer.decision_id)
        vectors = msgspec.structs.replace(event.vectors, rows=rows.tobytes())
        return msgspec.structs.replace(event, vectors=vectors)

    rewrite(journal, change)
    return found[0]


def test_the_command_names_a_feature_that_was_tampered_with(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = play(shelf, lambda parts: tell(parts, 6, 60))
    out = tmp_path / "report.json"
    command = ["consistency", "--journal", str(journal), "--bundle", str(shelf), "--json", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "consistent: no feature has more than 0.10% wrong values" in said
    decision = tampered(journal, "card_amount_mean_30d", 7.5, lambda event: event.request.payment_id > "pay_4")
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "wrong in card_amount_mean_30d (" in said
    assert "  7.5, " in said
    assert decision in said
    report = msgspec.json.decode(out.read_bytes(), type=Report)
    assert [feature.name for feature in report.failing] == ["card_amount_mean_30d"]
    # One value in some hundreds: another threshold lets it pass.
    assert main([*command, "--threshold", "0.2"]) == 0


def test_a_default_where_there_is_a_value_is_missing_and_the_other_way_round_extra(shelf: Path) -> None:
    journal = play(shelf, lambda parts: tell(parts, 7, 40))
    first = lambda event: event.request.payment_id == "pay_0"  # noqa: E731
    tampered(journal, "amount_minor_major", -1.0, first)
    tampered(journal, "card_attempts_90d", 3.0, first)
    report = consistency(journal, bundle=shelf)
    assert (named(report, "amount_minor_major").missing, named(report, "card_attempts_90d").extra) == (1, 1)
    assert wrong(report) == ["amount_minor_major", "card_attempts_90d"]


def test_an_event_that_the_journal_lost_is_found_out(shelf: Path) -> None:
    journal = play(shelf, lambda parts: tell(parts, 8, 60))
    dropped: list[str] = []

    def drop(event: JournalEvent) -> JournalEvent | None:
        if isinstance(event, OutcomeSettled) and event.outcome.status == "approved" and not dropped:
            dropped.append(event.outcome.payment_id)
            return None
        return event

    rewrite(journal, drop)
    report = consistency(journal, bundle=shelf)
    assert dropped
    assert "card_approved_per_results_90d" in {feature.name for feature in report.failing}
    assert all("attempts" not in name for name in wrong(report))


def test_another_catalog_is_skipped_and_said(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = play(shelf, lambda parts: tell(parts, 9, 30))
    kept: list[str] = []

    def change(event: JournalEvent) -> JournalEvent:
        if isinstance(event, OutcomeSettled) or event.vectors is None or len(kept) == 5:
            return event
        kept.append(event.answer.decision_id)
        return msgspec.structs.replace(event, vectors=msgspec.structs.replace(event.vectors, fingerprint="feed"))

    rewrite(journal, change)
    report = consistency(journal, bundle=shelf)
    assert report.other_fingerprints == {"feed": 5}
    assert wrong(report) == []
    rewrite(journal, lambda event: event if isinstance(event, OutcomeSettled) else _other(event))
    assert main(["consistency", "--journal", str(journal)]) == 2
    said = capsys.readouterr().err
    assert "can be compared" in said
    assert "logged under the catalog feed" in said


def _other(event: Any) -> Any:
    vectors = event.vectors and msgspec.structs.replace(event.vectors, fingerprint="feed")
    return msgspec.structs.replace(event, vectors=vectors)


def test_without_the_bundle_the_priors_are_left_out_and_it_is_said(shelf: Path, tmp_path: Path) -> None:
    journal = play(shelf, lambda parts: tell(parts, 10, 20))
    report = consistency(journal, bundle=tmp_path / "nowhere")
    assert report.bundles_without_encodings == {"eager": report.compared}
    assert "the bundle eager was not found" in "\n".join(report.lines())
    assert named(report, "card_network_approval_prior").compared == 0
    assert named(report, "card_attempts_24h").compared == report.compared
    assert wrong(report) == []
    own = consistency(journal, bundle=shelf / "eager")
    assert named(own, "card_network_approval_prior").compared == report.compared


def test_a_sample_of_the_decisions_against_all_of_the_history(shelf: Path) -> None:
    journal = play(shelf, lambda parts: tell(parts, 11, 100))
    whole, some = consistency(journal, bundle=shelf), consistency(journal, bundle=shelf, most=40)
    assert 10 < some.compared < 80
    assert some.compared + some.skipped["not in the sample"] == whole.compared
    assert wrong(some) == []


@pytest.mark.parametrize("made", ["nothing", "folder", "file"])
def test_no_journal_is_one_sentence(made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal"
    if made == "folder":
        path.mkdir()
    elif made == "file":
        path.write_text("this is no database, however long it may be " * 50)
    assert main(["consistency", "--journal", str(path)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("consistency: ")]
    assert "journal" in line


def test_an_empty_journal_has_nothing_to_compare(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing(parts: Parts) -> None: ...

    journal = play(shelf, nothing)
    assert main(["consistency", "--journal", str(journal)]) == 2
    assert "it holds no decisions" in capsys.readouterr().err


def test_clocks_are_held_to_what_the_service_holds_them_to() -> None:
    assert past.CLOCK_SKEW == question.CLOCK_SKEW
    assert past.FORGOTTEN_US == propose.FORGOTTEN_US
    now = datetime(2026, 3, 1, tzinfo=UTC)
    for told in (None, now - timedelta(days=400), now, now + timedelta(minutes=5), now + timedelta(minutes=6)):
        assert past.moment_of(told, now) == micros(question.moment_of(told, now, []))
