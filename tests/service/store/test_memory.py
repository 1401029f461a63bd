"""What holds for the memory store alone: times to live, bounds, and its snapshot."""

import asyncio
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.clock import SECOND
from features.increment import attempt_increment
from features.layout import LAYOUTS
from features.state import add
from service import ledger, standing
from service.errors import StoreUnavailable
from service.ledger import Entry
from service.standing import Note
from service.store import Applied, StateKeys, States, Update, by_attempt
from service.store.base import Decided, Kept, Reservation, StandingUpdate
from service.store.expiring import Expiring, table
from service.store.memory import MemoryStore
from service.store.snapshot import MAGIC, load

START = 1_780_000_000 * SECOND
CARD = StateKeys(("tok_1",), record=by_attempt("p_1", 1))
UPDATES = [
    Update("card", "tok_1", attempt_increment(START, 5)),
    Update("processor", "north", attempt_increment(START, 5)),
]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


LEDGER = "visa:c:3:m_1tok_1"
ALL = StateKeys(("tok_1",), (), by_attempt("p_1", 1), ("p:north",), LEDGER, "auth:1:p_1")


async def filled(path: Path | None = None, **options) -> MemoryStore:
    store = MemoryStore(path, **options)
    await store.open()
    await store.apply_many([Applied("o1", standings=[StandingUpdate("p:north", Note(START, approved=True))])])
    answer, reservation = Kept("auth:1:p_1", b"answer", 7200), Reservation(LEDGER, Entry(START, 1, 5), ())
    await store.decided(Decided(None, answer=answer, reservation=reservation))
    await store.decided(Decided("e1", UPDATES, [Kept(by_attempt("p_1", 1), b"record", 3600)]))
    return store


def test_everything_ends_in_its_time() -> None:
    async def story() -> None:
        clock = Clock()
        store = await filled(clock=clock, event_ttl_seconds=100)
        clock.now = 99
        assert not await store.apply("e1", UPDATES)
        clock.now = 100
        assert await store.apply("e1", [])
        clock.now = 3599
        assert (await store.read(CARD)).record == b"record"
        clock.now = 3600
        assert (await store.read(CARD)).record is None
        for key, name, ttl in (
            ("auth:1:p_1", "answer", 7200),
            (LEDGER, "ledger", ledger.TTL_SECONDS),
            (("p:north",), "standings", standing.TTL_SECONDS),
        ):
            clock.now = ttl - 1
            assert any(getattr(await store.read(StateKeys(**{name: key})), name))
            clock.now = ttl
            ended = getattr(await store.read(StateKeys(**{name: key})), name)
            assert ended in (None, (None,))
        clock.now = LAYOUTS["card"].ttl_seconds - 1
        assert (await store.read(CARD)).payment[0] is not None
        clock.now = LAYOUTS["card"].ttl_seconds
        assert (await store.read(CARD)).payment[0] is None
        await store.close()

    asyncio.run(story())


UPDATED = add(LAYOUTS["card"], None, UPDATES[0].increment)
KINDS = pytest.mark.parametrize("make", [Expiring, table], ids=["reference", "kernel"])


@KINDS
def test_what_ended_is_swept_as_others_are_written(make: Any) -> None:
    clock = Clock()
    kept = make(clock)
    for number in range(1000):
        kept.put(number, number, 10)
    assert len(kept) == 1000
    clock.now = 10
    for number in range(200):
        kept.put(-number - 1, number, 10)
    assert len(kept) == 200


@KINDS
def test_beyond_the_limit_the_oldest_goes_first(make: Any) -> None:
    kept = make(Clock(), 100)
    for number in range(1000):
        kept.put(number, number, 10)
    assert len(kept) == 100
    assert kept.get(899) is None
    assert kept.get(900) == 900


@KINDS
def test_what_was_written_since_is_kept_by_a_sweep(make: Any) -> None:
    clock = Clock()
    kept = make(clock)
    for number in range(1000):
        kept.put(number, number, 10)
    clock.now = 5
    kept.put(3, "again", 10)
    clock.now = 12
    for number in range(1000, 1200):
        kept.put(number, number, 10)
    assert kept.get(3) == "again"
    assert len(kept) == 201
    clock.now = 30
    for number in range(2000, 2200):
        kept.put(number, number, 10)
    assert sorted(kept.entries) == list(range(2000, 2200))


@KINDS
def test_beyond_the_limit_what_was_written_since_goes_later(make: Any) -> None:
    clock = Clock()
    kept = make(clock, 100)
    for number in range(100):
        kept.put(number, number, 10)
    clock.now = 1
    kept.put(0, "again", 10)
    for number in range(100, 150):
        kept.put(number, number, 10)
    assert kept.get(0) == "again"
    assert sorted(kept.entries) == [0, *range(51, 150)]


def test_a_snapshot_brings_everything_back(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "deep" / "state"
        store = await filled(path)
        before = await store.read(ALL)
        await store.close()
        assert [file.name for file in path.parent.iterdir()] == ["state"]
        again = MemoryStore(path)
        assert await again.open() is None
        assert await again.read(ALL) == before
        assert (before.record, before.answer) == (b"record", b"answer")
        assert before.standings == (standing.add(None, Note(START, approved=True)),)
        assert before.ledger == ledger.pack([Entry(START, 1, 5)])
        assert before.payment[0] == add(LAYOUTS["card"], None, UPDATES[0].increment)
        assert not await again.apply("e1", UPDATES)
        await again.close()

    asyncio.run(story())


def test_time_passes_while_the_service_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        await (await filled(tmp_path / "state")).close()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3599)
        again = MemoryStore(tmp_path / "state")
        await again.open()
        assert (await again.read(CARD)).record == b"record"
        await again.close()
        monkeypatch.setattr(time, "time", lambda: now + 3601)
        again = MemoryStore(tmp_path / "state")
        await again.open()
        assert (await again.read(CARD)).record is None
        assert (await again.read(CARD)).payment[0] is not None
        await again.close()

    asyncio.run(story())


def test_a_snapshot_is_written_again_and_again_while_there_are_changes(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "state"
        store = await filled(path, save_seconds=0.01)
        until = time.monotonic() + 5
        while not path.exists():
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        written = path.stat().st_mtime_ns
        await asyncio.sleep(0.05)
        assert path.stat().st_mtime_ns == written
        await store.apply("e2", UPDATES)
        while path.stat().st_mtime_ns == written:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        await store.close()

    asyncio.run(story())


def test_a_snapshot_from_before_there_were_answers_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "state"

    async def story() -> None:
        await (await filled(path)).close()
        snapshot = load(path)
        assert snapshot is not None
        earlier = {name: getattr(snapshot, name) for name in ("saved_at", "states", "events", "records")}
        body = msgspec.msgpack.encode(earlier)
        head = MAGIC + struct.pack("<HIQ", 1, zlib.crc32(body), len(body))
        path.write_bytes(head + body)
        again = MemoryStore(path)
        assert await again.open() is None
        states = await again.read(ALL)
        assert (states.record, states.standings, states.ledger, states.answer) == (b"record", (None,), None, None)
        assert states.payment[0] is not None
        assert not await again.apply("e1", UPDATES)
        await again.close()

    asyncio.run(story())


def test_answers_ledgers_and_standings_are_bounded_as_records_are() -> None:
    async def story() -> None:
        store = MemoryStore(most_events=50)
        for number in range(80):
            kept = Kept(f"auth:1:p_{number}", b"answer", 60)
            reservation = Reservation(f"visa:c:{number}", Entry(START, 1, 5), ())
            await store.decided(Decided(f"e{number}", (), [Kept(f"a:{number}", b"record", 60)], kept, reservation))
            note = StandingUpdate(f"p:{number}", Note(START))
            await store.apply_many([Applied(f"o{number}", standings=[note])])
        found = []
        for number in range(80):
            asked = StateKeys((), (), f"a:{number}", (f"p:{number}",), f"visa:c:{number}", f"auth:1:p_{number}")
            states = await store.read(asked)
            found.append(
                [part is not None for part in (states.record, *states.standings, states.ledger, states.answer)]
            )
        assert found == [[False] * 4] * 30 + [[True] * 4] * 50
        await store.close()

    asyncio.run(story())


def test_a_store_that_is_closed_while_it_saves_leaves_its_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        path = tmp_path / "state"
        resting = threading.Event()
        store = MemoryStore(path, save_seconds=0.01)
        wait = store._hurry.wait

        def rest(seconds: float | None = None) -> bool:
            resting.set()
            return wait(60)

        monkeypatch.setattr(store._hurry, "wait", rest)
        await store.open()
        await store.remember(["early"], b"record", 60)
        await asyncio.to_thread(resting.wait, 30)
        await store.remember(["late"], b"record", 60)
        await store.close()
        again = MemoryStore(path)
        assert await again.open() is None
        assert await again.recall(["early"]) == await again.recall(["late"]) == b"record"
        await again.close()

    asyncio.run(story())


def test_a_snapshot_of_many_is_whole(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "state"
        store = MemoryStore(path)
        for count in (15, 500, 501):
            for number in range(count):
                await store.remember([f"{count}:{number}"], b"record", 60)
                store.put_many([("card", f"{count}:{number}", UPDATED), ("merchant", f"{number}", UPDATED)])
        await store.close()
        again = MemoryStore(path)
        assert await again.open() is None
        for count in (15, 500, 501):
            for number in range(count):
                assert await again.recall([f"{count}:{number}"]) == b"record"
                key = StateKeys((f"{count}:{number}", None, None, f"{number}"))
                assert (await again.read(key)).payment == (UPDATED, None, None, UPDATED)
        await again.close()

    asyncio.run(story())


def whole(tmp_path: Path) -> bytes:
    async def story() -> None:
        await (await filled(tmp_path / "good")).close()

    asyncio.run(story())
    return (tmp_path / "good").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda good: good[:-3], "bytes of state"),
        (lambda good: good[:10], "another file"),
        (lambda good: b"", "another file"),
        (lambda good: good[:8] + b"\x63\x00" + good[10:], "expected format 1, got 99"),
        (lambda good: good[:-1] + bytes([good[-1] ^ 1]), "checksum"),
        (lambda good: MAGIC + b"\x01\x00" + good[10:14] + b"\0" * 8, "checksum"),
    ],
)
def test_a_snapshot_that_cannot_be_used_is_set_aside_with_one_sentence(tmp_path: Path, spoil, why: str) -> None:
    path = tmp_path / "state"
    spoilt = spoil(whole(tmp_path))
    path.write_bytes(spoilt)

    async def story() -> None:
        store = MemoryStore(path)
        report = await store.open()
        assert report is not None
        assert why in report
        assert "\n" not in report
        assert await store.read(CARD) == States((None,))
        await store.apply("e1", UPDATES)
        await store.close()

    asyncio.run(story())
    aside = list(tmp_path.glob("state.unusable-*"))
    assert [file.read_bytes() for file in aside] == [spoilt]
    assert path.read_bytes()[:8] == MAGIC


def test_a_snapshot_that_cannot_be_written_is_said_by_ping_and_by_close(tmp_path: Path) -> None:
    async def story() -> None:
        folder = tmp_path / "taken"
        store = await filled(folder / "state", save_seconds=0.01)
        folder.write_text("a file where a folder should be")
        await asyncio.sleep(0.1)
        assert "could not be written" in (await store.ping() or "")
        with pytest.raises(StoreUnavailable, match="could not be written"):
            await store.close()
        await store.close()

    asyncio.run(story())


def test_a_backfill_is_written_without_an_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "state"
    blob = add(LAYOUTS["card"], None, UPDATES[0].increment)
    store = MemoryStore(path)
    assert store.put_many([("card", "tok_1", blob), ("merchant", "m_1", blob)]) == 2
    store.save()

    assert list(store.fetch_many([("merchant", "m_1"), ("card", "tok_2"), ("card", "tok_1")])) == [blob, None, blob]

    async def story() -> None:
        again = MemoryStore(path)
        await again.open()
        assert (await again.read(StateKeys(("tok_1",)))).payment[0] == blob
        await again.close()

    asyncio.run(story())
