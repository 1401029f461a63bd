"""One writer's files: begun, sealed, taken over, cut off, full, deleted; no number is missing and none is given twice."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import JournalUnavailable
from service.journal import lock
from service.journal.frame import HEAD_SIZE, frame_of
from service.journal.index import Index, path_of
from service.journal.keeping import Keeping
from service.journal.log import Log, WriteFailed
from service.journal.reader import JournalReader
from service.journal.segment import START_SIZE, segments_in
from tests.journals import Disk, write

SMALL = Keeping(segment_bytes=4_000, floor_bytes=0)


@pytest.fixture
def events(outcome_settled: Any) -> list[Any]:
    return [outcome_settled(f"pay_{number}") for number in range(60)]


def batch(events: list[Any]) -> tuple[list[bytes], bytes]:
    frames = [piece for event in events for piece in frame_of(event)]
    return frames, b"".join(frames[::2])


def opened(folder: Path, keeping: Keeping = SMALL) -> Log:
    return Log(folder / "0", durable=True, keeping=keeping)


def kept_in(folder: Path) -> dict[int, Any]:
    with JournalReader(folder) as reader:
        page = reader.read("0", limit=100_000)
    assert page.gaps == []
    return {entry.number: entry.event() for entry in page.entries}


def crash(log: Log) -> None:
    """Leave the files as a process does that is killed."""
    log._let_go()


def test_segments_are_named_by_their_first_number_and_begin_where_the_last_one_ended(
    tmp_path: Path, events: list[Any]
) -> None:
    write(tmp_path, events, keeping=SMALL)
    segments = segments_in(tmp_path / "0")
    assert len(segments) > 2
    assert [segment.path.name for segment in segments] == [f"{segment.first:020d}.log" for segment in segments]
    assert all(segment.path.stat().st_size <= SMALL.segment_bytes for segment in segments)
    assert kept_in(tmp_path) == dict(enumerate(events, start=1))


@pytest.mark.parametrize("closes", [True, False])
def test_a_successor_goes_on_with_the_next_number(tmp_path: Path, events: list[Any], closes: bool) -> None:
    for place in range(0, 60, 6):
        log = opened(tmp_path)
        assert log.last == place
        log.write(*batch(events[place : place + 6]))
        if closes:
            log.close()
        else:
            crash(log)
    assert kept_in(tmp_path) == dict(enumerate(events, start=1))


def test_one_that_wrote_nothing_leaves_nothing(tmp_path: Path, events: list[Any]) -> None:
    write(tmp_path, events[:5])
    for closes in (True, False, True):
        log = opened(tmp_path)
        if closes:
            log.close()
        else:
            crash(log)
    assert [segment.first for segment in segments_in(tmp_path / "0")] == [1]
    assert kept_in(tmp_path) == dict(enumerate(events[:5], start=1))


def test_two_processes_never_write_as_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.05)
    log = opened(tmp_path)
    assert lock.is_taken(tmp_path / "0")
    with pytest.raises(JournalUnavailable, match=f"another process \\({os.getpid()}\\)"):
        opened(tmp_path)
    other = Log(tmp_path / "1", durable=True, keeping=SMALL)
    other.close()
    log.close()
    assert not lock.is_taken(tmp_path / "0")
    opened(tmp_path).close()


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_torn_tail_is_cut_to_the_last_whole_event_and_put_aside(
    tmp_path: Path, events: list[Any], data: st.DataObject
) -> None:
    """Cut anywhere in the last batch, with or without rubbish behind: what was whole is kept, the rest is no event."""
    shutil.rmtree(tmp_path / "torn", ignore_errors=True)
    folder = tmp_path / "torn"
    log = opened(folder, Keeping(floor_bytes=0))
    log.write(*batch(events[:4]))
    begin = log.end
    log.write(*batch(events[4:8]))
    path, end = log.segment.path, log.end
    crash(log)
    cut = data.draw(st.integers(min_value=begin, max_value=end))
    rubbish = data.draw(st.sampled_from([b"", b"\0" * 50, b"rubbish" * 9]))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + rubbish)
    successor = opened(folder)
    last = successor.last
    assert 4 <= last <= 8
    successor.write(*batch(events[10:12]))
    successor.close()
    kept = kept_in(folder)
    assert kept == dict(enumerate([*events[:last], *events[10:12]], start=1))
    aside = list((folder / "0").glob("*.torn"))
    rest = (whole[:cut] + rubbish)[path.stat().st_size :].rstrip(b"\0")
    assert [file.read_bytes() for file in aside] == ([rest] if rest else [])
    assert whole[:cut].startswith(path.read_bytes())


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PMLOG", b"no segment at all, however long it may be"])
def test_a_segment_that_was_only_just_begun_is_begun_again(tmp_path: Path, events: list[Any], content: bytes) -> None:
    write(tmp_path, events[:3])
    (tmp_path / "0" / f"{4:020d}.log").write_bytes(content)
    log = opened(tmp_path)
    assert log.last == 3
    log.write(*batch(events[3:5]))
    log.close()
    assert kept_in(tmp_path) == dict(enumerate(events[:5], start=1))


def test_a_damaged_event_of_a_crashed_process_is_said_and_hides_no_other(
    tmp_path: Path, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = opened(tmp_path)
    log.write(*batch(events[:5]))
    path = log.segment.path
    crash(log)
    content = bytearray(path.read_bytes())
    content[START_SIZE + HEAD_SIZE + 3] ^= 0xFF
    path.write_bytes(content)
    successor = opened(tmp_path)
    assert "1 damaged" in caplog.text
    assert successor.last == 5
    successor.close()
    with JournalReader(tmp_path) as reader:
        page = reader.read("0")
    assert [(gap.first, gap.last, gap.reason) for gap in page.gaps] == [(1, 1, "damaged")]
    assert [entry.number for entry in page.entries] == [2, 3, 4, 5]


@given(st.integers(min_value=1, max_value=4_000), st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EFBIG]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_of_a_batch_that_a_full_disk_takes_in_part_exactly_the_whole_events_are_kept(
    tmp_path: Path, events: list[Any], room: int, error: int
) -> None:
    shutil.rmtree(tmp_path / "full", ignore_errors=True)
    folder = tmp_path / "full"
    with pytest.MonkeyPatch.context() as patched:
        log = opened(folder, Keeping(floor_bytes=0))
        disk = Disk(patched, room)
        disk.error = error
        frames, heads = batch(events[:30])
        assert room < sum(map(len, frames))
        with pytest.raises(WriteFailed) as failed:
            log.write(frames, heads)
        assert log.last == failed.value.kept
        with pytest.raises(OSError, match=os.strerror(error)):
            log.mend()
        disk.room = 1 << 30
        log.mend()
        log.write(*batch(events[40:45]))
        log.close()
    assert kept_in(folder) == dict(enumerate([*events[: failed.value.kept], *events[40:45]], start=1))


def test_after_an_error_of_the_disk_no_number_is_given_twice(
    tmp_path: Path, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may have what it said it could not write: somebody may have read it."""
    log = opened(tmp_path)
    log.write(*batch(events[:2]))
    disk = Disk(monkeypatch, 0)
    disk.error = errno.EIO
    with pytest.raises(WriteFailed) as failed:
        log.write(*batch(events[2:5]))
    assert failed.value.kept == 0
    disk.room = 1 << 30
    log.mend()
    log.write(*batch(events[5:7]))
    log.close()
    with JournalReader(tmp_path) as reader:
        page = reader.read("0")
    assert [entry.number for entry in page.entries] == [1, 2, 6, 7]
    assert [(gap.first, gap.last) for gap in page.gaps] == [(3, 5)]


@pytest.mark.parametrize("deleted", ["segment", "writer", "journal"])
def test_what_is_deleted_under_a_writer_is_made_again_from_what_is_open(
    tmp_path: Path, events: list[Any], deleted: str
) -> None:
    folder = tmp_path / "journal"
    log = opened(folder, Keeping(floor_bytes=0))
    log.write(*batch(events[:3]))
    assert log.is_in_place()
    if deleted == "segment":
        log.segment.path.unlink()
    else:
        shutil.rmtree(folder / "0" if deleted == "writer" else folder)
    log.write(*batch(events[3:5]))
    assert not log.is_in_place()
    log.restore()
    assert log.is_in_place()
    assert lock.is_taken(folder / "0")
    log.write(*batch(events[5:8]))
    log.close()
    assert kept_in(folder) == dict(enumerate(events[:8], start=1))


def test_a_folder_that_another_process_took_meanwhile_is_left_to_it(
    tmp_path: Path, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0.05)
    log = opened(tmp_path)
    log.write(*batch(events[:3]))
    shutil.rmtree(tmp_path / "0")
    other = opened(tmp_path)
    other.write(*batch(events[10:12]))
    with pytest.raises(JournalUnavailable, match="another process"):
        log.mend()
    crash(log)
    other.close()
    assert kept_in(tmp_path) == {1: events[10], 2: events[11]}


def test_every_write_of_a_durable_log_waits_for_the_disk(tmp_path: Path) -> None:
    import fcntl

    for durable in (True, False):
        log = Log(tmp_path / str(durable), durable=durable, keeping=SMALL)
        assert bool(fcntl.fcntl(log._descriptor, fcntl.F_GETFL) & os.O_DSYNC) is durable
        log.close()


@pytest.mark.parametrize("place", ["file", "below"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    folder = tmp_path / "file" if place == "file" else tmp_path / "file" / "below"
    with pytest.raises(JournalUnavailable, match="cannot be opened for writing"):
        Log(folder, durable=True, keeping=SMALL)


def test_a_log_closed_well_is_not_read_when_it_is_taken_over(tmp_path: Path, events: list[Any]) -> None:
    from service.journal.upkeep import Upkeep

    write(tmp_path, events[:5])
    upkeep = Upkeep(tmp_path, "0", SMALL)
    log = opened(tmp_path)
    upkeep.seal(log.sealed)
    upkeep.close()
    (segment,) = segments_in(tmp_path / "0")[:1]
    index = Index.open(segment.path, segment.first)
    assert index is not None
    with index:
        assert (index.count, index.end) == (5, segment.path.stat().st_size)
    crash(log)
    # Were it read, this would be the end of it.
    with segment.path.open("r+b") as file:
        file.seek(START_SIZE)
        file.write(b"\0" * 40)
    again = opened(tmp_path)
    assert again.last == 5
    again.close()
    assert path_of(segment.path).exists()


LIMITED = """
import resource, sys
from pathlib import Path
from service.journal.keeping import Keeping
from service.journal.log import Log, WriteFailed
from service.journal.frame import frame_of
from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from datetime import UTC, datetime

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
log = Log(Path(sys.argv[1]) / "0", durable=True, keeping=Keeping(floor_bytes=0))
kept = 0
try:
    while True:
        outcome = Outcome(payment_id=f"pay_{kept}", status="approved")
        event = OutcomeSettled(received_at=datetime.now(UTC), outcome=outcome, result="kept")
        head, content = frame_of(event)
        log.write([head, content], head)
        kept += 1
except WriteFailed as error:
    said = str(error)
try:
    log.mend()
except OSError as error:
    said += f"; {error.strerror}"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.mend()
log.write([head, content], head)
log.close()
print(kept + 1, said)
"""


def test_a_real_limit_on_the_size_of_files_is_said_and_got_over(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    kept, _, said = done.stdout.strip().partition(" ")
    assert said == "File too large; File too large"
    assert len(kept_in(tmp_path)) == int(kept) > 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes a superuser; the limits above are tested without")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, timeout=30, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine mounts no small disk; the limits above are tested without")
    yield folder
    subprocess.run(["umount", str(folder)], timeout=30, check=True)


def test_a_real_full_disk_keeps_what_it_said_it_kept(small_disk: Path, events: list[Any]) -> None:
    log = opened(small_disk, Keeping(segment_bytes=1 << 20, floor_bytes=0))
    kept: list[Any] = []
    filling = small_disk / "filling"
    filling.write_bytes(bytes(2 << 20))
    said = ""
    while not said:
        try:
            log.write(*batch(events))
            kept += events
        except WriteFailed as error:
            said = str(error)
    assert said == "No space left on device"
    kept += events[: log.last - len(kept)]
    with pytest.raises(OSError, match="No space left"):
        log.mend()
    assert kept_in(small_disk) == dict(enumerate(kept, start=1))
    filling.unlink()
    log.mend()
    log.write(*batch(events[:7]))
    log.close()
    assert kept_in(small_disk) == dict(enumerate([*kept, *events[:7]], start=1))
