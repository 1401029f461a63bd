"""The journal as others read it: every event once and in order, beside those who write it; what is missing is said."""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import JournalUnavailable
from service.journal import Keeping, LogJournal
from service.journal.frame import HEAD_SIZE
from service.journal.index import path_of
from service.journal.log import Log
from service.journal.reader import Entry, Gap, JournalReader, count
from service.journal.segment import START_SIZE, segments_in
from service.journal.upkeep import Upkeep, expire
from tests.journals import write
from tests.service.journal.test_journal import until

SMALL = Keeping(segment_bytes=3_000, floor_bytes=0)


def indexed(folder: Path, writer: str = "0") -> None:
    """Write the indices that are missing."""
    log = Log(folder / writer, durable=True, keeping=SMALL)
    upkeep = Upkeep(folder, writer, SMALL)
    upkeep.seal(log.sealed)
    upkeep.close()
    log.close()


@pytest.fixture
def journal(tmp_path: Path, outcome_settled: Any) -> Path:
    """Sixty events in segments of some, all with an index."""
    write(tmp_path, [outcome_settled(f"pay_{number}") for number in range(1, 61)], keeping=SMALL)
    indexed(tmp_path)
    assert len(segments_in(tmp_path / "0")) > 3
    return tmp_path


def numbered(found: Any) -> list[int]:
    """Return the numbers of entries; each is that of its payment."""
    for entry in found:
        assert entry.event().outcome.payment_id == f"pay_{entry.number}"
    return [entry.number for entry in found]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 70)), min_size=1, max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_from_any_position_exactly_what_follows_is_read(
    journal: Path, pages: list[tuple[int, int]], has_indices: bool
) -> None:
    hidden = [] if has_indices else list((journal / "0").glob("*.idx"))
    for path in hidden:
        path.rename(path.with_suffix(".hidden"))
    with JournalReader(journal) as reader:
        for after, limit in pages:
            page = reader.read("0", after, limit)
            assert numbered(page.entries) == list(range(after + 1, min(60, after + limit) + 1))
            assert (page.gaps, page.after) == ([], min(60, after + limit))
    for path in hidden:
        path.with_suffix(".hidden").rename(path)


def test_a_reader_misses_nothing_of_a_writer_that_goes_on(tmp_path: Path, loop: Any, outcome_settled: Any) -> None:
    seen: list[Entry | Gap] = []

    async def scenario() -> None:
        opened = LogJournal(tmp_path, keeping=SMALL)
        with JournalReader(tmp_path) as reader:
            after = 0
            for number in range(1, 200):
                await opened.append(outcome_settled(f"pay_{number}"))
                if number % 7 == 0:
                    page = reader.read("0", after)
                    assert page.after == number
                    seen.extend([*page.gaps, *page.entries])
                    after = page.after
            await opened.close()
            seen.extend(reader.walk("0", after))

    loop.run_until_complete(scenario())
    assert numbered(seen) == list(range(1, 200))


def test_what_retention_deleted_is_a_gap_and_not_hidden(journal: Path) -> None:
    segments = segments_in(journal / "0")
    reader = JournalReader(journal)
    assert numbered(reader.read("0", 0, 3).entries) == [1, 2, 3]
    for segment in segments[:2]:
        os.utime(segment.path, (0, 0))
    assert expire(journal, Keeping(days=1, floor_bytes=0), segments[-1].path.stat().st_mtime) == [
        segment.path for segment in segments[:2]
    ]
    page = reader.read("0", 3, 5)
    assert page.gaps == [Gap("0", 4, segments[2].first - 1, "deleted")]
    assert numbered(page.entries) == list(range(segments[2].first, segments[2].first + 5))
    assert numbered(reader.read("0", page.after).entries)[-1] == 60
    reader.close()


def test_what_was_deleted_in_the_midst_is_a_gap_too(journal: Path) -> None:
    _, second, third, *_ = segments_in(journal / "0")
    second.path.unlink()
    with JournalReader(journal) as reader:
        found = list(reader.walk("0"))
    gaps = [each for each in found if isinstance(each, Gap)]
    assert gaps == [Gap("0", second.first, third.first - 1, "damaged")]
    assert found.index(gaps[0]) == second.first - 1
    entries = [each for each in found if isinstance(each, Entry)]
    assert numbered(entries) == [*range(1, second.first), *range(third.first, 61)]


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("place", ["length", "content"])
def test_a_damaged_event_is_a_gap_and_those_behind_it_are_read(journal: Path, place: str, has_index: bool) -> None:
    first, second, *_ = segments_in(journal / "0")
    content = bytearray(first.path.read_bytes())
    size = HEAD_SIZE + int.from_bytes(content[START_SIZE : START_SIZE + 4], "little")
    # The third event.
    begin = START_SIZE + 2 * size
    content[begin + (1 if place == "length" else HEAD_SIZE + 20)] ^= 0x7F
    first.path.write_bytes(content)
    if not has_index:
        path_of(first.path).unlink()
    with JournalReader(journal) as reader:
        page = reader.read("0")
        from_behind = reader.read("0", 5, 3)
    # Nothing tells where the next event begins but the length, or the index.
    last = second.first - 1 if place == "length" and not has_index else 3
    assert [(gap.first, gap.last, gap.reason) for gap in page.gaps] == [(3, last, "damaged")]
    assert numbered(page.entries) == [1, 2, *range(last + 1, 61)]
    assert numbered(from_behind.entries) == ([6, 7, 8] if last == 3 else [last + 1, last + 2, last + 3])


@pytest.mark.parametrize("left", ["fewer", "none"])
def test_a_log_that_was_begun_anew_is_said_to_be_behind(tmp_path: Path, outcome_settled: Any, left: str) -> None:
    events = [outcome_settled(f"pay_{number}") for number in range(1, 11)]
    write(tmp_path, events)
    with JournalReader(tmp_path) as reader:
        assert reader.read("0").after == 10
        shutil.rmtree(tmp_path / "0")
        (tmp_path / "0").mkdir()
        if left == "fewer":
            write(tmp_path, events[:4])
        page = reader.read("0", 10)
        assert page.gaps == [Gap("0", 11, 4 if left == "fewer" else 0, "behind")]
        assert (page.entries, page.after) == ([], 10)
        if left == "fewer":
            found = list(itertools.takewhile(lambda each: each is not None, reader.follow({"0": 10})))
            assert found[0] == page.gaps[0]
            assert numbered(found[1:]) == [1, 2, 3, 4]


def test_all_writers_are_followed_those_that_come_later_too(tmp_path: Path, outcome_settled: Any) -> None:
    write(tmp_path, [outcome_settled(f"pay_{number}") for number in range(1, 4)], "0")
    with JournalReader(tmp_path) as reader:
        following = reader.follow({"0": 1}, poll_seconds=0.0)

        def next_ones() -> list[tuple[str, int]]:
            some = itertools.takewhile(lambda each: each is not None, following)
            return [(each.writer, each.number) for each in some]  # type: ignore[union-attr]

        assert next_ones() == [("0", 2), ("0", 3)]
        assert next_ones() == []
        write(tmp_path, [outcome_settled("pay_1")], "7")
        assert next_ones() == [("7", 1)]
        assert reader.writers() == ["0", "7"]
        assert [log.is_live for log in reader.logs()] == [False, False]


def test_writers_are_merged_by_the_moment_of_their_events(tmp_path: Path, auth_decided: Any) -> None:
    events = [auth_decided(f"pay_{number}") for number in range(30)]
    events = [
        msgspec.structs.replace(event, decided_at=event.decided_at + timedelta(seconds=number))
        for number, event in enumerate(events)
    ]
    for writer in range(3):
        write(tmp_path, events[writer::3], str(writer))
    with JournalReader(tmp_path) as reader:
        assert [entry.event() for entry in reader.merged()] == events
    assert count(tmp_path) == (30, 30)


def test_events_and_decisions_are_counted_with_and_without_an_index(
    tmp_path: Path, auth_decided: Any, outcome_settled: Any
) -> None:
    write(tmp_path, [auth_decided("pay_1"), outcome_settled("pay_1"), auth_decided("pay_2")])
    assert count(tmp_path) == (3, 2)
    indexed(tmp_path)
    assert path_of(segments_in(tmp_path / "0")[0].path).exists()
    assert count(tmp_path) == (3, 2)


def test_where_there_is_no_journal_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="No such file"):
        JournalReader(tmp_path / "nowhere")
    with JournalReader(tmp_path) as reader:
        assert reader.writers() == []
        assert reader.read("0").entries == []
        assert list(reader.merged()) == []


def test_an_event_that_this_build_cannot_read_is_handed_on_as_it_is(tmp_path: Path, outcome_settled: Any) -> None:
    from zlib import crc32

    from service.journal.frame import HEAD

    content = msgspec.msgpack.encode({"type": "from_the_future"})
    head = HEAD.pack(len(content), crc32(content, 0), 0, 0)
    log = Log(tmp_path / "0", durable=False, keeping=SMALL)
    log.write([head, content], head)
    log.close()
    write(tmp_path, [outcome_settled("pay_2")])
    with JournalReader(tmp_path) as reader:
        future, known = reader.read("0").entries
    assert future.content == content
    with pytest.raises(JournalUnavailable, match="event 1 of writer 0 cannot be read"):
        future.event()
    assert numbered([known]) == [2]


WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from service.journal import Keeping, LogJournal

async def main():
    journal = LogJournal(Path(sys.argv[1]), writer=sys.argv[2], keeping=Keeping(segment_bytes=8_000, floor_bytes=0))
    number = journal.end()
    while True:
        some = range(number + 1, number + 9)
        number += 8
        await asyncio.gather(*(journal.append(OutcomeSettled(
            received_at=datetime.now(UTC), outcome=Outcome(payment_id=f"pay_{n}", status="approved"), result="kept",
        )) for n in some))

asyncio.run(main())
"""


def test_processes_that_are_killed_and_begun_again_are_read_without_a_gap(tmp_path: Path) -> None:
    """Two workers, one of them killed in the midst four times, followed from the first event on."""

    def begin(writer: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), writer])

    (tmp_path / "0").mkdir()
    workers = {writer: begin(writer) for writer in ("0", "1")}
    numbers: dict[str, list[int]] = {"0": [], "1": []}
    try:
        with JournalReader(tmp_path) as reader:
            kills = 0
            for found in reader.follow(poll_seconds=0.01):
                assert not isinstance(found, Gap)
                if found is not None:
                    # A frame that was cut off takes its number to the next one: only the order counts.
                    numbers[found.writer].append(found.number)
                if len(numbers["1"]) > 300 * (kills + 1):
                    if kills == 4:
                        break
                    kills += 1
                    os.kill(workers["1"].pid, signal.SIGKILL)
                    workers["1"].wait()
                    workers["1"] = begin("1")
    finally:
        for worker in workers.values():
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
    for own in numbers.values():
        assert own == list(range(1, len(own) + 1))
    assert len(numbers["0"]) > 100


def test_a_segment_made_again_under_its_name_is_read_on(tmp_path: Path, loop: Any, outcome_settled: Any) -> None:
    async def scenario() -> None:
        opened = LogJournal(tmp_path / "journal", keeping=Keeping(floor_bytes=0))
        for number in range(1, 4):
            await opened.append(outcome_settled(f"pay_{number}"))
        with JournalReader(tmp_path / "journal") as reader:
            assert reader.read("0").after == 3
            shutil.rmtree(tmp_path / "journal")
            await asyncio.to_thread(until, lambda: bool(list((tmp_path / "journal").glob("0/*.log"))))
            await opened.append(outcome_settled("pay_4"))
            assert numbered(reader.read("0", 3).entries) == [4]
        await opened.close()

    loop.run_until_complete(scenario())
