"""What holds for a cluster alone of answers, ledgers and standings: each in a slot of its own, step by step."""

import asyncio
import itertools

import pytest
from redis.crc import key_slot

from features.clock import DAY, SECOND
from features.increment import attempt_increment
from features.layout import LAYOUTS
from features.state import View
from service import ledger, standing
from service.errors import StoreTimeout, StoreUnavailable
from service.ledger import FAILED, Entry, Limit
from service.standing import Note
from service.store import Applied, FeatureStore, StateKeys, Update, open_store
from service.store.base import (
    ANSWER,
    LEDGER,
    RECORD,
    STANDING,
    Claim,
    Decided,
    Kept,
    LedgerMove,
    Reservation,
    StandingUpdate,
    clustered,
    clustered_lock,
    clustered_mark,
)
from tests.servers import RedisCluster, RedisServer

START = 1_780_000_000 * SECOND
ENTRY = Entry(START, 1, 5)
NOTE = Note(START, approved=True, expected=0.5, latency_ms=80, amount_minor=5)


def on(cluster: RedisCluster, place: int, kind: str, start: int = 0) -> str:
    """Return a key of a kind whose slot was given to a node."""
    names = (f"k{{{n}}}_{n}" for n in itertools.count(start))
    return next(key for key in names if cluster.place_of(key_slot(clustered(kind, key).encode())) == place)


def attempt(card: str) -> list[Update]:
    return [Update("card", card, attempt_increment(START, 5))]


def tell(url: str, story, timeout_ms: float = 5000) -> None:
    async def act() -> None:
        store = open_store(url, timeout_ms=timeout_ms)
        try:
            assert await store.open() is None
            await story(store)
        finally:
            await store.close()

    asyncio.run(act())


def exists(cluster: RedisCluster, name: str) -> bool:
    with cluster.nodes[cluster.place_of(key_slot(name.encode()))].client() as client:
        return bool(client.exists(name))


async def attempts_of(store: FeatureStore, card: str) -> int:
    (blob,) = (await store.read(StateKeys((card,)))).payment
    return 0 if blob is None else View(LAYOUTS["card"], blob).sums[0]


def test_each_thing_shares_its_slot_with_its_marks(cluster_url: str, redis_cluster: RedisCluster) -> None:
    odd = "a}{b"

    async def story(store: FeatureStore) -> None:
        answer, reservation = Kept(odd, b"yes", 60), Reservation(odd, ENTRY, (Limit(DAY, 1),))
        assert (await store.decided(Decided("e", attempt(odd), [Kept(odd, b"r", 60)], answer, reservation))).counted
        failed = LedgerMove(odd, 1, ENTRY._replace(status=FAILED))
        await store.apply_many([Applied("o", (), [StandingUpdate(odd, NOTE)], failed, [Kept(odd, b"s", 60)])])
        states = await store.read(StateKeys((odd,), (), odd, (odd,), odd, odd))
        assert (states.record, states.answer) == (b"s", b"yes")
        assert states.ledger == ledger.pack([ENTRY._replace(status=FAILED)])
        assert states.standings == (standing.add(None, NOTE),)

    tell(cluster_url, story)
    for kind, event in ((RECORD, "o"), (LEDGER, "o"), (STANDING, "o"), ("card", "e")):
        name, mark = clustered(kind, odd), clustered_mark(kind, odd, event)
        assert key_slot(name.encode()) == key_slot(mark.encode())
        assert exists(redis_cluster, name), kind
        assert exists(redis_cluster, mark), kind
    answer, lock = clustered(ANSWER, odd), clustered_lock(odd)
    assert key_slot(answer.encode()) == key_slot(lock.encode())
    assert exists(redis_cluster, answer)


def test_an_outcome_cut_short_is_completed_by_its_repeat_and_moves_each_thing_once(
    cluster_url: str, redis_cluster: RedisCluster
) -> None:
    async def story(store: FeatureStore) -> None:
        # A result taken back and its better one are two notes for one standing.
        notes = [StandingUpdate("p:north", note) for note in (NOTE._replace(sign=-1), NOTE, NOTE)]
        failed = ENTRY._replace(status=FAILED)
        whole = Applied("o", attempt("tok_1"), notes, LedgerMove("l", 1, failed), [Kept("i:d", b"first", 60)])
        # What a fault leaves behind that struck in between.
        assert await store.apply_many([Applied("o", standings=notes)]) == [True]
        assert await store.apply_many([whole._replace(records=())]) == [True]
        assert await store.apply_many([whole]) == [True]
        asked = StateKeys(("tok_1",), (), "i:d", ("p:north",), "l")
        states = await store.read(asked)
        assert states.record == b"first"
        assert states.ledger == ledger.pack([failed])
        sums = standing.read(states.standings[0], START)
        assert sums is not None
        assert sums.values[0] == 1.0
        assert await attempts_of(store, "tok_1") == 1
        # A later event writes the record; a repeat of the first does not write over it.
        await store.apply_many([Applied("o2", records=[Kept("i:d", b"second", 60)])])
        again = whole._replace(ledger=LedgerMove("l", 1, ENTRY._replace(at=START + 9, status=FAILED)))
        assert await store.apply_many([again]) == [False]
        assert await store.read(asked) == states._replace(record=b"second")

    tell(cluster_url, story)


class refusing:
    """A node that takes no writes meanwhile."""

    def __init__(self, node: RedisServer) -> None:
        self.client = node.client()

    def __enter__(self) -> None:
        self.client.config_set("maxmemory", 1)

    def __exit__(self, *_: object) -> None:
        self.client.config_set("maxmemory", 0)
        self.client.close()


def test_a_ledger_that_takes_nothing_keeps_the_answer_from_everybody(own_cluster: RedisCluster) -> None:
    question, key = on(own_cluster, 0, ANSWER), on(own_cluster, 1, LEDGER)
    given = Decided("e", attempt("tok_1"), (), Kept(question, b"yes", 60), Reservation(key, ENTRY, ()))

    async def story(store: FeatureStore) -> None:
        with refusing(own_cluster.nodes[1]), pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.decided(given)
        states = await store.read(StateKeys(ledger=key, answer=question))
        assert (states.ledger, states.answer) == (None, None)
        assert not exists(own_cluster, clustered_lock(question))
        assert await store.decided(given) == Claim(counted=True, ledger=ledger.pack([ENTRY]))
        assert await attempts_of(store, "tok_1") == 1

    tell(own_cluster.url, story)


def test_an_entity_that_takes_nothing_leaves_an_answer_that_is_reserved(own_cluster: RedisCluster) -> None:
    question, key, card = on(own_cluster, 0, ANSWER), on(own_cluster, 1, LEDGER), on(own_cluster, 2, "card")
    given = Decided("e", attempt(card), (), Kept(question, b"yes", 60), Reservation(key, ENTRY, ()))

    async def story(store: FeatureStore) -> None:
        with refusing(own_cluster.nodes[2]), pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.decided(given)
        # Asked again it is answered so; the attempt counts with its outcome, under the same event.
        assert await store.decided(given) == Claim(answer=b"yes")
        assert (await store.read(StateKeys(ledger=key))).ledger == ledger.pack([ENTRY])
        assert await attempts_of(store, card) == 0
        assert await store.apply("e", attempt(card))
        assert await attempts_of(store, card) == 1

    tell(own_cluster.url, story)


def test_a_lock_that_nobody_gives_back_ends_by_itself(cluster_url: str, redis_cluster: RedisCluster) -> None:
    given = Decided(None, answer=Kept("q", b"yes", 60))
    lock = clustered_lock("q")

    async def story(store: FeatureStore) -> None:
        with redis_cluster.nodes[redis_cluster.place_of(key_slot(lock.encode()))].client() as client:
            client.set(lock, b"1")
            with pytest.raises(StoreTimeout):
                await store.decided(given)
            client.pexpire(lock, 30)
            assert await store.decided(given) == Claim()
            assert (await store.read(StateKeys(answer="q"))).answer == b"yes"
            # Whoever held it when it answered needs it no more: it lasts twice as long as that may take.
            assert 0 < client.pttl(lock) <= 800

    tell(cluster_url, story, timeout_ms=400)


def test_whoever_is_so_late_that_another_has_answered_is_told_that_answer(own_cluster: RedisCluster) -> None:
    question, key, card = on(own_cluster, 0, ANSWER), on(own_cluster, 1, LEDGER), on(own_cluster, 2, "card")
    lock = clustered_lock(question)

    async def story(store: FeatureStore) -> None:
        own_cluster.nodes[1].pause()
        given = Decided("e", attempt(card), (), Kept(question, b"late", 60), Reservation(key, ENTRY, ()))
        late = asyncio.create_task(store.decided(given))
        while not exists(own_cluster, lock):
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(store.decided(Decided("e", attempt(card), (), Kept(question, b"first", 60))))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        with own_cluster.nodes[0].client() as client:
            client.delete(lock)
        assert await waiting == Claim(counted=True)
        own_cluster.nodes[1].resume()
        assert await late == Claim(answer=b"first")
        assert await attempts_of(store, card) == 1
        # Its reservation stays: nobody knows that it was not sent.
        assert (await store.read(StateKeys(ledger=key))).ledger == ledger.pack([ENTRY])

    tell(own_cluster.url, story, timeout_ms=20_000)
