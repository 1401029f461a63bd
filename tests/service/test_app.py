"""The app starts, keeps looking for bundles, stops in order, and knows no batch library."""

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import service.app
import service.store
from service.errors import BundleRefused, StoreUnavailable
from service.settings import Settings


async def lifespan(edge: Any, seconds: float) -> None:
    async with asyncio.timeout(10):
        to_app: asyncio.Queue[Any] = asyncio.Queue()
        from_app: asyncio.Queue[Any] = asyncio.Queue()
        running = asyncio.ensure_future(
            edge.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, to_app.get, from_app.put)
        )
        await to_app.put({"type": "lifespan.startup"})
        assert (await from_app.get())["type"] == "lifespan.startup.complete"
        await asyncio.sleep(seconds)
        await to_app.put({"type": "lifespan.shutdown"})
        assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
        await running


def test_it_looks_for_a_bundle_at_start_and_then_again_and_again(edge_with: Any, loop: Any) -> None:
    edge = edge_with(bundle_poll_seconds=0.01)
    loop.run_until_complete(lifespan(edge, 0.1))
    assert edge.bundles.looks >= 3


def test_it_closes_its_parts_when_it_stops(edge: Any, loop: Any) -> None:
    loop.run_until_complete(lifespan(edge, 0))
    assert (edge.decider.closed, edge.journal.closed, edge.store.closed) == (1, 1, 1)


@pytest.mark.parametrize("error", [BundleRefused("b7", "another fingerprint"), RuntimeError("canary")])
def test_it_goes_on_when_looking_for_a_bundle_fails_and_says_so_once(
    edge_with: Any, loop: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    edge = edge_with(bundle_poll_seconds=0.01)
    edge.bundles.raises = error
    with caplog.at_level(logging.WARNING):
        loop.run_until_complete(lifespan(edge, 0.1))
    assert edge.bundles.looks >= 3
    assert len(caplog.records) == 1


def test_it_imports_no_batch_library_and_within_its_time() -> None:
    program = (
        "import sys, time; t = time.perf_counter(); import service.app; s = time.perf_counter() - t;"
        "bad = {'polars', 'pandas', 'sklearn', 'xgboost', 'pyarrow', 'duckdb', 'trainer', 'numpy'} & set(sys.modules);"
        "print(sorted(bad), s < 5)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[0] == "[] True", (done.stdout, time.monotonic() - started)


def test_a_store_that_is_not_well_at_start_is_said_and_no_reason_to_stop(
    edge: Any, loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    edge.store.wrong = "connection refused"
    loop.run_until_complete(lifespan(edge, 0))
    assert "connection refused" in caplog.text


def test_a_store_that_will_never_do_stops_the_start_and_every_part_is_closed(edge: Any, loop: Any) -> None:
    edge.store.raises = StoreUnavailable("no rights")
    with pytest.raises(StoreUnavailable, match="no rights"):
        loop.run_until_complete(edge.app.open())
    assert (edge.decider.closed, edge.journal.closed, edge.store.closed) == (1, 1, 1)


def test_a_server_may_open_the_parts_before_the_lifespan_does(edge: Any, loop: Any) -> None:
    async def act() -> None:
        await edge.app.open()
        await lifespan(edge, 0)

    loop.run_until_complete(act())
    assert (edge.store.opened, edge.store.closed) == (1, 1)


def test_the_real_parts_remember_events_for_as_long_as_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def open_store(url: str, **options: Any) -> Any:
        asked.update(options, url=url)
        return service.store.memory.MemoryStore(None)

    monkeypatch.setattr(service.store, "open_store", open_store)
    service.app.build(Settings(journal=None, bundles=tmp_path, event_ttl_days=3, store_timeout_ms=4.0))
    assert asked == {"url": "memory://", "timeout_ms": 4.0, "event_ttl_seconds": 3 * 86_400}
