"""What holds for a cluster alone: slots that move, nodes that are lost, events that were cut short."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from features.clock import DAY, SECOND
from features.entity import PAYMENT_KINDS
from features.increment import attempt_increment, result_increment
from features.layout import LAYOUTS
from features.state import View, add
from service.errors import StoreTimeout, StoreUnavailable
from service.ledger import Entry, Limit
from service.store import Applied, FeatureStore, StateKeys, Update, open_store
from service.store.base import Decided, Kept, Reservation, by_question, clustered, clustered_mark
from service.store.bulk import fetch_many, put_many
from service.store.topology import Node, Topology
from tests.servers import RedisCluster, RedisServer, free_port, opened, wait_until

START = 1_780_000_000 * SECOND


def slot_of(key: str) -> int:
    return key_slot(clustered("card", key).encode())


def card_on(cluster: RedisCluster, place: int, start: int = 0) -> str:
    """Return a card whose slot was given to a node."""
    return next(key for n in range(start, start + 999) if cluster.place_of(slot_of(key := f"tok_{n}")) == place)


def attempt(*keys: str, at: int = START) -> list[Update]:
    return [Update("card", key, attempt_increment(at, 5)) for key in keys]


async def count_of(store: FeatureStore, key: str) -> int:
    (blob,) = (await store.read(StateKeys((key,)))).payment
    return 0 if blob is None else View(LAYOUTS["card"], blob).sums[0]


def tell(url: str, story, timeout_ms: float = 5000) -> None:
    async def act() -> None:
        store = open_store(url, timeout_ms=timeout_ms)
        try:
            await opened(store)
            await story(store)
        finally:
            await store.close()

    asyncio.run(act())


def refusal(url: str) -> str:
    async def act() -> str:
        store = open_store(url, timeout_ms=1000)
        try:
            with pytest.raises(StoreUnavailable) as caught:
                await store.open()
        finally:
            await store.close()
        # A look at another node that went on would find the map gone.
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return str(caught.value)

    return asyncio.run(act())


def move(cluster: RedisCluster, slot: int, source: RedisServer, to: RedisServer) -> Iterator[str]:
    """Move a slot as a cluster's own tool does, and stop at each step."""
    with source.client() as old, to.client() as new:
        old_name, new_name = old.cluster("MYID").decode(), new.cluster("MYID").decode()
        new.cluster("SETSLOT", slot, "IMPORTING", old_name)
        old.cluster("SETSLOT", slot, "MIGRATING", new_name)
        yield "announced"
        for key in old.cluster("GETKEYSINSLOT", slot, 1000):
            old.execute_command("MIGRATE", "127.0.0.1", to.port, key, 0, 5000)
            yield "a key moved"
        yield "all keys moved"
        for client in (new, old):
            client.cluster("SETSLOT", slot, "NODE", new_name)
        yield "done"


def test_a_state_and_its_mark_share_a_slot(cluster_url: str, redis_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply("e{1}", attempt("tok}{_1"))
        key, mark = clustered("card", "tok}{_1"), clustered_mark("card", "tok}{_1", "e{1}")
        assert key_slot(key.encode()) == key_slot(mark.encode())
        node = redis_cluster.nodes[redis_cluster.place_of(key_slot(key.encode()))]
        with node.client() as client:
            assert client.exists(key, mark) == 2
            assert LAYOUTS["card"].ttl_seconds <= client.ttl(key)
            assert 7 * 86_400 - 5 <= client.ttl(mark) <= 7 * 86_400

    tell(cluster_url, story)


def test_concurrent_reads_share_an_exchange_with_each_node(cluster_url: str, redis_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(redis_cluster, place) for place in range(3)]
        await store.apply("e1", attempt(*cards))
        before = [hits(node) for node in redis_cluster.nodes]
        states = await asyncio.gather(*[store.read(StateKeys((card,))) for card in cards * 20])
        assert all(state.payment[0] is not None for state in states)
        assert [hits(node) - was for node, was in zip(redis_cluster.nodes, before, strict=True)] == [1, 1, 1]

    tell(cluster_url, story)


def hits(node: RedisServer) -> int:
    with node.client() as client:
        return client.info("stats")["keyspace_hits"]


def test_an_event_cut_short_is_completed_by_its_repeat_and_counts_once_everywhere(
    cluster_url: str, redis_cluster: RedisCluster
) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(redis_cluster, place) for place in range(3)]
        # What a fault leaves behind that struck between two nodes.
        assert await store.apply("e1", attempt(cards[0]))
        assert await store.apply("e1", attempt(*cards))
        assert [await count_of(store, card) for card in cards] == [1, 1, 1]
        assert not await store.apply("e1", attempt(*cards))
        assert [await count_of(store, card) for card in cards] == [1, 1, 1]
        assert await store.apply_many([Applied("e1", attempt(*cards)), Applied("e2", attempt(*cards))]) == [False, True]
        assert [await count_of(store, card) for card in cards] == [2, 2, 2]

    tell(cluster_url, story)


def test_a_node_that_refuses_leaves_the_others_done_and_the_repeat_completes(own_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(own_cluster, place) for place in range(3)]
        given = Decided("e1", attempt(*cards), [Kept("i:d_1", b"record", 60)])
        with own_cluster.nodes[1].client() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.decided(given)
            client.config_set("maxmemory", 0)
        assert [await count_of(store, card) for card in cards] == [1, 0, 1]
        assert (await store.decided(given)).counted
        assert [await count_of(store, card) for card in cards] == [1, 1, 1]
        assert await store.recall(["i:d_1"]) == b"record"
        assert not (await store.decided(given)).counted

    tell(own_cluster.url, story)


def test_a_slot_that_moves_while_in_use_is_followed(own_cluster: RedisCluster) -> None:
    card = card_on(own_cluster, 0)
    slot = slot_of(card)

    async def story(store: FeatureStore) -> None:
        expected = None
        steps = move(own_cluster, slot, own_cluster.nodes[0], own_cluster.nodes[2])
        applied = 0

        async def applier(number: int) -> None:
            nonlocal expected, applied
            increment = attempt_increment(START + number, number)
            assert await store.apply(f"e{number}", [Update("card", card, increment)])
            expected = add(LAYOUTS["card"], expected, increment)
            applied += 1

        for number in range(3):
            await applier(number)
        # Two keys of a slot half way between two nodes can be used by neither: those events wait for the move to end.
        waiting = []
        for number, _step in enumerate(steps, start=3):
            waiting.append(asyncio.create_task(applier(number)))
            await asyncio.sleep(0.01)
            assert (await store.read(StateKeys((card,)))).payment[0] is not None
        await asyncio.gather(*waiting)
        assert applied == 3 + len(waiting) >= 7
        for number in range(100, 120):
            await applier(number)
        assert await count_of(store, card) == applied
        assert not await store.apply("e0", attempt(card))
        with own_cluster.nodes[2].client() as client:
            assert client.get(clustered("card", card)) == expected

    tell(own_cluster.url, story)


def test_a_slot_that_moved_while_nobody_asked_is_found(own_cluster: RedisCluster) -> None:
    card = card_on(own_cluster, 1)

    async def story(store: FeatureStore) -> None:
        await store.apply("e1", attempt(card))
        assert list(move(own_cluster, slot_of(card), own_cluster.nodes[1], own_cluster.nodes[0]))[-1] == "done"
        assert await count_of(store, card) == 1
        assert list(move(own_cluster, slot_of(card), own_cluster.nodes[0], own_cluster.nodes[2]))[-1] == "done"
        assert await store.apply("e2", attempt(card))
        assert await count_of(store, card) == 2

    tell(own_cluster.url, story)


def test_a_primary_that_dies_takes_its_own_entities_alone(own_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(own_cluster, place) for place in range(3)]
        await store.apply("e1", attempt(*cards))
        own_cluster.nodes[1].kill()
        for number in range(20):
            for card in (cards[0], cards[2]):
                assert await store.apply(f"{number}{card}", attempt(card, at=START + number))
                assert await count_of(store, card) == 2 * number + 2
            with pytest.raises((StoreTimeout, StoreUnavailable)):
                await store.read(StateKeys((cards[1],)))
            # The other two count it, and say nothing of it.
            with pytest.raises((StoreTimeout, StoreUnavailable)):
                await store.apply(f"x{number}", attempt(*cards, at=START - DAY))
        assert f"127.0.0.1:{own_cluster.nodes[1].port}" in (await store.ping() or "")
        own_cluster.nodes[1].start()
        own_cluster.wait()
        await recovered(store)
        # It came back empty: nothing is on disk here. Every event is completed there and not counted again elsewhere.
        for number in range(20):
            assert await store.apply(f"x{number}", attempt(*cards, at=START - DAY))
        assert [await count_of(store, card) for card in cards] == [41, 20, 41]

    tell(own_cluster.url, story)


async def recovered(store: FeatureStore, within: float = 20) -> None:
    until = time.monotonic() + within
    while await store.ping() is not None:
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


def test_a_replica_that_takes_over_is_followed(own_cluster: RedisCluster) -> None:
    replica = own_cluster.add_replica()
    card = card_on(own_cluster, 0)

    async def story(store: FeatureStore) -> None:
        await store.apply("e1", attempt(card))
        with replica.client() as client:
            wait_until(lambda: client.cluster("COUNTKEYSINSLOT", slot_of(card)) == 2, "the replica has it")
            own_cluster.nodes[0].kill()
            client.cluster("FAILOVER", "TAKEOVER")
            wait_until(lambda: client.info("replication")["role"] == "master", "the replica is primary")
        await recovered(store)
        assert await count_of(store, card) == 1
        assert await store.apply("e2", attempt(card))
        assert await count_of(store, card) == 2
        assert not await store.apply("e1", attempt(card))

    tell(own_cluster.url, story)


def test_a_node_that_hangs_costs_no_more_than_the_timeout_and_nothing_to_the_others(own_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(own_cluster, place) for place in range(3)]
        await store.apply("e1", attempt(*cards))
        own_cluster.nodes[2].pause()
        try:
            for number in range(5):
                with pytest.raises(StoreTimeout):
                    await store.read(StateKeys((cards[2],)))
                assert await store.apply(f"a{number}", attempt(cards[0]))
                assert await count_of(store, cards[1]) == 1
            assert await store.ping() is not None
        finally:
            own_cluster.nodes[2].resume()
        await recovered(store)
        assert await count_of(store, cards[2]) == 1

    tell(own_cluster.url, story, timeout_ms=100)


def test_a_cluster_that_is_down_at_the_start_is_reported_and_used_later() -> None:
    cluster = RedisCluster()

    async def act() -> None:
        store = open_store(cluster.url, timeout_ms=2000)
        try:
            assert f"{cluster.url} cannot be reached yet" in (await store.open() or "")
            with pytest.raises(StoreUnavailable):
                await store.read(StateKeys(("tok_1",)))
            assert await store.ping() is not None
            cluster.start(settled=True)
            await recovered(store)
            assert await store.apply("e1", attempt("tok_1"))
        finally:
            await store.close()

    try:
        asyncio.run(act())
    finally:
        cluster.stop()


def test_one_seed_of_many_is_enough(redis_cluster: RedisCluster, cluster_url: str) -> None:
    cards = [card_on(redis_cluster, place) for place in range(3)]
    url = f"cluster://127.0.0.1:{free_port()},127.0.0.1:{redis_cluster.nodes[1].port}"

    async def story(store: FeatureStore) -> None:
        assert await store.apply("e1", attempt(*cards))
        assert [await count_of(store, card) for card in cards] == [1, 1, 1]

    tell(url, story)


def test_rights_that_are_missing_on_any_node_are_named_at_the_start(own_cluster: RedisCluster) -> None:
    least = [
        "+mget",
        "+get",
        "+set",
        "+del",
        "+getrange",
        "+setrange",
        "+eval",
        "+evalsha",
        "+asking",
        "+cluster|slots",
    ]
    sorts = {"least": ["pm:*", least], "noscripts": ["*", ["+@all", "-@scripting"]], "nokeys": ["x:*", ["+@all"]]}
    sorts |= {"nomap": ["pm:*", least[:-1]], "nodeletions": ["pm:*", ["+@all", "-del"]]}
    for place, node in enumerate(own_cluster.nodes):
        with node.client() as client:
            for name, (keys, commands) in sorts.items():
                # Only the last node withholds something.
                allowed = ["+@all"] if place < 2 and name != "nomap" else commands
                client.acl_setuser(name, enabled=True, passwords=["+s3cret"], keys=[keys], commands=allowed)
            client.script_flush()
    hosts = own_cluster.url.removeprefix("cluster://")
    for user, expected in (
        ("noscripts", "scripts (EVAL)"),
        ("nokeys", "on keys pm:*"),
        ("nomap", "cluster|slots"),
        ("nodeletions", "deletions"),
    ):
        told = refusal(f"cluster://{user}:s3cret@{hosts}")
        assert expected in told
        assert "s3cret" not in told
    told = refusal(f"cluster://least:wr0ng@{hosts}")
    assert "refuses these credentials" in told
    assert "wr0ng" not in told

    async def story(store: FeatureStore) -> None:
        cards = [card_on(own_cluster, place) for place in range(3)]
        for number in range(3):
            increment = result_increment(START - number * DAY, "declined")
            assert await store.apply(f"e{number}", [Update("card", card, increment) for card in cards])
        assert (await store.read(StateKeys((cards[2],)))).payment[0] is not None
        question = by_question("auth", "p_1", 1)
        for most in (0, 1):
            given = Reservation("visa:c:3:m_1tok_1", Entry(START, 1, 5), (Limit(DAY, most),))
            found = await store.decided(Decided("d", attempt(*cards), (), Kept(question, b"yes", 60), given))
            assert found.refused == (most == 0)

    tell(f"cluster://least:s3cret@{hosts}", story)
    # The others are looked at until the last has said its word, or has none.
    own_cluster.nodes[0].pause()
    try:
        told = refusal(f"cluster://nokeys:s3cret@{','.join(reversed(hosts.split(',')))}")
    finally:
        own_cluster.nodes[0].resume()
    assert "on keys pm:*" in told


def test_a_node_that_serves_no_slot_has_no_keys_to_be_tried_with() -> None:
    def make(host: str, port: int) -> Node:
        return Node(host, port, lambda: pytest.fail("connected"), timeout=1, most_keys=1, most_commands=1)

    topology = Topology([], make)
    assert topology.tag_of(topology.node("127.0.0.1", 1)) is None


def test_a_single_server_is_refused_in_words(redis_url: str) -> None:
    told = refusal(redis_url.replace("redis://", "cluster://").removesuffix("/0"))
    assert "a Redis in cluster mode is expected" in told
    assert "name it redis://" in told


def test_nodes_that_forgot_the_script_are_told_it_again(cluster_url: str, redis_cluster: RedisCluster) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(redis_cluster, place, start) for place in range(3) for start in (0, 1000)]
        for number in range(2):
            for node in redis_cluster.nodes:
                with node.client() as client:
                    client.script_flush()
            assert await store.apply(f"e{number}", attempt(*cards))
        assert [await count_of(store, card) for card in cards] == [2] * 6

    tell(cluster_url, story)


def test_a_closed_store_refuses_and_leaves_nothing_open(redis_cluster: RedisCluster, cluster_url: str) -> None:
    async def story(store: FeatureStore) -> None:
        cards = [card_on(redis_cluster, place) for place in range(3)]
        under_way = [asyncio.create_task(store.apply(f"e{n}", attempt(*cards))) for n in range(20)]
        await asyncio.sleep(0)
        await store.close()
        for task in under_way:
            with pytest.raises(StoreUnavailable):
                await task
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.read(StateKeys((cards[0],)))

    tell(cluster_url, story)


def test_states_are_written_and_read_in_bulk(cluster_url: str) -> None:
    items = [(kind, f"{kind}_{n}", f"{kind}{n}".encode()) for kind in PAYMENT_KINDS for n in range(100)]
    assert put_many(cluster_url, items, chunk=150) == 700
    asked = [(kind, key) for kind, key, _ in items]
    assert list(fetch_many(cluster_url, [*asked, ("card", "nobody")], chunk=150)) == [*[b for *_, b in items], None]

    async def story(store: FeatureStore) -> None:
        assert (await store.read(StateKeys(("card_7",)))).payment == (b"card7",)

    tell(cluster_url, story)
    client = redis.RedisCluster.from_url(cluster_url.split(",")[0].replace("cluster", "redis"))
    try:
        client.rpush(clustered("card", "list"), "x")
    finally:
        client.close()
    assert list(fetch_many(cluster_url, [("card", "list"), asked[0]])) == [None, b"card0"]


def test_bulk_work_with_nobody_there_is_unavailable() -> None:
    nowhere = f"cluster://127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnavailable):
        put_many(nowhere, [("card", "tok_1", b"x")])
    with pytest.raises(StoreUnavailable):
        next(fetch_many(nowhere, [("card", "tok_1")]))


def test_a_cluster_speaks_tls(certificate: Path) -> None:
    cluster = RedisCluster(certificate)
    url = f"{cluster.url}?ssl_ca_certs={certificate}"
    assert url.startswith("clusters://")
    try:
        cluster.start()

        async def story(store: FeatureStore) -> None:
            cards = [card_on(cluster, place) for place in range(3)]
            assert await store.apply("e1", attempt(*cards))
            assert [await count_of(store, card) for card in cards] == [1, 1, 1]

        tell(url, story)
        assert put_many(url, [("card", f"tok_{n}", b"x") for n in range(9)]) == 9
        assert list(fetch_many(url, [("card", "tok_8")])) == [b"x"]
    finally:
        cluster.stop()
