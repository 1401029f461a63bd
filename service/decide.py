"""One request, one way: read, assemble, score, choose, answer, keep. The only place that joins the rooms.

Where its time goes, in microseconds, is in docs/benchmarks.md; the journal's fsync is shared by all requests of the moment.

Nothing here fails a request: what cannot be had is done without, and the answer says so in `degraded`.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter_ns
from typing import Any, Final, Literal, TypeVar

import msgspec

from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, JournalEvent, LoggedVectors, RetryDecided, RoutingDecided
from contracts.payment import AuthRequest, Payment, RetryRequest, RoutingRequest
from features.assemble import Matrix
from features.catalog import FINGERPRINT
from features.clock import micros
from features.entity import candidate_keys, payment_keys
from features.layout import LAYOUTS
from service.errors import JournalUnavailable, ModelFailed, StoreError, StoreTimeout
from service.logs import Seldom
from service.models.active import ActiveBundles
from service.models.bundle import Bundle
from service.ports import Journal
from service.record import TTL_SECONDS, DecisionRecord, attempt_event, decode, encode, of_payment
from service.store.base import FeatureStore, StateKeys, States, by_attempt, by_decision

Answer = TypeVar("Answer", Decision, RetryDecision)

log: Final = logging.getLogger(__name__)

NOTHING_KNOWN: Final = States()
# Decision ids are letters only: a run of digits in one could pass for a card number.
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")
CLOCK_SKEW: Final = timedelta(minutes=5)
LONGEST_WINDOW: Final = timedelta(microseconds=max(layout.horizon for layout in LAYOUTS.values()))
FORGOTTEN_US: Final = 5 * 60 * 1_000_000
"""How long after it was counted an attempt is taken out of the windows again; later, it is a payment of the past."""
MODEL_OF: Final = {"auth": "approval", "routing": "routing"}
SETTLE_SECONDS: Final = 2.0


class Decide:
    """Answers auth, routing and retry requests (`service.ports.Decider`)."""

    def __init__(
        self, bundles: ActiveBundles, store: FeatureStore, journal: Journal, *, log_vectors: bool = True
    ) -> None:
        self._bundles = bundles
        self._store = store
        self._journal = journal
        self._log_vectors = log_vectors
        self._writing: set[asyncio.Task[Any]] = set()
        self._seldom = Seldom(1.0)
        self._under_way: dict[tuple[str, str, int], tuple[Payment, asyncio.Future[Decision | None]]] = {}

    async def auth(self, request: AuthRequest, *, deadline: float) -> Decision:
        """Decide whether and how to send a payment."""
        return await self._answer(request, "auth", AuthDecided, deadline)

    async def routing(self, request: RoutingRequest, *, deadline: float) -> Decision:
        """Decide through which processor to send a payment."""
        return await self._answer(request, "routing", RoutingDecided, deadline)

    async def retry(self, request: RetryRequest, *, deadline: float) -> RetryDecision:
        """Decide whether a decline is worth another try, when, and through which processor."""
        started = perf_counter_ns()
        bundle = self._bundles.current
        now = datetime.now(UTC)
        degraded: list[str] = []
        moment = moment_of(request.occurred_at, now, degraded)
        at = micros(moment)
        processors = request.processors or bundle.processors
        permit = bundle.policy.permit(request, moment)
        decided: DecisionRecord | None = None
        waits: tuple[int, ...] = ()
        table: list[list[float]] = []
        vectors = None
        if permit.verdict is None and processors:
            waits = bundle.policy.waits(permit)
            following = by_attempt(request.payment_id, request.attempt + 1)
            states = await self._read(request, processors, deadline, degraded, following)
            decided = None if states.record is None else decode(states.record)
            rows = bundle.plan.rows(request, at, states.payment, processors, states.candidates)
            matrix = bundle.plan.retry_rows(rows, request, at, processors, waits)
            flat = self._score(bundle, "retry", matrix, degraded)
            width = len(processors)
            if flat is None:
                prior = bundle.scorer.prior("retry", f"{request.card_network}|{request.decline.response_code or ''}")
                flat = [prior] * (len(waits) * width)
            table = [flat[row : row + width] for row in range(0, len(flat), width)]
            vectors = self._vectors(rows, processors)
        choice = bundle.policy.plan(request, permit, processors, waits, table, moment)
        answer = RetryDecision(
            decision_id=_new_id(),
            payment_id=request.payment_id,
            attempt=request.attempt,
            should_retry=choice.should_retry,
            verdict=choice.verdict,
            retry_at=choice.retry_at,
            wait_seconds=choice.wait_seconds,
            processor=choice.processor,
            success_probability=choice.success_probability,
            expected_value_minor=choice.expected_value_minor,
            rules=choice.rules,
            quota=choice.quota,
            reasons=choice.reasons,
            degraded=tuple(degraded),
            bundle_version=bundle.manifest.version,
            policy_version=bundle.policy.policy_version,
            latency_us=(perf_counter_ns() - started) // 1000,
        )
        if choice.should_retry and (decided is None or not decided.counted):
            # The retry will be the next attempt of this payment; it counts when its outcome is reported.
            later = at + (choice.wait_seconds or 0) * 1_000_000
            record = of_payment(request, choice.processor, later, counted=False)
            self._remember(record, request.payment_id, request.attempt + 1, answer.decision_id)
        event = RetryDecided(decided_at=now, request=request, answer=answer, vectors=vectors)
        return await self._keep(event, answer, deadline)

    async def settle(self) -> bool:
        """Wait for the writes under way behind answers already given; return whether there were any."""
        if not self._writing:
            return False
        await asyncio.wait(tuple(self._writing), timeout=SETTLE_SECONDS)
        return True

    async def close(self) -> None:
        """Wait for the writes under way."""
        await self.settle()

    async def _answer(
        self,
        request: AuthRequest | RoutingRequest,
        kind: Literal["auth", "routing"],
        made: Callable[..., JournalEvent],
        deadline: float,
    ) -> Decision:
        key = (kind, request.payment_id, request.attempt)
        under_way = self._under_way.get(key)
        if under_way is not None and under_way[0] == request:
            # Asked twice at once: one answer for both, once it is kept.
            shared = await asyncio.shield(under_way[1])
            if shared is not None:
                return shared
        future: asyncio.Future[Decision | None] = asyncio.get_running_loop().create_future()
        mine = self._under_way[key] = (request, future)
        try:
            answer = await self._answer_once(request, kind, made, deadline)
            future.set_result(answer)
            return answer
        finally:
            if not future.done():
                # This one came to nothing; whoever waits for it asks for itself.
                future.set_result(None)
            if self._under_way.get(key) is mine:
                del self._under_way[key]

    async def _answer_once(
        self,
        request: AuthRequest | RoutingRequest,
        kind: Literal["auth", "routing"],
        made: Callable[..., JournalEvent],
        deadline: float,
    ) -> Decision:
        decided = await self._decide(request, kind, deadline)
        if isinstance(decided, Decision):
            return decided
        answer, vectors, now = decided
        return await self._keep(made(decided_at=now, request=request, answer=answer, vectors=vectors), answer, deadline)

    async def _decide(
        self, request: AuthRequest | RoutingRequest, kind: Literal["auth", "routing"], deadline: float
    ) -> tuple[Decision, LoggedVectors | None, datetime] | Decision:
        """Return a new answer with what is journalled beside it, or the answer that this very question had before."""
        started = perf_counter_ns()
        bundle = self._bundles.current
        now = datetime.now(UTC)
        degraded: list[str] = []
        moment = moment_of(request.occurred_at, now, degraded)
        at = micros(moment)
        processors = request.processors or bundle.processors
        record_key = by_attempt(request.payment_id, request.attempt)
        states = await self._read(request, processors, deadline, degraded, record_key)
        before = None if states.record is None else decode(states.record)
        if before is not None:
            answered = await self._answered(before, request, deadline)
            if answered is not None:
                return answered
        if before is not None and before.counted and 0 <= at - before.at < FORGOTTEN_US:
            states = before.taken_out(request, states, processors)
        rows = bundle.plan.rows(request, at, states.payment, processors, states.candidates)
        approval = self._score(bundle, MODEL_OF[kind], rows, degraded) if processors else []
        if approval is None:
            approval = [_approval_prior(bundle, MODEL_OF[kind], request, name) for name in processors]
        risks = self._score(bundle, "risk", rows[:1], degraded)
        risk = bundle.scorer.prior("risk") if risks is None else risks[0]
        choice = bundle.policy.choose(
            request, processors, approval, risk, kind=kind, now=moment, degraded=tuple(degraded)
        )
        answer = Decision(
            decision_id=_new_id(),
            payment_id=request.payment_id,
            attempt=request.attempt,
            action=choice.action,
            approval_probability=choice.approval_probability or 0.0,
            risk_score=risk,
            risk_tier=choice.risk_tier,
            processor=choice.processor,
            ranking=choice.ranking,
            three_ds=choice.three_ds,
            exemption=choice.exemption,
            reasons=choice.reasons,
            degraded=tuple(degraded),
            bundle_version=bundle.manifest.version,
            policy_version=bundle.policy.policy_version,
            latency_us=(perf_counter_ns() - started) // 1000,
        )
        counted = choice.processor is not None
        if before is not None and before.counted:
            record = before.answered_again(choice.processor, answer.decision_id)
        else:
            record = of_payment(request, choice.processor, at, counted=counted, decision_id=answer.decision_id)
            record = msgspec.structs.replace(record, before=record.seen_before(states))
        self._remember(record, request.payment_id, request.attempt, answer.decision_id, blind=states is NOTHING_KNOWN)
        return answer, self._vectors(rows, processors), now

    async def _read(
        self,
        request: Payment,
        processors: tuple[str, ...],
        deadline: float,
        degraded: list[str],
        record: str | None = None,
    ) -> States:
        keys = StateKeys(payment_keys(request), tuple([candidate_keys(request, name) for name in processors]), record)
        try:
            return await self._store.read(keys, deadline=deadline)
        except StoreTimeout:
            degraded.append("features:store_timeout")
        except StoreError:
            degraded.append("features:store_unavailable")
        return NOTHING_KNOWN

    async def _answered(self, record: DecisionRecord, request: Payment, deadline: float) -> Decision | None:
        """Return the answer this attempt has had when it is the same question; None when it must be found anew.

        A gateway that heard nothing asks once more. By then the attempt is in the state: a new answer would see it as a
        payment before itself.
        """
        if record.decision_id is None:
            return None
        try:
            # Half the time: what is left must do for an answer without the journal.
            async with asyncio.timeout((deadline - monotonic()) / 2):
                event = await self._journal.find(record.decision_id)
        except (JournalUnavailable, TimeoutError):
            return None
        if event is None or event.request != request or isinstance(event, RetryDecided):
            return None
        return event.answer

    def _score(self, bundle: Bundle, model: str, rows: Matrix, degraded: list[str]) -> list[float] | None:
        """Return the model's probabilities; None when the bundle has no such model, or when it failed."""
        if not bundle.scorer.trained(model):
            return None
        try:
            return bundle.scorer.probability(model, rows)
        except ModelFailed as error:
            kept_back = self._seldom.kept_back(("model", model))
            if kept_back is not None:
                # The cause is in the message; the rows must not be logged.
                log.error("%s", error, extra={"fields": {"kept_back": kept_back}})  # noqa: TRY400
            degraded.append(f"model:{model}_failed")
            return None

    def _vectors(self, rows: Matrix, processors: tuple[str, ...]) -> LoggedVectors | None:
        if not self._log_vectors:
            return None
        return LoggedVectors(fingerprint=FINGERPRINT, processors=processors, rows=rows.tobytes())

    def _remember(
        self, record: DecisionRecord, payment_id: str, attempt: int, decision_id: str, *, blind: bool = False
    ) -> None:
        """Count the attempt and keep its record, while the journal makes the answer durable.

        Decided `blind`, without what the store holds, the attempt may have a record already, of how it was counted.
        """
        keys = (by_decision(decision_id), by_attempt(payment_id, attempt))
        write: Coroutine[Any, Any, Any]
        if not record.counted:
            # Without the event's mark: the attempt is still to be counted, by its own question or by its outcome.
            write = self._store.remember(keys, encode(record), TTL_SECONDS)
        elif blind:
            write = self._count_blind(record, attempt_event(payment_id, attempt), keys)
        else:
            updates = record.updates(record.attempt(), record.counted_through)
            event_id = attempt_event(payment_id, attempt)
            write = self._store.decided(event_id, updates, keys, encode(record), TTL_SECONDS)
        writing = asyncio.ensure_future(write)
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    async def _count_blind(self, record: DecisionRecord, event_id: str, keys: tuple[str, str]) -> None:
        """Count an attempt, and name its record by the attempt only when it had not been counted before."""
        updates = record.updates(record.attempt(), record.counted_through)
        if await self._store.decided(event_id, updates, keys[:1], encode(record), TTL_SECONDS):
            await self._store.remember(keys[1:], encode(record), TTL_SECONDS)

    def _written(self, writing: asyncio.Task[Any]) -> None:
        self._writing.discard(writing)
        if writing.cancelled() or (error := writing.exception()) is None:
            return
        kept_back = self._seldom.kept_back(("uncounted", type(error).__name__))
        if kept_back is not None:
            fields = {"fields": {"kept_back": kept_back}}
            log.warning("an attempt was decided but not counted: %s", error, extra=fields)

    async def _keep(self, event: JournalEvent, answer: Answer, deadline: float) -> Answer:
        """Return the answer once it is durable; one that cannot be kept in its time says so."""
        try:
            # A disk that hangs takes the event all the same, but later than anybody waits for the answer.
            async with asyncio.timeout(deadline - monotonic()):
                await self._journal.append(event)
        except (JournalUnavailable, TimeoutError):
            return msgspec.structs.replace(answer, degraded=(*answer.degraded, "journal"))
        return answer


def moment_of(occurred_at: datetime | None, now: datetime, degraded: list[str]) -> datetime:
    """Return when something happened: as told, or now; never later than clocks may differ.

    A time from the future would push the present out of every window, so it counts as now, and the answer says so. A time
    before the longest window counts as it is, in no window that is asked about today, and the answer says that too.
    """
    if occurred_at is None:
        return now
    if occurred_at > now + CLOCK_SKEW:
        degraded.append("clock:occurred_in_future")
        return now
    if now - occurred_at > LONGEST_WINDOW:
        degraded.append("clock:occurred_long_ago")
    return occurred_at


def _approval_prior(bundle: Bundle, model: str, request: Payment, processor: str) -> float:
    return bundle.scorer.prior(model, f"{processor}|{request.card_network}", processor)


def _new_id() -> str:
    return "d_" + secrets.token_hex(12).translate(_LETTERS)
