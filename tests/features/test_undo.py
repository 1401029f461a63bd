"""An attempt taken out of a state again: what is left is what was there without it."""

import random

import pytest

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.increment import attempt_increment, result_increment
from features.layout import INDEX, LAYOUTS
from features.state import View, add
from features.undo import last_seen, without
from tests.features.test_state import CARD, NOON, built, sums


@pytest.mark.parametrize("kind", LAYOUTS)
def test_an_attempt_taken_out_again_leaves_what_was_there(kind: str) -> None:
    layout = LAYOUTS[kind]
    chance = random.Random(kind)
    blob: bytes | None = None
    at = NOON
    for number in range(150):
        at += chance.choice([1, SECOND, MINUTE, 20 * MINUTE, DAY])
        attempt = attempt_increment(at, chance.randrange(10**12))
        value = chance.randrange(15)
        was = last_seen(layout, blob, value)
        after = add(layout, blob, attempt, value)
        back = without(layout, after, attempt, member=value, before=was)
        before = View(layout, blob) if blob is not None else View(layout)
        assert back is not None
        found = View(layout, back)
        # Only rows that a newer tile made too old stay away.
        assert found.sums == before.sums
        assert (found.last_attempt, found.last_amount) == (before.last_attempt, before.last_amount)
        assert found.members == before.members
        assert set(found.tiles) <= set(before.tiles)
        for ring in layout.rings:
            for name in layout.measures:
                assert found.window(name, ring.reach, ring.hop, at) == before.window(name, ring.reach, ring.hop, at)
        blob = after if number % 3 else add(layout, after, result_increment(at, "approved"))


def test_an_attempt_is_taken_out_from_among_later_events() -> None:
    first, later = attempt_increment(NOON, 5), attempt_increment(NOON + MINUTE, 7)
    with_both = add(CARD, add(CARD, None, first, 1), later, 2)
    view = View(CARD, without(CARD, with_both, first, member=1))
    assert sums(view.packed(), HOUR, NOON + 2 * MINUTE)["amount_minor"] == 7
    assert (view.last_attempt, view.last_amount) == (NOON + MINUTE, 7)
    assert [value for value, _ in view.members] == [2]
    assert without(CARD, None, first) is None
    assert without(CARD, b"junk", first) == b"junk"


@pytest.mark.parametrize("kind", LAYOUTS)
def test_an_attempt_taken_out_later_is_in_no_window_and_all_others_are(kind: str) -> None:
    """Its tile may be gone from the finest rows by then, and others may have come into it, before and after."""
    layout = LAYOUTS[kind]
    chance = random.Random(kind)
    for _ in range(200):
        at = NOON + chance.randrange(DAY)
        own = attempt_increment(at, chance.randrange(10**9))
        others = [
            attempt_increment(at + chance.choice([-1, 1]) * chance.randrange(6 * MINUTE), chance.randrange(10**9))
            for _ in range(chance.randrange(1, 12))
        ]
        events = [*others, own]
        chance.shuffle(events)
        blob = without(layout, built(*events, layout=layout), own)
        assert blob is not None
        now = max(event.at for event in events) + chance.randrange(1, 10 * SECOND)
        for ring in layout.rings:
            start = (now - ring.reach) // ring.hop * ring.hop
            for name in layout.measures:
                expected = sum(event.deltas[INDEX[name]] for event in others if event.at >= start)
                assert View(layout, blob).window(name, ring.reach, ring.hop, now) == expected, (name, ring.reach)


def test_an_attempt_that_was_never_added_is_not_taken_out() -> None:
    blob = built(result_increment(NOON, "approved"))
    assert without(CARD, blob, attempt_increment(NOON, 5)) == blob
