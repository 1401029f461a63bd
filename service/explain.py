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
from features.assemble import Matrix
from service.errors import ModelFailed
from service.models.bundle import Bundle

LEAST_SECONDS: Final = 0.005
"""With less than this left the answer comes first."""
LEAST_MOVE: Final = 0.001
MOST_MOVES: Final = 3


def moved(bundle: Bundle, model: str, row: Matrix, deadline: float) -> dict[str, float]:
    """Return by group what the model says with that group as a typical payment has it; all of it in one run.

    Nothing, where the bundle knows no typical payment or too little time is left.

    Parameters
    ----------
    row
        Shape (1, features): the estimate that is to be explained.
    deadline
        When the answer is due, a value of `time.monotonic`.
    """
    if deadline - monotonic() < LEAST_SECONDS:
        return {}
    try:
        return bundle.scorer.made_typical(model, row)
    except ModelFailed:
        return {}


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
