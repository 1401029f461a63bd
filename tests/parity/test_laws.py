"""Laws of the state under every operation: order and grouping of events change nothing, bytes keep every number, an entity
without events gives every default, and counting once is the store's business."""

import asyncio
import random
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.catalog import CATALOG
from features.clock import SECOND
from features.entity import CANDIDATE_KINDS, KINDS, PAYMENT_KINDS
from features.increment import chargeback_increment
from features.layout import LAYOUTS
from features.spec import STATE_OPERATIONS
from features.state import View, add, empty, is_readable, readable, trouble
from service.store import open_store
from service.store.base import StateKeys
from tests.parity.replay import Blobs, Known, Matrix, answer, differences, events, keys
from tests.parity.streams import LONGEST, START, Row, attempts, dense

streams = st.lists(attempts(), min_size=1, max_size=10)
laws = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

STATEFUL: Final = np.array([spec.entity is not None for spec in CATALOG])
DEFAULTS: Final = np.array([spec.default for spec in CATALOG], dtype=np.float32)


def lived(*groups: list[Known]) -> Blobs:
    """Return the blobs after groups of events, one group after the other."""
    blobs = Blobs()
    for group in groups:
        blobs.apply(group)
    return blobs


def vectors(blobs: Blobs, rows: list[Row]) -> Matrix:
    """Return what every row would get, asked when all is known and once more a while later."""
    newest = max(event.at for event in events(rows))
    asked = [{**row, "occurred_at": newest + wait} for row in rows for wait in (1, 90 * SECOND, LONGEST // 4)]
    return np.array([blobs.answer(row, number) for number, row in enumerate(asked)])


@laws
@given(streams, streams, st.integers(0, 9))
def test_the_order_and_the_grouping_of_events_change_no_operation(
    first: list[Row], second: list[Row], seed: int
) -> None:
    rows = first + second
    every = events(rows)
    one, other = every[: len(events(first))], every[len(events(first)) :]
    mixed = list(every)
    random.Random(seed).shuffle(mixed)
    expected = vectors(lived(one, other), rows)
    for groups in ([other, one], [mixed], [sorted(every, key=lambda event: event.at)]):
        assert differences(vectors(lived(*groups), rows), expected) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_events_changes_no_byte_but_the_rounding_of_decayed_sums(kind: str) -> None:
    layout = LAYOUTS[kind]
    given = [update for event in events(dense(250, 6)) for update in event.updates if update.kind == kind]
    lives = []
    for seed in range(4):
        order = list(given)
        random.Random(seed).shuffle(order)
        blob = None
        for _, _, increment, member in order if seed else sorted(order, key=lambda update: update.increment.at):
            blob = add(layout, blob, increment, member)
        view = readable(layout, blob)
        assert view is not None
        lives.append(view)
    decayed = np.array([view.decayed for view in lives])
    assert np.allclose(decayed, decayed[0], rtol=1e-9)
    for view in lives:
        view.decayed = lives[0].decayed
    assert len({view.packed() for view in lives}) == 1


@laws
@given(streams)
def test_bytes_keep_every_number(rows: list[Row]) -> None:
    blobs: dict[tuple[str, str], bytes] = {}
    for event in events(rows):
        for kind, name, increment, member in event.updates:
            blob = blobs[kind, name] = add(LAYOUTS[kind], blobs.get((kind, name)), increment, member)
            view = View(LAYOUTS[kind], blob)
            again = View(LAYOUTS[kind], view.packed())
            assert view.packed() == blob
            for slot in View.__slots__:
                assert getattr(view, slot) == getattr(again, slot), slot
            assert is_readable(LAYOUTS[kind], blob)


def test_bytes_cut_short_or_of_another_kind_are_told() -> None:
    for kind, layout in LAYOUTS.items():
        blob = empty(layout)
        assert trouble(layout, blob) is None
        assert trouble(layout, blob[:-1]) == "corrupt"
        assert trouble(layout, blob + b"\0") == "corrupt"
        for other, different in LAYOUTS.items():
            assert (trouble(different, blob) is None) is (kind == other)


def test_an_entity_without_events_gives_the_default_of_every_spec() -> None:
    nobody = answer(
        dense(1, 1)[0] | {"processor": "north"}, 0, [None] * len(PAYMENT_KINDS), [None] * len(CANDIDATE_KINDS)
    )
    blank = answer(
        dense(1, 1)[0] | {"processor": "north"},
        0,
        [empty(LAYOUTS[kind]) for kind in PAYMENT_KINDS],
        [empty(LAYOUTS[kind]) for kind in CANDIDATE_KINDS],
    )
    assert np.array_equal(nobody[STATEFUL], DEFAULTS[STATEFUL])
    assert np.array_equal(blank, nobody)
    assert {spec.operation for spec, stateful in zip(CATALOG, STATEFUL, strict=True) if stateful} == set(
        STATE_OPERATIONS
    )


def test_an_event_that_a_kind_does_not_count_is_none_of_its_events() -> None:
    unmoved = 0
    for layout in LAYOUTS.values():
        increment = chargeback_increment(START)
        if not layout.takes(increment.deltas):
            unmoved += 1
            assert add(layout, None, increment) == empty(layout)
    assert unmoved == 4


def test_an_event_added_twice_counts_twice_and_only_the_store_knows_it_again() -> None:
    rows = [{**row, "processor": "north"} for row in dense(40, 8)]
    arriving = events(rows)

    async def live(repeats: int) -> list[bytes | None]:
        store = open_store("memory://", timeout_ms=1000.0)
        for _ in range(repeats):
            for event in arriving:
                await store.apply(event.event_id, event.updates)
        read = [await store.read(StateKeys(keys(row, PAYMENT_KINDS), (keys(row, CANDIDATE_KINDS),))) for row in rows]
        await store.close()
        return [blob for states in read for blob in (*states.payment, *states.candidates[0])]

    once, twice = asyncio.run(live(1)), asyncio.run(live(2))
    assert once == twice
    assert any(blob is not None for blob in once)
    for kind, _, increment, member in (update for event in arriving for update in event.updates):
        layout = LAYOUTS[kind]
        if layout.takes(increment.deltas):
            added = add(layout, None, increment, member)
            assert add(layout, added, increment, member) != added
