"""The packed state of one entity: what is added is what its windows say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.increment import (
    Increment,
    attempt_increment,
    chargeback_increment,
    deltas,
    result_increment,
)
from features.layout import INDEX, LAYOUTS, MEASURES, Layout, Ring
from features.state import View, add, empty, is_readable

CARD = LAYOUTS["card"]
NOON = 1_780_012_800 * SECOND


def built(*increments: Increment, layout: Layout = CARD) -> bytes:
    blob = empty(layout)
    for increment in increments:
        blob = add(layout, blob, increment)
    return blob


def sums(blob: bytes, ring: int, width: int, now: int) -> dict[str, int]:
    return dict(zip(MEASURES, View(CARD, blob).window(ring, width, now), strict=True))


def test_an_empty_state_has_nothing_in_any_window() -> None:
    view = View(CARD, empty(CARD))
    assert all(view.window(ring, CARD.rings[ring].reach, NOON) == (0,) * len(MEASURES) for ring in range(3))
    assert view.last_attempt == 0


def test_a_window_starts_at_the_hop_it_begins_in_and_ends_before_now() -> None:
    hop = 5 * MINUTE
    assert NOON % hop == 0
    for at, inside in ((NOON - HOUR - 1, False), (NOON - HOUR, True), (NOON - 1, True)):
        blob = built(attempt_increment(at, 100))
        assert sums(blob, 0, HOUR, NOON)["attempts"] == int(inside), at
    # The sawtooth: until the hop is full, the window reaches a little further back.
    assert sums(built(attempt_increment(NOON - HOUR, 100)), 0, HOUR, NOON + hop - 1)["attempts"] == 1
    assert sums(built(attempt_increment(NOON - HOUR, 100)), 0, HOUR, NOON + hop)["attempts"] == 0


def test_attempts_results_and_chargebacks_are_counted_apart() -> None:
    blob = built(
        attempt_increment(NOON - 10, 250),
        result_increment(NOON - 9, "approved"),
        attempt_increment(NOON - 8, 50),
        result_increment(NOON - 7, "timeout"),
        chargeback_increment(NOON - 6),
    )
    expected = {"events": 5, "attempts": 2, "amount_minor": 300, "results": 2, "approved": 1, "technical": 1}
    assert sums(blob, 0, HOUR, NOON) == {**expected, "chargebacks": 1}
    assert View(CARD, blob).last_attempt == NOON - 8


def test_a_late_event_counts_in_the_windows_it_belongs_to_and_no_other() -> None:
    blob = built(
        attempt_increment(NOON - 2 * HOUR, 1),
        attempt_increment(NOON - MINUTE, 2),
        attempt_increment(NOON - 3 * HOUR, 4),
        attempt_increment(NOON - 40 * DAY, 8),
    )
    assert sums(blob, 0, HOUR, NOON)["amount_minor"] == 2
    assert sums(blob, 1, DAY, NOON)["amount_minor"] == 7
    assert sums(blob, 2, 30 * DAY, NOON)["amount_minor"] == 7


def test_a_state_stays_small_however_much_is_added() -> None:
    chance = random.Random(1)
    blob = empty(CARD)
    for number in range(3000):
        blob = add(CARD, blob, attempt_increment(NOON + number * 20 * MINUTE + chance.randrange(MINUTE), 10**12))
    assert len(blob) <= CARD.head_size + sum(ring.tiles for ring in CARD.rings) * (4 + 8 * len(MEASURES))
    assert is_readable(CARD, blob)


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x01", empty(CARD)[:-1], empty(CARD) + b"\x00", b"\xff" + empty(CARD)[1:], empty(LAYOUTS["processor"])],
    ids=["nothing", "one byte", "cut", "longer", "other version", "other layout"],
)
def test_a_state_that_cannot_be_read_counts_as_never_seen(blob: bytes) -> None:
    assert not is_readable(CARD, blob)
    assert add(CARD, blob, attempt_increment(NOON, 5)) == built(attempt_increment(NOON, 5))


@given(st.binary(max_size=600))
def test_no_bytes_crash_the_reader(blob: bytes) -> None:
    if is_readable(CARD, blob):
        View(CARD, blob).window(0, HOUR, NOON)
    assert is_readable(CARD, add(CARD, blob, attempt_increment(NOON, 5)))


@given(st.lists(st.tuples(st.integers(0, 60 * DAY), st.integers(0, 10**12)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_events_does_not_matter(events: list[tuple[int, int]], chance: random.Random) -> None:
    increments = [attempt_increment(NOON + at, amount) for at, amount in events]
    shuffled = list(increments)
    chance.shuffle(shuffled)
    assert built(*shuffled) == built(*increments)


def test_deltas_name_their_measures() -> None:
    assert deltas(chargebacks=2)[INDEX["chargebacks"]] == 2
    with pytest.raises(KeyError):
        deltas(nonsense=1)


def test_a_ring_wants_whole_hops() -> None:
    with pytest.raises(ValueError, match="whole number of hops"):
        Ring(7 * MINUTE, HOUR)
