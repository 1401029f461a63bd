"""What holds behind Sentinels: the primary of the day is found, and found again."""

import asyncio
import time

import pytest

from features.clock import SECOND
from features.increment import attempt_increment
from features.layout import LAYOUTS
from features.state import View
from service.errors import StoreTimeout, StoreUnavailable
from service.store import FeatureStore, StateKeys, Update, open_store
from service.store.bulk import fetch_many, put_many
from tests.servers import Watched, opened, wait_until

START = 1_780_000_000 * SECOND
CARD = StateKeys(("tok_1",))


def update(number: int) -> list[Update]:
    return [Update("card", "tok_1", attempt_increment(START + number, 5))]


def attempts(blob: bytes | None) -> int:
    assert blob is not None
    return View(LAYOUTS["card"], blob).sums[0]


def tell(url: str, story, timeout_ms: float = 1000) -> None:
    async def act() -> None:
        store = open_store(url, timeout_ms=timeout_ms)
        try:
            await opened(store)
            await story(store)
        finally:
            await store.close()

    asyncio.run(act())


async def insist(store: FeatureStore, event_id: str, number: int, within: float = 30) -> int:
    """Apply an event until it is taken; return how often it was refused before."""
    until = time.monotonic() + within
    refused = 0
    while True:
        try:
            await store.apply(event_id, update(number))
        except (StoreTimeout, StoreUnavailable):
            assert time.monotonic() < until
            refused += 1
            await asyncio.sleep(0.05)
        else:
            return refused


def test_a_failover_is_followed_and_nothing_counts_twice(own_watched: Watched) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", update(1))
        with own_watched.replica.client() as replica:
            wait_until(lambda: replica.get("pm:e:e1") is not None, "the replica has it")
        own_watched.primary.kill()
        assert await insist(store, "e2", 2) > 0
        assert attempts((await store.read(CARD)).payment[0]) == 2
        assert not await store.apply("e1", update(1))
        assert not await store.apply("e2", update(2))
        with own_watched.replica.client() as replica:
            assert replica.info("replication")["role"] == "master"
            assert replica.get("pm:e:e2") is not None

    tell(own_watched.url, story)


def test_a_primary_that_was_demoted_is_left(own_watched: Watched) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", update(1))
        with own_watched.sentinels[0].client() as sentinel, own_watched.replica.client() as replica:
            wait_until(lambda: replica.get("pm:e:e1") is not None, "the replica has it")
            # Refused while the Sentinels do not know each other or the replica yet.
            wait_until(lambda: bool(sentinel.execute_command("SENTINEL", "FAILOVER", "mymaster")), "a failover begins")
            wait_until(lambda: replica.info("replication")["role"] == "master", "the replica is primary")
            with own_watched.primary.client() as primary:
                # The Sentinels do so themselves some seconds later.
                primary.replicaof("127.0.0.1", own_watched.replica.port)
        await insist(store, "e2", 2)
        with own_watched.replica.client() as replica:
            assert replica.get("pm:e:e2") is not None
            assert attempts((await store.read(CARD)).payment[0]) == attempts(replica.get("pm:s:card:tok_1")) == 2

    tell(own_watched.url, story)


def test_one_sentinel_may_be_gone_or_hang(own_watched: Watched) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", update(1))

    own_watched.sentinels[0].pause()
    tell(own_watched.url, story)
    own_watched.sentinels[0].resume()
    own_watched.sentinels[0].kill()
    tell(own_watched.url, story_again)


async def story_again(store: FeatureStore) -> None:
    assert not await store.apply("e1", update(1))


def test_a_service_that_no_sentinel_knows_is_reported_and_may_come_later(sentinel_url: str) -> None:
    async def act() -> str:
        store = open_store(sentinel_url.replace("mymaster", "other"), timeout_ms=1000)
        try:
            told = await store.open()
            with pytest.raises(StoreUnavailable):
                await store.read(CARD)
            return told or ""
        finally:
            await store.close()

    told = asyncio.run(act())
    assert "/other/0 cannot be reached yet" in told
    assert "No master found for 'other'" in told


def test_states_are_written_and_read_in_bulk(sentinel_url: str) -> None:
    items = [("card", f"tok_{n}", b"%d" % n) for n in range(250)]
    assert put_many(sentinel_url, items, chunk=100) == 250
    asked = [("card", f"tok_{n}") for n in range(251)]
    assert list(fetch_many(sentinel_url, asked, chunk=100)) == [*[blob for _, _, blob in items], None]
