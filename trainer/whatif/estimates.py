"""What a bundle says of a logged question: as it was logged, or from the logged vectors.

The vectors hold what was known then, but for one thing: categories stand in them as the rates that the logging bundle had learnt.
For another bundle those are computed again. This module must not know what is concluded from probabilities.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from contracts.inputs import Variant
from features.effects import shifted
from service.estimate import MODEL_OF, in_every_way
from trainer.consistency.frames import questions
from trainer.consistency.past import Asked
from trainer.consistency.recompute import SPECS, Table, of_payments
from trainer.evaluate.bundle import Matrix, Ready
from trainer.whatif.decisions import Decided

TOGETHER: Final = 4_000
"""Questions whose vectors are in memory at once."""

_PRIORS: Final = tuple(place for place, spec in enumerate(SPECS) if spec.target is not None)


class Said(NamedTuple):
    """Probabilities of one question: a row for each way of sending, in it one for each candidate; and its risk."""

    variants: tuple[Variant, ...]
    approval: tuple[tuple[float, ...], ...]
    risk: float


def as_logged(decided: Decided) -> Said | None:
    """Return what the policy was told then; None when that was not kept."""
    inputs = decided.inputs
    if inputs is None or inputs.risk is None or len(inputs.approval) != len(inputs.variants):
        return None
    return Said(inputs.variants, inputs.approval, inputs.risk)


def from_vectors(ready: Ready, decided: Sequence[Decided]) -> list[Said | None]:
    """Return what a bundle says of each question, None of one without vectors.

    As ``service.estimate`` does: every way of sending is the payment's own row with another authentication or credential;
    processors that the bundle has not seen, and models it does not have, are answered by its hierarchy.
    """
    found: list[Said | None] = [None] * len(decided)
    known = [place for place, each in enumerate(decided) if each.rows is not None]
    for start in range(0, len(known), TOGETHER):
        places = known[start : start + TOGETHER]
        asked = [decided[place] for place in places]
        for place, each, rows in zip(places, asked, _relearnt(ready, asked), strict=True):
            found[place] = _said(ready, each, rows)
    return found


def _said(ready: Ready, decided: Decided, rows: Matrix) -> Said:
    """Ask about one question alone: rows asked about together may come to other last bits, and turn equals round."""
    request, names = decided.request, decided.processors
    answers = _answers(ready, "risk", rows[:1])
    risk = ready.prior("risk") if answers is None else answers[0]
    # As the service does: only the ways of sending that a choice would look at.
    variants = ready.policy.needed(
        request,
        names,
        ready.policy.variants(request, decided.kind),
        risk,
        kind=decided.kind,
        at=decided.at,
        ledger=None if decided.inputs is None else decided.inputs.ledger,
    )
    table = _approval(ready, decided, len(variants), in_every_way(rows, request, variants)) if names else None
    return Said(variants, ((),) * len(variants) if table is None else table, risk)


def _approval(ready: Ready, decided: Decided, ways: int, rows: Matrix) -> tuple[tuple[float, ...], ...]:
    names, request, model = decided.processors, decided.request, MODEL_OF[decided.kind]
    flat = _answers(ready, model, rows)
    if flat is None:
        return (tuple([ready.expected(model, request, name) for name in names]),) * ways
    effects = ready.effects[model]
    if effects:
        offsets = effects.offsets(request, names) * ways
        flat = [shifted(p, offset) for p, offset in zip(flat, offsets, strict=True)]
    width = len(names)
    for place, name in enumerate(names):
        if not ready.knows(name):
            flat[place::width] = [ready.expected(model, request, name)] * ways
    return tuple([tuple(flat[start : start + width]) for start in range(0, len(flat), width)])


def _answers(ready: Ready, model: str, rows: Matrix) -> list[float] | None:
    """Return a model's answers to rows of the catalog; None when the bundle has no such model."""
    answer = ready.answers.get(model)
    if answer is None:
        return None
    said: list[float] = answer(rows.take(ready.columns[model], axis=1)).tolist()
    return said


def _relearnt(ready: Ready, decided: Sequence[Decided]) -> list[Matrix]:
    """Return each question's vectors with the rates of categories as this bundle has learnt them."""
    rows = [each.rows for each in decided if each.rows is not None]
    if all(each.answer.bundle_version == ready.version for each in decided):
        return rows
    asked = questions([_asked(each, mine) for each, mine in zip(decided, rows, strict=True)])
    table = Table(len(asked))
    of_payments(asked, [ready.version] * len(rows), {ready.version: ready.manifest.encodings}, table)
    relearnt, start = [], 0
    for mine in rows:
        values, known = table.values[start : start + len(mine)], table.known[start : start + len(mine)]
        start += len(mine)
        fresh = mine.copy()
        for column in _PRIORS:
            # What all candidates share stands in the first one's row alone.
            fresh[:, column] = values[:, column] if known[:, column].all() else values[0, column]
        relearnt.append(fresh)
    return relearnt


def _asked(decided: Decided, rows: Matrix) -> Asked:
    return Asked(
        decision_id=decided.answer.decision_id,
        bundle_version=decided.answer.bundle_version,
        payment=decided.request,
        at=decided.at,
        read=decided.at,
        answered=decided.at,
        processors=decided.processors,
        rows=rows,
        own=None,
    )
