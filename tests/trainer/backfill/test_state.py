"""Backfilled states are the states that living through the history would have left."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.clock import DAY, HOUR
from features.entity import KINDS
from features.layout import LAYOUTS
from features.state import View
from tests.trainer.backfill.streams import Row, dense, frame, lived
from trainer.backfill.parts import parts
from trainer.backfill.state import part_states, states


def comparable(kind: str, blob: bytes) -> tuple[bytes, tuple[float, ...]]:
    """Return a blob without its decayed sums, and the decayed sums."""
    layout = LAYOUTS[kind]
    decayed = struct.unpack_from("<3d", blob, layout.head_size - 24)
    return blob[: layout.head_size - 24] + blob[layout.head_size :], decayed


def is_seen(kind: str, blob: bytes, now: int) -> bool:
    """Tell whether the longest window holds the newest tile of an entity."""
    view = View(LAYOUTS[kind], blob)
    longest = view.layout.rings[-1]
    return view.tiles[-1] >= view.start(view.layout.horizon, longest.hop, now)


def assert_lived(rows: list[Row], now: int) -> set[str]:
    expected = {entity: blob for entity, blob in lived(rows, now).items() if is_seen(entity[0], blob, now)}
    found = {(kind, key): blob for kind, key, blob in states(frame(rows), now)}
    assert found.keys() == expected.keys()
    for entity, blob in expected.items():
        bytes_, decayed = comparable(entity[0], found[entity])
        lived_bytes, lived_decayed = comparable(entity[0], blob)
        assert bytes_ == lived_bytes, entity
        assert decayed == pytest.approx(lived_decayed, rel=1e-9, abs=0.0), entity
    return {kind for kind, _ in found}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_backfilled_state_is_byte_for_byte_the_lived_one(seed: int) -> None:
    rows = dense(700, seed)
    now = max(row["occurred_at"] for row in rows) + HOUR
    assert assert_lived(rows, now) == set(KINDS)


def test_what_came_after_now_is_left_out() -> None:
    rows = dense(400, 4)
    # In the middle of the stream: results and chargebacks of earlier attempts are still to come.
    assert_lived(rows, rows[250]["occurred_at"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 100 * DAY))
def test_any_stream_at_any_time(seed: int, count: int, later: int) -> None:
    rows = dense(count, seed, cards=2)
    assert_lived(rows, rows[-1]["occurred_at"] + later)


def test_many_values_of_one_entity_leave_the_newest_members() -> None:
    rows = dense(300, 5, cards=60)
    now = rows[-1]["occurred_at"] + HOUR
    assert_lived(rows, now)
    customer = next(blob for kind, key, blob in states(frame(rows), now) if (kind, key) == ("customer", "u1"))
    assert len(View(LAYOUTS["customer"], customer).members) == LAYOUTS["customer"].members


def test_entities_that_no_window_sees_any_more_are_left_out() -> None:
    rows = dense(200, 6)
    now = max(row["chargeback_at"] or row["settled_at"] for row in rows) + 20 * DAY
    kinds = {kind for kind, _, _ in states(frame(rows), now)}
    assert "processor" not in kinds
    assert "merchant" in kinds
    assert list(states(frame(rows), now + 200 * DAY)) == []


def test_parts_of_the_keys_hold_every_entity_once() -> None:
    rows = dense(500, 7, cards=40)
    now = rows[-1]["occurred_at"] + HOUR
    history = frame(rows)
    whole = sorted(states(history, now))
    split = parts(history, largest=100)
    assert max(part.of for part in split) > 3
    found = [item for part in split for item in part_states(history, part, now)]
    assert sorted(found) == whole
