"""What a policy made of a stage, payment by payment, and where it lost against the oracle.

Margins and approvals are expectations: each attempt that was sent counts with its true probability of approval, given all that
happened before it, and not with its draw. Their sum has the same mean as what was realised, and far less noise. This module must
not know how a policy decides.
"""

from typing import Final, NamedTuple

import numpy as np

from benchmarks.policies.judge import violations
from benchmarks.policies.play import Played
from benchmarks.policies.stage import Stage
from benchmarks.policies.worth import worths
from trainer.simulate import facts
from trainer.simulate.facts import Array
from trainer.simulate.gateway import Attempt

GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "processor": (facts.REFUSED, facts.TECHNICAL, facts.TIMED_OUT),
    "funds": (facts.FUNDS, facts.LIMIT),
    "issuer": (facts.HONOR, facts.SUSPICION),
    "unavailable": (facts.UNAVAILABLE,),
    "authentication": (facts.AUTHENTICATION,),
    "card or data": (facts.LOST, facts.CLOSED, facts.EXPIRED, facts.DATA),
}
"""True causes of a decline, in the groups in which retries are told apart."""


class Score(NamedTuple):
    """What a policy made of a stage.

    Attributes
    ----------
    margin, approval, first_approval
        Expected margin (euro cents), expected approvals, and those at the first attempt, by payment, shape (n,).
    first, retried
        The margin of first attempts and of retries alone, by payment, shape (n,).
    by_cause
        The margin of retries by the true cause of the decline before, in the order of `GROUPS`, mean of all payments.
    retries, recovered
        Retries sent, and expected approvals through them, a payment.
    unsent, challenged
        Shares of payments.
    violations
        Attempts that broke a rule.
    """

    margin: Array
    approval: Array
    first_approval: Array
    first: Array
    retried: Array
    by_cause: Array
    retries: float
    recovered: float
    unsent: float
    challenged: float
    violations: list[str]


def score(stage: Stage, played: Played) -> Score:
    """Return what a policy made of a stage."""
    count = len(stage)
    attempts: list[Attempt] = [attempt for chain in played.chains for attempt in chain]
    rows = np.array([attempt.row for attempt in attempts], dtype=np.int64)
    number = np.array([attempt.number for attempt in attempts], dtype=np.int64)
    challenged = np.array([bool(_challenged(played, attempt)) for attempt in attempts], dtype=bool)
    chance = np.array([attempt.chance for attempt in attempts]) * np.where(challenged, stage.stays[rows], 1.0)
    worth = worths(stage, attempts, challenged)
    first = np.bincount(rows[number == 1], worth[number == 1], minlength=count)
    retried = np.bincount(rows[number > 1], worth[number > 1], minlength=count)
    before = np.array([_cause_before(played, attempt) for attempt in attempts], dtype=np.int64)
    by_cause = np.array([worth[np.isin(before, causes)].sum() / count for causes in GROUPS.values()])
    return Score(
        margin=first + retried,
        approval=np.bincount(rows, chance, minlength=count),
        first_approval=np.bincount(rows[number == 1], chance[number == 1], minlength=count),
        first=first,
        retried=retried,
        by_cause=by_cause,
        retries=float((number > 1).sum() / count),
        recovered=float(chance[number > 1].sum() / count),
        unsent=sum(send is None for send in played.sent) / count,
        challenged=float(challenged.sum() / count),
        violations=violations(stage, played),
    )


class Loss(NamedTuple):
    """What a policy lost against the oracle, euro cents a payment; the parts add up to the whole.

    Attributes
    ----------
    routing
        First attempts that both sent in the same way, through another processor.
    exploring
        The part of the same that the policy gave away knowingly, to learn.
    sending
        Payments that only one of them sent.
    challenging
        Payments that only one of them challenged.
    retrying
        Retries.
    """

    routing: float
    exploring: float
    sending: float
    challenging: float
    retrying: float


def loss(stage: Stage, oracle: Played, policy: Played, best: list[str | None]) -> Loss:
    """Return where a policy lost against the oracle.

    Parameters
    ----------
    best
        By payment, the processor that the policy itself held for the best; None where it does not say.
    """
    theirs, mine = score(stage, oracle), score(stage, policy)
    gap = theirs.first - mine.first
    sent = np.array([(a is None) != (b is None) for a, b in zip(oracle.sent, policy.sent, strict=True)])
    step = np.array(
        [
            a is not None and b is not None and a.challenge != b.challenge
            for a, b in zip(oracle.sent, policy.sent, strict=True)
        ]
    )
    exploring = _explored(stage, policy, best) - mine.first
    routing = np.where(sent | step, 0.0, gap)
    exploring = np.where(sent | step, 0.0, exploring)
    return Loss(
        routing=float((routing - exploring).mean()),
        exploring=float(exploring.mean()),
        sending=float(np.where(sent, gap, 0.0).mean()),
        challenging=float(np.where(step, gap, 0.0).mean()),
        retrying=float((theirs.retried - mine.retried).mean()),
    )


def _explored(stage: Stage, policy: Played, best: list[str | None]) -> Array:
    """Return what first attempts would have been worth through the processor that the policy held for the best."""
    would = []
    for row, (send, name) in enumerate(zip(policy.sent, best, strict=True)):
        if send is not None:
            would.append(stage.gateway.send(row, name or send.processor, challenge=send.challenge))
    challenged = np.array([bool(_challenged(policy, attempt)) for attempt in would], dtype=bool)
    rows = np.array([attempt.row for attempt in would], dtype=np.int64)
    return np.bincount(rows, worths(stage, would, challenged), minlength=len(stage))


def _challenged(played: Played, attempt: Attempt) -> bool:
    send = played.sent[attempt.row]
    return attempt.number == 1 and send is not None and send.challenge


def _cause_before(played: Played, attempt: Attempt) -> int:
    return -1 if attempt.number == 1 else played.chains[attempt.row][attempt.number - 2].cause
