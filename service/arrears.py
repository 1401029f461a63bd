"""What events on record owe to the store, paid: written after all, once each, a few at a time beside the answers.

What the store turns out to have is passed over: most of what is looked at after a fault was written in time. An event that
cannot be written whatever the store says is counted, named in the log and left out, so that nothing waits for it.

This module must not know where events come from, nor how far they are written.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled
from service.errors import JournalUnavailable, NotReady, StoreError
from service.learn import AGAIN_SECONDS, Learn
from service.missed import Owed, owed, signs
from service.models.active import ActiveBundles
from service.store.lasting import LastingStore

TOGETHER: Final = 32
"""How many events are written in one go: one exchange with the store, during which it has no turn for the answers."""

log: Final = logging.getLogger(__name__)

PASSING: Final = (StoreError, JournalUnavailable, NotReady, OSError)
"""What is wrong with the moment and not with an event: it is to be tried again."""


class Arrears:
    """Writes what the store may lack of events.

    Parameters
    ----------
    store
        Takes it.
    bundles
        Whose rules know a card's network.
    learn
        Takes outcomes in once more.
    answer_seconds
        How long an answer is given again.
    """

    def __init__(self, store: LastingStore, bundles: ActiveBundles, learn: Learn, *, answer_seconds: int) -> None:
        self._store = store
        self._bundles = bundles
        self._learn = learn
        self._answer_seconds = answer_seconds
        self.written: dict[str, int] = {"decision": 0, "outcome": 0}
        """Events that were written after all and that the store had not counted before."""
        self.unwritable = 0
        """Events that could not be written for a reason of their own, and were left out."""

    async def pay(self, events: Sequence[JournalEvent]) -> None:
        """Write what the store lacks of some events, in order; what it has costs one round trip for all of them.

        Raises
        ------
        StoreError, JournalUnavailable, NotReady, OSError
            When it cannot be done now; what was written before counts once, so that all may be tried again.
        """
        missing = await self._missing(events)
        for start in range(0, len(missing), TOGETHER):
            await self._write(missing[start : start + TOGETHER])

    async def _missing(self, events: Sequence[JournalEvent]) -> list[JournalEvent]:
        """Return the events of which the store does not show that it has all."""
        told = [signs(event) for event in events]
        asked = [keys for keys in told if keys]
        there = iter(await self._store.holds(asked) if asked else [])
        return [event for event, keys in zip(events, told, strict=True) if not keys or not next(there)]

    async def _write(self, events: Sequence[JournalEvent]) -> None:
        """Write a few events; one that spoils it for the others is found and left out."""
        try:
            await self._together(events)
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001
            if len(events) == 1:
                self.unwritable += 1
                # Neither the event nor what an error says of it is anybody's business in a log.
                log.error("an event cannot be written to the store and is left out (%s)", type(error).__name__)  # noqa: TRY400
                return
            for event in events:
                await self._write([event])

    async def _together(self, events: Sequence[JournalEvent]) -> None:
        """Write a few events, then leave the loop to the answers for as long as it was held."""
        began = monotonic()
        # An outcome is of a decision before it.
        dues = [self._owed(event) for event in events if not isinstance(event, OutcomeSettled)]
        held = monotonic() - began
        await asyncio.gather(*map(self._decision, dues))
        outcomes = [event for event in events if isinstance(event, OutcomeSettled)]
        if outcomes:
            self.written["outcome"] += await self._learn.again(outcomes)
        await asyncio.sleep(held)

    def _owed(self, event: DecisionMade) -> Owed:
        network = self._bundles.current.network(event.request.card_network)
        return owed(event, network, answer_seconds=self._answer_seconds, now=datetime.now(UTC))

    async def _decision(self, due: Owed) -> None:
        """Write a decision: in one step, unless its question has an answer."""
        counted, named, answer = due
        if counted is None:
            if answer is not None:
                await self._store.again(answer)
            return
        whole = counted if answer is None else counted._replace(answer=answer.answer)
        claim = await self._store.again(whole)
        if claim.answer is not None:
            # Another answer keeps nothing of this one from being counted; in a cluster even this very answer does not.
            claim = await self._store.again(counted)
        self.written["decision"] += claim.counted
        # A write that was late and happened after all has counted the attempt, and nobody was there to name it.
        if named is not None and (claim.counted or await self._is_unnamed(named.key)):
            await self._store.remember([named.key], named.content, named.ttl_seconds)

    async def _is_unnamed(self, key: str) -> bool:
        return await self._store.recall([key], deadline=monotonic() + AGAIN_SECONDS) is None
