"""An answer kept before it is given: in the store, where the same question finds it, and in the journal, for ever.

Neither may keep an answer back: what a late store was to write is tried once more behind the answer, and a journal that
hangs takes the event all the same, but later than anybody waits for it.

This module must not know how an answer was found.
"""

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final, NamedTuple

from contracts.event import JournalEvent
from service.due import Due
from service.errors import JournalUnavailable, StoreError, StoreTimeout
from service.logs import Seldom
from service.missed import Refused
from service.ports import Journal
from service.store.base import Claim, Decided, FeatureStore, Kept

log: Final = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 2.0
STORE_SHARE: Final = 0.5
"""How much of the time that is left the store may take: the rest must do for the journal."""


class Writes(NamedTuple):
    """What is written with an answer.

    Attributes
    ----------
    decided
        In one step.
    named
        A record that follows only when the attempt turned out to be counted by it.
    """

    decided: Decided
    named: Kept | None


class Keeper:
    """Writes answers, and what is still to be written behind those already given."""

    def __init__(self, store: FeatureStore, journal: Journal, refused: Refused | None = None) -> None:
        self._store = store
        self._journal = journal
        self._refused = Refused() if refused is None else refused
        self._writing: set[asyncio.Task[Any]] = set()
        self._seldom = Seldom(1.0)
        self._due = Due()

    async def claim(self, writes: Writes, deadline: float) -> tuple[Claim, str | None]:
        """Return what came of writing an answer that is due at `deadline`; and the code that says so when it was late."""
        now = monotonic()
        try:
            claim = await self._store.decided(writes.decided, deadline=now + (deadline - now) * STORE_SHARE)
        except StoreTimeout:
            return Claim(), "ledger:store_timeout"
        except StoreError:
            return Claim(), "ledger:store_unavailable"
        if claim.counted and writes.named is not None:
            self._behind(self._name(writes.named))
        return claim, None

    def late(self, writes: Writes) -> None:
        """Try once more to write an answer that is out already; a store that took it the first time keeps that.

        The attempt is made whatever the limits say by now, so its reservation is entered in any case.
        """
        reservation = writes.decided.reservation
        if reservation is not None:
            writes = writes._replace(decided=writes.decided._replace(reservation=reservation._replace(limits=())))
        self._behind(self._write(writes))

    async def journal(self, event: JournalEvent, deadline: float) -> bool:
        """Return whether an event became durable by `deadline`."""
        try:
            durable = self._journal.put(event)
            if durable is not None:
                # Of the future, not of the task: a timeout around that costs ten times as much.
                self._due.within(deadline - monotonic(), durable, _expire)
                await durable
        except JournalUnavailable:
            self._refused.add(event)
            return False
        except TimeoutError:
            # It is on its way.
            return False
        return True

    async def settle(self) -> bool:
        """Wait for the writes under way behind answers already given; return whether there were any."""
        if not self._writing:
            return False
        await asyncio.wait(tuple(self._writing), timeout=SETTLE_SECONDS)
        return True

    async def _write(self, writes: Writes) -> None:
        claim = await self._store.decided(writes.decided)
        if claim.counted and writes.named is not None:
            await self._name(writes.named)

    async def _name(self, record: Kept) -> None:
        await self._store.remember([record.key], record.content, record.ttl_seconds)

    def _behind(self, write: Coroutine[Any, Any, Any]) -> None:
        writing = asyncio.ensure_future(write)
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Task[Any]) -> None:
        self._writing.discard(writing)
        if writing.cancelled() or (error := writing.exception()) is None:
            return
        kept_back = self._seldom.kept_back(("unkept", type(error).__name__))
        if kept_back is not None:
            fields = {"fields": {"kept_back": kept_back}}
            log.warning("an answer was given and the store did not keep it: %s", error, extra=fields)


def _expire(waiting: "asyncio.Future[None]", _seconds: float) -> None:
    waiting.set_exception(TimeoutError())
