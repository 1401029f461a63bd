"""Frames: whatever is cut off or changed in a segment, what is found before it is what was written, in order."""

from datetime import UTC, datetime
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.event import OutcomeSettled
from contracts.outcome import Outcome
from service.journal.frame import (
    HEAD,
    HEAD_SIZE,
    LARGEST,
    attempt_key,
    decision_key,
    event_in,
    frame_of,
    is_good,
    scan,
)

contents = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


def framed(content: bytes, named: int = 7, attempt: int = 9) -> bytes:
    return HEAD.pack(len(content), crc32(content, named ^ attempt), named, attempt) + content


def found_in(block: bytes) -> list[bytes]:
    return [block[at + HEAD_SIZE : end] for at, end, _ in scan(block).frames]


def test_an_event_comes_back_as_it_was_and_is_found_by_its_keys(auth_decided: object, outcome_settled: object) -> None:
    for event in (auth_decided("pay_1"), outcome_settled("pay_1", 3)):  # type: ignore[operator]
        head, content = frame_of(event)
        _, _, named, attempt = HEAD.unpack(head)
        assert is_good(head, content)
        assert event_in(content) == event
        if isinstance(event, OutcomeSettled):
            assert (named, attempt) == (0, attempt_key("pay_1", 3))
        else:
            assert (named, attempt) == (decision_key(event.answer.decision_id), attempt_key("pay_1", 1))


@given(st.text(max_size=40), st.integers(min_value=1, max_value=2**40))
def test_every_attempt_of_every_payment_has_a_key(payment_id: str, attempt: int) -> None:
    outcome = Outcome(payment_id=payment_id, attempt=attempt, status="approved")
    head, _ = frame_of(OutcomeSettled(received_at=datetime.now(UTC), outcome=outcome, result="kept"))
    assert HEAD.unpack(head)[3] == attempt_key(payment_id, attempt)
    assert 0 < decision_key(payment_id) < 2**32


@given(contents, st.data())
def test_what_is_cut_off_takes_nothing_before_it_along(written: list[bytes], data: st.DataObject) -> None:
    block = b"".join(map(framed, written))
    cut = data.draw(st.integers(min_value=0, max_value=len(block)))
    whole = found_in(block[:cut])
    assert whole == written[: len(whole)]
    # No more is missing than what the cut went through or left out.
    assert sum(HEAD_SIZE + len(content) for content in written[: len(whole) + 1]) > cut or len(whole) == len(written)
    assert scan(block[:cut]).wanted > 0


@given(contents, st.integers(min_value=1, max_value=200))
def test_zeros_are_no_event(written: list[bytes], zeros: int) -> None:
    block = b"".join(map(framed, written))
    found = scan(block + bytes(zeros))
    assert found_in(block + bytes(zeros)) == written
    assert found.end == len(block)
    assert (found.wanted == 0) == (zeros >= HEAD_SIZE)


@given(contents.filter(bool), st.binary(min_size=1, max_size=100), st.data())
def test_what_a_failure_leaves_behind_the_last_event_is_not_taken_for_one(
    written: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    """The last frame is torn: changed anywhere, cut anywhere, with whatever was on the disk behind it."""
    *before, last = written
    torn = bytearray(framed(last))
    place = data.draw(st.integers(min_value=0, max_value=len(torn) - 1))
    torn[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    block = b"".join(map(framed, before)) + bytes(torn) + rest
    whole = found_in(block)
    assert whole == before


@given(contents.filter(lambda some: len(some) > 2), st.data())
def test_an_event_that_rots_hides_no_other(written: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(written) - 2))
    frames = [bytearray(framed(content)) for content in written]
    frames[place][data.draw(st.integers(min_value=4, max_value=len(frames[place]) - 1))] ^= 0x55
    found = scan(b"".join(frames))
    assert [good for _, _, good in found.frames] == [number != place for number in range(len(written))]


@given(st.binary(max_size=300))
def test_any_bytes_can_be_looked_at(block: bytes) -> None:
    found = scan(block)
    assert 0 <= found.end <= len(block)
    assert 0 <= found.wanted <= 2 * (LARGEST + HEAD_SIZE)


@pytest.mark.parametrize("length", [0, LARGEST + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_none(length: int) -> None:
    assert scan(HEAD.pack(length, 0, 0, 0) + bytes(100)) == ([], 0, 0)
