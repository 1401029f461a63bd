"""In which way each candidate of an answer would have been sent: what must be alike for one outcome to speak for another.

An issuer that approves an authenticated payment may refuse it without; a person who reviewed it may have stopped it. So an
outcome is evidence for another policy only where that would have sent the payment through the same processor in the same way.
This module must not know which policy is judged.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from contracts.decision import RankedProcessor
from contracts.inputs import Credential
from contracts.payment import Payment


class Sent(Protocol):
    """What a logged answer and a policy's choice have in common."""

    @property
    def action(self) -> str:
        """What is done."""
        ...

    @property
    def processor(self) -> str | None:
        """Through which processor; None: nothing is sent."""
        ...

    @property
    def three_ds(self) -> str:
        """Whether a challenge comes first."""
        ...

    @property
    def exemption(self) -> str | None:
        """Under which exemption."""
        ...

    @property
    def credential(self) -> Credential | None:
        """What the card is sent as."""
        ...

    @property
    def ranking(self) -> Sequence[RankedProcessor]:
        """Every candidate."""
        ...


class Way(NamedTuple):
    """How a payment is sent, whoever processes it: with which authentication, as which credential, after a review or not."""

    authentication: str
    credential: Credential | None
    reviewed: bool


def way_of(request: Payment, sent: Sent) -> Way:
    """Return the way in which an answer sends a payment."""
    if sent.three_ds == "challenge" or request.uses_3ds:
        authentication = "three_ds"
    else:
        authentication = "none" if sent.exemption is None else "exemption"
    return Way(authentication, sent.credential, sent.action == "review")


def ways(request: Payment, sent: Sent) -> dict[str, tuple[float, Way]]:
    """Return every processor that may have been drawn, with its probability and the way in which it would have been sent.

    A candidate's best way is the first of its `modes`; one that had but one is sent as the chosen one if that had but one too,
    for then the duty or the question left no choice, and otherwise as it was asked about.
    """
    if sent.processor is None:
        return {}
    own = way_of(request, sent)
    alone = any(entry.processor == sent.processor and not entry.modes for entry in sent.ranking)
    asked = Way("three_ds" if request.uses_3ds else "none", None, own.reviewed)
    found: dict[str, tuple[float, Way]] = {}
    for entry in sent.ranking:
        if entry.propensity <= 0.0:
            continue
        if entry.processor == sent.processor:
            way = own
        elif entry.modes:
            way = Way(entry.modes[0].authentication, entry.modes[0].credential, own.reviewed)
        else:
            way = own if alone else asked
        share = found[entry.processor][0] if entry.processor in found else 0.0
        found[entry.processor] = (share + entry.propensity, way)
    return found
