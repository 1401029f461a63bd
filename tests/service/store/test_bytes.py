"""Every store keeps the very bytes that `features.state` makes, whatever comes and whatever lies there already."""

import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.entity import CANDIDATE_KINDS, KINDS, PAYMENT_KINDS
from features.increment import (
    Increment,
    attempt_increment,
    chargeback_increment,
    deltas,
    member,
    result_increment,
    taken_back,
)
from features.layout import LAYOUTS
from features.state import View, add
from service.store import Applied, FeatureStore, StateKeys, Update

START = 1_780_000_000 * SECOND


def keys_of(kind: str, key: str) -> StateKeys:
    if kind in CANDIDATE_KINDS:
        return StateKeys(candidates=(tuple(key if each == kind else None for each in CANDIDATE_KINDS),))
    return StateKeys(tuple(key if each == kind else None for each in PAYMENT_KINDS))


async def blob_of(store: FeatureStore, kind: str, key: str) -> bytes | None:
    states = await store.read(keys_of(kind, key))
    blobs = (*states.payment, *itertools.chain(*states.candidates))
    return next((blob for blob in blobs if blob is not None), None)


GAPS = [0, 0, 0, 1, SECOND, 10 * SECOND, MINUTE, 5 * MINUTE - 1, 5 * MINUTE, 15 * MINUTE, HOUR - 1, HOUR, DAY, 12 * DAY]
LATE = [0] * 8 + [1, 10 * SECOND, 5 * MINUTE, HOUR, 3 * DAY, 29 * DAY, 95 * DAY]
AMOUNTS = [0, 1, 999, 2**32 - 1, 2**32, 10**12, 2**53 + 1, 2**62]
RESULTS = [
    ("approved", None),
    ("approved", None),
    ("declined", None),
    ("declined", "05"),
    ("declined", "04"),
    ("declined", "51"),
    ("declined", "54"),
    ("declined", "70"),
    ("declined", "91"),
    ("timeout", None),
    ("error", None),
]
Event = tuple[Increment, int | None]


def stream(seed: int, count: int) -> Iterator[Event]:
    """Yield events that come late, out of order, at the same time, at the edges of tiles, in huge amounts, and are taken back."""
    chance = random.Random(seed)
    at = START - START % DAY
    came: list[Increment] = []
    for _ in range(count):
        at += chance.choice(GAPS)
        time_us = at - chance.choice(LATE)
        sort = chance.randrange(6)
        if sort == 5:
            # One of the last few, now and then twice, or one that never came.
            never = result_increment(time_us, chance.choice(["approved", "timeout"]))
            yield taken_back(chance.choice([*came[-12:], never])), None
        elif sort < 2:
            value = chance.choice([None, *"abcdefghijkl"])
            came.append(attempt_increment(time_us, chance.choice(AMOUNTS)))
            yield came[-1], member(value)
        elif sort < 4:
            status, code = chance.choice(RESULTS)
            came.append(result_increment(time_us, status, chance.choice([None, "visa", "mastercard"]), code))
            yield came[-1], None
        else:
            yield chargeback_increment(time_us), None


def plus(kind: str, blob: bytes | None, event: Event) -> bytes | None:
    """Return a state plus an event; one that the kind does not count leaves it alone."""
    increment, of = event
    return add(LAYOUTS[kind], blob, increment, of) if LAYOUTS[kind].takes(increment.deltas) else blob


# The decayed sums too are held to the last bit: both sides take 2^x from the same C library. An x87 or another libm in
# the server would show here as a difference in these 24 bytes alone.
@pytest.mark.parametrize("kind", KINDS)
def test_every_store_keeps_the_same_bytes_as_the_state_itself(tell, kind: str) -> None:
    async def story(store: FeatureStore) -> None:
        expected = None
        events = list(stream(len(kind), 400))
        for start in range(0, len(events), 5):
            part = events[start : start + 5]
            for event in part:
                expected = plus(kind, expected, event)
            await store.apply_many(
                [Applied(f"e{start}-{n}", [Update(kind, "k", *event)]) for n, event in enumerate(part)]
            )
            assert await blob_of(store, kind, "k") == expected, start

    tell(story)


def damaged(kind: str, whole: bytes) -> dict[str, bytes]:
    """Return states that cannot be read, of every sort."""
    layout = LAYOUTS[kind]
    rows, members, streak = whole[6] + 256 * whole[7], whole[8], whole[9]
    tail = 8 * (members + streak)
    return {
        "nothing": b"",
        "a byte": whole[:1],
        "only its mark": whole[:6],
        "half a head": whole[: layout.head_size - 1],
        "no tiles": whole[: layout.head_size],
        "no rows": whole[: layout.head_size + 4 * rows],
        "a byte short": whole[:-1],
        "half": whole[: len(whole) // 2],
        "no set and streak": whole[: len(whole) - max(tail, 1)],
        "a byte more": whole + b"\0",
        "twice": whole + whole,
        "a version to come": b"\3" + whole[1:],
        "the version before": b"\1" + whole[1:],
        "another layout": whole[:2] + bytes([whole[2] ^ 1]) + whole[3:],
        "too many rows": whole[:6] + b"\xff\x7f" + whole[8:],
        "too many members": whole[:8] + b"\xff" + whole[9:],
        "too long a streak": whole[:9] + b"\xff" + whole[10:],
        "too long a streak, whole": whole[:9]
        + bytes([layout.streak + 1])
        + whole[10:]
        + bytes(8 * (layout.streak + 1 - streak)),
        "noise": random.Random(1).randbytes(300),
        "zeros": bytes(len(whole)),
    }


NEXT = {
    "an attempt in the newest tile": [(attempt_increment(START + 2, 70), member("m_9"))],
    "an attempt in a new tile": [(attempt_increment(START + 2 * DAY, 70), member("m_9"))],
    "a decline in the newest tile": [(result_increment(START + 2, "declined", "visa", "51"), None)],
    "an approval in the newest tile": [(result_increment(START + 2, "approved"), None)],
    "a late result in a tile that has its row": [(result_increment(START - DAY, "declined"), None)],
    "a late attempt in a tile that has none": [(attempt_increment(START - 2 * HOUR, 70), member("m_1"))],
    "a result taken back": [(taken_back(result_increment(START + 1, "declined", "visa", "51")), None)],
    "a result of long ago taken back": [
        (taken_back(result_increment(START - 9 * DAY + 1, "declined", "visa", "51")), None)
    ],
    "an attempt and its result": [
        (attempt_increment(START + 1, 70), member("m_9")),
        (result_increment(START + 3, "approved"), None),
    ],
}


def lived(kind: str) -> bytes:
    """Return the state of an entity with some rows, members and declines."""
    state = None
    for day in (-30, -9, -2, -1, 0):
        for event in (
            (attempt_increment(START + day * DAY, 500), member(f"m_{day}")),
            (result_increment(START + day * DAY + 1, "declined", "visa", "51"), None),
        ):
            state = plus(kind, state, event)
    assert state is not None
    return state


@pytest.mark.parametrize("sort", NEXT)
def test_what_cannot_be_read_counts_as_empty_and_never_looks_whole(tell, put, sort: str) -> None:
    cases = {kind: {**damaged(kind, lived(kind)), "whole": lived(kind)} for kind in KINDS}
    items = [(kind, name, blob) for kind, blobs in cases.items() for name, blob in blobs.items()]

    async def story(store: FeatureStore) -> None:
        put(store, items)
        updates = [[Update(kind, name, *event) for event in NEXT[sort]] for kind, name, _ in items]
        assert all(await store.apply_many([Applied(f"e{number}", each) for number, each in enumerate(updates)]))
        for kind, name, blob in items:
            expected: bytes | None = blob
            for event in NEXT[sort]:
                expected = plus(kind, expected, event)
            assert await blob_of(store, kind, name) == expected, (kind, name)

    tell(story)


times = st.one_of(
    st.integers(0, 10 * MINUTE),
    st.integers(0, 120 * DAY),
    st.tuples(st.integers(0, 40 * 24), st.sampled_from([-1, 0, 1])).map(lambda edge: max(0, edge[0] * HOUR + edge[1])),
).map(lambda at: START - START % DAY + at)
members = st.one_of(st.none(), st.integers(0, 9), st.integers(0, 2**32 - 1))
events = st.one_of(
    st.tuples(st.builds(attempt_increment, times, st.integers(0, 2**62)), members),
    st.tuples(
        st.builds(
            lambda at, result, network: result_increment(at, result[0], network, result[1]),
            times,
            st.sampled_from(RESULTS),
            st.sampled_from([None, "visa", "mastercard"]),
        ),
        st.none(),
    ),
    st.tuples(st.builds(chargeback_increment, times), st.none()),
)
NUMBERS = itertools.count()
# A number is the place, among the events so far, of one that is taken back.
groups = st.lists(st.lists(st.one_of(events, st.integers(0, 9)), min_size=1, max_size=4), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), groups)
def test_any_order_of_events_gives_the_same_bytes(tell, kind: str, given_groups: list[list[Event | int]]) -> None:
    name = f"entity {next(NUMBERS)}"
    came: list[Event] = []
    told: list[list[Event]] = []
    for given_group in given_groups:
        told.append([])
        for one in given_group:
            if not isinstance(one, int):
                came.append(one)
                told[-1].append(one)
            elif came:
                told[-1].append((taken_back(came[one % len(came)][0]), None))

    async def story(store: FeatureStore) -> None:
        expected = None
        for number, group in enumerate(told):
            await store.apply(f"{name}{number}", [Update(kind, name, *event) for event in group])
            for event in group:
                expected = plus(kind, expected, event)
            assert await blob_of(store, kind, name) == expected

    tell(story)


def test_amounts_stay_exact_beyond_what_a_double_can_hold(tell) -> None:
    async def story(store: FeatureStore) -> None:
        expected = None
        for number in range(40):
            increment = Increment(START + number * HOUR, deltas(attempts=1, amount_minor=2**57 + 1))
            late = attempt_increment(START + number * HOUR - 3 * DAY, 1)
            for each in (increment, late):
                expected = add(LAYOUTS["merchant"], expected, each)
            await store.apply(f"e{number}", [Update("merchant", "m", increment), Update("merchant", "m", late)])
        assert await blob_of(store, "merchant", "m") == expected
        view = View(LAYOUTS["merchant"], expected)
        assert view.window("amount_minor", 90 * DAY, 10 * DAY, START + 2 * DAY) == 40 * (2**57 + 2)

    tell(story)
