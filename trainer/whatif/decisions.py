"""What a journal tells of decisions and of what became of them.

An attempt may be asked about more than once: the last answer is the one that was acted on. Its status is the last one that the
service took: a timeout that was resolved later is what it became. This module must not know any policy.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt

from contracts.decision import Decision
from contracts.event import AuthDecided, DecisionMade, JournalEvent, OutcomeSettled, RetryDecided, RoutingDecided
from contracts.inputs import PolicyInputs
from contracts.payment import AuthRequest, RoutingRequest
from features.assemble import WIDTH
from features.catalog import FINGERPRINT
from features.clock import micros
from trainer.consistency.journal import Journal
from trainer.consistency.past import ALL, moment_of

UNSENT: Final = "declined by the policy itself: they count as not approved"
MISSING: Final = "left out: no outcome was reported"
ELSEWHERE: Final = "left out: sent elsewhere than was answered"
UNRANKED: Final = "left out: answered without the odds of what was chosen"
SUPERSEDED: Final = "left out: answered again later, about the same attempt"
ABANDONED: Final = "challenged and never heard of again: they count as not approved"


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of auth or routing, and what became of its attempt.

    Attributes
    ----------
    kind
        Of question.
    request, answer
        What was asked and answered.
    inputs
        What the policy was told; None in journals that did not keep it.
    at
        The moment of the question, microseconds.
    processors
        The candidates in the order in which they were asked about.
    rows
        The logged vectors, shape (candidates or 1, WIDTH); None when there are none of this catalog.
    status
        Of the attempt; None: nothing was sent, or the payer never came back from a challenge.
    charged_back
        Whether a chargeback is known that the merchant bears.
    """

    kind: Literal["auth", "routing"]
    request: AuthRequest | RoutingRequest
    answer: Decision
    inputs: PolicyInputs | None
    at: int
    processors: tuple[str, ...]
    rows: npt.NDArray[np.float32] | None
    status: str | None
    charged_back: bool

    @property
    def is_sent(self) -> bool:
        """Whether the answer was to send the payment."""
        return self.answer.processor is not None

    @property
    def propensity(self) -> float:
        """Probability with which the processor was drawn; 1 where nothing was sent."""
        return propensity(self.answer)


def propensity(answer: Decision) -> float:
    """Return the probability with which the processor of an answer was drawn; 1 where nothing was sent."""
    if answer.processor is None:
        return 1.0
    return sum(entry.propensity for entry in answer.ranking if entry.processor == answer.processor)


@dataclass(slots=True)
class Told:
    """Everything that a journal tells.

    Attributes
    ----------
    decided
        Decisions to judge by, in the order of the journal.
    retries
        Retry decisions, in the order of the journal.
    counts
        Decisions by what is to be said of them: left out, or counted in a way that a reader must know.
    share
        Of the payments that are looked at.
    """

    decided: list[Decided] = field(default_factory=list)
    retries: list[RetryDecided] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    share: float = 1.0


@dataclass(slots=True)
class _Outcome:
    """What became of one attempt."""

    status: str | None = None
    processor: str | None = None
    charged_back: bool = False


def told_by(journal: Journal, since: datetime | None, until: datetime | None, most: int) -> Told:
    """Return what a journal tells.

    Parameters
    ----------
    journal
        Opened to read.
    since, until
        Only decisions of questions from here on, and before this.
    most
        About so many decisions: whole payments, chosen by a checksum of their ids.
    """
    share = ALL if journal.decisions <= most else max(1, ALL * most // journal.decisions)
    last: dict[tuple[str, int], AuthDecided | RoutingDecided] = {}
    outcomes: dict[tuple[str, int], _Outcome] = {}
    told = Told(share=share / ALL)
    for event in _some(journal.events(), share):
        if isinstance(event, OutcomeSettled):
            _settle(outcomes, event)
        elif event.repeat or not _within(event, since, until):
            continue
        elif isinstance(event, RetryDecided):
            told.retries.append(event)
        else:
            named = (event.request.payment_id, event.request.attempt)
            if named in last:
                told.counts[SUPERSEDED] += 1
            last[named] = event
    for named, decision in last.items():
        _take(told, decision, outcomes.get(named, _Outcome()))
    return told


def _some(events: Iterator[JournalEvent], share: int) -> Iterator[JournalEvent]:
    for event in events:
        payment = event.outcome.payment_id if isinstance(event, OutcomeSettled) else event.request.payment_id
        if crc32(payment.encode()) < share:
            yield event


def _within(event: DecisionMade, since: datetime | None, until: datetime | None) -> bool:
    at = moment_of(event.request.occurred_at, event.decided_at)
    return (since is None or at >= micros(since)) and (until is None or at < micros(until))


def _settle(outcomes: dict[tuple[str, int], _Outcome], event: OutcomeSettled) -> None:
    """Take an outcome; one that the service had heard before changes nothing."""
    outcome = event.outcome
    if event.result == "repeated":
        return
    known = outcomes.setdefault((outcome.payment_id, outcome.attempt), _Outcome())
    if outcome.kind == "chargeback":
        known.charged_back = True
    elif outcome.kind == "authorisation" and outcome.status is not None:
        known.status = outcome.status
        known.processor = outcome.processor or known.processor


def _take(told: Told, event: AuthDecided | RoutingDecided, outcome: _Outcome) -> None:
    """Add a decision that can be judged by; count one that cannot."""
    answer = event.answer
    status = outcome.status
    if answer.processor is None:
        told.counts[UNSENT] += 1
        status = None
    elif outcome.processor not in (None, answer.processor):
        told.counts[ELSEWHERE] += 1
        return
    elif not propensity(answer) > 0:
        told.counts[UNRANKED] += 1
        return
    elif status is None:
        if answer.three_ds != "challenge":
            told.counts[MISSING] += 1
            return
        told.counts[ABANDONED] += 1
    processors, rows = _candidates(event)
    told.decided.append(
        Decided(
            kind="auth" if isinstance(event, AuthDecided) else "routing",
            request=event.request,
            answer=answer,
            inputs=event.inputs,
            at=moment_of(event.request.occurred_at, event.decided_at)
            if event.inputs is None
            else event.inputs.moment_us,
            processors=processors,
            rows=rows,
            status=status,
            charged_back=outcome.charged_back and answer.liability != "issuer",
        )
    )


def _candidates(event: AuthDecided | RoutingDecided) -> tuple[tuple[str, ...], npt.NDArray[np.float32] | None]:
    """Return the candidates in the order in which they were asked about, and their logged vectors."""
    vectors, inputs = event.vectors, event.inputs
    if inputs is not None:
        processors = inputs.processors
    elif vectors is not None:
        processors = vectors.processors
    else:
        processors = event.request.processors or tuple([entry.processor for entry in event.answer.ranking])
    if vectors is None or vectors.fingerprint != FINGERPRINT or vectors.processors != processors:
        return processors, None
    count = max(1, len(processors))
    if len(vectors.rows) != 4 * count * WIDTH:
        return processors, None
    return processors, np.frombuffer(vectors.rows, dtype="<f4").reshape(count, WIDTH)
