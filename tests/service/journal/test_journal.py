"""What the journal has acknowledged is there, whatever happens to the process, the disk or the order of events."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.errors import JournalUnavailable
from service.journal import Keeping, LogJournal, NullJournal, open_journal
from service.journal import journal as journal_module
from service.journal import writer as writer_module
from service.journal.log import Log
from service.journal.verify import verify
from service.journal.writer import LARGEST_BATCH
from service.metrics import Metrics
from tests.journals import Disk, hang


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(params=["full", "async"])
def journal(request: Any, tmp_path: Path, metrics: Metrics, loop: Any) -> Iterator[LogJournal]:
    opened = LogJournal(tmp_path / "journal", sync=request.param, metrics=metrics)
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
        opened = LogJournal(tmp_path, metrics=metrics)
        await asyncio.gather(*(opened.append(auth_decided(f"pay_{n}")) for n in range(500)))
        await opened.close()

    loop.run_until_complete(scenario())
    assert metrics.journal_events == 500
    assert metrics.journal_batches < 100


@pytest.mark.parametrize("count", [1, LARGEST_BATCH, LARGEST_BATCH + 1, 5 * LARGEST_BATCH + 3])
def test_a_batch_of_any_size_is_kept_in_order(tmp_path: Path, loop: Any, auth_decided: Any, count: int) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path)
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
        opened = LogJournal(tmp_path)
        await opened.append(auth_decided())
        await opened.find("x")
        await opened.close()

    loop.run_until_complete(scenario())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal")]


def until(check: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    limit = time.monotonic() + 20
    while not check():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_full_disk_refuses_at_once_and_is_forgotten_when_there_is_room(
    tmp_path: Path, loop: Any, auth_decided: Any, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path, metrics=metrics)
        disk = Disk(monkeypatch, 20_000)
        kept = 0
        while opened.failing is None:
            with contextlib.suppress(JournalUnavailable):
                await opened.append(auth_decided(f"pay_{kept}"))
                kept += 1
        assert "No space left" in str(opened.failing)
        assert b"pointsman_journal_failing 1.0" in metrics.scrape()
        # Nobody waits for a disk that takes nothing: refused before the loop turns once.
        refused = opened.append(auth_decided("pay_refused"))
        with pytest.raises(JournalUnavailable, match="No space left"):
            refused.send(None)
        assert metrics.journal_lost == 2
        # Reads go on.
        assert await opened.find("dec_pay_0_1") == auth_decided("pay_0")
        assert len(opened.events()) == kept > 0
        disk.room = 1 << 30
        await asyncio.to_thread(until, lambda: opened.failing is None)
        await opened.append(auth_decided("pay_again"))
        assert await opened.find("dec_pay_again_1") is not None
        assert b"pointsman_journal_failing 0.0" in metrics.scrape()
        assert [number for number, _ in opened.events()] == list(range(1, kept + 2))
        await opened.close()

    loop.run_until_complete(scenario())


def test_too_little_free_space_is_refused_before_the_disk_refuses(
    tmp_path: Path, loop: Any, auth_decided: Any, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 30
    monkeypatch.setattr(Log, "free_bytes", lambda _: free)

    async def scenario() -> None:
        nonlocal free
        opened = LogJournal(tmp_path, metrics=metrics, keeping=Keeping(floor_bytes=100 << 20))
        await opened.append(auth_decided("pay_1"))
        assert b"pointsman_journal_free_bytes 1.073741824e+09" in metrics.scrape()
        free = 99 << 20
        await asyncio.to_thread(until, lambda: opened.failing is not None)
        assert opened.failing == "99 MiB are free, less than the 100 MiB that stay free"
        with pytest.raises(JournalUnavailable, match="99 MiB are free"):
            await opened.append(auth_decided("pay_2"))
        assert await opened.find("dec_pay_1_1") is not None
        free = 101 << 20
        await asyncio.to_thread(until, lambda: opened.failing is None)
        await opened.append(auth_decided("pay_3"))
        assert len(opened.events()) == 2
        await opened.close()
        free = 1
        poor = LogJournal(tmp_path, metrics=metrics, keeping=Keeping(floor_bytes=100 << 20))
        assert poor.failing is not None
        await poor.close()

    loop.run_until_complete(scenario())


def test_a_full_disk_loses_no_event_of_others_in_a_large_batch(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path)
        Disk(monkeypatch, 100_000)
        results = await asyncio.gather(
            *(opened.append(auth_decided(f"pay_{n}")) for n in range(1000)), return_exceptions=True
        )
        assert {type(result) for result in results if result is not None} == {JournalUnavailable}
        acknowledged = [f"pay_{n}" for n, result in enumerate(results) if result is None]
        assert len(acknowledged) > 10
        assert [event.request.payment_id for _, event in opened.events(limit=10_000)] == acknowledged
        await opened.close()

    loop.run_until_complete(scenario())


@pytest.mark.parametrize("deleted", ["0", "."])
def test_a_folder_deleted_under_it_is_made_again_with_what_was_open(
    tmp_path: Path, loop: Any, auth_decided: Any, deleted: str
) -> None:
    folder = tmp_path / "journal"

    async def scenario() -> None:
        opened = LogJournal(folder)
        await opened.append(auth_decided("pay_1"))
        # In one step, as the writer may be making its next file there.
        gone = (folder / deleted).rename(tmp_path / "gone")
        shutil.rmtree(gone, ignore_errors=True)
        # Gone while the writer looked at its disk, it is refused until the next look.
        await asyncio.to_thread(until, lambda: bool(list(folder.glob("0/*.log"))) and opened.failing is None)
        await opened.append(auth_decided("pay_2"))
        assert opened.failing is None
        assert await opened.find("dec_pay_1_1") is not None
        await opened.close()
        assert [event.request.payment_id for _, event in opened.events()] == ["pay_1", "pay_2"]

    loop.run_until_complete(scenario())


def test_a_disk_that_hangs_is_waited_for_and_after_a_while_is_not(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path)
        going_on = hang(monkeypatch)
        monkeypatch.setattr(writer_module, "STUCK_SECONDS", 0.2)
        first = asyncio.ensure_future(opened.append(auth_decided("pay_1")))
        await asyncio.sleep(0)
        await asyncio.to_thread(until, lambda: opened.failing is not None)
        with pytest.raises(JournalUnavailable, match=r"nothing for 0\.2 s"):
            await opened.append(auth_decided("pay_2"))
        going_on.set()
        await first
        assert opened.failing is None
        await opened.append(auth_decided("pay_3"))
        assert [event.request.payment_id for _, event in opened.events()] == ["pay_1", "pay_3"]
        await opened.close()

    loop.run_until_complete(scenario())


def test_the_writer_outlives_a_bug(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("canary")

    async def scenario() -> None:
        opened = LogJournal(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(Log, "write", broken)
            with pytest.raises(JournalUnavailable, match="RuntimeError"):
                await opened.append(auth_decided("pay_1"))
        await asyncio.to_thread(until, lambda: opened.failing is None)
        await opened.append(auth_decided("pay_2"))
        await opened.close()

    loop.run_until_complete(scenario())
    assert "the journal's writer failed" in caplog.text


def test_too_many_waiting_events_are_refused_at_once(
    tmp_path: Path, loop: Any, auth_decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 0)

    async def scenario() -> None:
        opened = LogJournal(tmp_path)
        with pytest.raises(JournalUnavailable, match="wait already"):
            await opened.append(auth_decided())
        await opened.close()

    loop.run_until_complete(scenario())


def test_a_waiter_that_gave_up_does_not_disturb_the_others(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path)
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
        LogJournal(tmp_path / "file")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("journal")]


def test_a_journal_of_an_earlier_build_is_said_and_left_alone(
    tmp_path: Path, loop: Any, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"as it was")
    loop.run_until_complete(open_journal(tmp_path, sync="full", metrics=metrics).close())
    assert [record.levelname for record in caplog.records if "events.sqlite" in record.message] == ["WARNING"]
    assert (tmp_path / "events.sqlite").read_bytes() == b"as it was"


def test_each_writer_has_its_own_numbers_and_finds_what_others_wrote(
    tmp_path: Path, loop: Any, auth_decided: Any, outcome_settled: Any, metrics: Metrics
) -> None:
    async def scenario() -> None:
        one, two = (LogJournal(tmp_path, writer=name) for name in ("0", "1"))
        for number in range(3):
            await one.append(auth_decided(f"pay_{number}"))
        await two.append(outcome_settled("pay_2"))
        await one.append(outcome_settled("pay_2"))
        assert (one.end(), two.end()) == (4, 1)
        assert await two.find("dec_pay_1_1") == auth_decided("pay_1")
        assert await two.find_attempt("pay_2", 1) == auth_decided("pay_2")
        assert len(await two.outcomes_of("pay_2", 1)) == len(await one.outcomes_of("pay_2", 1)) == 2
        # What comes later is found as well, and what is sealed, and what is of one that is gone.
        await one.append(auth_decided("pay_late"))
        assert await two.find("dec_pay_late_1") is not None
        await one.close()
        assert await two.find("dec_pay_late_1") is not None
        assert await two.find("dec_pay_0_1") is not None
        assert len(two.events()) == 1
        await two.close()

    loop.run_until_complete(scenario())


def test_what_was_appended_is_in_segments_of_the_size_asked_for_and_all_of_it_is_found(
    tmp_path: Path, loop: Any, auth_decided: Any, outcome_settled: Any
) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path, keeping=Keeping(segment_bytes=20_000, floor_bytes=0))
        for number in range(100):
            await opened.append(auth_decided(f"pay_{number}"))
            await opened.append(outcome_settled(f"pay_{number}"))
        assert len(list((tmp_path / "0").glob("*.log"))) > 3
        for number in range(100):
            assert await opened.find(f"dec_pay_{number}_1") is not None
            assert await opened.find_attempt(f"pay_{number}", 1) is not None
            assert len(await opened.outcomes_of(f"pay_{number}", 1)) == 1
        await opened.close()
        # Sealed, all have an index.
        assert len(list((tmp_path / "0").glob("*.idx"))) == len(list((tmp_path / "0").glob("*.log")))

    loop.run_until_complete(scenario())


def test_a_segment_is_sealed_by_its_age_unless_it_is_empty(tmp_path: Path, loop: Any, auth_decided: Any) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path, keeping=Keeping(segment_seconds=0.05, floor_bytes=0))
        await opened.append(auth_decided("pay_1"))
        await asyncio.to_thread(until, lambda: len(list((tmp_path / "0").glob("*.log"))) == 2)
        await asyncio.sleep(0.7)
        assert len(list((tmp_path / "0").glob("*.log"))) == 2
        await opened.close()

    loop.run_until_complete(scenario())


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
from service.journal import Keeping, LogJournal

async def main():
    journal = LogJournal(Path(sys.argv[1]), keeping=Keeping(segment_bytes=20_000))
    async def append(worker):
        number = 0
        while True:
            payment_id = f"pay_{sys.argv[2]}_{worker}_{number}"
            outcome = Outcome(payment_id=payment_id, status="approved")
            await journal.append(OutcomeSettled(received_at=datetime.now(UTC), outcome=outcome, result="kept"))
            sys.stdout.write(payment_id + "\\n")
            sys.stdout.flush()
            number += 1
    await asyncio.gather(*(append(worker) for worker in range(16)))

asyncio.run(main())
"""


def test_every_acknowledged_event_survives_a_kill_and_numbers_go_on(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    for turn in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(turn)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        # The last line may have been cut by the kill.
        acknowledged += rest.split("\n")[:-1]
    kept = LogJournal(tmp_path)
    try:
        events = kept.events(limit=1_000_000)
    finally:
        asyncio.run(kept.close())
    found = [event.outcome.payment_id for _, event in events]  # type: ignore[union-attr]
    assert len(acknowledged) >= 900
    assert set(acknowledged) <= set(found)
    assert len(set(found)) == len(found)
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    assert verify(tmp_path)[2] == []
