"""The segment that is made beforehand: never one that holds anything, and no different to whoever reads."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from service.journal import prepare
from service.journal.journal import LogJournal
from service.journal.keeping import Keeping
from service.journal.log import Log
from service.journal.reader import JournalReader
from service.journal.segment import segments_in
from service.journal.verify import verify
from tests.service.journal.test_journal import until
from tests.service.journal.test_log import batch, crash, kept_in

SIZE = 100_000
KEEPING = Keeping(segment_bytes=SIZE, floor_bytes=0)


@pytest.fixture
def events(outcome_settled: Any) -> list[Any]:
    return [outcome_settled(f"pay_{number}") for number in range(60)]


def make(folder: Path, size: int = SIZE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    prepare.prepare(folder, size, 0.0, threading.Event())


def test_it_is_zeros_of_the_size_asked_for(tmp_path: Path) -> None:
    make(tmp_path, 600_000)
    assert (tmp_path / prepare.FILE).read_bytes() == bytes(600_000)
    assert [path.name for path in tmp_path.iterdir()] == [prepare.FILE]


def test_given_up_it_leaves_nothing(tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    prepare.prepare(tmp_path, SIZE, 1.0, given_up)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("closes", [True, False])
def test_a_segment_made_beforehand_is_written_read_and_taken_over_as_any_other(
    tmp_path: Path, events: list[Any], closes: bool
) -> None:
    make(tmp_path / "0")
    log = Log(tmp_path / "0", durable=True, keeping=KEEPING)
    assert not prepare.is_ready(tmp_path / "0")
    log.write(*batch(events[:5]))
    log.write(*batch(events[5:9]))
    assert log.segment.path.stat().st_size == SIZE
    assert kept_in(tmp_path) == dict(enumerate(events[:9], start=1))
    end = log.end
    (log.close if closes else lambda: crash(log))()
    again = Log(tmp_path / "0", durable=True, keeping=KEEPING)
    assert again.last == 9
    again.write(*batch(events[9:12]))
    again.close()
    assert kept_in(tmp_path) == dict(enumerate(events[:12], start=1))
    # What was not used is given back, and is no torn tail.
    assert segments_in(tmp_path / "0")[0].path.stat().st_size == end
    assert list((tmp_path / "0").glob("*.torn")) == []


def test_what_a_crash_left_in_it_is_cut_off(tmp_path: Path, events: list[Any]) -> None:
    make(tmp_path / "0")
    log = Log(tmp_path / "0", durable=True, keeping=KEEPING)
    log.write(*batch(events[:3]))
    whole = b"".join(batch(events[3:6])[0])
    os.pwrite(log._descriptor, whole[:-10], log.end)
    crash(log)
    again = Log(tmp_path / "0", durable=True, keeping=KEEPING)
    # Two of the three came whole to the disk, though nobody was told: they are kept.
    assert again.last == 5
    again.close()
    assert len(list((tmp_path / "0").glob("*.torn"))) == 1


@pytest.mark.parametrize("kind", ["other size", "two names"])
def test_one_that_may_hold_something_is_not_taken(tmp_path: Path, events: list[Any], kind: str) -> None:
    make(tmp_path / "0", SIZE if kind == "two names" else SIZE + 1)
    if kind == "two names":
        (tmp_path / "segment").hardlink_to(tmp_path / "0" / prepare.FILE)
    log = Log(tmp_path / "0", durable=True, keeping=KEEPING)
    assert not prepare.is_ready(tmp_path / "0")
    log.write(*batch(events[:3]))
    assert log.segment.path.stat().st_size == log.end
    log.close()
    if kind == "two names":
        assert (tmp_path / "segment").read_bytes() == bytes(SIZE)


def test_it_never_takes_the_place_of_a_segment(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "there"
    path.write_text("events")
    with pytest.raises(FileExistsError):
        prepare.take(tmp_path, path, SIZE, os.O_RDWR)
    assert path.read_text() == "events"


def test_a_journal_goes_over_to_it_and_nothing_is_missing(tmp_path: Path, loop: Any, events: list[Any]) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path, keeping=KEEPING)
        await opened.append(events[0])
        await asyncio.to_thread(until, lambda: len(segments_in(tmp_path / "0")) == 2)
        assert segments_in(tmp_path / "0")[1].path.stat().st_size == SIZE
        for event in events[1:]:
            await opened.append(event)
        assert len(await opened.outcomes_of("pay_7", 1)) == 1
        assert [event for _, event in opened.events()] == events
        await opened.close()

    loop.run_until_complete(scenario())
    with JournalReader(tmp_path) as reader:
        assert [entry.event() for entry in reader.merged()] == events
    assert verify(tmp_path)[2] == []
