"""Many services at once, each with connections of its own, on one real Redis and on a real cluster."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from features.clock import DAY, SECOND
from features.increment import attempt_increment
from features.layout import LAYOUTS
from features.state import View
from service.ledger import FAILED, Entry, Limit, attempt_id, entries
from service.store import Applied, FeatureStore, StateKeys, Update, open_store
from service.store.base import Claim, Decided, Kept, LedgerMove, Reservation, by_question

START = 1_780_000_000 * SECOND
LEDGER = "visa:c:3:m_1tok_1"
THREADS, EACH = 4, 16
CLIENTS = THREADS * EACH
MOST = 15
LIMITS = (Limit(30 * DAY, MOST), Limit(DAY, MOST + 1, 500))


@pytest.fixture(params=["redis_url", "cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


async def with_store(url: str, story) -> object:
    store = open_store(url, timeout_ms=20_000)
    try:
        assert await store.open() is None
        return await story(store)
    finally:
        await store.close()


def race(url: str, act: Callable[[FeatureStore, int], object]) -> list:
    """Let as many stores act at once, in threads with a loop each; return what came of it, by number."""
    start = Barrier(THREADS, timeout=60)

    def run(thread: int) -> list:
        async def together() -> list:
            stores = [open_store(url, timeout_ms=20_000) for _ in range(EACH)]
            try:
                assert [await store.open() for store in stores] == [None] * EACH
                start.wait()
                numbered = enumerate(stores, start=thread * EACH)
                return list(await asyncio.gather(*[act(store, number) for number, store in numbered]))
            finally:
                for store in stores:
                    await store.close()

        return asyncio.run(together())

    with ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(run, range(THREADS)) for result in results]


def read(url: str, keys: StateKeys) -> object:
    return asyncio.run(with_store(url, lambda store: store.read(keys)))


def entry(number: int) -> Entry:
    return Entry(START + number, attempt_id(f"p_{number}", 1), 500)


def question(number: int) -> str:
    return by_question("auth", f"p_{number}", 1)


def decision(number: int, answer: bytes) -> Decided:
    return Decided(
        f"e{number}",
        [Update("card", "tok_1", attempt_increment(START, 5))],
        [Kept(f"a:1:p_{number}", answer, 60)],
        Kept(question(number), answer, 60),
        Reservation(LEDGER, entry(number), LIMITS),
    )


def test_exactly_as_many_attempts_are_reserved_as_the_limit_allows(url: str) -> None:
    async def act(store: FeatureStore, number: int) -> Claim:
        return await store.decided(decision(number, b"%d" % number))

    claims: Sequence[Claim] = race(url, act)
    reserved = [number for number, claim in enumerate(claims) if not claim.refused]
    assert len(reserved) == MOST
    states = read(url, StateKeys(("tok_1",), ledger=LEDGER))
    assert [each.attempt for each in entries(states.ledger)] == [entry(number).attempt for number in reserved]
    for number, claim in enumerate(claims):
        if claim.refused:
            # It is told the ledger as it is: full.
            assert claim == Claim(refused=True, ledger=states.ledger)
        else:
            assert claim.counted
            assert entry(number) in entries(claim.ledger)
    assert View(LAYOUTS["card"], states.payment[0]).sums[0] == MOST


def test_one_question_has_one_answer_whoever_asks(url: str) -> None:
    async def act(store: FeatureStore, number: int) -> Claim:
        given = decision(0, b"%d" % number)
        # Each would send it a little later.
        moved = given.reservation._replace(entry=entry(0)._replace(at=START + number))
        return await store.decided(given._replace(reservation=moved))

    claims: Sequence[Claim] = race(url, act)
    first = [number for number, claim in enumerate(claims) if claim.answer is None]
    assert len(first) == 1
    assert claims[first[0]].counted
    answer = b"%d" % first[0]
    assert {claim.answer for claim in claims if claim.answer is not None} == {answer}
    states = read(url, StateKeys(("tok_1",), record="a:1:p_0", ledger=LEDGER, answer=question(0)))
    assert (states.answer, states.record) == (answer, answer)
    assert entries(states.ledger) == (entry(0)._replace(at=START + first[0]),)
    assert View(LAYOUTS["card"], states.payment[0]).sums[0] == 1


def test_no_answer_is_told_whose_reservation_was_refused(url: str) -> None:
    async def act(store: FeatureStore, number: int) -> list[Claim]:
        # Every question is asked by two, and by each again.
        given = decision(number // 2, b"%d" % number)
        return [await store.decided(given) for _ in range(2)]

    claims: Sequence[list[Claim]] = race(url, act)
    states = read(url, StateKeys(("tok_1",), ledger=LEDGER))
    reserved = {each.attempt for each in entries(states.ledger)}
    assert len(reserved) == MOST
    for asked in range(CLIENTS // 2):
        own = [*claims[2 * asked], *claims[2 * asked + 1]]
        answer = read(url, StateKeys(answer=question(asked))).answer
        if entry(asked).attempt in reserved:
            assert answer in (b"%d" % (2 * asked), b"%d" % (2 * asked + 1))
            assert sorted(claim.answer or b"" for claim in own) == [b"", *[answer] * 3]
            assert not any(claim.refused for claim in own)
        else:
            assert answer is None
            assert all(claim.refused for claim in own)
    assert View(LAYOUTS["card"], states.payment[0]).sums[0] == MOST


def test_a_limit_holds_while_attempts_are_released_and_fail(url: str) -> None:
    async def act(store: FeatureStore, number: int) -> list[bool]:
        reserved = []
        for turn in range(4):
            one = Entry(START + turn, attempt_id(f"p_{number}", turn), 500)
            claim = await store.decided(Decided(None, reservation=Reservation(LEDGER, one, LIMITS)))
            reserved.append(not claim.refused)
            assert len(entries(claim.ledger)) <= MOST
            if not claim.refused:
                # Every second was not sent, every other has failed; either is reported twice.
                ended = None if number % 2 else one._replace(status=FAILED)
                event = Applied(f"o{number}:{turn}", ledger=LedgerMove(LEDGER, one.attempt, ended))
                assert await store.apply_many([event, event]) == [True, False]
        return reserved

    outcomes = race(url, act)
    failed = sum(sum(reserved) for number, reserved in enumerate(outcomes) if number % 2 == 0)
    left = entries(read(url, StateKeys(ledger=LEDGER)).ledger)
    assert len(left) == failed <= MOST
    assert all(each.status == FAILED for each in left)
