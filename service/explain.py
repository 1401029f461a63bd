"""Why an estimate is what it is: how far the groups of features that moved it most did so.

Groups are those of `features.catalog.GROUPS`, which a person knows by name: the card, the merchant, the time. The model says
with every answer what moved it on its way through the trees (``trainer.fit.attribution``), so that a reason costs no second
run; a move is told in probability, as the difference to the estimate without it.

This module must not know what is decided from the estimate.
"""

from typing import Final

from contracts.decision import Reason
from contracts.inputs import PolicyInputs
from contracts.payment import Payment
from service import answer
from service.estimate import MODEL_OF, Estimates
from service.models.bundle import Bundle
from service.models.moves import Moves
from service.policy.choice import Choice
from service.policy.retry import RetryChoice

LEAST_MOVE: Final = 0.001
MOST_MOVES: Final = 3


def of_payment(
    bundle: Bundle, kind: str, request: Payment, inputs: PolicyInputs, estimates: Estimates, choice: Choice
) -> tuple[dict[str, float], Reason | None]:
    """Explain the estimate that an answer to an auth or routing request shows.

    Parameters
    ----------
    estimates
        That answered `inputs.approval`.

    Returns
    -------
    tuple
        By group what the estimate would be without it, and the reason made of that.
    """
    place, moves = answer.shown(inputs.processors, choice), estimates.moves
    if (
        moves is None
        or place is None
        or (bundle.rates is not None and not bundle.rates.knows(inputs.processors[place]))
    ):
        # Of a processor that no model has seen, no model has made the estimate.
        return {}, None
    model, way = MODEL_OF[kind], answer.way(request, inputs.variants, choice)
    offset = estimates.offsets[place] if estimates.offsets else 0.0
    row = way * len(inputs.processors) + place
    return _explained(bundle, model, moves, row, inputs.approval[way][place], offset)


def of_retry(
    bundle: Bundle, inputs: PolicyInputs, estimates: Estimates, choice: RetryChoice
) -> tuple[dict[str, float], Reason | None]:
    """Explain the estimate of the retry that is planned; nothing without one. As `of_payment`."""
    place, moves = answer.wait(inputs, choice), estimates.moves
    if moves is None or place is None or choice.processor is None:
        return {}, None
    column = inputs.processors.index(choice.processor)
    row = place * len(inputs.processors) + column
    return _explained(bundle, "retry", moves, row, inputs.success[place][column])


def _explained(
    bundle: Bundle, model: str, moves: Moves, row: int, estimate: float, shift: float = 0.0
) -> tuple[dict[str, float], Reason | None]:
    groups = dict(bundle.scorer.without(model, moves, row, MOST_MOVES, shift))
    return groups, reason_of(estimate, groups)


def reason_of(estimate: float, without: dict[str, float]) -> Reason | None:
    """Return what moves an estimate most, largest first; None when nothing does.

    >>> reason_of(0.8, {"card": 0.9, "time": 0.7995, "merchant": 0.75, "bin": 0.5}).detail
    'estimate 0.8000: bin +0.3000, card -0.1000, merchant +0.0500'
    >>> reason_of(0.8, {"time": 0.8}) is None
    True
    """
    detail = say(estimate, without, LEAST_MOVE, MOST_MOVES)
    return None if detail is None else Reason(code="moved_by", detail=detail)


def words_of(estimate: float, without: dict[str, float], least: float, most: int) -> str | None:
    """Return in words the `most` groups that move an estimate by at least `least`; None when there is none."""
    moves = [(estimate - p, group) for group, p in without.items() if abs(estimate - p) >= least]
    if not moves:
        return None
    moves.sort(key=lambda each: (-abs(each[0]), each[1]))
    said = ", ".join([f"{group} {move:+.4f}" for move, group in moves[:most]])
    return f"estimate {estimate:.4f}: {said}"


try:
    from service.explain_native import words_of as say
except ImportError:
    say = words_of
