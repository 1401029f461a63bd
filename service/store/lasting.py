"""A store that lasts: around another one, what was last known of it, and a breaker for each sort of call.

While the inner store is away every call fails at once, with the error that the last real one had; what was last known
answers questions (`LastingStore.last_known`), and the answers that were given are given again. When something was not
written is noted in `missed_at`, until `service.catchup` has written it.

This module must not know the inner store, nor what is made of what was missed.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from service.errors import StoreError
from service.store.base import Applied, Claim, Decided, FeatureStore, Kept, StateKeys, States, Update
from service.store.breaker import Breaker
from service.store.known import LastKnown

MOST_ENTRIES: Final = 30_000
SECONDS: Final = 600.0
_PROBE: Final = "probe"
_PROBE_SECONDS: Final = 1


class LastingStore:
    """Online state that is answered for while it is away.

    Parameters
    ----------
    store
        The inner store.
    timeout_ms
        The most that a call somebody waits for may take there.
    most, seconds
        How many entries are remembered, and for how long (`LastKnown`).
    """

    def __init__(
        self, store: FeatureStore, *, timeout_ms: float, most: int = MOST_ENTRIES, seconds: float = SECONDS
    ) -> None:
        self._store = store
        self._known = LastKnown(most, seconds)
        self._timeout = timeout_ms / 1000
        # A caller with little time of its own says nothing of the store.
        least = timeout_ms / 2
        self._reads = Breaker("reads", self._probe_reads, least_ms=least)
        self._claims = Breaker("claims", self._probe_claims, least_ms=least)
        self._behind = Breaker("writes behind answers", self._probe_behind, least_ms=least)
        self._applies = Breaker("outcomes", self._probe_applies, least_ms=least)
        self.missed_at: float | None = None
        """When a write failed last (of `time.monotonic`), until whoever writes what was missed has done so."""
        self.is_followed = False
        """Whether somebody writes what was missed."""

    @property
    def is_well(self) -> bool:
        """Whether every sort of call goes through."""
        return not self.refusing

    @property
    def is_behind(self) -> bool:
        """Whether updates that the store may lack are still to be written."""
        return self.is_followed and self.missed_at is not None

    @property
    def refusing(self) -> list[str]:
        """Names of the sorts of calls that are refused for now."""
        named = {"reads": self._reads, "claims": self._claims, "behind": self._behind, "outcomes": self._applies}
        return [name for name, breaker in named.items() if breaker.refusal is not None]

    async def open(self) -> str | None:
        """Open the inner store."""
        return await self._store.open()

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        """Return the packed states of a payment's entities, and remember them."""
        breaker = self._reads
        if breaker.refusal is not None:
            raise breaker.refused()
        try:
            states = await self._store.read(keys, deadline=deadline)
        except StoreError as error:
            breaker.failed(error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()
        known = self._known
        known.remember(keys, states, monotonic())
        if self.missed_at is not None and states.answer is None:
            # It may have been given while the store was away, and not be written yet.
            states = states._replace(answer=known.answer(keys.answer))
        return states

    def last_known(self, keys: StateKeys) -> States | None:
        """Return what was known of a question's keys lately; None when that is nothing."""
        return self._known.states(keys, monotonic())

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        """Keep an answer and what goes with it.

        What is written behind an answer is out: taken or not, whoever asks meanwhile is to know of it.
        """
        if deadline is None and not (self._behind.untroubled and self._reads.untroubled):
            self._known.add(decided, monotonic())
        try:
            claim = await self._decided(self._behind if deadline is None else self._claims, decided, deadline)
        except StoreError:
            if deadline is None and decided.answer is not None:
                self._known.answered(decided.answer.key, decided.answer.content)
            raise
        if decided.answer is not None and claim.answer is None and not claim.refused:
            self._known.answered(decided.answer.key, decided.answer.content)
        return claim

    async def again(self, decided: Decided) -> Claim:
        """Write what was missed: as `decided` behind an answer, of which everybody here knows already."""
        return await self._decided(self._behind, decided, None)

    async def apply(self, event_id: str, updates: Sequence[Update], *, deadline: float | None = None) -> bool:
        """Add an event's increments, all or nothing; return False when the event had been applied before."""
        (applied,) = await self.apply_many([Applied(event_id, updates)], deadline=deadline)
        return applied

    async def apply_many(self, batch: Sequence[Applied], *, deadline: float | None = None) -> list[bool]:
        """Apply events in order, each all or nothing; return for each what `apply` returns."""
        breaker = self._applies
        try:
            if breaker.refusal is not None:
                raise breaker.refused()
            applied = await self._store.apply_many(batch, deadline=deadline)
        except StoreError as error:
            self._failed(breaker, error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()
        return applied

    async def remember(
        self, keys: Sequence[str], record: bytes, ttl_seconds: int, *, deadline: float | None = None
    ) -> None:
        """Keep a record under every one of `keys` for `ttl_seconds`."""
        breaker = self._behind
        try:
            if breaker.refusal is not None:
                raise breaker.refused()
            await self._store.remember(keys, record, ttl_seconds, deadline=deadline)
        except StoreError as error:
            self._failed(breaker, error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()

    async def recall(self, keys: Sequence[str], *, deadline: float | None = None) -> bytes | None:
        """Return the record of the first of `keys` that has one."""
        breaker = self._reads
        try:
            if breaker.refusal is not None:
                raise breaker.refused()
            record = await self._store.recall(keys, deadline=deadline)
        except StoreError as error:
            self._failed(breaker, error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()
        return record

    async def holds(self, groups: Sequence[Sequence[str]], *, deadline: float | None = None) -> list[bool]:
        """Tell of each group of record keys whether all of them are there for certain, with what was written with them."""
        breaker = self._reads
        try:
            if breaker.refusal is not None:
                raise breaker.refused()
            there = await self._store.holds(groups, deadline=deadline)
        except StoreError as error:
            # Nothing was to be written: nothing more is missing for it.
            if breaker.refusal is None:
                breaker.failed(error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()
        return there

    async def ping(self) -> str | None:
        """Return None when the store answers and has all that it should have, else what is wrong."""
        wrong = await self._store.ping()
        if wrong is None and self.refusing:
            return f"the store does not answer in time ({', '.join(self.refusing)})"
        if wrong is None and self.is_behind:
            return "the store was away; what it missed is being written"
        return wrong

    async def close(self) -> None:
        """Stop looking after the inner store and close it. A second call does nothing."""
        for breaker in (self._reads, self._claims, self._behind, self._applies):
            await breaker.close()
        await self._store.close()

    def describe(self) -> str:
        """Return where the state is kept, without credentials."""
        return self._store.describe()

    def _failed(self, breaker: Breaker, error: StoreError) -> None:
        if breaker.refusal is None:
            breaker.failed(error)
        self.missed_at = monotonic()

    async def _decided(self, breaker: Breaker, decided: Decided, deadline: float | None) -> Claim:
        try:
            if breaker.refusal is not None:
                raise breaker.refused()
            claim = await self._store.decided(decided, deadline=deadline)
        except StoreError as error:
            self._failed(breaker, error)
            raise
        if not breaker.untroubled:
            breaker.succeeded()
        return claim

    async def _probe_reads(self) -> None:
        await self._store.recall([_PROBE])

    async def _probe_claims(self) -> None:
        await self._store.decided(
            Decided(None, (), (Kept(_PROBE, b"", _PROBE_SECONDS),)), deadline=monotonic() + self._timeout
        )

    async def _probe_behind(self) -> None:
        await self._store.remember([_PROBE], b"", _PROBE_SECONDS)

    async def _probe_applies(self) -> None:
        await self._store.apply(_PROBE, ())
