"""A backfill from the command line: into every sort of store, interrupted and gone on with, and checked."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest
import redis

from features.clock import HOUR, moment
from features.layout import LAYOUTS
from features.state import View
from service.store import open_store
from service.store.base import Item
from service.store.bulk import fetch_many, put_many
from service.store.memory import MemoryStore
from tests.trainer.backfill.streams import dense, frame
from trainer import history as canonical
from trainer.__main__ import main
from trainer.backfill import bookmark
from trainer.backfill.check import check
from trainer.backfill.command import Place, write
from trainer.backfill.parts import parts
from trainer.backfill.sample import Sample
from trainer.backfill.state import states
from trainer.backfill.target import Server
from trainer.errors import TrainerError

ROWS = dense(600, 11, cards=30)
NOW = ROWS[-1]["occurred_at"] + HOUR


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "history"
    path.mkdir()
    frame(ROWS).collect().write_parquet(path / "a.parquet")
    return path


def command(folder: Path, store: str, *more: str) -> int:
    progress = str(folder.parent / "progress.json")
    now = moment(NOW).isoformat()
    return main(["backfill", "--history", str(folder), "--store", store, "--now", now, "--progress", progress, *more])


def kept(url: str) -> dict[bytes, bytes]:
    with redis.Redis.from_url(url) as client:
        return {name: client.get(name) for name in client.scan_iter()}


def expected(folder: Path) -> dict[bytes, bytes]:
    found = states(canonical.load(folder), NOW)
    return {f"pm:s:{kind}:{key}".encode(): blob for kind, key, blob in found}


def test_redis_holds_the_states_and_they_are_checked(
    folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folder, redis_url) == 0
    said = capsys.readouterr()
    assert kept(redis_url) == expected(folder)
    assert f"{len(expected(folder)):,} states written" in said.out
    assert "bit for bit" in said.out
    assert "states of card" in said.err
    assert not (folder.parent / "progress.json").exists()


@pytest.mark.parametrize("where", ["cluster_url", "sentinel_url"])
def test_clusters_and_sentinels_hold_them_as_well(
    where: str, folder: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    url = request.getfixturevalue(where)
    assert command(folder, url) == 0
    assert "bit for bit" in capsys.readouterr().out
    items = list(states(canonical.load(folder), NOW))
    assert list(fetch_many(url, [(kind, key) for kind, key, _ in items])) == [blob for _, _, blob in items]


def test_a_snapshot_keeps_what_it_held_and_gets_the_states(folder: Path) -> None:
    url = f"memory://{folder.parent}/snapshot"
    before = MemoryStore(folder.parent / "snapshot")
    before.put_many([("card", "someone else", b"kept")])
    before.save()
    assert command(folder, url) == 0
    after = open_store(url, timeout_ms=100)
    assert isinstance(after, MemoryStore)
    after.load()
    items = list(states(canonical.load(folder), NOW))
    found = list(after.fetch_many([("card", "someone else"), *((kind, key) for kind, key, _ in items)]))
    assert found == [b"kept", *(blob for _, _, blob in items)]


def test_memory_without_a_file_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "memory://") == 2
    assert "memory:// is gone when this command ends" in capsys.readouterr().err


def test_a_moment_without_an_offset_is_utc(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    naive = f"{moment(NOW):%Y-%m-%dT%H:%M:%S.%f}"
    assert main(["backfill", "--history", str(folder), "--store", redis_url, "--now", naive]) == 0
    assert kept(redis_url) == expected(folder)
    assert f"as of {moment(NOW):%Y-%m-%d %H:%M:%S} UTC" in capsys.readouterr().out


def test_without_a_moment_the_last_event_is_in(tmp_path: Path, redis_url: str) -> None:
    (last,) = dense(1, 3)
    last |= {"settled_at": last["occurred_at"], "chargeback_at": None, "processor": "north"}
    frame([last]).collect().write_parquet(tmp_path / "one.parquet")
    assert main(["backfill", "--history", str(tmp_path), "--store", redis_url]) == 0
    state = View(LAYOUTS["processor"], kept(redis_url)[b"pm:s:processor:north"])
    assert state.last_attempt == state.last_result == last["occurred_at"]


class Failing(Server):
    """A server whose writer is stopped in the middle of its third part."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.parts = 0

    def put(self, items: Iterable[Item]) -> int:
        self.parts += 1
        if self.parts == 3:
            items = [item for _, item in zip(range(2), items, strict=False)]
            super().put(items)
            raise KeyboardInterrupt
        return super().put(items)


def interrupted(folder: Path, url: str) -> Path:
    history = canonical.load(folder)
    work = bookmark.work_of(folder, len(ROWS), NOW, url)
    place = Place(folder.parent / "progress.json", work)
    with pytest.raises(KeyboardInterrupt):
        write(history, Failing(url), NOW, Sample(100), place)
    return place.path


def test_an_interrupted_backfill_goes_on_and_ends_the_same(
    folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(folder, redis_url)
    assert kept(redis_url) != expected(folder)
    capsys.readouterr()
    assert command(folder, redis_url, "--resume") == 0
    said = capsys.readouterr()
    assert kept(redis_url) == expected(folder)
    first, second, *rest = [part.kind for part in parts(canonical.load(folder))]
    assert f"states of {first}" not in said.err
    assert f"states of {second}" not in said.err
    assert all(f"states of {kind}" in said.err for kind in rest)
    # What was written before the interruption is checked too.
    assert f"{first} 30" in said.out
    assert f"{len(expected(folder)):,} states written" in said.out


def test_without_resume_it_starts_anew(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(folder, redis_url)
    assert command(folder, redis_url) == 0
    assert "states of card" in capsys.readouterr().err
    assert kept(redis_url) == expected(folder)


def test_nothing_to_go_on_with_starts_anew(folder: Path, redis_url: str) -> None:
    assert command(folder, redis_url, "--resume") == 0
    assert kept(redis_url) == expected(folder)


def test_another_history_is_refused(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(folder, redis_url)
    frame(dense(10, 99)).with_columns(payment_id="z" + pl.col("payment_id")).collect().write_parquet(
        folder / "b.parquet"
    )
    assert command(folder, redis_url, "--resume") == 2
    assert "the history has changed since (it had 1 files with 600 attempts" in capsys.readouterr().err


def test_another_moment_is_refused(folder: Path, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(folder, redis_url)
    assert command(folder, redis_url, "--resume", "--now", "2026-08-01T00:00:00") == 2
    said = capsys.readouterr().err
    assert f"it was as of {moment(NOW).isoformat()}, this one is as of 2026-08-01T00:00:00+00:00" in said
    assert "without --resume it starts anew" in said


def test_another_store_and_another_layout_are_refused(folder: Path, redis_url: str) -> None:
    path = interrupted(folder, redis_url)
    other = bookmark.work_of(folder, len(ROWS), NOW, "redis://elsewhere:6379/0")
    with pytest.raises(TrainerError, match="it went into another store"):
        bookmark.load(path, other)
    work = bookmark.work_of(folder, len(ROWS), NOW, redis_url)
    work.layouts["card"] += 1
    with pytest.raises(TrainerError, match="the layout of card has changed since"):
        bookmark.load(path, work)


def test_a_password_is_not_kept_and_does_not_matter(folder: Path) -> None:
    one = bookmark.work_of(folder, 1, 1, "redis://user:s3cret@host:6379/0")
    two = bookmark.work_of(folder, 1, 1, "redis://user:changed@host:6379/0")
    assert one == two
    assert "s3cret" not in str(one)


def test_a_store_that_somebody_else_writes_to_is_found_out(folder: Path, redis_url: str) -> None:
    class Overwritten(Server):
        """Writes a state of another moment over what was asked."""

        def keep(self, *, final: bool) -> bool:
            if final:
                earlier = list(states(canonical.load(folder), NOW - 3 * HOUR))
                put_many(redis_url, [item for item in earlier if item[0] == "card"])
            return True

    history = canonical.load(folder)
    sample = Sample(100)
    store = Overwritten(redis_url)
    write(history, store, NOW, sample)
    found = check(history, NOW, store.fetch, sample.chosen, 100)
    assert not found.is_equal
    assert {kind for kind, _ in found.wrong_states} == {"card"}
    assert found.wrong_features
    assert all(name.startswith("card_") for name in found.wrong_features)
    said = "\n".join(found.lines())
    assert "are not what was written, such as card c" in said
    assert all(f"  {name}: " in said for name in found.wrong_features)


def test_a_server_that_is_gone_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "redis://127.0.0.1:1/0") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("backfill: ")
