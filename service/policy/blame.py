"""Whose fault a failed result is.

Only what is the processor's fault speaks against the processor: a card without funds fails everywhere. This module must not know
what follows from it.
"""

from typing import Final

from contracts.outcome import Status
from service.policy.rule import Blame
from service.policy.rulebook import Initiator, RuleBook

TECHNICAL: Final = frozenset({"error", "timeout"})
"""Results without an answer of the issuer."""
_UNLISTED: Final = ".*"
_MERCHANT: Final[Initiator] = "merchant"
_CUSTOMER: Final[Initiator] = "customer"


def judge(
    book: RuleBook,
    network: str,
    *,
    processor: str,
    status: Status | None,
    response_code: str | None,
    advice_code: str | None,
    country: str,
    initiator: str | None,
) -> Blame:
    """Say whose fault a result is; "unknown" for an approval, which is nobody's.

    A decline is read as the rules of the day read it. An error or a timeout is the processor's fault, unless it carries a code
    or an advice that a rule lays at another's door: 91, the issuer did not answer, says that the processor did.

    Parameters
    ----------
    book : RuleBook
        The rules of the day.
    network : str
        Under any of its names.
    processor : str
        Which gave the result: some renumber advice codes.
    status : {"approved", "declined", "error", "timeout"}, optional
        What was reported.
    response_code, advice_code : str, optional
        As they came.
    country : str
        Of the issuer, ISO 3166-1 alpha-2.
    initiator : {"customer", "merchant"}, optional
        Of the payment; the customer where nothing is said.
    """
    if status is None or status == "approved":
        return "unknown"
    silent = response_code is None and advice_code is None
    if status in TECHNICAL and silent:
        return "processor"
    reading = book.read(
        book.network(network),
        processor=processor,
        code=response_code,
        advice=advice_code,
        reason=None,
        country=country,
        initiator=_MERCHANT if initiator == _MERCHANT else _CUSTOMER,
    )
    if reading is None:
        return "processor" if status in TECHNICAL else "unknown"
    # A rule for codes that no other lists ends in its "*": it knows of declines, and nothing of a gateway's own error codes.
    if status in TECHNICAL and (reading.blame == "unknown" or reading.rules[0].id.endswith(_UNLISTED)):
        return "processor"
    return reading.blame
