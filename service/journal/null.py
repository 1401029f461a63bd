"""The journal that keeps nothing, for who has chosen so; it says so wherever it is asked.

This module must not know any disk.
"""

from contracts.event import DecisionMade, JournalEvent, OutcomeSettled


class NullJournal:
    """Takes every event and keeps none: no audit, no shipping, no consistency check."""

    failing = "the journal is off (POINTSMAN_JOURNAL=off): nothing is kept"

    def put(self, event: JournalEvent) -> None:
        """Let go of `event`; nobody waits."""

    async def append(self, event: JournalEvent) -> None:
        """Let go of `event`."""

    async def find(self, decision_id: str) -> DecisionMade | None:
        """Return None: nothing is kept."""
        return None

    async def find_attempt(self, payment_id: str, attempt: int) -> DecisionMade | None:
        """Return None: nothing is kept."""
        return None

    async def outcomes_of(self, payment_id: str, attempt: int) -> list[OutcomeSettled]:
        """Return nothing: nothing is kept."""
        return []

    def events(self, *, after: int = 0, limit: int = 1000) -> list[tuple[int, JournalEvent]]:
        """Return nothing: nothing is kept."""
        return []

    def end(self) -> int:
        """Return 0: nothing is kept."""
        return 0

    async def close(self) -> None:
        """Do nothing."""
