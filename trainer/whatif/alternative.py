"""The other policy: a bundle, or other parameters for whichever bundle answered, asked about logged questions.

This module must not know what its choices would have been worth.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from contracts.bundle import PolicyParameters
from contracts.event import RetryDecided
from features.clock import moment
from service.answer import told
from service.ledger import entries
from service.policy.choice import Choice
from service.policy.retry import RetryChoice
from trainer.errors import BundleError, EvaluateError
from trainer.evaluate.bundle import Ready, compiled, open_bundle
from trainer.whatif.decisions import Decided
from trainer.whatif.estimates import Said, as_logged, from_vectors

NO_BUNDLE: Final = "left out: their bundle was not found (--bundles)"
NO_ESTIMATES: Final = "left out: logged without what the policy was told, and without vectors of this catalog"


@dataclass(slots=True)
class Alternative:
    """Another policy.

    Attributes
    ----------
    name
        What it is called.
    counts
        Decisions that it could not be asked about, by why.
    """

    name: str
    _shelf: Path
    _bundle: Ready | None = None
    _parameters: PolicyParameters | None = None
    _opened: dict[str, Ready | None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def bundle(cls, reference: str, folder: Path) -> "Alternative":
        """Return the policy of a bundle, going by its own models.

        Raises
        ------
        BundleError
            When there is none such.
        """
        ready = open_bundle(reference, folder)
        return cls(f"bundle:{ready.version}", folder, _bundle=ready)

    @classmethod
    def parameters(cls, parameters: PolicyParameters, folder: Path) -> "Alternative":
        """Return the policy of other parameters in the bundle that answered each question."""
        return cls(f"parameters:{parameters.version}", folder, _parameters=parameters)

    def of(self, version: str) -> Ready | None:
        """Return what answers in place of the bundle of a decision; None when that was not found."""
        if self._bundle is not None:
            return self._bundle
        if version not in self._opened:
            assert self._parameters is not None
            try:
                own = open_bundle(version, self._shelf)
            except BundleError:
                self._opened[version] = None
            else:
                manifest = msgspec.structs.replace(own.manifest, policy=self._parameters)
                self._opened[version] = compiled(manifest, own.answers)
        return self._opened[version]

    def choices(self, decided: Sequence[Decided]) -> list[Choice | None]:
        """Return what it would have chosen; None where it cannot be asked, which `counts` says.

        With the draw of the logged answer: both policies explore on the same payments.
        """
        found: list[Choice | None] = [None] * len(decided)
        unsaid: dict[str, list[int]] = {}
        for place, each in enumerate(decided):
            ready = self.of(each.answer.bundle_version)
            if ready is None:
                self.counts[NO_BUNDLE] += 1
                continue
            said = as_logged(each) if each.answer.bundle_version == ready.version else None
            if said is None:
                unsaid.setdefault(ready.version, []).append(place)
            else:
                found[place] = choice_of(ready, each, said)
        for version, places in unsaid.items():
            ready = self.of(version)
            assert ready is not None
            for place, said in zip(places, from_vectors(ready, [decided[place] for place in places]), strict=True):
                if said is None:
                    self.counts[NO_ESTIMATES] += 1
                else:
                    found[place] = choice_of(ready, decided[place], said)
        if decided and not any(found):
            why = ", ".join(f"{count:,} {reason}" for reason, count in self.counts.items())
            msg = f"{self.name} cannot be asked about any of {len(decided):,} decisions: {why}"
            raise EvaluateError(msg)
        return found

    def retry(self, event: RetryDecided) -> RetryChoice | None:
        """Return how it would have answered a retry question; None where what it would have been told was not kept."""
        inputs = event.inputs
        ready = self.of(event.answer.bundle_version)
        if ready is None or inputs is None or ready.version != event.answer.bundle_version:
            return None
        now, ledger = moment(inputs.moment_us), entries(inputs.ledger)
        permit = ready.policy.permit(event.request, now, ledger)
        waits = ready.policy.waits(permit) if inputs.processors else ()
        # Waits and ways of sending that nobody scored then cannot be weighed now.
        if waits != inputs.waits or (waits and ready.policy.modes(event.request, permit) != inputs.variants):
            return None
        return ready.policy.plan(
            event.request,
            permit,
            inputs.processors,
            waits,
            inputs.success,
            now,
            standings=inputs.standings,
            ledger=ledger,
            modes=inputs.variants,
        )


def choice_of(ready: Ready, decided: Decided, said: Said) -> Choice:
    """Return what a bundle's policy chooses for a logged question, told what the logged one was told."""
    inputs = decided.inputs
    return ready.policy.choose(
        decided.request,
        decided.processors,
        said.approval,
        said.risk,
        kind=decided.kind,
        now=moment(decided.at),
        degraded=told(decided.answer.degraded),
        variants=said.variants,
        standings=() if inputs is None else inputs.standings,
        ledger=() if inputs is None else entries(inputs.ledger),
    )
