"""What an evaluation found, as tables for a person and as JSON.

This module must not know how anything was found.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from contracts.base import Record
from contracts.bundle import Metric
from trainer.evaluate.calibration import Calibrated
from trainer.evaluate.estimate import SHARES, Estimate


class Judged(Record, frozen=True, kw_only=True):
    """The models of one bundle: how true each one's probabilities are, or why that is not known."""

    version: str
    models: tuple[Calibrated, ...]
    untold: dict[str, str]
    notes: tuple[str, ...] = ()


class Values(Record, frozen=True, kw_only=True):
    """What policies would have been worth by one log.

    Attributes
    ----------
    source
        Which log.
    unit
        Of every value.
    notes
        What a reader must know of the log.
    estimates
        One for each policy.
    """

    source: str
    unit: str
    notes: tuple[str, ...]
    estimates: tuple[Estimate, ...]


class Report(Record, frozen=True, kw_only=True):
    """An evaluation; `since` and `until` bound the payments judged by, None where the log has no times."""

    since: datetime | None
    until: datetime | None
    bundles: tuple[Judged, ...]
    values: tuple[Values, ...]

    def lines(self) -> Iterator[str]:
        """Yield the report for a person."""
        if self.since is not None and self.until is not None:
            yield f"payments from {self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"
        for bundle in self.bundles:
            yield ""
            yield f"calibration of bundle {bundle.version}"
            yield from noted(bundle.notes)
            yield from calibration_table(bundle)
        for values in self.values:
            yield ""
            yield f"value of policies by {values.source}: {values.unit}"
            yield from noted(values.notes)
            yield from value_table(values)


def calibration_table(bundle: Judged) -> Iterator[str]:
    """Yield the table of a bundle's models, and what is to be said of each."""
    rows = [
        (
            each.model,
            f"{each.whole.rows:,}",
            f"{each.whole.said:.4f}",
            f"{each.whole.observed:.4f}",
            metric(each.whole.ece),
            f"{each.whole.ece_by_chance:.4f}",
            metric(each.whole.brier),
        )
        for each in bundle.models
    ]
    if rows:
        yield from table(("model", "rows", "said", "observed", "ece", "by chance", "brier"), rows)
    for each in bundle.models:
        yield f"  {each.model}: {each.reading}"
    for model, why in bundle.untold.items():
        yield f"  {model}: {why}"


def value_table(values: Values) -> Iterator[str]:
    """Yield the table of policies, and what may be concluded of each."""
    digits = 4 if all(each.reward in SHARES for each in values.estimates) else 1
    rows = [
        (
            each.policy,
            metric(each.snips, digits),
            "-" if each.doubly_robust is None else metric(each.doubly_robust, digits),
            metric(each.ips, digits),
            metric(each.gain, digits),
            f"{each.effective:,.0f}",
            f"{each.clipped:.2%}",
        )
        for each in values.estimates
    ]
    yield from table(("policy", "snips", "doubly robust", "ips", "over logged", "ess", "clipped"), rows)
    for each in values.estimates:
        yield f"  {each.policy}: {each.reading}"
        yield from (f"    {note}" for note in each.notes)


def metric(found: Metric, digits: int = 4) -> str:
    """Return a figure with its interval.

    >>> metric(Metric(value=0.5, low=0.25, high=0.75), 2)
    '0.50 [0.25, 0.75]'
    >>> metric(Metric(value=-1e-9, low=-1234.5, high=-0.0), 0)
    '0 [-1,234, 0]'
    """
    # Adding 0 makes 0 of -0, which rounding leaves of the smallest differences.
    value, low, high = (round(number, digits) + 0.0 for number in (found.value, found.low, found.high))
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows in columns as wide as they must be, the first to the left, the others to the right."""
    cells = [tuple(names), *(tuple(row) for row in rows)]
    wide = [max(len(row[place]) for row in cells) for place in range(len(names))]
    for row in cells:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, wide, strict=True))
        )
        yield "  ".join([f"  {first}", *others]).rstrip()


def noted(notes: Iterable[str]) -> Iterator[str]:
    """Yield notes so that they are not overlooked."""
    for note in notes:
        yield f"! {note}"
