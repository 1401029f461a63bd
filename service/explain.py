"""Why an estimate is what it is: what it would be with one group of features at a time as a typical payment has them.

Groups are those of `features.catalog.GROUPS`, which a person knows by name: the card, the merchant, the time. A group that
moves nothing when it is made typical was not what the estimate hung on. This is a comparison with one typical payment and
one group at a time, not a share of the estimate: what two groups do together shows in neither.

This module must not know what is decided from the estimate.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Final

from contracts.decision import Reason
from contracts.inputs import PolicyInputs
from contracts.payment import Payment, RetryRequest
from features.assemble import Matrix
from features.effects import shifted
from service import answer
from service.errors import ModelFailed
from service.estimate import MODEL_OF, in_every_way
from service.models.bundle import Bundle
from service.policy.choice import Choice
from service.policy.retry import RetryChoice

LEAST_SECONDS: Final = 0.005
"""With less than this left the answer comes first."""
LEAST_MOVE: Final = 0.001
MOST_MOVES: Final = 3


def is_worth(bundle: Bundle, model: str, deadline: float) -> bool:
    """Tell whether there is a typical payment to compare with, and time to do so before `deadline` (`time.monotonic`)."""
    return bundle.scorer.knows_typical(model) and deadline - monotonic() >= LEAST_SECONDS


def of_payment(
    bundle: Bundle, kind: str, request: Payment, inputs: PolicyInputs, rows: Matrix, choice: Choice
) -> tuple[dict[str, float], Reason | None]:
    """Explain the estimate that an answer to an auth or routing request shows.

    Parameters
    ----------
    rows
        Of the candidates, as the payment was asked about; shape (candidates, features).

    Returns
    -------
    tuple
        By group what the model says with that group as a typical payment has it, and the reason made of it.
    """
    place = answer.shown(inputs.processors, choice)
    if place is None or (bundle.rates is not None and not bundle.rates.knows(inputs.processors[place])):
        # Of a processor that no model has seen, no model has made the estimate.
        return {}, None
    model, way = MODEL_OF[kind], answer.way(request, inputs.variants, choice)
    row = in_every_way(rows[place : place + 1], request, inputs.variants[way : way + 1])
    effects = bundle.effects[model]
    (offset,) = effects.offsets(request, inputs.processors[place : place + 1]) if effects else (0.0,)
    return _explained(bundle, model, row, inputs.approval[way][place], offset)


def of_retry(
    bundle: Bundle, request: RetryRequest, inputs: PolicyInputs, rows: Matrix, choice: RetryChoice
) -> tuple[dict[str, float], Reason | None]:
    """Explain the estimate of the retry that is planned; nothing without one. As `of_payment`."""
    place = answer.wait(inputs, choice)
    if place is None or choice.processor is None:
        return {}, None
    column = inputs.processors.index(choice.processor)
    way, wait = divmod(place, len(inputs.waits))
    row = in_every_way(rows[column : column + 1], request, inputs.variants[way : way + 1])
    names = inputs.processors[column : column + 1]
    row = bundle.plan.retry_rows(row, request, inputs.moment_us, names, inputs.waits[wait : wait + 1])
    return _explained(bundle, "retry", row, inputs.success[place][column])


def _explained(
    bundle: Bundle, model: str, row: Matrix, estimate: float, offset: float = 0.0
) -> tuple[dict[str, float], Reason | None]:
    try:
        groups = bundle.scorer.made_typical(model, row)
    except ModelFailed:
        return {}, None
    if offset:
        groups = {group: shifted(p, offset) for group, p in groups.items()}
    return groups, reason_of(estimate, groups)


def reason_of(estimate: float, groups: Mapping[str, float]) -> Reason | None:
    """Return the groups that move an estimate most, largest first; None when none does.

    >>> reason_of(0.8, {"card": 0.9, "time": 0.7995, "merchant": 0.75, "bin": 0.5, "amount": 0.79}).detail
    'estimate 0.8000: bin +0.3000, card -0.1000, merchant +0.0500 against a typical payment'
    >>> reason_of(0.8, {"time": 0.8}) is None
    True
    """
    moves = [(estimate - typical, group) for group, typical in groups.items() if abs(estimate - typical) >= LEAST_MOVE]
    if not moves:
        return None
    moves.sort(key=lambda each: (-abs(each[0]), each[1]))
    said = ", ".join([f"{group} {move:+.4f}" for move, group in moves[:MOST_MOVES]])
    return Reason(code="moved_by", detail=f"estimate {estimate:.4f}: {said} against a typical payment")
