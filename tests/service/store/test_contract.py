"""What holds for every store."""

import asyncio
import itertools
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.increment import ENTITIES, Increment, attempt_increment, chargeback_increment, deltas, result_increment
from features.layout import LAYOUTS
from features.state import View, add
from service.errors import StoreTimeout, StoreUnavailable
from service.store import Applied, FeatureStore, StateKeys, States, Update, by_attempt, by_decision

START = 1_780_000_000 * SECOND
KEYS = StateKeys("tok_1", "m_1", "411111", "DE", ("north", "south"))


def everywhere(increment: Increment, keys: StateKeys = KEYS) -> list[Update]:
    names = [("card", keys.card), ("merchant", keys.merchant), ("bin", keys.bin), ("issuer", keys.issuer)]
    names += [("processor", processor) for processor in keys.processors]
    return [Update(kind, key, increment) for kind, key in names if key is not None]


def keys_of(kind: str, key: str) -> StateKeys:
    return StateKeys(processors=(key,)) if kind == "processor" else StateKeys(**{kind: key})


async def blob_of(store: FeatureStore, kind: str, key: str) -> bytes | None:
    states = await store.read(keys_of(kind, key))
    return states.processors[0] if kind == "processor" else getattr(states, kind)


def test_nothing_is_known_of_an_entity_never_seen(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.read(KEYS) == States(processors=(None, None))
        assert await store.read(StateKeys()) == States()
        assert await store.recall([by_attempt("p_1", 1)]) is None
        assert await store.recall([]) is None

    tell(story)


def test_what_was_applied_is_read_back_in_the_shape_of_the_question(tell) -> None:
    async def story(store: FeatureStore) -> None:
        increment = attempt_increment(START, 1299)
        assert await store.apply("e1", everywhere(increment)[:-1])
        states = await store.read(KEYS)
        for kind in ("card", "merchant", "bin", "issuer"):
            assert getattr(states, kind) == add(LAYOUTS[kind], None, increment)
        assert states.processors == (add(LAYOUTS["processor"], None, increment), None)
        assert await store.read(StateKeys(bin="411111")) == States(bin=states.bin)

    tell(story)


def test_an_event_counts_once(tell) -> None:
    async def story(store: FeatureStore) -> None:
        updates = everywhere(attempt_increment(START, 5))
        assert await store.apply("e1", updates)
        before = await store.read(KEYS)
        assert not await store.apply("e1", updates)
        assert not await store.apply("e1", everywhere(attempt_increment(START + DAY, 7)))
        assert await store.read(KEYS) == before
        assert await store.apply_many([Applied("e1", updates), Applied("e2", updates), Applied("e2", updates)]) == [
            False,
            True,
            False,
        ]
        card = (await store.read(KEYS)).card
        assert card is not None
        assert View(LAYOUTS["card"], card).totals[:3] == [2, 2, 10]

    tell(story)


def test_a_long_batch_is_applied_in_order(tell) -> None:
    async def story(store: FeatureStore) -> None:
        batch = [Applied(f"e{n % 90}", everywhere(result_increment(START + n, "approved"))) for n in range(100)]
        assert await store.apply_many(batch) == [True] * 90 + [False] * 10
        assert await store.apply_many([]) == []

    tell(story)


def test_an_event_without_updates_is_remembered_all_the_same(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", [])
        assert not await store.apply("e1", [])

    tell(story)


def test_several_increments_of_one_entity_are_added_in_order(tell) -> None:
    async def story(store: FeatureStore) -> None:
        increments = [
            attempt_increment(START, 5),
            result_increment(START - 3 * DAY, "declined"),
            attempt_increment(START + HOUR, 6),
            chargeback_increment(START + HOUR),
        ]
        assert await store.apply("e1", [Update("card", "tok_1", increment) for increment in increments])
        expected = None
        for increment in increments:
            expected = add(LAYOUTS["card"], expected, increment)
        assert (await store.read(KEYS)).card == expected

    tell(story)


def test_an_unknown_kind_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        increment = attempt_increment(START, 5)
        with pytest.raises(KeyError):
            await store.apply("e1", [Update("card", "tok_1", increment), Update("colour", "red", increment)])
        assert await store.read(KEYS) == States(processors=(None, None))
        assert await store.apply("e1", everywhere(increment))

    tell(story)


GAPS = [0, 0, 0, 1, SECOND, MINUTE, 5 * MINUTE - 1, 5 * MINUTE, HOUR - 1, HOUR, DAY, 7 * DAY, 15 * MINUTE]


def stream(seed: int, count: int) -> list[Increment]:
    """Return increments that come late, out of order, at the same time, at the edges of tiles, and in huge amounts."""
    chance = random.Random(seed)
    at = START - START % DAY
    made = []
    for _ in range(count):
        at += chance.choice(GAPS)
        late = chance.choice([0] * 8 + [1, 5 * MINUTE, HOUR, 3 * DAY, 29 * DAY, 45 * DAY])
        made.append(
            chance.choice(
                [
                    attempt_increment(at - late, chance.choice([0, 1, 999, 10**12])),
                    result_increment(at - late, chance.choice(["approved", "declined", "timeout"])),
                    chargeback_increment(at - late),
                ]
            )
        )
    return made


@pytest.mark.parametrize("kind", ENTITIES)
def test_every_store_keeps_the_same_bytes_as_the_state_itself(tell, kind: str) -> None:
    async def story(store: FeatureStore) -> None:
        expected = None
        increments = stream(len(kind), 400)
        for start in range(0, 400, 5):
            part = increments[start : start + 5]
            for increment in part:
                expected = add(LAYOUTS[kind], expected, increment)
            await store.apply_many([Applied(f"e{start}-{n}", [Update(kind, "k", i)]) for n, i in enumerate(part)])
            assert await blob_of(store, kind, "k") == expected, start

    tell(story)


times = st.one_of(
    st.integers(0, 10 * MINUTE),
    st.integers(0, 40 * DAY),
    st.tuples(st.integers(0, 40 * 24), st.sampled_from([-1, 0, 1])).map(lambda edge: max(0, edge[0] * HOUR + edge[1])),
)
increments = st.one_of(
    st.builds(attempt_increment, times.map(lambda at: START - START % DAY + at), st.integers(0, 10**12)),
    st.builds(result_increment, times.map(lambda at: START - START % DAY + at), st.sampled_from(["approved", "error"])),
    st.builds(chargeback_increment, times.map(lambda at: START - START % DAY + at)),
)
NUMBERS = itertools.count()
groups = st.lists(st.lists(increments, min_size=1, max_size=4), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ENTITIES), groups)
def test_any_order_of_increments_gives_the_same_bytes(tell, kind: str, given_groups: list[list[Increment]]) -> None:
    name = f"entity {next(NUMBERS)}"

    async def story(store: FeatureStore) -> None:
        expected = None
        for number, group in enumerate(given_groups):
            await store.apply(f"{name}{number}", [Update(kind, name, increment) for increment in group])
            for increment in group:
                expected = add(LAYOUTS[kind], expected, increment)
            assert await blob_of(store, kind, name) == expected

    tell(story)


def test_sums_stay_exact_beyond_what_a_double_can_hold(tell) -> None:
    async def story(store: FeatureStore) -> None:
        expected = None
        for number in range(40):
            increment = Increment(START + number * HOUR, deltas(events=1, amount_minor=2**52 + 1), is_attempt=True)
            expected = add(LAYOUTS["merchant"], expected, increment)
            late = attempt_increment(START + number * HOUR - 3 * DAY, 1)
            expected = add(LAYOUTS["merchant"], expected, late)
            await store.apply(f"e{number}", [Update("merchant", "m", increment), Update("merchant", "m", late)])
        assert await blob_of(store, "merchant", "m") == expected
        assert View(LAYOUTS["merchant"], expected).totals[2] == 40 * (2**52 + 2)

    tell(story)


def test_concurrent_appliers_lose_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        async def applier(number: int) -> int:
            done = 0
            for turn in range(20):
                at = START + (turn * 37 + number * 11) % 7 * MINUTE
                # Every event is reported by two appliers.
                done += await store.apply(f"e{number // 2}-{turn}", everywhere(attempt_increment(at, number // 2 + 1)))
            return done

        counts = await asyncio.gather(*[applier(number) for number in range(32)])
        assert sum(counts) == 16 * 20
        for blob, kind in zip((await store.read(KEYS))[:4], ENTITIES, strict=False):
            assert View(LAYOUTS[kind], blob).totals[:3] == [320, 320, sum(range(1, 17)) * 20]

    tell(story)


def test_a_record_is_found_by_either_key(tell) -> None:
    async def story(store: FeatureStore) -> None:
        keys = (by_decision("d_1"), by_attempt("p_1", 1))
        await store.remember(keys, b"\x00record", 60)
        assert await store.recall([by_decision("d_1")]) == b"\x00record"
        assert await store.recall([by_decision("d_2"), by_attempt("p_1", 1)]) == b"\x00record"
        assert await store.recall([by_attempt("p_1", 2)]) is None
        assert (await store.read(StateKeys("tok_1", record=keys[1]))).record == b"\x00record"

    tell(story)


def test_a_decision_is_remembered_and_applied_in_one_step(tell) -> None:
    async def story(store: FeatureStore) -> None:
        updates = everywhere(attempt_increment(START, 5))
        keys = (by_decision("d_1"), by_attempt("p_1", 1))
        assert await store.decided("e1", updates, keys, b"first", 60)
        assert not await store.decided("e1", updates, keys[:1], b"second", 60)
        assert await store.recall(keys[:1]) == b"second"
        assert await store.recall(keys[1:]) == b"first"
        assert (await store.read(KEYS)).card == add(LAYOUTS["card"], None, updates[0].increment)

    tell(story)


def test_keys_with_any_characters_do_not_meet(tell) -> None:
    async def story(store: FeatureStore) -> None:
        odd = ["a b", "a:b", "ä€😀", "a\r\nb", "{a}", "*", '"', "pm:s:card:a"]
        for number, key in enumerate(odd):
            await store.apply(key, [Update("card", key, attempt_increment(START, number + 1))])
        for number, key in enumerate(odd):
            card = (await store.read(StateKeys(key))).card
            assert card is not None
            assert View(LAYOUTS["card"], card).totals[2] == number + 1

    tell(story)


def test_the_store_says_that_it_is_well_and_after_closing_that_it_is_not(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.ping() is None
        await store.close()
        assert await store.ping() == "the store is unavailable: it was closed"
        with pytest.raises(StoreUnavailable):
            await store.read(KEYS)
        with pytest.raises(StoreUnavailable):
            await store.apply("e1", [])

    tell(story)


def test_a_deadline_in_the_past_is_a_timeout_or_an_answer_but_never_a_wait(tell) -> None:
    async def story(store: FeatureStore) -> None:
        began = time.monotonic()
        try:
            await store.read(KEYS, deadline=began - 1)
        except StoreTimeout as error:
            assert error.after_ms == 0  # noqa: PT017
        assert time.monotonic() - began < 0.5

    tell(story)
