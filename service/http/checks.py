"""What types alone cannot say of a request: currencies that exist, processors named once, times of this age.

The hot half is one function for each message, called with a decoded request. This module must not know bytes or HTTP.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from contracts.currency import EXPONENT
from contracts.outcome import Outcome
from contracts.payment import Payment, RetryRequest
from service.errors import RequestRefused
from service.http.plain import item

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2199
"""Times outside of these years are refused: no payment happened then, and some have no UTC equivalent at all."""


def check_payment(payment: Payment) -> None:
    """Check an auth or routing request.

    Raises
    ------
    RequestRefused
        ``unknown_currency``, ``duplicate_processor`` or ``out_of_range``.
    """
    if payment.currency not in EXPONENT:
        raise RequestRefused(code="unknown_currency", path="$.currency", detail="expected an active ISO 4217 code")
    processors = payment.processors
    if len(processors) > 1 and len(set(processors)) != len(processors):
        index = next(i for i, name in enumerate(processors) if name in processors[:i])
        raise RequestRefused(
            code="duplicate_processor", path=item("$.processors", index), detail="expected every processor once"
        )
    if payment.occurred_at is not None:
        _check_moment(payment.occurred_at, "$.occurred_at")


def check_retry(request: RetryRequest) -> None:
    """Check a retry request: the payment in it, and the times of what went before.

    Raises
    ------
    RequestRefused
        As for a payment.
    """
    check_payment(request)
    if request.decline.declined_at is not None:
        _check_moment(request.decline.declined_at, "$.decline.declined_at")
    for index, attempt in enumerate(request.previous_attempts):
        _check_moment(attempt.occurred_at, item("$.previous_attempts", index) + ".occurred_at")


def check_outcomes(outcomes: Outcome | Sequence[Outcome]) -> None:
    """Check one outcome, or each of a list.

    Raises
    ------
    RequestRefused
        ``status_required`` for an authorisation without a status, or ``out_of_range``.
    """
    if isinstance(outcomes, Outcome):
        _check_outcome(outcomes, "$")
        return
    for index, outcome in enumerate(outcomes):
        _check_outcome(outcome, item("$", index))


def _check_outcome(outcome: Outcome, path: str) -> None:
    if outcome.status is None and outcome.kind == "authorisation":
        detail = "an authorisation has a status: one of approved, declined, error, timeout"
        raise RequestRefused(code="status_required", path=f"{path}.status", detail=detail)
    if outcome.occurred_at is not None:
        _check_moment(outcome.occurred_at, f"{path}.occurred_at")


def _check_moment(moment: datetime, path: str) -> None:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise RequestRefused(
            code="out_of_range", path=path, detail=f"expected a time of the years {FIRST_YEAR} to {LAST_YEAR}"
        )
