"""The audit of one decision: what was asked and answered, and what became of it.

This module must not know where decisions are kept.
"""

from contracts.base import Record
from contracts.event import DecisionMade, OutcomeSettled


class AuditTrail(Record, frozen=True, kw_only=True):
    """A decision as it was journalled, and the outcomes reported for its attempt."""

    decision: DecisionMade
    outcomes: list[OutcomeSettled]
