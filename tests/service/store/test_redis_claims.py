"""What holds for Redis alone of answers, ledgers and standings: round trips, names, times to live, faults."""

import asyncio
import time

import pytest
import redis

from features.clock import DAY, SECOND
from features.increment import attempt_increment
from service import ledger, standing
from service.errors import StoreTimeout, StoreUnavailable
from service.ledger import APPROVED, Entry, Limit
from service.standing import Note
from service.store import Applied, FeatureStore, StateKeys, Update, open_store
from service.store.base import Claim, Decided, Kept, LedgerMove, Reservation, StandingUpdate
from tests.servers import RedisServer

START = 1_780_000_000 * SECOND
LEDGER = "visa:c:3:m_1tok_1"
ENTRY = Entry(START, 1, 5)
NOTE = Note(START, approved=True, expected=0.5, latency_ms=80, amount_minor=5)
ATTEMPT = [Update("card", "tok_1", attempt_increment(START, 5))]
DECIDED = Decided(
    "e1",
    ATTEMPT,
    [Kept("i:d_1", b"record", 200), Kept("a:1:p_1", b"record", 300)],
    Kept("auth:1:p_1", b"yes", 100),
    Reservation(LEDGER, ENTRY, (Limit(DAY, 1),)),
)
SETTLED = Applied(
    "o1",
    ATTEMPT,
    [StandingUpdate("p:north", NOTE), StandingUpdate("n:5:northvisa", NOTE)],
    LedgerMove(LEDGER, 1, ENTRY._replace(status=APPROVED)),
    [Kept("a:1:p_1", b"settled", 400)],
)
KEYS = StateKeys(("tok_1",), (), "a:1:p_1", ("p:north", "n:5:northvisa", "m:5:northm_1"), LEDGER, "auth:1:p_1")


def tell(url: str, story, timeout_ms: float = 5000) -> None:
    async def act() -> None:
        store = open_store(url, timeout_ms=timeout_ms)
        try:
            await store.open()
            await story(store)
        finally:
            await store.close()

    asyncio.run(act())


def calls(client: redis.Redis) -> dict[str, int]:
    """Return how often the server was asked what from outside, and by scripts."""
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in client.info("commandstats").items()}


def names_in(client: redis.Redis) -> list[bytes]:
    """Return every key but those of the look at the server at the start."""
    return [name for name in client.keys("*") if b"probe" not in name]


def test_a_claim_and_an_outcome_are_one_script_each_and_all_is_read_with_one_mget(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.config_resetstat()
            assert (await store.decided(DECIDED)).counted
            assert await store.apply_many([SETTLED]) == [True]
            states = await store.read(KEYS)
            asked = calls(client)
        assert None not in (*states.payment, states.record, *states.standings[:2], states.ledger, states.answer)
        assert (asked["evalsha"], asked["mget"], asked.get("eval")) == (2, 1, None)

    tell(redis_url, story)


def test_names_and_times_to_live(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        await store.decided(DECIDED)
        await store.apply_many([SETTLED])

    tell(redis_url, story)
    expected = {
        "pm:e:e1": 7 * 86_400,
        "pm:e:o1": 7 * 86_400,
        "pm:d:i:d_1": 200,
        "pm:d:a:1:p_1": 400,
        "pm:q:auth:1:p_1": 100,
        f"pm:l:{LEDGER}": ledger.TTL_SECONDS,
        "pm:g:p:north": standing.TTL_SECONDS,
        "pm:g:n:5:northvisa": standing.TTL_SECONDS,
    }
    with redis.Redis.from_url(redis_url) as client:
        found = {name.decode(): client.ttl(name) for name in names_in(client)}
    assert found.pop("pm:s:card:tok_1") > 90 * 86_400
    assert found == pytest.approx(expected, abs=5)


@pytest.mark.parametrize("damage", ["another type", "damaged"])
def test_what_cannot_be_read_begins_anew(redis_url: str, damage: str) -> None:
    names = [f"pm:l:{LEDGER}", "pm:g:p:north"] + (["pm:q:auth:1:p_1"] if damage == "another type" else [])

    async def story(store: FeatureStore) -> None:
        with redis.Redis.from_url(redis_url) as client:
            for name in names:
                if damage == "another type":
                    client.rpush(name, "x")
                else:
                    client.set(name, b"\x01\x02")
        assert await store.decided(DECIDED) == Claim(counted=True, ledger=ledger.pack([ENTRY]))
        await store.apply_many([SETTLED])
        states = await store.read(KEYS)
        assert states.answer == b"yes"
        assert states.ledger == ledger.pack([ENTRY._replace(status=APPROVED)])
        assert states.standings[0] == standing.add(None, NOTE)

    tell(redis_url, story)


def test_a_server_out_of_memory_refuses_a_claim_as_a_whole(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.read(KEYS)
        with own_redis.client() as client:
            client.config_set("maxmemory", 1)
            for call in (store.decided(DECIDED), store.apply_many([SETTLED])):
                with pytest.raises(StoreUnavailable, match="maxmemory"):
                    await call
            client.config_set("maxmemory", 0)
            assert names_in(client) == []
        assert (await store.decided(DECIDED)).counted
        assert await store.apply_many([SETTLED]) == [True]

    tell(own_redis.url, story)


def test_a_claim_does_not_wait_for_a_batch_of_outcomes(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        own_redis.pause()
        batch = [Applied(f"o{number}", ATTEMPT) for number in range(300)]
        outcomes = asyncio.create_task(store.apply_many(batch))
        await asyncio.sleep(0.02)
        claimed = asyncio.create_task(store.decided(DECIDED, deadline=time.monotonic() + 5))
        await asyncio.sleep(0.02)
        own_redis.resume()
        assert (await claimed).counted
        assert not outcomes.done()
        assert await outcomes == [True] * 300

    tell(own_redis.url, story)


def test_a_server_that_hangs_costs_a_claim_no_more_than_the_timeout(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.read(KEYS)
        own_redis.pause()
        began = time.monotonic()
        with pytest.raises(StoreTimeout):
            await store.decided(DECIDED, deadline=began + 0.005)
        for _ in range(3):
            with pytest.raises(StoreTimeout):
                await store.decided(DECIDED, deadline=began + 60)
        # One that nobody waits for has more time.
        behind = asyncio.create_task(store.decided(DECIDED))
        await asyncio.sleep(0.06)
        assert not behind.done()
        own_redis.resume()
        assert ledger.entries((await behind).ledger) == (ENTRY,) or (await behind).answer == b"yes"
        until = time.monotonic() + 5
        while await store.ping() is not None:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        # What was late may have been done: the same question finds its answer, or gives it now.
        claim = None
        while claim is None:
            try:
                claim = await store.decided(DECIDED)
            except (StoreTimeout, StoreUnavailable):
                assert time.monotonic() < until
                await asyncio.sleep(0.01)
        assert claim == Claim(answer=b"yes") or claim.counted
        assert ledger.entries((await store.read(KEYS)).ledger) == (ENTRY,)

    tell(own_redis.url, story, timeout_ms=40)
