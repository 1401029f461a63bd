"""What a comparison found, as a table for a person and as JSON.

This module must not know how anything was compared.
"""

from collections.abc import Iterator

from contracts.base import Record
from trainer.consistency.compare import Feature


class Report(Record, frozen=True, kw_only=True):
    """The outcome of one comparison.

    Attributes
    ----------
    fingerprint
        Of the catalog both sides were computed with.
    decisions, compared
        In the journal, and with vectors that were compared.
    asked_again
        Compared decisions about an attempt that had been asked about before.
    other_fingerprints, skipped
        Decisions that were not compared: logged under another catalog, and by reason.
    unreadable
        Events of the journal that could not be read.
    unmatched_outcomes
        Outcomes applied for decisions that the journal does not hold: what they added is not in the recomputed history.
    bundles_without_encodings
        Decisions whose bundle was not found, by version; their priors are not compared.
    threshold
        Share of wrong values from which a feature fails.
    features
        In catalog order.
    """

    fingerprint: str
    decisions: int
    compared: int
    asked_again: int
    other_fingerprints: dict[str, int]
    skipped: dict[str, int]
    unreadable: int
    unmatched_outcomes: int
    bundles_without_encodings: dict[str, int]
    threshold: float
    features: list[Feature]

    @property
    def failing(self) -> list[Feature]:
        """The features of which more than the threshold is wrong."""
        return [feature for feature in self.features if feature.share > self.threshold]

    def lines(self) -> Iterator[str]:
        """Yield the report for a person."""
        yield f"{self.compared:,} of {self.decisions:,} decisions compared (catalog {self.fingerprint})"
        yield from self._notes()
        wide = max(len(feature.name) for feature in self.features)
        names = ("compared", "equal", "mismatch", "missing", "extra", "late")
        yield f"{'feature':<{wide}}" + "".join(f"{name:>10}" for name in names) + "  worst: logged, expected, decision"
        for feature in self.features:
            numbers = "".join(f"{getattr(feature, name):>10,}" for name in names)
            worst = ""
            if (found := feature.worst) is not None:
                through = f" {found.processor}" if found.processor else ""
                worst = f"  {found.logged:g}, {found.expected:g}, {found.decision_id}{through}"
            yield f"{feature.name:<{wide}}{numbers}{worst}"
        if self.failing:
            named = ", ".join(f"{feature.name} ({feature.share:.2%})" for feature in self.failing)
            yield f"not consistent: more than {self.threshold:.2%} of the values are wrong in {named}"
        else:
            yield f"consistent: no feature has more than {self.threshold:.2%} wrong values"

    def _notes(self) -> Iterator[str]:
        if self.asked_again:
            yield f"  {self.asked_again:,} of them about an attempt asked about before, which did not see itself"
        for fingerprint, count in self.other_fingerprints.items():
            yield f"  {count:,} skipped: logged under another catalog, {fingerprint}"
        for reason, count in self.skipped.items():
            yield f"  {count:,} skipped: {reason}"
        if self.unreadable:
            yield f"  {self.unreadable:,} events of the journal cannot be read"
        if self.unmatched_outcomes:
            yield f"  {self.unmatched_outcomes:,} outcomes are of decisions that the journal does not hold: not recomputed"
        for version, count in self.bundles_without_encodings.items():
            yield f"  priors of {count:,} decisions skipped: the bundle {version} was not found (--bundle)"
