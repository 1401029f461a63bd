"""Looking up: whichever way a segment is asked, by its index, by reading it or by the writer's own memory, it says the same."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import JournalUnavailable
from service.journal import find_in, index
from service.journal.frame import HEAD, HEAD_SIZE, frame_of
from service.journal.index import Index
from service.journal.keeping import Keeping
from service.journal.lookup import Lookup
from service.journal.segment import START_SIZE, segments_in
from tests.journals import write
from tests.service.journal.test_reader import indexed

keys = st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1))
heads = st.lists(st.tuples(st.integers(1, 5_000), keys, keys), max_size=300)


@given(heads, keys)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_an_index_says_what_the_headers_say(tmp_path: Path, made: list[tuple[int, int, int]], other: int) -> None:
    """Also where one key is that of many events, and where keys are anything but evenly spread."""
    packed = b"".join(HEAD.pack(length, 0, named, attempt) for length, named, attempt in made)
    segment = tmp_path / f"{1:020d}.log"
    index.write(segment, 1, packed)
    opened = Index.open(segment, 1)
    assert opened is not None
    with opened:
        assert opened.count == len(made)
        assert opened.decisions == sum(named != 0 for _, named, _ in made)
        offset = START_SIZE
        for ordinal, (length, _, _) in enumerate(made):
            assert opened.offset(ordinal) == offset
            offset += HEAD_SIZE + length
        assert opened.offset(len(made)) == opened.end == offset
        for key in {other, *(key for _, *own in made for key in own)} - {0}:
            expected = [ordinal for ordinal, (_, *own) in enumerate(made) if key in own]
            assert sorted({place.ordinal for place in opened.places(key)}) == expected
            assert opened.places(key)[:1] == index.places(packed, key)[:1]
            assert [place.ordinal for place in index.places(packed, key)] == expected


@pytest.mark.parametrize("broken", ["cut", "other", "empty", "none"])
def test_an_index_that_is_not_whole_is_none(tmp_path: Path, broken: str) -> None:
    segment = tmp_path / f"{1:020d}.log"
    index.write(segment, 1, HEAD.pack(10, 0, 1, 2) * 3)
    path = index.path_of(segment)
    if broken == "none":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[:-1], "other": b"x" + content[1:], "empty": b""}[broken])
    assert Index.open(segment, 1) is None
    index.write(segment, 1, HEAD.pack(10, 0, 1, 2) * 3)
    assert Index.open(segment, 2) is None


@pytest.mark.parametrize("has_index", [True, False])
def test_one_attempt_s_decisions_and_outcomes_are_told_apart(
    tmp_path: Path, auth_decided: Any, outcome_settled: Any, retry: Any, has_index: bool
) -> None:
    replace = msgspec.structs.replace
    first, second, other = auth_decided("pay_1"), auth_decided("pay_1", 2), auth_decided("pay_2")
    again = replace(first, repeat=True)
    write(tmp_path, [first, outcome_settled("pay_1"), again, other, outcome_settled("pay_1", 2)], "0")
    write(tmp_path, [again, second, outcome_settled("pay_1")], "1")
    if has_index:
        indexed(tmp_path, "0")
        indexed(tmp_path, "1")
    lookup = Lookup(tmp_path)
    assert lookup.find("dec_pay_1_1") == first
    assert lookup.find_attempt("pay_1", 1) == first
    assert lookup.find_attempt("pay_1", 2) == second
    assert lookup.find_attempt("pay_1", 3) is None
    assert lookup.find_attempt("pay_3", 1) is None
    assert lookup.outcomes_of("pay_1", 1) == [outcome_settled("pay_1")] * 2
    assert lookup.outcomes_of("pay_1", 2) == [outcome_settled("pay_1", 2)]
    assert lookup.outcomes_of("pay_2", 1) == []
    # The answer itself is gone, as after its time: what was given again is found.
    shutil.rmtree(tmp_path / "0")
    assert lookup.find("dec_pay_1_1") == again
    assert lookup.find("dec_pay_2_1") is None
    lookup.close()
    assert find_in(tmp_path, "dec_pay_1_2") == second


def test_events_whose_keys_are_equal_are_told_apart_by_what_they_are(
    tmp_path: Path, auth_decided: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key is a checksum of 32 bits: sooner or later two are the same."""
    from service.journal import frame, lookup

    for module in (frame, lookup):
        monkeypatch.setattr(module, "decision_key", lambda _: 7, raising=False)
        monkeypatch.setattr(module, "attempt_key", lambda *_: 7, raising=False)
    real = frame_of

    def alike(event: Any) -> tuple[bytes, bytes]:
        _, content = real(event)
        return HEAD.pack(len(content), frame.crc32(content, 0), 7, 7), content

    monkeypatch.setattr("tests.journals.frame_of", alike)
    events = [auth_decided(f"pay_{number}") for number in range(20)]
    write(tmp_path, events)
    indexed(tmp_path)
    asked = Lookup(tmp_path)
    for event in events:
        assert asked.find(event.answer.decision_id) == event
        assert asked.find_attempt(event.answer.payment_id, 1) == event
    assert asked.find("dec_pay_99_1") is None
    asked.close()


def test_a_segment_that_grows_is_read_on_and_not_again(tmp_path: Path, auth_decided: Any) -> None:
    events = [auth_decided(f"pay_{number}") for number in range(10)]
    write(tmp_path, events[:5])
    (segment,) = segments_in(tmp_path / "0")
    asked = Lookup(tmp_path)
    assert asked.find("dec_pay_4_1") == events[4]
    # Were it read again from its beginning, nothing would be found.
    with segment.path.open("r+b") as file:
        file.seek(START_SIZE)
        file.write(bytes(4))
        file.seek(0, os.SEEK_END)
        for event in events[5:]:
            file.write(b"".join(frame_of(event)))
    assert asked.find("dec_pay_9_1") == events[9]
    asked.close()


def test_what_is_deleted_while_it_is_looked_at_is_not_there(tmp_path: Path, auth_decided: Any) -> None:
    events = [auth_decided(f"pay_{number}") for number in range(40)]
    write(tmp_path, events, keeping=Keeping(segment_bytes=6_000, floor_bytes=0))
    asked = Lookup(tmp_path)
    assert asked.find("dec_pay_0_1") == events[0]
    known = asked._segments(tmp_path / "0")
    asked._segments = lambda _: known  # type: ignore[method-assign]
    segments_in(tmp_path / "0")[0].path.unlink()
    assert asked.find("dec_pay_39_1") == events[39]
    asked.close()
    assert Lookup(tmp_path).find("dec_pay_0_1") is None


def test_where_there_is_no_journal_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="No such file"):
        find_in(tmp_path / "nowhere", "d")
    assert find_in(tmp_path, "d") is None
