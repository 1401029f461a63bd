"""What the journal has acknowledged is there, whatever happens to the process, the disk or the order of events."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.errors import JournalUnavailable
from service.journal import NullJournal, SqliteJournal, open_journal
from service.journal import sqlite as journal_module
from service.journal.table import FILE, LARGEST_INSERT
from service.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=["full", "async"])
def journal(request: Any, tmp_path: Path, metrics: Metrics, loop: Any) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(tmp_path / "journal", sync=request.param, metrics=metrics)
    yield opened
    loop.run_until_complete(opened.close())


def test_a_decision_is_found_again_as_it_was(journal: Any, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        event = auth_decided("pay_1")
        await journal.append(event)
        assert await journal.find(event.answer.decision_id) == event
        assert await journal.find("dec_nobody") is None

    loop.run_until_complete(scenario())
    assert journal.failing is None


def test_of_two_decisions_with_one_id_the_latest_is_found(journal: Any, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        first = auth_decided("pay_1")
        second = msgspec.structs.replace(first, answer=msgspec.structs.replace(first.answer, bundle_version="b2"))
        await journal.append(first)
        await journal.append(second)
        assert await journal.find(first.answer.decision_id) == second

    loop.run_until_complete(scenario())


@pytest.mark.parametrize("order", [("first", "repeat", "repeat"), ("repeat", "first"), ("repeat", "first", "repeat")])
def test_an_answer_given_again_does_not_hide_how_it_was_found(
    order: tuple[str, ...], journal: Any, loop: Any, auth_decided: Any
) -> None:
    async def scenario() -> None:
        first = auth_decided("pay_1")
        repeat = msgspec.structs.replace(first, repeat=True)
        for which in order:
            await journal.append(first if which == "first" else repeat)
        assert await journal.find(first.answer.decision_id) == first
        assert await journal.find_attempt("pay_1", 1) == first
        assert [event.repeat for _, event in journal.events()] == [which == "repeat" for which in order]

    loop.run_until_complete(scenario())


def test_where_there_is_nothing_but_a_repeat_it_is_found(journal: Any, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        repeat = msgspec.structs.replace(auth_decided("pay_1"), repeat=True)
        await journal.append(repeat)
        assert await journal.find(repeat.answer.decision_id) == repeat
        assert await journal.find_attempt("pay_1", 1) == repeat

    loop.run_until_complete(scenario())


def test_outcomes_are_found_by_attempt_in_order(
    journal: Any, loop: Any, auth_decided: Any, outcome_settled: Any
) -> None:
    async def scenario() -> None:
        for attempt in (1, 2, 1):
            await journal.append(outcome_settled("pay_1", attempt))
        await journal.append(auth_decided("pay_1"))
        assert await journal.outcomes_of("pay_1", 1) == [outcome_settled("pay_1", 1)] * 2
        assert await journal.outcomes_of("pay_2", 1) == []

    loop.run_until_complete(scenario())


def test_events_are_shipped_in_pages_that_neither_miss_nor_repeat(journal: Any, loop: Any, auth_decided: Any) -> None:
    appended = [auth_decided(f"pay_{number}") for number in range(25)]

    async def scenario() -> None:
        for event in appended:
            await journal.append(event)
        await journal.find("anything")  # in mode async, whoever reads waits for what was appended before

    loop.run_until_complete(scenario())
    shipped, after = [], 0
    while page := journal.events(after=after, limit=10):
        shipped += [event for _, event in page]
        after = page[-1][0]
    assert shipped == appended


def test_many_appends_at_once_share_a_commit(tmp_path: Path, loop: Any, auth_decided: Any, metrics: Metrics) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path, metrics=metrics)
        await asyncio.gather(*(opened.append(auth_decided(f"pay_{n}")) for n in range(500)))
        await opened.close()

    loop.run_until_complete(scenario())
    assert metrics.journal_events == 500
    assert metrics.journal_batches < 100


@pytest.mark.parametrize("count", [1, LARGEST_INSERT, LARGEST_INSERT + 1, 5 * LARGEST_INSERT + 3])
def test_a_batch_of_any_size_is_kept_in_order(tmp_path: Path, loop: Any, auth_decided: Any, count: int) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        await asyncio.gather(*(opened.append(auth_decided(f"pay_{n}")) for n in range(count)))
        await opened.close()
        kept = [event.request.payment_id for _, event in opened.events(limit=10_000)]
        assert kept == [f"pay_{n}" for n in range(count)]

    loop.run_until_complete(scenario())


def test_closing_writes_what_waits_and_twice_is_once(journal: Any, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        waiting = [asyncio.ensure_future(journal.append(auth_decided(f"pay_{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await journal.close()
        await asyncio.gather(*waiting)
        await journal.close()

    loop.run_until_complete(scenario())
    assert len(journal.events()) == 50


def test_a_closed_journal_says_so(journal: Any, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        await journal.close()
        with pytest.raises(JournalUnavailable, match="closed"):
            await journal.append(auth_decided())
        with pytest.raises(JournalUnavailable, match="closed"):
            await journal.find("x")

    loop.run_until_complete(scenario())


def test_no_thread_is_left_behind(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        await opened.append(auth_decided())
        await opened.find("x")
        await opened.close()

    loop.run_until_complete(scenario())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal")]


def test_a_full_disk_is_said_and_forgotten_when_there_is_room(
    tmp_path: Path, loop: Any, auth_decided: Any, metrics: Metrics
) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path, metrics=metrics, max_pages=12)
        kept = 0
        while opened.failing is None and kept < 1000:
            with contextlib.suppress(JournalUnavailable):
                await opened.append(auth_decided(f"pay_{kept}"))
                kept += 1
        assert opened.failing is not None
        assert "full" in opened.failing
        assert metrics.journal_lost == 1
        assert len(opened.events()) == kept > 0
        opened._max_pages = 0
        await opened.append(auth_decided("pay_again"))
        assert opened.failing is None
        assert await opened.find("dec_pay_again_1") is not None
        await opened.close()

    loop.run_until_complete(scenario())


def test_a_full_disk_loses_no_event_of_others_in_a_large_batch(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path, max_pages=12)
        results = await asyncio.gather(
            *(opened.append(auth_decided(f"pay_{n}")) for n in range(1000)), return_exceptions=True
        )
        assert {type(result) for result in results if result is not None} == {JournalUnavailable}
        acknowledged = [f"pay_{n}" for n, result in enumerate(results) if result is None]
        assert [event.request.payment_id for _, event in opened.events(limit=10_000)] == acknowledged
        await opened.close()

    loop.run_until_complete(scenario())


def test_a_database_that_breaks_under_it_is_opened_again(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        await opened.append(auth_decided("pay_1"))
        assert opened._connection is not None
        opened._connection.close()
        with pytest.raises(JournalUnavailable):
            await opened.append(auth_decided("pay_2"))
        assert opened.failing is not None
        await opened.append(auth_decided("pay_3"))
        assert opened.failing is None
        await opened.close()

    loop.run_until_complete(scenario())


def test_the_writer_outlives_a_bug(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("canary")

    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(journal_module.table, "insert", broken)
            with pytest.raises(JournalUnavailable, match="RuntimeError"):
                await opened.append(auth_decided("pay_1"))
        await opened.append(auth_decided("pay_2"))
        await opened.close()

    loop.run_until_complete(scenario())
    assert "the journal's writer failed" in caplog.text


def test_too_many_waiting_events_are_refused_at_once(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 0)

    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        with pytest.raises(JournalUnavailable, match="wait already"):
            await opened.append(auth_decided())
        await opened.close()

    loop.run_until_complete(scenario())


def test_a_waiter_that_gave_up_does_not_disturb_the_others(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = SqliteJournal(tmp_path)
        gone = asyncio.ensure_future(opened.append(auth_decided("pay_1")))
        stays = asyncio.ensure_future(opened.append(auth_decided("pay_2")))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        await opened.close()
        assert len(opened.events()) == 2

    loop.run_until_complete(scenario())


def test_a_folder_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable, match="cannot be opened"):
        SqliteJournal(tmp_path / "file")
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(JournalUnavailable, match="not a database"):
        SqliteJournal(tmp_path)


def test_the_journal_that_is_off_keeps_nothing_and_says_so(loop: Any, auth_decided: Any, metrics: Metrics) -> None:
    async def scenario() -> None:
        off = open_journal(None, sync="full", metrics=metrics)
        assert isinstance(off, NullJournal)
        await off.append(auth_decided())
        assert await off.find("dec_pay_1_1") is None
        assert await off.outcomes_of("pay_1", 1) == []
        assert off.events() == []
        assert "off" in str(off.failing)
        await off.close()

    loop.run_until_complete(scenario())


CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from service.journal import SqliteJournal

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    async def append(worker):
        number = 0
        while True:
            payment_id = f"pay_{worker}_{number}"
            outcome = Outcome(payment_id=payment_id, status="approved")
            await journal.append(OutcomeSettled(received_at=datetime.now(UTC), outcome=outcome, result="kept"))
            sys.stdout.write(payment_id + "\\n")
            sys.stdout.flush()
            number += 1
    await asyncio.gather(*(append(worker) for worker in range(16)))

asyncio.run(main())
"""


def test_every_acknowledged_event_survives_a_kill(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(500)]
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    # The last line may have been cut by the kill.
    acknowledged += rest.split("\n")[:-1]
    kept = SqliteJournal(tmp_path)
    try:
        found = {event.outcome.payment_id for _, event in kept.events(limit=1_000_000)}  # type: ignore[union-attr]
    finally:
        asyncio.run(kept.close())
    assert len(acknowledged) >= 500
    assert set(acknowledged) <= found


def test_the_file_is_in_wal_mode_and_waits_for_the_disk(tmp_path: Path, loop: Any) -> None:
    opened = SqliteJournal(tmp_path)
    assert opened._connection is not None
    assert opened._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    loop.run_until_complete(opened.close())
    connection = sqlite3.connect(tmp_path / FILE)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
