"""Every store keeps the ledger's own bytes, and sums standings as they are summed in Python."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.clock import DAY, SECOND
from service import ledger, standing
from service.ledger import APPROVED, FAILED, RESERVED, Entry, Limit
from service.standing import Note
from service.store import Applied, FeatureStore, StateKeys
from service.store.base import Claim, Decided, LedgerMove, Reservation, StandingUpdate

START = 1_780_000_000 * SECOND
LEDGER = ledger.key_of("visa", "merchant", "m_1", "tok_1")


async def ledger_of(store: FeatureStore, key: str = LEDGER) -> bytes | None:
    return (await store.read(StateKeys(ledger=key))).ledger


times = st.one_of(st.integers(0, 20), st.integers(0, 40).map(lambda days: days * DAY), st.integers(0, 130 * DAY)).map(
    lambda at: START + at
)
attempts = st.one_of(st.integers(0, 12), st.integers(2**53 - 3, 2**53 - 1))
amounts = st.sampled_from([0, 1, 500, 10**12, 2**53 - 1])
moves: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        lambda entry, limits: Reservation("", entry, tuple(limits)),
        st.builds(Entry, times, attempts, amounts, st.just(RESERVED)),
        st.lists(
            st.builds(
                Limit, st.sampled_from([1, DAY, 30 * DAY]), st.integers(0, 6), st.none() | amounts, st.booleans()
            ),
            max_size=3,
        ),
    ),
    st.builds(Entry, times, attempts, amounts, st.sampled_from([FAILED, APPROVED])),
    attempts,
)
NUMBERS = itertools.count()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(moves, max_size=30))
def test_every_store_keeps_the_same_bytes_as_the_ledger_itself(tell, given_moves: list[Any]) -> None:
    key = f"visa:c:{next(NUMBERS)}"

    async def story(store: FeatureStore) -> None:
        expected: bytes | None = None
        for number, move in enumerate(given_moves):
            if isinstance(move, Reservation):
                after = ledger.reserve(expected, move.entry, move.limits)
                found = await store.decided(Decided(None, reservation=move._replace(key=key)))
                assert found == (Claim(refused=True, ledger=expected) if after is None else Claim(ledger=after))
                expected = expected if after is None else after
            elif isinstance(move, Entry):
                await store.apply_many([Applied(f"{key}{number}", ledger=LedgerMove(key, move.attempt, move))])
                expected = ledger.settle(expected, move)
            else:
                await store.apply_many([Applied(f"{key}{number}", ledger=LedgerMove(key, move, None))])
                expected = None if expected is None else ledger.release(expected, move)
            assert await ledger_of(store, key) == expected

    tell(story)


def test_a_full_ledger_forgets_the_same_in_every_store(tell) -> None:
    async def story(store: FeatureStore) -> None:
        expected = None
        given = [Entry(START + n, n, 5, APPROVED if n in (40, 200) else FAILED) for n in range(ledger.MOST + 4)]
        batch = []
        for one in given:
            expected = ledger.settle(expected, one)
            batch.append(Applied(f"o{one.attempt}", ledger=LedgerMove(LEDGER, one.attempt, one)))
        await store.apply_many(batch)
        assert await ledger_of(store) == expected
        assert len(ledger.entries(expected)) == ledger.MOST
        late = Entry(START + ledger.KEPT_US + 100, 999, 5)
        assert not (await store.decided(Decided(None, reservation=Reservation(LEDGER, late, ())))).refused
        assert await ledger_of(store) == ledger.reserve(expected, late, ())

    tell(story)


notes = st.builds(
    Note,
    st.one_of(st.integers(0, 30 * SECOND), st.integers(0, 70 * DAY)).map(lambda at: START + at),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 600_000),
    st.integers(0, 10**12),
    st.sampled_from([1, 1, 1, -1]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(notes, min_size=1, max_size=3), max_size=8))
def test_every_store_sums_the_same_standing(tell, groups: list[list[Note]]) -> None:
    key = f"p:{next(NUMBERS)}"

    async def story(store: FeatureStore) -> None:
        expected = None
        for number, group in enumerate(groups):
            await store.apply_many([Applied(f"{key}:{number}", (), [StandingUpdate(key, note) for note in group])])
            for note in group:
                expected = standing.add(expected, note)
        (found,) = (await store.read(StateKeys(standings=(key,)))).standings
        at = START + 70 * DAY
        one, other = standing.read(found, at), standing.read(expected, at)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert standing.FORM.unpack(found or b"")[:4] == standing.FORM.unpack(expected or b"")[:4]
            assert one.values == pytest.approx(other.values, rel=1e-9, abs=1e-12)

    tell(story)
