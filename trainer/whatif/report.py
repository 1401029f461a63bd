"""What another policy would have meant, as tables for a person, as a page, and as JSON.

This module must not know how anything was found.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from contracts.base import Record
from trainer.evaluate.page import heading, loud, page, say
from trainer.evaluate.page import table as html_table
from trainer.evaluate.report import Values, noted, table, value_table
from trainer.evaluate.sections import of_values
from trainer.whatif.judging import Segment


class Retries(Record, frozen=True, kw_only=True):
    """Retry questions: how many there are, how many could be asked again, and how many would have been answered otherwise."""

    count: int
    told: int
    otherwise: int


class Change(Record, frozen=True, kw_only=True):
    """One way in which decisions would have been others, and how many would."""

    words: str
    count: int


class WhatIf(Record, frozen=True, kw_only=True):
    """Another policy over the questions of a journal.

    Attributes
    ----------
    policy
        Which.
    since, until
        The first and the last question looked at.
    decisions
        Questions of auth and routing that it was asked about.
    otherwise
        How many of them it would have answered otherwise: another processor, another way of sending, or not at all.
    changes
        In which ways, the commonest first.
    segments
        Where that share is the largest.
    values
        What it would have been worth beside what was logged: approvals, then the margin.
    retries
        The same question for retries; they have no odds, so nothing can be said of their worth.
    notes
        What a reader must know.
    """

    policy: str
    since: datetime
    until: datetime
    decisions: int
    otherwise: int
    changes: tuple[Change, ...]
    segments: tuple[Segment, ...]
    values: tuple[Values, ...]
    retries: Retries
    notes: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the decisions that would have been others."""
        return self.otherwise / self.decisions

    def lines(self) -> Iterator[str]:
        """Yield the report for a person."""
        yield f"{self.policy} over {self._questions}"
        yield from noted(self.notes)
        yield f"  {self._otherwise}"
        yield from (f"    {change.count:,} {change.words}" for change in self.changes)
        if self.segments:
            yield ""
            yield "where it differs most"
            yield from table(("segment", *_SEGMENT), [_cells(segment) for segment in self.segments])
        yield f"  {self._retried}"
        for values in self.values:
            yield ""
            yield values.unit
            yield from noted(values.notes)
            yield from value_table(values)

    def html(self) -> str:
        """Return the report as a page of its own."""
        parts = [*map(loud, self.notes), heading(2, "What would have been otherwise"), say(self._otherwise)]
        if self.changes:
            changes = [(change.words, f"{change.count:,}") for change in self.changes]
            parts.append(html_table(f"Of {self.decisions:,} decisions", ("logged to chosen", "decisions"), changes))
        if self.segments:
            rows = [_cells(segment) for segment in self.segments]
            parts.append(html_table("Where it differs most", ("segment", *_SEGMENT), rows))
        parts.append(say(self._retried))
        for number, values in enumerate(self.values):
            parts += of_values(values, f"v{number}")
        return page(f"What if: {self.policy}", f"Over {self._questions}. {_LEAD}", parts)

    @property
    def _questions(self) -> str:
        return f"{self.decisions:,} decisions from {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"

    @property
    def _otherwise(self) -> str:
        return f"{self.otherwise:,} of {self.decisions:,} ({self.share:.1%}) would have been answered otherwise"

    @property
    def _retried(self) -> str:
        told = self.retries
        if not told.count:
            return "no retry was asked about"
        if not told.told:
            return f"{told.count:,} retries were asked about; how it would have answered them cannot be told"
        return (
            f"{told.otherwise:,} of {told.told:,} retries ({told.otherwise / told.told:.1%}) would have been planned otherwise"
            + (f"; of {told.count - told.told:,} more that cannot be told" if told.count > told.told else "")
            + "; no chance was drawn there, so what that would have been worth cannot be told"
        )


_SEGMENT: Final = ("decisions", "otherwise", "share", "most often", "of them")

_LEAD: Final = (
    "Brackets are 95 % intervals over payments. An outcome speaks for the other policy where that would have sent the payment "
    "through the same processor in the same way, and weighs as much more as it was drawn less often: SNIPS is the estimate to go "
    "by, the doubly robust one and IPS stand beside it."
)


def _cells(segment: Segment) -> tuple[str, ...]:
    return (
        f"{segment.dimension} {segment.value}",
        f"{segment.rows:,}",
        f"{segment.otherwise:,}",
        f"{segment.share:.1%}",
        segment.change,
        f"{segment.of_change:,}",
    )
