"""A service without HTTP over a store that lasts, with what it missed written later; and what the store has counted."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from features.entity import PAYMENT_KINDS
from features.layout import LAYOUTS
from features.state import View
from service.catchup import CatchUp
from service.decide import Decide
from service.errors import StoreError
from service.journal import LogJournal
from service.journal.reader import JournalReader
from service.learn import Learn
from service.mark import Mark
from service.missed import Refused
from service.models.active import ActiveBundles
from service.store import FeatureStore, open_store
from service.store.base import StateKeys
from service.store.lasting import LastingStore
from tests.parts import RULES
from tests.servers import opened

DAY = 86_400


class Lasting(NamedTuple):
    bundles: ActiveBundles
    inner: FeatureStore
    store: LastingStore
    journal: LogJournal
    decide: Decide
    learn: Learn
    work: CatchUp


@contextlib.asynccontextmanager
async def lasting(
    shelf: Path, folder: Path, inner: str | FeatureStore, *, catch_up: bool = True, timeout_ms: float = 50.0
) -> AsyncIterator[Lasting]:
    """Open a service whose journal and mark are in `folder`; without `catch_up` nothing is written later."""
    bundles = ActiveBundles(shelf, RULES)
    await bundles.refresh()
    kept = open_store(inner, timeout_ms=timeout_ms) if isinstance(inner, str) else inner
    store = LastingStore(kept, timeout_ms=timeout_ms)
    await opened(store)
    journal = LogJournal(folder)
    refused = Refused()
    decide = Decide(bundles, store, journal, refused=refused)
    learn = Learn(store, journal, bundles, decide.settle, refused)
    work = CatchUp(
        store,
        journal,
        JournalReader(folder),
        Mark(folder),
        bundles,
        learn,
        refused=refused,
        answer_seconds=DAY,
        event_ttl_seconds=7 * DAY,
    )
    if catch_up:
        work.start()
    try:
        yield Lasting(bundles, kept, store, journal, decide, learn, work)
    finally:
        await decide.close()
        await work.close()
        await journal.close()
        await store.close()


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.02)


async def counted(store: FeatureStore, kind: str, key: str) -> dict[str, int]:
    """Return the sums of all time of an entity, those that are not zero."""
    keys = StateKeys(tuple(key if kind == each else None for each in PAYMENT_KINDS))
    end = time.monotonic() + 30
    while True:
        try:
            states = await store.read(keys)
            break
        except StoreError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
    blob = states.payment[PAYMENT_KINDS.index(kind)]
    if blob is None:
        return {}
    view: Any = View(LAYOUTS[kind], blob)
    return {name: view.sums[place] for name, place in LAYOUTS[kind].place.items() if view.sums[place]}
