"""The ports between the rooms of the service: what the edge asks of the parts behind it.

This module must not know any implementation. There is a port only where there is I/O, time or a model.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.event import DecisionMade, JournalEvent, OutcomeSettled
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest


class Decider(Protocol):
    """Answers one request within its time. `deadline` is a value of `time.monotonic()`.

    The decider hands the event to the journal itself: an answer returned is an answer kept, or says
    ``degraded: ["journal"]``.
    """

    async def auth(self, request: AuthRequest, *, deadline: float) -> Decision:
        """Decide whether and how to send a payment."""
        ...

    async def routing(self, request: RoutingRequest, *, deadline: float) -> Decision:
        """Decide through which processor to send a payment."""
        ...

    async def retry(self, request: RetryRequest, *, deadline: float) -> RetryDecision:
        """Decide whether a decline is worth another try."""
        ...

    async def close(self) -> None:
        """Finish what is under way behind answers already given."""
        ...


class Learner(Protocol):
    """Takes what became of attempts into online state and journal."""

    async def report(self, outcomes: Sequence[Outcome]) -> OutcomeReceipt:
        """Learn from outcomes; the receipt has one result for each, in order."""
        ...


class Journal(Protocol):
    """Keeps events, in order, for ever."""

    @property
    def failing(self) -> str | None:
        """What is wrong with the journal; None when it is well."""
        ...

    def put(self, event: JournalEvent) -> "asyncio.Future[None] | None":
        """Take an event; return what is done once it is durable, None when nobody waits for that.

        Raises
        ------
        JournalUnavailable
            When it cannot be taken; the future fails with it when it could not be made durable.
        """
        ...

    async def append(self, event: JournalEvent) -> None:
        """Return when `event` is durable.

        Raises
        ------
        JournalUnavailable
            When it could not be made so.
        """
        ...

    async def find(self, decision_id: str) -> DecisionMade | None:
        """Return the decision of an id: the event of its answer, and one of a repeat only where there is no other."""
        ...

    async def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        """Return the latest decision about an attempt: its own, else the retry decision that planned it."""
        ...

    async def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        """Return the outcomes reported for one attempt, in order of their arrival."""
        ...

    def events(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, JournalEvent]]:
        """Return up to `limit` events with a sequence number above `after`, in order; blocking, for shipping."""
        ...

    def end(self) -> int:
        """Return the sequence number of the last event that is durable; 0 when there is none."""
        ...

    async def close(self) -> None:
        """Write what waits, then close. A second call does nothing."""
        ...


class Bundles(Protocol):
    """The model bundle in use."""

    @property
    def active(self) -> Manifest | None:
        """Manifest of the bundle that answers now."""
        ...

    @property
    def failing(self) -> str | None:
        """Why the bundle pointed to is not the active one; None when all is well."""
        ...

    async def refresh(self) -> None:
        """Look at the pointer and swap to the bundle it names, keeping the last good one on failure."""
        ...


class Store(Protocol):
    """Online state, as far as the edge needs to know it."""

    async def open(self) -> str | None:
        """Get ready; return None when all is well, else what is wrong for now.

        Raises
        ------
        StoreUnavailable
            When waiting will not help.
        """
        ...

    async def ping(self) -> str | None:
        """Return None when the store is well, else what is wrong."""
        ...

    async def close(self) -> None:
        """Release connections and write snapshots. A second call does nothing."""
        ...


class Work(Protocol):
    """Work beside the answers, from the first question to the last."""

    def start(self) -> None:
        """Begin, in the running loop."""
        ...

    async def close(self) -> None:
        """Stop. A second call does nothing."""
        ...
