"""What holds for every store."""

import asyncio
import itertools
import time

import pytest

from features.clock import DAY, HOUR, MINUTE, SECOND
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.increment import Increment, attempt_increment, chargeback_increment, result_increment
from features.layout import LAYOUTS
from features.state import View, add
from service.errors import StoreTimeout, StoreUnavailable
from service.store import Applied, FeatureStore, StateKeys, States, Update, by_attempt, by_decision
from service.store.base import Claim, Decided, Kept
from service.store.cluster import ClusterStore

START = 1_780_000_000 * SECOND
PAYMENT = ("tok_1", "cus_1", "dev_1", "m_1", "3:m_1tok_1", "411111", "DE")
KEYS = StateKeys(PAYMENT, (("north", "5:north411111", "5:northDE"), ("south", None, "5:southDE")))
NOTHING = States((None,) * 7, ((None,) * 3, (None,) * 3))


def everywhere(increment: Increment, keys: StateKeys = KEYS, of: int | None = None) -> list[Update]:
    names = list(zip(PAYMENT_KINDS, keys.payment, strict=True))
    for candidate in keys.candidates:
        names += zip(CANDIDATE_KINDS, candidate, strict=True)
    return [Update(kind, key, increment, of) for kind, key in names if key is not None]


def keys_of(kind: str, key: str) -> StateKeys:
    if kind in CANDIDATE_KINDS:
        return StateKeys(candidates=(tuple(key if each == kind else None for each in CANDIDATE_KINDS),))
    return StateKeys(tuple(key if each == kind else None for each in PAYMENT_KINDS))


async def blob_of(store: FeatureStore, kind: str, key: str) -> bytes | None:
    states = await store.read(keys_of(kind, key))
    blobs = (*states.payment, *itertools.chain(*states.candidates))
    return next((blob for blob in blobs if blob is not None), None)


def alone(key: str) -> StateKeys:
    """Return the question for one card."""
    return StateKeys((key,))


async def card_of(store: FeatureStore, key: str = "tok_1") -> View:
    (blob,) = (await store.read(alone(key))).payment
    assert blob is not None
    return View(LAYOUTS["card"], blob)


def test_nothing_is_known_of_an_entity_never_seen(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.read(KEYS) == NOTHING
        assert await store.read(StateKeys()) == States()
        assert await store.recall([by_attempt("p_1", 1)]) is None
        assert await store.recall([]) is None

    tell(story)


def test_what_was_applied_is_read_back_in_the_shape_of_the_question(tell) -> None:
    async def story(store: FeatureStore) -> None:
        increment = result_increment(START, "approved")
        assert await store.apply("e1", everywhere(increment, StateKeys(PAYMENT, KEYS.candidates[:1])))
        states = await store.read(KEYS)
        assert states.payment == tuple(add(LAYOUTS[kind], None, increment) for kind in PAYMENT_KINDS)
        assert states.candidates == (
            tuple(add(LAYOUTS[kind], None, increment) for kind in CANDIDATE_KINDS),
            (None,) * 3,
        )
        assert await store.read(alone("tok_1")) == States(states.payment[:1])
        asked = StateKeys((None, None, None, "m_1", None, None, None), (("south", None, None),))
        assert await store.read(asked) == States(
            (None, None, None, states.payment[3], None, None, None), ((None,) * 3,)
        )

    tell(story)


def test_what_a_kind_does_not_count_leaves_no_state(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", everywhere(chargeback_increment(START)))
        states = await store.read(KEYS)
        seen = [kind for kind, blob in zip(PAYMENT_KINDS, states.payment, strict=True) if blob is not None]
        assert seen == [kind for kind in PAYMENT_KINDS if "chargebacks" in LAYOUTS[kind].measures]
        assert states.candidates == NOTHING.candidates
        assert not await store.apply("e1", everywhere(chargeback_increment(START)))
        # An event that no entity counts is remembered all the same.
        alone = [Update("issuer", "DE", chargeback_increment(START))]
        assert await store.apply("e2", alone)
        assert not await store.apply("e2", alone)

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
        assert (await card_of(store)).sums[:3] == (2, 10, 0)

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
        assert (await store.read(alone("tok_1"))).payment == (expected,)

    tell(story)


def test_an_unknown_kind_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        increment = attempt_increment(START, 5)
        with pytest.raises(KeyError):
            await store.apply("e1", [Update("card", "tok_1", increment), Update("colour", "red", increment)])
        assert await store.read(KEYS) == NOTHING
        assert await store.apply("e1", everywhere(increment))

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
        for blob, kind in zip((await store.read(KEYS)).payment, PAYMENT_KINDS, strict=True):
            assert blob is not None
            assert View(LAYOUTS[kind], blob).sums[0] == 320
        assert (await card_of(store)).sums[:3] == (320, sum(range(1, 17)) * 20, 0)

    tell(story)


def test_a_record_is_found_by_either_key(tell) -> None:
    async def story(store: FeatureStore) -> None:
        keys = (by_decision("d_1"), by_attempt("p_1", 1))
        await store.remember(keys, b"\x00record", 60)
        assert await store.recall([by_decision("d_1")]) == b"\x00record"
        assert await store.recall([by_decision("d_2"), by_attempt("p_1", 1)]) == b"\x00record"
        assert await store.recall([by_attempt("p_1", 2)]) is None
        assert (await store.read(StateKeys(("tok_1",), record=keys[1]))).record == b"\x00record"

    tell(story)


def test_a_decision_is_remembered_and_applied_in_one_step(tell) -> None:
    async def story(store: FeatureStore) -> None:
        updates = everywhere(attempt_increment(START, 5))
        keys = (by_decision("d_1"), by_attempt("p_1", 1))
        first = Decided("e1", updates, [Kept(key, b"first", 60) for key in keys])
        assert await store.decided(first) == Claim(counted=True)
        assert await store.decided(Decided("e1", updates, [Kept(keys[0], b"second", 60)])) == Claim(counted=False)
        assert await store.recall(keys[:1]) == b"second"
        assert await store.recall(keys[1:]) == b"first"
        assert (await store.read(KEYS)).payment[0] == add(LAYOUTS["card"], None, updates[0].increment)

    tell(story)


def test_keys_with_any_characters_do_not_meet(tell) -> None:
    async def story(store: FeatureStore) -> None:
        odd = ["a b", "a:b", "ä€😀", "a\r\nb", "{a}", "{}", "}{", "*", '"', "pm:s:card:a"]
        for number, key in enumerate(odd):
            await store.apply(key, [Update("card", key, attempt_increment(START, number + 1))])
        for number, key in enumerate(odd):
            assert (await card_of(store, key)).last_amount == number + 1
        records = [by_attempt(key, 1) for key in odd]
        for key in records:
            await store.remember([key], key.encode(), 60)
        assert [await store.recall([key]) for key in records] == [key.encode() for key in records]

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


def test_a_record_that_is_there_stands_for_all_that_was_written_with_it(tell) -> None:
    async def story(store: FeatureStore) -> None:
        records = (Kept(by_decision("d_1"), b"r", 60), Kept(by_attempt("p_1", 1), b"r", 60))
        await store.decided(Decided("attempt:1:p_1", everywhere(attempt_increment(START, 100)), records))
        groups = [
            [by_decision("d_1"), by_attempt("p_1", 1)],
            [by_decision("d_2")],
            [by_decision("d_1"), by_attempt("p_2", 1)],
            [by_attempt("p_1", 1)],
        ]
        # What one node of a cluster has says nothing of the others.
        whole = not isinstance(store, ClusterStore)
        assert await store.holds(groups) == [whole, False, False, whole]
        assert await store.holds([]) == []

    tell(story)
