"""A result that turned out otherwise: what is taken back is in no window any more."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.increment import (
    CODES,
    Increment,
    attempt_increment,
    chargeback_increment,
    result_increment,
    taken_back,
)
from features.layout import LAYOUTS, Layout
from features.state import View, add, empty, is_readable

NOON = 1_780_012_800 * SECOND
KINDS = sorted(LAYOUTS)


def built(layout: Layout, increments: Sequence[Increment]) -> bytes:
    blob = empty(layout)
    for increment in increments:
        if layout.takes(increment.deltas):
            blob = add(layout, blob, increment)
    return blob


def windows(layout: Layout, blob: bytes, now: int) -> list[int]:
    """Return every measure in every window of the layout's rings, and in the rings' own hops."""
    view = View(layout, blob)
    return [
        view.window(name, width, ring.hop, now)
        for ring in layout.rings
        for width in sorted({ring.hop, ring.reach // 2 // ring.hop * ring.hop, ring.reach})
        if width
        for name in layout.measures
    ]


AGES = st.one_of(
    st.integers(0, 20 * MINUTE), st.integers(0, 2 * DAY), st.integers(0, 100 * DAY), st.sampled_from([0, HOUR, DAY])
)
STATUSES = st.sampled_from(["approved", "declined", "timeout", "error"])
RESULTS = st.builds(lambda age, status: result_increment(NOON - age, status, "visa", "51"), AGES, STATUSES)
OTHERS = st.one_of(
    RESULTS,
    st.builds(lambda age, amount: attempt_increment(NOON - age, amount), AGES, st.integers(0, 2**40)),
    st.builds(lambda age: chargeback_increment(NOON - age), AGES),
)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_with_it_taken_back_every_window_is_as_if_it_had_never_come(kind: str, data: st.DataObject) -> None:
    layout = LAYOUTS[kind]
    others = data.draw(st.lists(OTHERS, max_size=30))
    wrong = data.draw(OTHERS)
    came = data.draw(st.integers(0, len(others)))
    went = data.draw(st.integers(came, len(others)))
    story = [*others[:came], wrong, *others[came:went], taken_back(wrong), *others[went:]]
    blob = built(layout, story)
    assert is_readable(layout, blob)
    expected = built(layout, others)
    newest = max((each.at for each in others if layout.takes(each.deltas)), default=0)
    if newest // layout.hop >= wrong.at // layout.hop:
        # Else the tile of what is taken back is the newest, and rows of long ago go with it, as they do in time.
        for now in (newest + 1, newest + HOUR, newest + 3 * DAY):
            assert windows(layout, blob, now) == windows(layout, expected, now)
    else:
        for now in (wrong.at + 1, wrong.at + DAY):
            assert windows(layout, blob, now) == windows(layout, expected, now)
    if wrong.code:
        one, other = View(layout, blob), View(layout, expected)
        age = (one.last_result - other.last_result) / layout.half_life if other.last_result else 0
        faded = [value * 2.0**-age for value in other.decayed]
        assert one.decayed == pytest.approx(faded, rel=1e-9, abs=2e-9)
        assert 0.0 <= max(one.decayed[1:]) <= one.decayed[0] < 1e300


@pytest.mark.parametrize("kind", KINDS)
def test_a_timeout_whose_approval_is_reported_later(kind: str) -> None:
    layout = LAYOUTS[kind]
    timeout = result_increment(NOON + 40 * SECOND, "timeout")
    approved = result_increment(NOON + 2 * HOUR, "approved")
    around = [
        attempt_increment(NOON - DAY, 70),
        result_increment(NOON - DAY + SECOND, "declined", "visa", "51"),
        attempt_increment(NOON, 4200),
    ]
    blob = built(layout, [*around, timeout, attempt_increment(NOON + HOUR, 9), taken_back(timeout), approved])
    expected = built(layout, [*around, attempt_increment(NOON + HOUR, 9), approved])
    for now in (NOON + 2 * HOUR + 1, NOON + 3 * HOUR, NOON + DAY, NOON + 8 * DAY, NOON + 60 * DAY):
        assert windows(layout, blob, now) == windows(layout, expected, now)
    view, other = View(layout, blob), View(layout, expected)
    assert view.decayed == pytest.approx(other.decayed, rel=1e-12)
    for name in ("last_attempt", "last_amount", "last_result", "last_approved", "last_code", "streak"):
        assert getattr(view, name) == getattr(other, name), name
    assert view.last_code == CODES["approved"]


def test_what_was_last_stays_as_it_was_left() -> None:
    layout = LAYOUTS["card"]
    declined = [result_increment(NOON + at, "declined", "visa", "51") for at in (0, 1)]
    approved = result_increment(NOON + 2, "approved")
    view = View(layout, built(layout, [*declined, approved, taken_back(approved)]))
    assert (view.last_code, view.last_result, view.last_approved) == (CODES["approved"], NOON + 2, NOON + 2)
    # The declines before it are gone.
    assert view.streak == []
    assert view.window("declined", HOUR, 5 * MINUTE, NOON + 3) == 2
    assert view.window("approved", HOUR, 5 * MINUTE, NOON + 3) == 0
    assert view.decayed[1] == 0.0
    last = taken_back(declined[1])
    assert View(layout, built(layout, [*declined, last])).streak == [NOON + 1, NOON]


@pytest.mark.parametrize("kind", KINDS)
def test_what_never_came_is_not_taken_back(kind: str) -> None:
    layout = LAYOUTS[kind]
    there = [result_increment(NOON, "timeout"), result_increment(NOON + DAY, "timeout")]
    blob = built(layout, there)
    never = [
        result_increment(NOON, "approved"),
        result_increment(NOON + 2 * DAY, "timeout"),
        result_increment(NOON - 2 * DAY, "timeout"),
        chargeback_increment(NOON),
    ]
    for increment in never:
        assert add(layout, blob, taken_back(increment)) == blob
    for nothing in (None, b"", b"damaged"):
        assert add(layout, nothing, taken_back(there[0])) == empty(layout)
    # Once is enough.
    once = add(layout, blob, taken_back(there[1]))
    assert add(layout, once, taken_back(there[1])) == once


def test_an_amount_is_taken_back_across_the_word_it_borrows_from() -> None:
    layout = LAYOUTS["merchant"]
    large, small = attempt_increment(NOON, 2**32 - 1), attempt_increment(NOON + DAY, 2)
    blob = built(layout, [large, small])
    assert View(layout, blob).sums[1:3] == (1, 1)
    assert View(layout, add(layout, blob, taken_back(small))).sums[1:3] == (2**32 - 1, 0)
    assert View(layout, add(layout, blob, taken_back(large))).window("amount_minor", 30 * DAY, DAY, NOON + 2 * DAY) == 2
