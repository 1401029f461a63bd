"""One request, one way: read, propose (assemble, score, choose), keep, answer. The only place that joins the rooms.

Where its time goes, in microseconds, is in docs/benchmarks.md; the journal's fsync is shared by all requests of the moment.

Nothing here fails a request but another question about what was answered already. What cannot be had is done without, and
the answer says so in `degraded`.
"""

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import msgspec

from contracts.decision import Decision, RetryDecision
from contracts.event import LoggedVectors
from contracts.payment import AuthRequest, Payment, RetryRequest, RoutingRequest
from features.catalog import FINGERPRINT
from features.clock import micros
from service.answer import MOST_TURNS
from service.answered import Kind
from service.answered import encode as encode_answer
from service.errors import ModelFailed, StoreError, StoreTimeout
from service.keep import Keeper, Writes
from service.ledger import Entry, attempt_id
from service.logs import Seldom
from service.missed import Refused
from service.models.active import ActiveBundles
from service.ports import Journal
from service.propose import PaymentProposer, Proposal, RetryProposer
from service.question import Question, asked
from service.record import TTL_SECONDS, attempt_event, encode
from service.repeat import EVENTS, Repeats
from service.store.base import Decided, FeatureStore, Kept, Reservation, StateKeys, States, Update, by_decision
from service.store.lasting import LastingStore

log: Final = logging.getLogger(__name__)

NOTHING_KNOWN: Final = States()
LEAST_READ_SECONDS: Final = 0.005
"""The store has this long to find a question's own answer, however little time the caller grants: a second answer to one
question would be worse than a late one."""


class Decide:
    """Answers auth, routing and retry requests (`service.ports.Decider`).

    Parameters
    ----------
    bundles, store, journal
        What answers are made of, and where they are kept.
    log_vectors
        Whether the journal gets the rows that the models saw.
    answer_hours
        How long the same question has the same answer.
    refused
        Takes what neither store nor journal took.
    """

    def __init__(
        self,
        bundles: ActiveBundles,
        store: FeatureStore,
        journal: Journal,
        *,
        log_vectors: bool = True,
        answer_hours: int = 24,
        refused: Refused | None = None,
    ) -> None:
        self._bundles = bundles
        self._store = store
        self._last_known = store.last_known if isinstance(store, LastingStore) else _unknown
        self._log_vectors = log_vectors
        self._answer_seconds = answer_hours * 3600
        self._keeper = Keeper(store, journal, refused)
        self._repeats = Repeats(journal, self._keeper)
        self._seldom = Seldom(1.0)

    async def auth(self, request: AuthRequest, *, deadline: float) -> Decision:
        """Decide whether and how to send a payment."""
        return await self._repeats.once("auth", request, deadline, self._answer)

    async def routing(self, request: RoutingRequest, *, deadline: float) -> Decision:
        """Decide through which processor to send a payment."""
        return await self._repeats.once("routing", request, deadline, self._answer)

    async def retry(self, request: RetryRequest, *, deadline: float) -> RetryDecision:
        """Decide whether a decline is worth another try, when, and through which processor."""
        return await self._repeats.once("retry", request, deadline, self._answer)

    async def settle(self) -> bool:
        """Wait for the writes under way behind answers already given; return whether there were any."""
        return await self._keeper.settle()

    async def close(self) -> None:
        """Wait for the writes under way."""
        await self._keeper.settle()

    async def _answer(self, kind: Kind, request: Payment, deadline: float) -> Any:
        """Answer a question that is not under way already."""
        question = asked(kind, request, self._bundles.current, deadline)
        states, blind = await self._read(question)
        question.clock.done("read")
        if states.answer is not None and (known := await self._repeats.known(question, states.answer)) is not None:
            return known
        proposer = (RetryProposer if kind == "retry" else PaymentProposer)(question, states, self._fault)
        ledger = states.ledger
        for turn in range(MOST_TURNS + 2):
            proposal = proposer.propose(ledger, given_up=turn > MOST_TURNS)
            claim, late = await self._keeper.claim(self._writes(question, proposal, blind=blind), deadline)
            question.clock.done("keep")
            if not claim.refused:
                break
            ledger = claim.ledger
        if claim.answer is not None:
            if (known := await self._repeats.known(question, claim.answer)) is not None:
                return known
            # What the store holds there cannot be read. It stays; the attempt counts all the same.
            self._keeper.late(self._writes(question, proposal, blind=blind, answered=False))
        if late is not None:
            question.degraded.append(late)
            proposal = proposer.unkept(proposal)
            if proposal.lasting:
                self._keeper.late(self._writes(question, proposal, blind=blind))
        return await self._journalled(question, proposal)

    async def _read(self, question: Question) -> tuple[States, bool]:
        """Return what the store holds, or what it held lately; and whether it could not be asked."""
        deadline = max(question.deadline, monotonic() + LEAST_READ_SECONDS)
        keys = question.keys()
        try:
            return await self._store.read(keys, deadline=deadline), False
        except StoreTimeout:
            question.degraded.append("features:store_timeout")
        except StoreError:
            question.degraded.append("features:store_unavailable")
        known = self._last_known(keys)
        if known is None:
            return NOTHING_KNOWN, True
        question.degraded.append("features:last_known")
        return known, True

    def _writes(self, question: Question, proposal: Proposal, *, blind: bool, answered: bool = True) -> Writes:
        """Return what is written with an answer.

        Decided `blind`, without what the store holds, the attempt may have a record already, of how it was counted: then its
        name is given to this record only once it is known to count.
        """
        request, made, record = question.request, proposal.answer, proposal.record
        updates: Sequence[Update] = ()
        records: tuple[Kept, ...] = ()
        event_id, named, kept, reservation = None, None, None, None
        if answered:
            content = encode_answer(request, made, micros(question.now))
            kept = Kept(question.answer_key, content, self._answer_seconds)
        if record is not None:
            content = encode(record)
            records = (Kept(by_decision(made.decision_id), content, TTL_SECONDS),)
            of_attempt = Kept(question.record_key, content, TTL_SECONDS)
            if not blind:
                records += (of_attempt,)
            elif record.counted:
                named = of_attempt
            if record.counted:
                # Without the event's mark otherwise: the attempt is still to be counted, by its question or by its outcome.
                event_id = attempt_event(request.payment_id, request.attempt)
                updates = record.updates(record.attempt(), record.counted_through)
        if proposal.reserved is not None:
            at, limits = proposal.reserved
            entry = Entry(at, attempt_id(request.payment_id, question.attempt), request.amount_minor)
            reservation = Reservation(question.ledger_key, entry, limits)
        return Writes(Decided(event_id, updates, records, kept, reservation), named)

    async def _journalled(self, question: Question, proposal: Proposal) -> Any:
        """Return the answer once it is durable; one that cannot be kept in its time says so."""
        made = proposal.answer
        vectors = None
        if self._log_vectors and proposal.rows is not None:
            rows = proposal.rows.tobytes()
            vectors = LoggedVectors(fingerprint=FINGERPRINT, processors=question.processors, rows=rows)
        event = EVENTS[question.kind](
            decided_at=question.now, request=question.request, answer=made, vectors=vectors, inputs=proposal.inputs
        )
        durable = await self._keeper.journal(event, question.deadline)
        question.clock.done("journal")
        if durable:
            return made
        return msgspec.structs.replace(made, degraded=(*made.degraded, "journal"))

    def _fault(self, question: Question, error: ModelFailed) -> None:
        """Say that a model failed: in the answer, and now and then in the log."""
        code = f"model:{error.model}_failed"
        if code not in question.degraded:
            question.degraded.append(code)
        kept_back = self._seldom.kept_back(("model", error.model))
        if kept_back is not None:
            # The cause is in the message; the rows must not be logged.
            log.error("%s", error, extra={"fields": {"kept_back": kept_back}})


def _unknown(_keys: StateKeys) -> None:
    """Know nothing of what a store held that remembers nothing of it."""
