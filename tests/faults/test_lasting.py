"""What is answered with while the store is away, and how often it is asked meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from service.errors import StoreError, StoreTimeout, StoreUnavailable
from service.ledger import entries
from service.store.base import Applied, Claim, Decided, Kept, StateKeys, States
from service.store.breaker import TRIP_SECONDS, Breaker
from service.store.known import MOST_ANSWERS, SHARED_SECONDS, LastKnown
from service.store.lasting import LastingStore
from service.store.memory import MemoryStore
from tests.faults.parts import counted, lasting, until
from tests.parts import auth, retry, soon


class Away(MemoryStore):
    """A store that can be told to fail, and counts how often it is asked."""

    fault: StoreError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def _fail(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        self._fail()
        return await super().read(keys, deadline=deadline)

    async def recall(self, keys: Any, *, deadline: float | None = None) -> bytes | None:
        self._fail()
        return await super().recall(keys, deadline=deadline)

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        self._fail()
        return await super().decided(decided, deadline=deadline)

    async def apply_many(self, batch: Any, *, deadline: float | None = None) -> list[bool]:
        self._fail()
        return await super().apply_many(batch, deadline=deadline)

    async def apply(self, event_id: str, updates: Any, *, deadline: float | None = None) -> bool:
        return (await self.apply_many([Applied(event_id, updates)]))[0]

    async def remember(self, *given: Any, **options: Any) -> None:
        self._fail()
        await super().remember(*given, **options)


def keys(number: int, processor: str = "atlas") -> StateKeys:
    payment = (f"card{number}", f"customer{number}", None, "shop", f"4:shopcard{number}", "411111", "DE")
    candidates = ((processor, f"{processor}|411111", f"{processor}|DE"),)
    return StateKeys(payment, candidates, f"a:1:p{number}", ("g1", "g2", "g3"), f"ledger{number}", f"auth:1:p{number}")


def states(mark: bytes) -> States:
    payment = tuple(mark + kind.encode() for kind in PAYMENT_KINDS)
    candidates = (tuple(mark + kind.encode() for kind in CANDIDATE_KINDS),)
    return States(payment, candidates, b"a record", (mark + b"1", mark + b"2", mark + b"3"), mark + b"ledger", None)


def test_what_was_read_last_is_known() -> None:
    known, now = LastKnown(1_000, 60.0), time.monotonic()
    assert known.states(keys(1), now) is None
    known.remember(keys(1), states(b"old "), now)
    known.remember(keys(1), states(b"new "), now + SHARED_SECONDS)
    found = known.states(keys(1), now + 1)
    assert found is not None
    # Not the device, which the payment did not name, and never the record: it is of this very attempt.
    expected = list(states(b"new ").payment)
    expected[2] = None
    assert found.payment == tuple(expected)
    assert found._replace(payment=()) == states(b"new ")._replace(payment=(), record=None)
    # Another card of the shop: what both have in common.
    other = known.states(keys(2), now + 1)
    assert other is not None
    assert other.payment == (None, None, None, b"new merchant", None, b"new bin", b"new issuer")
    assert other.ledger is None
    assert known.states(StateKeys(("stranger", None, None, "elsewhere", "x", None, "FR")), now) is None


def test_what_is_known_has_an_end_in_age_and_in_number() -> None:
    known, now = LastKnown(1_000, 60.0), time.monotonic()
    known.remember(keys(1), states(b""), now)
    assert known.states(keys(1), now + 59) is not None
    assert known.states(keys(1), now + 61) is None
    for number in range(20_000):
        known.remember(keys(number), states(b""), now + number * SHARED_SECONDS / 10)
        assert len(known) < 1_000 + 200
    assert known.states(keys(19_999), now + 20) is not None
    found = known.states(keys(1), now + 20)
    assert found is not None
    assert (found.payment[0], found.payment[3]) == (None, b"merchant")
    nothing = LastKnown(0, 60.0)
    nothing.remember(keys(1), states(b""), now)
    assert nothing.states(keys(1), now) is None


def test_the_answers_that_are_remembered_have_an_end() -> None:
    known = LastKnown(1_000, 60.0)
    for number in range(MOST_ANSWERS + 10):
        known.answered(f"auth:1:p{number}", b"%d" % number)
    assert known.answer("auth:1:p9") is None
    assert known.answer("auth:1:p10") == b"10"
    assert known.answer(None) is None


def test_a_breaker_opens_after_a_stretch_of_failures_and_its_own_probe_closes_it() -> None:
    async def story() -> None:
        probes: list[StoreError | None] = [StoreTimeout(10.0), StoreUnavailable("gone"), None]

        async def probe() -> None:
            if (failure := probes.pop(0)) is not None:
                raise failure

        breaker = Breaker("calls", probe, least_ms=5.0)
        for _ in range(50):
            breaker.failed(StoreTimeout(10.0))
        assert breaker.refusal is None  # all at once: one exchange that was late
        await asyncio.sleep(TRIP_SECONDS)
        for _ in range(50):
            breaker.failed(StoreTimeout(1.0))
        assert breaker.refusal is None  # who grants little time says nothing of the store
        breaker.failed(StoreTimeout(10.0))
        refused = breaker.refused()
        assert isinstance(refused, StoreTimeout)
        assert refused.after_ms == 10.0
        breaker.succeeded()
        assert breaker.refusal is not None  # a straggler does not close it
        await until(lambda: len(probes) == 1)
        assert str(breaker.refused()) == "the store is unavailable: gone"
        await until(lambda: breaker.refusal is None)
        assert breaker.untroubled
        breaker.failed(StoreTimeout(10.0))
        breaker.succeeded()
        assert breaker.untroubled
        await breaker.close()
        await breaker.close()

    asyncio.run(story())


CALLS: dict[str, Callable[[LastingStore], Awaitable[Any]]] = {
    "read": lambda store: store.read(keys(1)),
    "recall": lambda store: store.recall(["a:1:p"]),
    "claim": lambda store: store.decided(Decided(None, answer=Kept("q", b"a", 9)), deadline=soon()),
    "late": lambda store: store.decided(Decided(None, answer=Kept("q", b"a", 9))),
    "again": lambda store: store.again(Decided(None, answer=Kept("q", b"a", 9))),
    "apply": lambda store: store.apply("e", ()),
    "remember": lambda store: store.remember(["a:1:p"], b"r", 9),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [StoreTimeout(10.0), StoreUnavailable("READONLY")])
def test_a_store_that_fails_is_left_alone_and_found_again(call: str, fault: StoreError) -> None:
    async def story() -> None:
        inner = Away()
        store = LastingStore(inner, timeout_ms=10.0)
        ask = CALLS[call]
        await ask(store)
        assert (store.is_well, store.missed_at, await store.ping()) == (True, None, None)
        inner.fault = fault

        async def refused() -> None:
            with pytest.raises(type(fault)) as told:
                await ask(store)
            assert str(told.value) == str(fault)

        async with asyncio.timeout(30):
            while store.is_well:
                await refused()
                await asyncio.sleep(0.005)
        assert "does not answer in time" in str(await store.ping())
        asked = inner.asked
        for _ in range(1_000):
            await refused()
        # At most a probe or two came between.
        assert inner.asked - asked < 50
        # Whether something is to be written later: a read misses nothing.
        assert (store.missed_at is None) == (call == "read")
        inner.fault = None
        await until(lambda: store.is_well)
        await ask(store)
        await store.close()

    asyncio.run(story())


def test_a_decision_is_made_of_what_was_last_known_and_says_so(bundle_shelf: Path, tmp_path: Path) -> None:
    async def story() -> None:
        inner = Away()
        async with lasting(bundle_shelf, tmp_path, inner, timeout_ms=10.0) as parts:
            for number in range(5):
                await parts.decide.auth(auth(payment_id=f"seen_{number}"), deadline=soon())
                await asyncio.sleep(SHARED_SECONDS)
            inner.fault = StoreTimeout(10.0)
            known = await parts.decide.auth(auth(payment_id="known"), deadline=soon())
            assert known.degraded == ("features:store_timeout", "features:last_known", "ledger:store_timeout")
            event = await parts.journal.find(known.decision_id)
            assert event is not None
            assert event.inputs is not None
            # The attempts of the card that were read last: all but the one that was counted after that.
            assert len(entries(event.inputs.ledger)) == 4
            again = await parts.decide.retry(retry("atlas", "91", payment_id="seen_1"), deadline=soon())
            assert again.degraded[:2] == ("features:store_timeout", "features:last_known")
            # Nothing is known of this payment but its processors; with none, nothing at all.
            strange = {"card_token": "s", "merchant_id": "s", "card_bin": None, "issuer_country": "ZA"}
            answer = await parts.decide.auth(auth(payment_id="s1", **strange), deadline=soon())
            assert answer.degraded[:2] == ("features:store_timeout", "features:last_known")
            answer = await parts.decide.auth(auth(payment_id="s2", processors=("new",), **strange), deadline=soon())
            assert answer.degraded[0] == "features:store_timeout"

    asyncio.run(story())


def test_answers_go_on_while_the_store_is_refused_and_are_whole_when_it_is_back(
    bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        inner = Away()
        async with lasting(bundle_shelf, tmp_path, inner, timeout_ms=10.0) as parts:
            number = 0

            async def codes() -> tuple[str, ...]:
                nonlocal number
                number += 1
                answer = await parts.decide.auth(auth(payment_id=f"p{number}"), deadline=soon())
                await asyncio.sleep(0.005)
                return answer.degraded

            assert await codes() == ()
            inner.fault = StoreTimeout(10.0)
            async with asyncio.timeout(30):
                while not {"reads", "claims", "behind"} <= set(parts.store.refusing):
                    assert (await codes())[0] == "features:store_timeout"
            # Refused with the error that the last real call had.
            assert await codes() == ("features:store_timeout", "features:last_known", "ledger:store_timeout")
            inner.fault = None
            async with asyncio.timeout(30):
                while await codes():
                    pass
            await until(lambda: parts.work.is_clean)
            assert (await counted(parts.store, "merchant", "shop_1"))["attempts"] == number

    asyncio.run(story())


def test_attempts_that_the_store_did_not_take_are_known_to_the_next_question(
    bundle_shelf: Path, tmp_path: Path
) -> None:
    """A card that is tried again and again while the store is away is no card that was never seen."""

    async def story() -> None:
        inner = Away()
        async with lasting(bundle_shelf, tmp_path, inner, timeout_ms=10.0) as parts:
            await parts.decide.auth(auth(payment_id="first"), deadline=soon())
            inner.fault = StoreUnavailable("gone")
            for number in range(4):
                await parts.decide.auth(auth(payment_id=f"again_{number}"), deadline=soon())
                await parts.decide.settle()
            event = await parts.journal.find_attempt("again_3", 1)
            assert event is not None
            assert event.inputs is not None
            # Those before it: three, and the first one if its own read had not been remembered before it was counted.
            assert len({entry.attempt for entry in entries(event.inputs.ledger)}) >= 3

    asyncio.run(story())
