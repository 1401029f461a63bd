"""How a processor has been doing: decayed sums that do not depend on the order of what is told."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import DAY, HOUR, MINUTE, SECOND, micros
from service.standing import FORM, LEVELS, MEASURES, SCALES, Note, add, keys_of, month_of, read

START = micros(datetime(2026, 3, 31, 23, 50, tzinfo=UTC))
PLACE = {name: place for place, name in enumerate(MEASURES)}

notes = st.builds(
    Note,
    st.one_of(st.integers(0, 30 * SECOND), st.integers(0, HOUR), st.integers(0, 40 * DAY)).map(lambda at: START + at),
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 1)),
    st.one_of(st.none(), st.integers(0, 600_000)),
    st.integers(0, 10**12),
    st.just(1),
)


def told(*given_notes: Note, blob: bytes | None = None) -> bytes | None:
    for note in given_notes:
        blob = add(blob, note)
    return blob


def sums(blob: bytes | None, at: int, scale: int = 0) -> dict[str, float]:
    found = read(blob, at)
    assert found is not None
    width = len(MEASURES)
    return dict(zip(MEASURES, found.values[scale * width : scale * width + width], strict=True))


def approx(values: tuple[float, ...], scale: float = 1.0) -> object:
    return pytest.approx(values, rel=1e-9, abs=1e-9 * scale)


@given(st.lists(notes, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_notes_does_not_matter(given_notes: list[Note], chance) -> None:
    shuffled = list(given_notes)
    chance.shuffle(shuffled)
    now = START + 41 * DAY
    for at in (max(note.at for note in given_notes), now):
        one, other = read(told(*given_notes), at), read(told(*shuffled), at)
        assert one is not None
        assert other is not None
        assert other.values == approx(one.values)
        assert other.month_minor == one.month_minor


@given(st.lists(notes, min_size=1, max_size=8), notes, st.data())
def test_a_note_with_the_sign_turned_takes_back(given_notes: list[Note], wrong: Note, data: st.DataObject) -> None:
    came = data.draw(st.integers(0, len(given_notes)))
    at = max(note.at for note in [*given_notes, wrong])
    blob = told(*given_notes[:came], wrong, *given_notes[came:], wrong._replace(sign=-1))
    one, other = read(told(*given_notes), at), read(blob, at)
    assert one is not None
    assert other is not None
    # Logarithms of milliseconds come to a hundred or so.
    assert other.values == approx(one.values, 100)
    if month_of(wrong.at) <= month_of(max(note.at for note in given_notes)):
        # Else the months before are forgotten for good.
        assert other.month_minor == one.month_minor


@given(st.lists(notes, min_size=1, max_size=12))
def test_the_sums_are_those_of_a_plain_loop(given_notes: list[Note]) -> None:
    at = max(note.at for note in given_notes)
    found = read(told(*given_notes), at)
    assert found is not None
    plain = [
        sum(note.deltas[place] * 0.5 ** ((at - note.at) / half_life) for note in given_notes)
        for half_life in SCALES
        for place in range(len(MEASURES))
    ]
    assert found.values == approx(tuple(plain))
    newest = max(month_of(note.at) for note in given_notes)
    month = sum(note.amount_minor for note in given_notes if note.approved and month_of(note.at) == newest)
    assert found.month_minor == month


def test_each_scale_halves_in_its_own_time() -> None:
    blob = told(Note(START, approved=True, expected=0.8, latency_ms=100))
    for scale, half_life in enumerate(SCALES):
        assert sums(blob, START, scale)["results"] == 1.0
        assert sums(blob, START + half_life, scale)["results"] == 0.5
        assert sums(blob, START + 2 * half_life, scale)["log_latency"] == pytest.approx(math.log(100) / 4)
    # A clock that is behind reads what is newest.
    assert sums(blob, START - DAY) == sums(blob, START)


def test_a_fault_says_nothing_of_issuers_and_a_result_without_a_forecast_neither() -> None:
    fault = sums(told(Note(START, fault=True, expected=0.9)), START)
    assert fault == {**dict.fromkeys(MEASURES, 0.0), "results": 1.0, "faults": 1.0}
    unknown = sums(told(Note(START, approved=True, latency_ms=0)), START)
    assert unknown == {**dict.fromkeys(MEASURES, 0.0), "results": 1.0, "timed": 1.0}
    declined = sums(told(Note(START, expected=0.25)), START)
    assert (declined["approved"], declined["expected"], declined["spread"]) == (0.0, 0.25, 0.1875)
    approved = sums(told(Note(START, approved=True, expected=0.25)), START)
    assert (approved["approved"], approved["expected"], approved["spread"]) == (1.0, 0.25, 0.1875)


def test_a_month_begins_anew_and_what_is_late_for_it_is_left_out() -> None:
    march, april = START, START + 15 * MINUTE
    assert (month_of(march) + 1, month_of(april)) == (month_of(april), 12 * 2026 + 3)
    blob = told(Note(march, approved=True, amount_minor=100), Note(march, amount_minor=7))
    assert read(blob, march).month_minor == 100
    assert read(blob, april).month_minor == 0
    blob = told(Note(april, approved=True, amount_minor=5), Note(march, approved=True, amount_minor=900), blob=blob)
    assert read(blob, april).month_minor == 5
    blob = told(Note(march, approved=True, amount_minor=900, sign=-1), blob=blob)
    assert read(blob, april).month_minor == 5
    assert read(blob, march).month_minor == 0


def test_what_cannot_be_read_is_nothing_and_begins_anew() -> None:
    note = Note(START, approved=True, expected=0.5)
    whole = add(None, note)
    assert len(whole) == FORM.size
    for damaged in (b"", whole[:-1], whole + b"\0", b"\x07" + whole[1:]):
        assert read(damaged, START) is None
        assert add(damaged, note) == whole
    assert read(None, START) is None


def test_keys_of_the_levels_do_not_meet() -> None:
    assert len(keys_of("north", "visa", "m_1")) == len(LEVELS)
    names = ["a", "a1", "1:a", "n:1:a"]
    keys = [key for processor in names for network in names for key in keys_of(processor, network, network)]
    assert len(set(keys)) == len(names) + 2 * len(names) ** 2
