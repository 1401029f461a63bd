"""Answers proposed to one question: assembled, scored and chosen, and what is to be written with each.

A proposal becomes an answer when the store takes it. Where it does not, for other attempts of the card used up a limit
meanwhile, another one is made of the same rows and estimates.

This module must not know where state is from nor where anything is written.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from contracts.inputs import PolicyInputs
from features.assemble import Matrix
from features.clock import SECOND
from service import answer, explain
from service.answer import told
from service.errors import ModelFailed
from service.estimate import Estimates
from service.ledger import Limit
from service.question import Question
from service.record import DecisionRecord, decode, of_payment, seen_before
from service.store.base import States

FORGOTTEN_US: Final = 5 * 60 * 1_000_000
"""How long after it was counted an attempt is taken out of the windows again; later, it is a payment of the past."""

Fault = Callable[[Question, ModelFailed], None]
"""Told of each model that failed."""


class Proposal(NamedTuple):
    """An answer that is not kept yet.

    Attributes
    ----------
    answer, inputs, rows
        A `Decision` or a `RetryDecision`, what the policy was told, and the rows that the models saw.
    record
        Of the attempt that it sends; None leaves the record that there is.
    reserved
        When that attempt is to be made (microseconds), and the limits under which.
    lasting
        Whether it is the answer to the same question later on.
    """

    answer: Any
    inputs: PolicyInputs
    rows: Matrix | None
    record: DecisionRecord | None
    reserved: tuple[int, tuple[Limit, ...]] | None
    lasting: bool = True


class Proposer(Protocol):
    """Proposes answers to one question."""

    def propose(self, ledger: bytes | None, *, given_up: bool) -> Proposal:
        """Return an answer under this ledger; one that is `given_up` sends nothing."""
        ...

    def unkept(self, proposal: Proposal) -> Proposal:
        """Return what goes out in place of a proposal that the store did not take in time."""
        ...


class PaymentProposer:
    """Proposes answers to an auth or routing question."""

    def __init__(self, question: Question, states: States, fault: Fault) -> None:
        assert question.kind != "retry"
        self._question, self._kind = question, question.kind
        request, bundle, processors, at = question.request, question.bundle, question.processors, question.at
        before = None if states.record is None else decode(states.record)
        self._before = before if before is not None and before.counted else None
        if self._before is not None and 0 <= at - self._before.at < FORGOTTEN_US:
            states = self._before.taken_out(request, states, processors)
        self._states = states
        self._rows = bundle.plan.rows(request, at, states.payment, processors, states.candidates)
        question.clock.done("assemble")
        self._estimates = Estimates(bundle)
        self._inputs = PolicyInputs(
            moment_us=at,
            processors=processors,
            risk=self._estimates.risk(self._rows),
            standings=bundle.policy.standings(processors, states.standings, at),
            ledger=states.ledger,
        )
        self._told = 0
        self._fault = fault

    def _known(self, ledger: bytes | None) -> PolicyInputs:
        """Return what the policy is told under this ledger: of the ways of sending only those it would look at are estimated."""
        question, inputs, estimates = self._question, self._inputs, self._estimates
        request, processors = question.request, question.processors
        assert inputs.risk is not None
        policy = question.bundle.policy
        variants = policy.needed(
            request,
            processors,
            policy.variants(request, self._kind),
            inputs.risk,
            kind=self._kind,
            at=question.at,
            ledger=ledger,
        )
        approval = inputs.approval
        if variants != inputs.variants:
            approval = estimates.approval(self._kind, request, processors, variants, self._rows)
            question.clock.done("score")
        for error in estimates.failed[self._told :]:
            self._fault(question, error)
        self._told = len(estimates.failed)
        return msgspec.structs.replace(inputs, variants=variants, approval=approval, ledger=ledger)

    def propose(self, ledger: bytes | None, *, given_up: bool) -> Proposal:
        """Return an answer under this ledger; one that is `given_up` sends nothing."""
        question, inputs, before = self._question, self._inputs, self._before
        bundle, request, at = question.bundle, question.request, question.at
        if not inputs.variants or ledger != inputs.ledger:
            inputs = self._inputs = self._known(ledger)
        choice = answer.choose(bundle, self._kind, request, inputs, question.degraded, given_up=given_up)
        question.clock.done("choose")
        why = None
        if not told(question.degraded):
            groups, why = explain.of_payment(bundle, self._kind, request, inputs, self._estimates, choice)
            inputs = msgspec.structs.replace(inputs, moved=groups)
        question.clock.done("explain")
        made = answer.decision(bundle, request, inputs, choice, why, question.tail)
        likely = answer.expected(request, inputs, made)
        if before is not None:
            record = before.answered_again(made.processor, at, decision_id=made.decision_id, expected=likely)
        else:
            record = of_payment(
                request,
                made.processor,
                at,
                counted=made.processor is not None,
                network=question.network,
                decision_id=made.decision_id,
                expected=likely,
                before=seen_before(request, self._states),
            )
        reserved = None if choice.reservation is None else (at, choice.reservation)
        return Proposal(made, inputs, self._rows, record, reserved)

    def unkept(self, proposal: Proposal) -> Proposal:
        """Return the same answer, which says that the store has not taken it."""
        degraded = tuple(self._question.degraded)
        return proposal._replace(answer=msgspec.structs.replace(proposal.answer, degraded=degraded))


class RetryProposer:
    """Proposes answers to a retry question."""

    def __init__(self, question: Question, states: States, fault: Fault) -> None:
        self._question = question
        self._states = states
        self._fault = fault
        following = None if states.record is None else decode(states.record)
        # The next attempt has a decision of its own already: its record stays.
        self._counted = following is not None and following.counted
        self._standings = question.bundle.policy.standings(question.processors, states.standings, question.at)

    def propose(self, ledger: bytes | None, *, given_up: bool) -> Proposal:
        """Return an answer under this ledger; one that is `given_up` plans no retry."""
        question = self._question
        bundle, request, at, processors = question.bundle, question.request, question.at, question.processors
        permitted = answer.permit(bundle, request, at, ledger)
        inputs = PolicyInputs(moment_us=at, processors=processors, standings=self._standings, ledger=ledger)
        rows = estimates = None
        waits = bundle.policy.waits(permitted) if processors else ()
        if waits:
            rows = self._rows()
            question.clock.done("assemble")
            estimates = Estimates(bundle)
            modes = bundle.policy.modes(request, permitted)
            success = estimates.success(request, at, processors, modes, waits, rows)
            question.clock.done("score")
            inputs = msgspec.structs.replace(inputs, variants=modes, waits=waits, success=success)
            for error in estimates.failed:
                self._fault(question, error)
        choice = answer.plan(bundle, request, permitted, inputs, question.degraded, given_up=given_up)
        question.clock.done("choose")
        why = None
        if estimates is not None and not told(question.degraded):
            groups, why = explain.of_retry(bundle, inputs, estimates, choice)
            inputs = msgspec.structs.replace(inputs, moved=groups)
        question.clock.done("explain")
        made = answer.retry_decision(bundle, request, choice, why, question.tail)
        record = None
        if choice.should_retry and not self._counted:
            # The retry will be the next attempt of this payment; it counts when its outcome is reported.
            record = of_payment(
                request,
                choice.processor,
                at + (choice.wait_seconds or 0) * SECOND,
                counted=False,
                network=question.network,
                expected=answer.expected(request, inputs, made),
            )
        return Proposal(made, inputs, rows, record, choice.reservation, made.reasons[:1] != (answer.UNCOUNTED,))

    def unkept(self, proposal: Proposal) -> Proposal:
        """Return the answer once more: no retry, unless the question itself tells how often the card was tried."""
        return self.propose(proposal.inputs.ledger, given_up=False)

    def _rows(self) -> Matrix:
        question, states = self._question, self._states
        return question.bundle.plan.rows(
            question.request, question.at, states.payment, question.processors, states.candidates
        )
