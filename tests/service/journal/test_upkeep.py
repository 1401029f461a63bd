"""Old segments go when they are old enough or too many, never the last one of a writer; indices that are missing are made."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from service.journal.index import path_of
from service.journal.keeping import Keeping
from service.journal.segment import Segment, segments_in
from service.journal.upkeep import Upkeep, expire
from tests.journals import write
from tests.service.journal.test_journal import until
from tests.service.journal.test_reader import SMALL, indexed

DAY = 86_400.0


@pytest.fixture
def segments(tmp_path: Path, outcome_settled: Any) -> list[Segment]:
    """Segments of two writers, each a day older than the next, and all with an index."""
    for writer in ("0", "1"):
        write(tmp_path, [outcome_settled(f"pay_{number}") for number in range(60)], writer, keeping=SMALL)
        indexed(tmp_path, writer)
    ordered = [segment for pair in zip(*(segments_in(tmp_path / w) for w in "01"), strict=True) for segment in pair]
    for age, segment in enumerate(reversed(ordered)):
        os.utime(segment.path, (0, 1_000 * DAY - age * DAY))
    return ordered


def there(segments: list[Segment]) -> list[bool]:
    assert all(path_of(segment.path).exists() == segment.path.exists() for segment in segments)
    return [segment.path.exists() for segment in segments]


@pytest.mark.parametrize("days", [0.5, 3.5, 100.0])
def test_what_is_older_than_it_is_to_be_kept_goes_whoever_wrote_it(
    tmp_path: Path, segments: list[Segment], days: float
) -> None:
    deleted = expire(tmp_path, Keeping(days=days), 1_000 * DAY)
    old = [len(segments) - 1 - place > days for place in range(len(segments))]
    # The last of each writer stays, however old.
    old[-2:] = [False, False]
    assert there(segments) == [not each for each in old]
    assert deleted == [segment.path for segment, each in zip(segments, old, strict=True) if each]


def test_the_oldest_goes_until_the_rest_is_small_enough(tmp_path: Path, segments: list[Segment]) -> None:
    total = sum(segment.path.stat().st_size for segment in segments)
    first, second = (segment.path.stat().st_size for segment in segments[:2])
    most = total - first - 1
    assert len(expire(tmp_path, Keeping(most_bytes=most), 1_000 * DAY)) == 2
    assert there(segments) == [False, False, *[True] * (len(segments) - 2)]
    assert sum(segment.path.stat().st_size for segment in segments[2:]) == total - first - second <= most
    expire(tmp_path, Keeping(most_bytes=1), 1_000 * DAY)
    assert there(segments) == [*[False] * (len(segments) - 2), True, True]


def test_missing_indices_are_made_and_old_segments_deleted_at_start(tmp_path: Path, segments: list[Segment]) -> None:
    own = segments_in(tmp_path / "0")
    for segment in own:
        path_of(segment.path).unlink()
    os.utime(own[0].path, (0, 0))
    # So that what is of the day 0 is too old, and what is of the day 1,000 is not.
    upkeep = Upkeep(tmp_path, "0", SMALL._replace(days=time.time() / DAY - 500))
    until(lambda: not own[0].path.exists() and path_of(own[-2].path).exists())
    upkeep.close()
    # The last one belongs to who writes it.
    assert [path_of(segment.path).exists() for segment in own] == [False, *[True] * (len(own) - 2), False]


def test_a_full_disk_or_a_deleted_segment_stops_nothing(
    tmp_path: Path, segments: list[Segment], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.journal import index

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    upkeep = Upkeep(tmp_path, "0", SMALL._replace(days=100_000.0))
    gone = Segment(999, tmp_path / "0" / f"{999:020d}.log")
    with monkeypatch.context() as patched:
        patched.setattr(index, "write", full)
        upkeep.seal([(segments[0], b""), (gone, b"")])
        upkeep.close()
    again = Upkeep(tmp_path, "0", SMALL._replace(days=100_000.0))
    again.seal([(gone, b"")])
    again.close()
    assert not list((tmp_path / "0").glob("*999.idx"))
    assert there(segments) == [True] * len(segments)
