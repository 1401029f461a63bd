"""What the store missed is written to it later, once: after a fault, after a restart, after a crash, twice over."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from contracts.outcome import Outcome
from service.journal import LogJournal
from service.mark import Mark
from service.store.base import by_attempt, by_decision
from tests.faults.parts import Lasting, counted, lasting, until
from tests.parts import auth, soon
from tests.servers import RedisServer


def approved(payment: str) -> Outcome:
    return Outcome(payment_id=payment, kind="authorisation", status="approved", latency_ms=300)


async def traffic(parts: Lasting, name: str, count: int = 6) -> int:
    """Ask about payments of one merchant and report their results; return how many were sent."""
    sent = 0
    for number in range(count):
        answer = await parts.decide.auth(auth(payment_id=f"{name}_{number}", card_token=f"c{number}"), deadline=soon())
        assert answer.processor is not None
        sent += 1
        receipt = await parts.learn.report([approved(f"{name}_{number}")])
        assert receipt.results[0] in {"applied", "kept"}
    return sent


def stop(server: RedisServer, fault: str) -> None:
    (server.pause if fault == "pause" else server.kill)()


def back(server: RedisServer, fault: str) -> None:
    (server.resume if fault == "pause" else server.start)()


@pytest.mark.parametrize("fault", ["pause", "kill"])
def test_what_was_missed_is_written_once_when_the_store_is_back(
    fault: str, own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            await until(lambda: parts.work.is_clean)
            before = await traffic(parts, "before")
            stop(own_redis, fault)
            missed = await traffic(parts, "missed")
            assert parts.store.missed_at is not None
            assert not parts.work.is_clean
            back(own_redis, fault)
            await until(lambda: parts.work.is_clean)
            after = await traffic(parts, "after")
            shop = await counted(parts.store, "merchant", "shop_1")
            # An emptied server has lost what it had, but for the last seconds, which are written again.
            assert shop["attempts"] == shop["approved"] == before + missed + after
            # A frozen server does what it was sent when it goes on: then there is nothing left to do.
            assert parts.work.written["decision"] >= (missed if fault == "kill" else 0)
            # A record that was missed is there, under both of its names.
            for key in (by_attempt("missed_0", 1),):
                assert await parts.store.recall([key]) is not None
            assert await parts.store.ping() is None

    asyncio.run(story())


def test_what_was_missed_before_a_crash_is_written_by_the_next_process(
    own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def first() -> int:
        async with lasting(bundle_shelf, tmp_path, own_redis.url, catch_up=False) as parts:
            before = await traffic(parts, "before")
            own_redis.pause()
            missed = await traffic(parts, "missed")
            return before + missed

    async def second(expected: int) -> None:
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            await until(lambda: parts.work.is_clean)
            assert await counted(parts.store, "merchant", "shop_1") == {
                "attempts": expected,
                "amount_minor": 4990 * expected,
                "results": expected,
                "approved": expected,
            }

    sent = asyncio.run(first())
    own_redis.resume()
    asyncio.run(second(sent))
    mark = Mark(tmp_path)
    assert mark.load() == 2 * sent
    # A mark that was lost, or never written before a crash: all of it again, and nothing counts twice.
    mark.save(0)
    asyncio.run(second(sent))
    (tmp_path / "applied.0").write_bytes(b"{")
    asyncio.run(second(sent))
    (tmp_path / "applied.0").unlink()
    asyncio.run(second(sent))
    assert mark.load() == 2 * sent


def test_the_last_seconds_are_written_again_to_a_server_that_lost_them(
    own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    """A failover, or a server whose own log was a second behind: it had acknowledged what it does not have."""

    async def story() -> None:
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            await until(lambda: parts.work.is_clean)
            sent = await traffic(parts, "acknowledged")
            assert parts.store.missed_at is None
            own_redis.kill()
            answer = await parts.decide.auth(auth(payment_id="during"), deadline=soon())
            assert answer.degraded[-1].startswith("ledger:")
            own_redis.start()
            await until(lambda: parts.work.is_clean)
            shop = await counted(parts.store, "merchant", "shop_1")
            assert (shop["attempts"], shop["approved"]) == (sent + 1, sent)

    asyncio.run(story())


def test_an_answer_given_while_the_store_was_away_is_given_again_at_once_and_later(
    own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            await until(lambda: parts.work.is_clean)
            earlier = await parts.decide.auth(auth(payment_id="earlier"), deadline=soon())
            own_redis.kill()
            given = await parts.decide.auth(auth(), deadline=soon())
            assert given.degraded
            assert await parts.decide.auth(auth(), deadline=soon()) == given
            assert await parts.decide.auth(auth(payment_id="earlier"), deadline=soon()) == earlier
            own_redis.start()
            await until(lambda: parts.work.is_clean)
            assert await parts.decide.auth(auth(), deadline=soon()) == given
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            # Another process has it from the store.
            assert await parts.decide.auth(auth(), deadline=soon()) == given
            assert await parts.store.recall([by_decision(given.decision_id)]) is not None

    asyncio.run(story())


def test_a_mark_is_durable_and_whole_or_not_there(tmp_path: Path) -> None:
    mark = Mark(tmp_path)
    assert mark.load() == 0
    mark.save(17)
    assert Mark(tmp_path).load() == 17
    assert Mark(tmp_path, "1").load() == 0
    for content in (b"", b"{}", b'{"applied":"17"}', b'{"applied":-3}', b"\xff"):
        (tmp_path / "applied.0").write_bytes(content)
        assert mark.load() == 0


def test_a_journal_that_was_begun_anew_is_gone_through_from_its_beginning(
    redis_url: str, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        Mark(tmp_path).save(1_000)
        async with lasting(bundle_shelf, tmp_path, redis_url) as parts:
            await traffic(parts, "new", 2)
            await until(lambda: parts.work.is_clean)
        assert Mark(tmp_path).load() == 4

    asyncio.run(story())


def test_the_events_that_were_missed_say_so_and_stay_as_they_were_written(
    own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        async with lasting(bundle_shelf, tmp_path, own_redis.url) as parts:
            await until(lambda: parts.work.is_clean)
            own_redis.kill()
            await traffic(parts, "missed", 2)
            before = [msgspec.json.encode(event) for _, event in parts.journal.events()]
            own_redis.start()
            await until(lambda: parts.work.is_clean)
            journal: LogJournal = parts.journal
            assert [msgspec.json.encode(event) for _, event in journal.events()] == before

    asyncio.run(story())
