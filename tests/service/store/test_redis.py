"""What holds for Redis alone: round trips, times to live, and every way in which a server can fail."""

import asyncio
import gc
import time

import pytest
import redis

from features.clock import DAY, MINUTE, SECOND
from features.increment import attempt_increment, result_increment
from features.layout import LAYOUTS
from features.state import View, add
from service.errors import StoreTimeout, StoreUnavailable
from service.ledger import Entry, Limit
from service.standing import Note
from service.store import Applied, FeatureStore, StateKeys, Update, by_attempt, by_decision, open_store
from service.store.base import Decided, Kept, LedgerMove, Reservation, StandingUpdate
from service.store.bulk import fetch_many, put_many
from service.store.trial import check
from tests.servers import RedisServer

START = 1_780_000_000 * SECOND
CARD = StateKeys(("tok_1",))
UPDATES = [Update("card", "tok_1", attempt_increment(START, 5))]


def calls(client: redis.Redis, command: str) -> int:
    return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def tell(url: str, story, timeout_ms: float = 5000) -> None:
    async def act() -> None:
        store = open_store(url, timeout_ms=timeout_ms)
        try:
            await store.open()
            await story(store)
        finally:
            await store.close()

    asyncio.run(act())


def test_concurrent_reads_share_one_mget(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        await store.read(CARD)
        with redis.Redis.from_url(redis_url) as client:
            before = calls(client, "mget")
            keys = [StateKeys((f"tok_{n}", None, None, "m_1"), (("north",),)) for n in range(32)]
            states = await asyncio.gather(*[store.read(each) for each in keys])
            assert len(states) == 32
            assert calls(client, "mget") == before + 1

    tell(redis_url, story)


def test_a_shared_key_is_fetched_once(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        with redis.Redis.from_url(redis_url) as client:
            before = client.info("stats")["keyspace_hits"]
            states = await asyncio.gather(*[store.read(CARD) for _ in range(10)])
            assert len({state.payment[0] for state in states}) == 1
            assert client.info("stats")["keyspace_hits"] == before + 1

    tell(redis_url, story)


def test_what_is_asked_while_a_fetch_is_under_way_travels_together(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.read(CARD)
        own_redis.pause()
        first = asyncio.create_task(store.read(CARD))
        await asyncio.sleep(0.02)
        later = [asyncio.create_task(store.read(StateKeys((f"tok_{n}",)))) for n in range(20)]
        await asyncio.sleep(0.02)
        own_redis.resume()
        await asyncio.gather(first, *later)
        with own_redis.client() as client:
            assert calls(client, "mget") == 1 + 1 + 2  # the look at the server, the first read, and two fetches

    tell(own_redis.url, story)


def test_a_caller_that_gives_up_takes_nothing_from_the_others(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        await store.read(CARD)
        own_redis.pause()
        one, other = asyncio.create_task(store.read(CARD)), asyncio.create_task(store.read(CARD))
        impatient = asyncio.create_task(store.read(CARD, deadline=time.monotonic() + 0.02))
        await asyncio.sleep(0.05)
        one.cancel()
        with pytest.raises(StoreTimeout):
            await impatient
        own_redis.resume()
        assert (await other).payment[0] is not None
        assert one.cancelled()

    tell(own_redis.url, story)


def test_a_write_is_one_round_trip_and_writes_of_a_moment_share_it(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        keys = (by_decision("d_1"), by_attempt("p_1", 1))
        with redis.Redis.from_url(redis_url) as client:
            before = calls(client, "evalsha")
            await store.decided(Decided("e1", UPDATES, [Kept(key, b"record", 60) for key in keys]))
            assert calls(client, "evalsha") == before + 1

    tell(redis_url, story)


def test_a_server_that_forgot_the_script_is_told_it_again(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
            batch = [Applied("e1", UPDATES), Applied("e2", UPDATES), Applied("e1", UPDATES)]
            assert await store.apply_many(batch) == [True, True, False]
            client.script_flush()
            assert await store.apply("e3", UPDATES)
            assert calls(client, "evalsha") > 0

    tell(redis_url, story)


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_state_outlives_its_longest_window_and_no_more(redis_url: str, kind: str) -> None:
    async def story(store: FeatureStore) -> None:
        layout = LAYOUTS[kind]
        hop = layout.hop // SECOND
        with redis.Redis.from_url(redis_url) as client:
            for number in range(3):
                await store.apply(f"e{number}", [Update(kind, "k", result_increment(START + number, "approved"))])
                assert layout.ttl_seconds <= client.ttl(f"pm:s:{kind}:k") <= layout.ttl_seconds + hop
            client.expire(f"pm:s:{kind}:k", 5)
            await store.apply("later", [Update(kind, "k", result_increment(START + layout.hop, "approved"))])
            assert client.ttl(f"pm:s:{kind}:k") >= layout.ttl_seconds

    tell(redis_url, story)


def test_marks_and_records_end_when_they_should(redis_url: str) -> None:
    async def act() -> None:
        store = open_store(redis_url, timeout_ms=5000, event_ttl_seconds=100)
        await store.decided(Decided("e1", UPDATES, [Kept("i:d_1", b"record", 200)]))
        await store.remember(["i:d_2"], b"record", 300)
        await store.close()

    asyncio.run(act())
    with redis.Redis.from_url(redis_url) as client:
        assert 99 <= client.ttl("pm:e:e1") <= 100
        assert 199 <= client.ttl("pm:d:i:d_1") <= 200
        assert 299 <= client.ttl("pm:d:i:d_2") <= 300
    with open_default(redis_url) as client:
        assert 7 * 86_400 - 1 <= client.ttl("pm:e:e9") <= 7 * 86_400


def open_default(url: str) -> redis.Redis:
    tell(url, lambda store: store.apply("e9", []))
    return redis.Redis.from_url(url)


GOOD = add(LAYOUTS["card"], add(LAYOUTS["card"], None, attempt_increment(START - DAY, 3)), UPDATES[0].increment)


def test_a_key_of_another_type_counts_as_empty(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.rpush("pm:s:card:tok_1", "x")
            assert (await store.read(CARD)).payment[0] is None
            assert await store.apply("e1", UPDATES)
            assert client.get("pm:s:card:tok_1") == add(LAYOUTS["card"], None, UPDATES[0].increment)

    tell(redis_url, story)


def test_a_server_that_hangs_costs_no_more_than_the_timeout_and_is_used_again_when_it_wakes(
    own_redis: RedisServer,
) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        await store.read(CARD)
        own_redis.pause()
        for call in (lambda: store.read(CARD), lambda: store.apply("e2", UPDATES), lambda: store.recall(["x"])) * 3:
            began = time.monotonic()
            with pytest.raises(StoreTimeout):
                await call()
            assert time.monotonic() - began < 0.15
        began = time.monotonic()
        with pytest.raises(StoreTimeout):
            await store.read(CARD, deadline=began + 0.005)
        assert time.monotonic() - began < 0.1
        assert (await store.ping() or "").startswith("the store did not answer within ")
        await asyncio.sleep(0.1)
        # Everybody has waited once; while the connection hangs, nobody waits again.
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreTimeout):
                await store.read(CARD)
        assert time.monotonic() - began < 0.04
        own_redis.resume()
        await recovered(store)
        # An update whose answer never came may have happened: its event says so, and it never counts twice.
        await store.apply("e2", UPDATES)
        card = (await store.read(CARD)).payment[0]
        assert card is not None
        assert View(LAYOUTS["card"], card).sums[0] == 2

    tell(own_redis.url, story, timeout_ms=40)


async def recovered(store: FeatureStore, within: float = 5) -> None:
    until = time.monotonic() + within
    while await store.ping() is not None:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    while True:
        try:
            await store.apply("a sign of life", [])
        except (StoreTimeout, StoreUnavailable):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        else:
            return


def test_a_server_that_dies_is_unavailable_at_once_and_used_again_when_it_is_back(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        await store.read(CARD)
        own_redis.kill()
        for _ in range(20):
            began = time.monotonic()
            for call in (store.read(CARD), store.apply("e2", UPDATES), store.remember(["k"], b"r", 9)):
                with pytest.raises(StoreUnavailable):
                    await call
            assert time.monotonic() - began < 0.5
        assert "Connection refused" in (await store.ping() or "") or "Connect" in (await store.ping() or "")
        own_redis.start()
        await recovered(store)
        assert await store.apply("e1", UPDATES)
        assert (await store.read(CARD)).payment[0] is not None

    tell(own_redis.url, story)


def test_a_server_that_was_restarted_while_nobody_asked_is_not_noticed(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        await store.read(CARD)
        own_redis.kill()
        own_redis.start()
        await asyncio.sleep(0.05)
        assert (await store.read(CARD)).payment[0] is None
        assert await store.apply("e1", UPDATES)

    tell(own_redis.url, story)


def test_a_server_that_is_down_at_the_start_is_reported_and_used_later(own_redis: RedisServer) -> None:
    async def act() -> None:
        store = open_store(own_redis.url, timeout_ms=1000)
        try:
            report = await store.open()
            assert report is not None
            assert f"redis://127.0.0.1:{own_redis.port}/0 cannot be reached yet" in report
            own_redis.start()
            await recovered(store)
        finally:
            await store.close()

    own_redis.kill()
    asyncio.run(act())


def refusal(url: str) -> str:
    async def act() -> str:
        store = open_store(url, timeout_ms=1000)
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await store.open()
        finally:
            await store.close()
        return str(caught.value)

    return asyncio.run(act())


def test_rights_that_are_missing_are_named_at_the_start(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.acl_setuser(
            "noscripts", enabled=True, passwords=["+s3cret"], keys=["*"], commands=["+@all", "-@scripting"]
        )
        client.acl_setuser("nokeys", enabled=True, passwords=["+s3cret"], keys=["other:*"], commands=["+@all"])
        client.acl_setuser(
            "least",
            enabled=True,
            passwords=["+s3cret"],
            keys=["pm:*"],
            commands=[
                "+mget",
                "+get",
                "+set",
                "+getrange",
                "+setrange",
                "+eval",
                "+evalsha",
                "+ping",
                "+select",
            ],
        )
    for user, expected in (("noscripts", "scripts (EVAL)"), ("nokeys", "on keys pm:*")):
        told = refusal(f"redis://{user}:s3cret@127.0.0.1:{own_redis.port}/0")
        assert expected in told
        assert "s3cret" not in told
    told = refusal(f"redis://noscripts:wr0ng@127.0.0.1:{own_redis.port}/0")
    assert "refuses these credentials" in told
    assert "wr0ng" not in told

    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", UPDATES)
        assert await store.apply("e2", UPDATES)
        assert (await store.read(CARD)).payment[0] is not None
        ledger = Reservation("visa:c:3:m_1tok_1", Entry(START, 1, 5), (Limit(DAY, 1),))
        given = Decided("d_1", UPDATES, [Kept("i:d_1", b"record", 60)], Kept("auth:1:p_1", b"yes", 60), ledger)
        assert (await store.decided(given)).counted
        note = StandingUpdate("p:north", Note(START, approved=True))
        assert await store.apply_many([Applied("o_1", UPDATES, [note], LedgerMove(ledger.key, 1, None))]) == [True]

    tell(f"redis://least:s3cret@127.0.0.1:{own_redis.port}/0", story)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ("redis_version:5.0.14\r\nredis_mode:standalone", "Redis 6.0 or newer is expected, this server is 5.0.14"),
        ("# Server", "this server is of no known version"),
        ("redis_version:6.2.0\r\nredis_mode:cluster", "cluster mode: name it cluster://host:port"),
    ],
)
def test_a_server_that_will_never_do_is_refused_in_words(about: str, expected: str) -> None:
    with pytest.raises(StoreUnavailable, match=expected):
        check(about)
    check("redis_version:7.0.15\r\nredis_mode:standalone")


def test_a_server_in_cluster_mode_is_refused_in_words() -> None:
    server = RedisServer(cluster=True)
    server.start()
    try:
        assert "a single Redis is expected, this one is in cluster mode: name it cluster://host:port" in refusal(
            server.url
        )
    finally:
        server.stop()


def test_a_server_that_turned_read_only_is_unavailable_and_recovers(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        with own_redis.client() as client:
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable, match="read only"):
                await store.apply("e2", UPDATES)
            client.replicaof("NO", "ONE")
        await recovered(store)
        assert await store.apply("e2", UPDATES)

    tell(own_redis.url, story)


def test_a_server_that_takes_no_writes_for_now_is_reported_at_the_start_and_stops_nobody(
    own_redis: RedisServer,
) -> None:
    async def act() -> None:
        store = open_store(own_redis.url, timeout_ms=1000)
        with own_redis.client() as client:
            client.replicaof("127.0.0.1", 1)
            try:
                assert "is not well yet" in (await store.open() or "")
            finally:
                client.replicaof("NO", "ONE")
                await store.close()

    asyncio.run(act())


def test_a_server_out_of_memory_refuses_an_update_as_a_whole(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e1", UPDATES)
        before = await store.read(CARD)
        with own_redis.client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.apply("e2", [*UPDATES, Update("merchant", "m", UPDATES[0].increment)])
            client.config_set("maxmemory", 0)
        assert await store.read(CARD) == before
        assert await store.apply("e2", UPDATES)

    tell(own_redis.url, story)


def test_a_unix_socket_serves_as_well(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", UPDATES)
        assert store.describe() == f"unix://{own_redis.folder}/socket?db=3"

    tell(f"unix://{own_redis.folder}/socket?db=3", story)


def test_a_store_closed_under_way_refuses_what_waits_and_leaves_nothing_open(own_redis: RedisServer) -> None:
    async def story(store: FeatureStore) -> None:
        await store.read(CARD)
        own_redis.pause()
        waiting = [asyncio.create_task(store.read(CARD)), asyncio.create_task(store.apply("e1", UPDATES))]
        await asyncio.sleep(0.02)
        await store.close()
        for task in waiting:
            with pytest.raises(StoreUnavailable, match="closed"):
                await task
        own_redis.resume()

    tell(own_redis.url, story)
    gc.collect()


def test_a_backfill_is_read_as_if_it_had_been_applied(redis_url: str) -> None:
    blob = add(LAYOUTS["card"], None, UPDATES[0].increment)
    items = [("card", f"tok_{n}", blob) for n in range(1201)]
    assert put_many(redis_url, items, chunk=500) == 1201

    async def story(store: FeatureStore) -> None:
        assert (await store.read(StateKeys(("tok_1200",)))).payment[0] == blob

    tell(redis_url, story)
    with redis.Redis.from_url(redis_url) as client:
        ttl = LAYOUTS["card"].ttl_seconds
        assert ttl - 5 <= client.ttl("pm:s:card:tok_7") <= ttl + MINUTE


def test_many_states_are_fetched_in_their_order(redis_url: str) -> None:
    put_many(redis_url, [("card", f"tok_{n}", b"%d" % n) for n in range(0, 700, 2)])
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("pm:s:card:tok_1", "x")
    asked = [("card", f"tok_{n}") for n in range(700)]
    assert list(fetch_many(redis_url, asked, chunk=100)) == [b"%d" % n if n % 2 == 0 else None for n in range(700)]
    assert list(fetch_many(redis_url, [])) == []


def test_reading_in_bulk_from_nowhere_is_unavailable(own_redis: RedisServer) -> None:
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        next(fetch_many(own_redis.url, [("card", "tok_1")]))


def test_a_backfill_into_nowhere_is_unavailable(own_redis: RedisServer) -> None:
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        put_many(own_redis.url, [("card", "tok_1", GOOD)])


def test_the_first_call_finds_a_connection(redis_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        with redis.Redis.from_url(redis_url) as client:
            before = client.info("stats")["total_connections_received"]
            await asyncio.gather(store.read(CARD), store.apply("e1", UPDATES))
            assert client.info("stats")["total_connections_received"] == before

    tell(redis_url, story)


def test_the_certificate_of_a_server_is_checked(tls_url: str) -> None:
    async def stranger() -> str | None:
        store = open_store(tls_url.partition("?")[0], timeout_ms=1000)
        try:
            return await store.open()
        finally:
            await store.close()

    assert "certificate verify failed" in (asyncio.run(stranger()) or "").lower()
