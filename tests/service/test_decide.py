"""A decision with real models, a real journal and real stores: what it answers when something is unknown, wrong or gone."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, DecisionMade, RetryDecided, RoutingDecided
from contracts.outcome import Outcome
from contracts.payment import AuthRequest
from features.assemble import WIDTH, Matrix, open_view
from features.catalog import FINGERPRINT
from features.clock import SECOND, micros
from features.layout import LAYOUTS
from features.state import View
from service.decide import Decide
from service.errors import StoreUnavailable
from service.journal.sqlite import SqliteJournal
from service.store.base import StateKeys, States
from service.store.memory import MemoryStore
from tests.parts import (
    Parts,
    activate,
    add_bundle,
    auth,
    eager,
    exploring,
    retry,
    routing,
    serving,
    soon,
    without,
)
from tests.servers import RedisServer

Story = Callable[[Parts], Awaitable[None]]
Tell = Callable[[Story], None]
BUDGET = 0.045


@pytest.fixture(params=["memory", "redis"])
def tell(request: pytest.FixtureRequest, bundle_shelf: Path, tmp_path: Path) -> Tell:
    """Tell a story over the embedded store and over a real Redis."""
    url = "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))
    return lambda story: asyncio.run(act(story, bundle_shelf, tmp_path, url, timeout_ms=2000.0))


@pytest.fixture
def tell_memory(bundle_shelf: Path, tmp_path: Path) -> Tell:
    return lambda story: asyncio.run(act(story, bundle_shelf, tmp_path))


async def act(story: Story, shelf: Path, folder: Path, store: Any = "memory://", timeout_ms: float = 10.0) -> None:
    async with serving(shelf, folder / "journal", store, timeout_ms=timeout_ms) as parts:
        await story(parts)


def answering(parts: Parts, model: str, answer: Callable[[int], Any]) -> None:
    """Let the graph of a model answer `answer(rows)` from now on."""

    def run(_names: Any, inputs: dict[str, Matrix]) -> list[Any]:
        return [answer(len(inputs["rows"]))]

    parts.bundle.scorer._models[model]._run = run


def broken(_rows: int) -> Any:
    raise RuntimeError("a kernel failed")


def is_probability(p: float) -> bool:
    return 0.0 < p < 1.0


def rows_of(event: DecisionMade) -> Matrix:
    assert event.vectors is not None
    assert event.vectors.fingerprint == FINGERPRINT
    rows = np.frombuffer(event.vectors.rows, dtype="<f4").reshape(-1, WIDTH)
    assert len(rows) == max(1, len(event.vectors.processors))
    return rows


# What was never seen


@pytest.mark.parametrize(
    "unknown",
    [
        {"card_bin": "999999"},
        {"card_bin": None},
        {"processors": ["nobody", "noone"]},
        {"card_network": "orbit"},
        {"merchant_id": "a shop of tomorrow"},
        {"issuer_country": "AQ"},
        {"currency": "KWD", "amount_minor": 1},
        {"currency": "UYW", "amount_minor": 1_000_000_000_000},
        {"currency": "JPY", "amount_minor": 0},
        {"channel": "pigeon", "card_funding": "barter", "cvv_result": "Q", "avs_result": "Q"},
    ],
    ids=str,
)
def test_what_was_never_seen_is_answered_from_priors(unknown: dict[str, Any], tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.auth(auth(**unknown), deadline=soon())
        assert answer.degraded == ()
        assert 0.0 <= answer.risk_score < 1.0
        names = unknown.get("processors") or list(parts.bundle.processors)
        assert sorted(one.processor for one in answer.ranking) == sorted(names)
        assert all(is_probability(one.approval_probability) for one in answer.ranking)
        sent = await parts.decide.routing(routing(**unknown), deadline=soon())
        assert sent.processor in names
        again = await parts.decide.retry(retry(names[0], "91", **unknown), deadline=soon())
        assert 0.0 <= again.success_probability < 1.0

    tell_memory(story)


def test_without_candidates_the_bundle_s_processors_are_asked_about(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.auth(auth(), deadline=soon())
        assert {one.processor for one in answer.ranking} == set(parts.bundle.processors)
        assert answer.processor in parts.bundle.processors
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.vectors is not None
        assert event.vectors.processors == parts.bundle.processors
        assert event.request.processors == ()

    tell(story)


def test_the_candidates_of_the_request_are_the_only_ones(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.routing(routing(processors=["harbor", "nobody"]), deadline=soon())
        assert {one.processor for one in answer.ranking} == {"harbor", "nobody"}

    tell(story)


# The same question


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_the_same_question_has_the_same_answer(share: float, bundle_shelf: Path, tmp_path: Path) -> None:
    add_bundle(tmp_path / "shelf", bundle_shelf, "exploring", exploring(share))
    activate(tmp_path / "shelf", "exploring")

    async def story(parts: Parts) -> None:
        explored = 0
        for number in range(60):
            # One card each: what the attempt itself adds to the state must not change the answer about it.
            asked = auth(payment_id=f"pay_{number}", card_token=f"tok_{number}")
            first = await parts.decide.auth(asked, deadline=soon())
            await parts.decide.settle()
            second = await parts.decide.auth(asked, deadline=soon())
            assert second.processor == first.processor
            assert second.ranking == first.ranking
            assert second.risk_score == first.risk_score
            explored += first.processor != first.ranking[0].processor
        assert explored > 10 if share == 1.0 else explored < 10

    asyncio.run(act(story, tmp_path / "shelf", tmp_path))


def test_another_question_about_the_same_attempt_has_an_answer_of_its_own(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        first = await parts.decide.auth(auth(), deadline=soon())
        await parts.decide.settle()
        dearer = await parts.decide.auth(auth(amount_minor=9990), deadline=soon())
        await parts.decide.settle()
        sent = await parts.decide.routing(routing(), deadline=soon())
        assert len({first.decision_id, dearer.decision_id, sent.decision_id}) == 3
        assert [type(event).__name__ for _, event in parts.journal.events()] == [
            "AuthDecided",
            "AuthDecided",
            "RoutingDecided",
        ]

    tell(story)


def test_the_same_question_is_answered_anew_when_the_journal_cannot_be_read(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        first = await parts.decide.auth(auth(), deadline=soon())
        await parts.decide.settle()
        await parts.journal.close()
        second = await parts.decide.auth(auth(), deadline=soon())
        assert second.decision_id != first.decision_id
        assert second.degraded == ("journal",)

    tell_memory(story)


# Models that fail


@pytest.mark.parametrize(
    "answer",
    [
        broken,
        lambda rows: np.full(rows, np.nan, dtype=np.float32),
        lambda rows: np.full(rows, np.inf, dtype=np.float32),
        lambda rows: np.full(rows, 1.0001, dtype=np.float32),
        lambda rows: np.full(rows, -0.1, dtype=np.float32),
        lambda rows: np.full(rows + 1, 0.5, dtype=np.float32),
        lambda rows: np.full((rows, 2), 0.5, dtype=np.float32),
        lambda rows: None,
    ],
    ids=["raises", "nan", "inf", "above one", "below zero", "a row too many", "two columns", "nothing"],
)
def test_a_model_that_fails_is_answered_by_its_prior(answer: Callable[[int], Any], tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        for model in ("approval", "risk", "routing", "retry"):
            answering(parts, model, answer)
        priors = parts.bundle.scorer.prior
        decided = await parts.decide.auth(auth(), deadline=soon())
        assert decided.degraded == ("model:approval_failed", "model:risk_failed")
        assert decided.risk_score == priors("risk")
        for one in decided.ranking:
            assert one.approval_probability == priors("approval", f"{one.processor}|visa", one.processor)
        sent = await parts.decide.routing(routing(), deadline=soon())
        assert sent.degraded == ("model:routing_failed", "model:risk_failed")
        again = await parts.decide.retry(retry("atlas", "91"), deadline=soon())
        assert again.degraded == ("model:retry_failed",)
        assert again.success_probability == priors("retry", "visa|91")

    tell_memory(story)


def test_one_model_that_fails_leaves_the_others_to_answer(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        well = await parts.decide.auth(auth(payment_id="well"), deadline=soon())
        answering(parts, "risk", broken)
        ill = await parts.decide.auth(
            auth(payment_id="ill", card_token="another", merchant_id="another"), deadline=soon()
        )
        assert ill.degraded == ("model:risk_failed",)
        assert [one.approval_probability for one in ill.ranking] != []
        assert {one.processor for one in ill.ranking} == {one.processor for one in well.ranking}

    tell_memory(story)


def test_an_untrained_model_is_its_prior_and_nothing_is_degraded(bundle_shelf: Path, tmp_path: Path) -> None:
    add_bundle(tmp_path / "shelf", bundle_shelf, "untrained", without("approval", "risk", "routing", "retry"))
    activate(tmp_path / "shelf", "untrained")

    async def story(parts: Parts) -> None:
        priors = parts.bundle.scorer.prior
        decided = await parts.decide.auth(auth(), deadline=soon())
        assert decided.degraded == ()
        assert decided.risk_score == priors("risk")
        assert {one.processor: one.approval_probability for one in decided.ranking} == {
            name: priors("approval", f"{name}|visa", name) for name in parts.bundle.processors
        }
        again = await parts.decide.retry(retry("atlas", "51"), deadline=soon())
        assert again.degraded == ()
        assert again.success_probability == priors("retry", "visa|51")

    asyncio.run(act(story, tmp_path / "shelf", tmp_path))


# A store that is late or gone


async def timed(ask: Callable[[float], Awaitable[Decision]]) -> tuple[Decision, float]:
    started = time.monotonic()
    answer = await ask(started + BUDGET)
    return answer, time.monotonic() - started


@pytest.mark.parametrize(
    ("fault", "first"),
    [("pause", "features:store_timeout"), ("kill", "features:store_unavailable")],
)
def test_a_store_that_is_late_or_gone_costs_features_and_no_answer(
    fault: str, first: str, own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story(parts: Parts) -> None:
        number = 0

        async def ask(deadline: float) -> Decision:
            nonlocal number
            number += 1
            return await parts.decide.auth(auth(payment_id=f"pay_{number}"), deadline=deadline)

        assert (await ask(soon())).degraded == ()
        await parts.decide.settle()
        (own_redis.pause if fault == "pause" else own_redis.kill)()
        answers = [await timed(ask) for _ in range(8)]
        assert answers[0][0].degraded == (first,)
        for answer, _ in answers:
            assert len(answer.degraded) == 1
            assert answer.degraded[0] in {"features:store_timeout", "features:store_unavailable"}
            assert all(is_probability(one.approval_probability) for one in answer.ranking)
        # Shared cores: the median keeps to the budget, and no answer waits for what hangs.
        seconds = sorted(seconds for _, seconds in answers)
        assert seconds[4] < BUDGET
        assert seconds[-1] < 0.5
        (own_redis.resume if fault == "pause" else own_redis.start)()
        until = time.monotonic() + 5
        while (answer := await ask(soon())).degraded:
            assert time.monotonic() < until, answer.degraded
            await asyncio.sleep(0.05)
        # Every answer is in the journal, the degraded ones too.
        assert len(parts.journal.events()) == number

    asyncio.run(act(story, bundle_shelf, tmp_path, own_redis.url))


def test_an_answer_comes_even_when_the_store_took_all_the_time_there_was(
    own_redis: RedisServer, bundle_shelf: Path, tmp_path: Path
) -> None:
    async def story(parts: Parts) -> None:
        await parts.decide.auth(auth(payment_id="warm"), deadline=soon())
        own_redis.pause()
        started = time.monotonic()
        answer = await parts.decide.auth(auth(), deadline=started + 0.005)
        assert time.monotonic() - started < 0.5
        assert "features:store_timeout" in answer.degraded
        assert answer.processor is not None

    asyncio.run(act(story, bundle_shelf, tmp_path, own_redis.url, timeout_ms=1000.0))
    own_redis.resume()


class HalfStore(MemoryStore):
    """A store that reads, and cannot write."""

    async def decided(self, *_: Any, **__: Any) -> bool:
        raise StoreUnavailable("it is read only")

    async def remember(self, *_: Any, **__: Any) -> None:
        raise OSError("a bug")


def test_a_write_that_fails_behind_an_answer_is_logged_once_and_changes_nothing(
    bundle_shelf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(parts: Parts) -> None:
        for number in range(5):
            answer = await parts.decide.auth(auth(payment_id=f"pay_{number}"), deadline=soon())
            assert answer.degraded == ()
            again = await parts.decide.retry(retry("atlas", "91"), deadline=soon())
            assert again.degraded == ()
        await parts.decide.settle()

    asyncio.run(act(story, bundle_shelf, tmp_path, HalfStore()))
    said = [record.getMessage() for record in caplog.records if record.name == "service.decide"]
    assert sorted(said) == sorted({*said})
    assert "an attempt was decided but not counted: the store is unavailable: it is read only" in said


# A journal that fails


def test_an_answer_that_could_not_be_kept_says_so(bundle_shelf: Path, tmp_path: Path) -> None:
    """A full disk: the journal's file may not grow any more."""

    async def story() -> None:
        full = SqliteJournal(tmp_path / "journal", max_pages=12)
        async with serving(bundle_shelf, tmp_path, journal=full) as parts:
            said = [
                (await parts.decide.auth(auth(payment_id=f"pay_{number}"), deadline=soon())).degraded
                for number in range(30)
            ]
            assert said[0] == ()
            assert said[-1] == ("journal",)
            assert set(said) == {(), ("journal",)}
            assert (await parts.decide.routing(routing(), deadline=soon())).degraded == ("journal",)
            assert (await parts.decide.retry(retry("atlas", "91"), deadline=soon())).degraded == ("journal",)
            assert len(parts.journal.events()) == said.count(())

    asyncio.run(story())


def test_an_answer_does_not_wait_for_a_journal_that_hangs(tell_memory: Tell, tmp_path: Path) -> None:
    """Somebody holds the file's lock: the writer waits for it, the answer does not, and the event is kept in the end."""

    async def story(parts: Parts) -> None:
        await parts.decide.auth(auth(payment_id="warm"), deadline=soon())
        holder = sqlite3.connect(tmp_path / "journal" / "events.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        answer, seconds = await timed(lambda deadline: parts.decide.auth(auth(), deadline=deadline))
        assert answer.degraded == ("journal",)
        assert seconds < 0.5
        holder.execute("ROLLBACK")
        holder.close()
        until = time.monotonic() + 10
        while await parts.journal.find(answer.decision_id) is None:
            assert time.monotonic() < until
            await asyncio.sleep(0.02)

    tell_memory(story)


# Time


def test_a_payment_from_the_future_counts_as_now(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        far = datetime.now(UTC) + timedelta(days=400)
        answer = await parts.decide.auth(auth(occurred_at=far), deadline=soon())
        assert answer.degraded == ("clock:occurred_in_future",)
        await parts.decide.settle()
        states = await parts.store.read(StateKeys(card="tok_1"))
        assert states.card is not None
        seen = View(LAYOUTS["card"], states.card).last_attempt
        assert abs(seen - micros(datetime.now(UTC))) < 60 * SECOND
        asked = retry("atlas", "51", payment_id="pay_2", occurred_at=far)
        again = await parts.decide.retry(asked, deadline=soon())
        assert again.degraded == ("clock:occurred_in_future",)
        if again.retry_at is not None:
            assert again.retry_at < datetime.now(UTC) + timedelta(days=40)

    tell(story)


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(days=-3000)])
def test_clocks_may_differ_and_payments_be_old(ahead: timedelta, tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        asked = auth(occurred_at=datetime.now(UTC) + ahead)
        assert (await parts.decide.auth(asked, deadline=soon())).degraded == ()

    tell_memory(story)


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z", "2199-12-31T23:59:59-12:00"])
def test_the_ends_of_time_are_answered(when: str, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for question in (auth(occurred_at=when), routing(occurred_at=when)):
            ask = parts.decide.auth if isinstance(question, AuthRequest) else parts.decide.routing
            assert (await ask(question, deadline=soon())).ranking  # type: ignore[arg-type]
        asked = retry("atlas", "51", occurred_at=when, declined_at=when)
        await parts.decide.retry(asked, deadline=soon())
        await parts.decide.settle()
        assert len(parts.journal.events()) == 3

    tell(story)


def test_the_latency_told_is_that_of_the_decision(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        for ask in (
            lambda: parts.decide.auth(auth(), deadline=soon()),
            lambda: parts.decide.routing(routing(), deadline=soon()),
            lambda: parts.decide.retry(retry("atlas", "51"), deadline=soon()),
        ):
            started = time.perf_counter_ns()
            answer = await ask()
            assert 10 < answer.latency_us <= (time.perf_counter_ns() - started) // 1000

    tell(story)


# Retries


@pytest.fixture
def eager_shelf(bundle_shelf: Path, tmp_path: Path) -> Path:
    add_bundle(tmp_path / "shelf", bundle_shelf, "eager", eager)
    activate(tmp_path / "shelf", "eager")
    return tmp_path / "shelf"


ASKED_AT = datetime(2026, 5, 4, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decline", "verdict"),
    [
        ({"response_code": "51"}, "retry_later"),
        ({"response_code": "54"}, "fix_data"),
        ({"response_code": "04"}, "stop"),
        ({"response_code": "1A"}, "authenticate"),
        ({"response_code": None, "decline_reason": "timeout"}, "verify_first"),
        ({"response_code": "91"}, "retry_now"),
        ({"response_code": "96"}, "retry_now"),
    ],
    ids=str,
)
def test_the_verdict_on_a_decline_is_that_of_its_class(
    decline: dict[str, Any], verdict: str, eager_shelf: Path, tmp_path: Path
) -> None:
    async def story(parts: Parts) -> None:
        asked = retry("atlas", occurred_at=ASKED_AT, declined_at=ASKED_AT, **decline)
        answer = await parts.decide.retry(asked, deadline=soon())
        assert answer.verdict == verdict
        assert answer.degraded == ()
        assert answer.rules
        assert answer.should_retry == verdict.startswith("retry")
        if not answer.should_retry:
            assert (answer.retry_at, answer.wait_seconds, answer.processor) == (None, None, None)
            return
        assert answer.wait_seconds is not None
        assert answer.retry_at == ASKED_AT + timedelta(seconds=answer.wait_seconds)
        assert answer.processor in parts.bundle.processors
        assert is_probability(answer.success_probability)
        if verdict == "retry_now":
            assert answer.wait_seconds == 0
            assert answer.processor != "atlas"
        else:
            assert answer.wait_seconds > 0

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_a_wait_counts_from_the_moment_asked_and_not_from_the_decline(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        first = await parts.decide.retry(
            retry("atlas", "51", occurred_at=ASKED_AT, declined_at=ASKED_AT), deadline=soon()
        )
        later = ASKED_AT + timedelta(minutes=30)
        second = await parts.decide.retry(
            retry("atlas", "51", occurred_at=later, declined_at=ASKED_AT), deadline=soon()
        )
        assert first.wait_seconds is not None
        assert second.wait_seconds is not None
        assert first.retry_at == ASKED_AT + timedelta(seconds=first.wait_seconds)
        assert second.retry_at == later + timedelta(seconds=second.wait_seconds)

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_after_a_technical_decline_the_only_processor_is_not_hurried(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        answer = await parts.decide.retry(retry("atlas", "91", processors=["atlas"]), deadline=soon())
        assert answer.processor in {"atlas", None}
        assert answer.verdict in {"retry_now", "retry_later", "stop"}

    asyncio.run(act(story, eager_shelf, tmp_path))


# What is logged


async def live(parts: Parts) -> None:
    """Leave some state behind: attempts, approvals and declines of the payment's own entities."""
    start = datetime.now(UTC) - timedelta(days=2)
    for number in range(12):
        at = start + timedelta(hours=3 * number)
        asked = auth(payment_id=f"before_{number}", occurred_at=at, amount_minor=1000 + number)
        answer = await parts.decide.auth(asked, deadline=soon())
        settled = Outcome(
            payment_id=asked.payment_id,
            decision_id=answer.decision_id,
            status="declined" if number % 3 else "approved",
            occurred_at=at + timedelta(seconds=2),
        )
        await parts.decide.settle()
        assert (await parts.learn.report([settled])).results == ("applied",)


def views_of(states: States, processors: Sequence[str]) -> tuple[dict[str, View | None], list[tuple[str, View | None]]]:
    kinds = ("card", "merchant", "bin", "issuer")
    views = {kind: open_view(kind, getattr(states, kind)) for kind in kinds}
    blobs = zip(processors, states.processors, strict=True)
    return views, [(name, open_view("processor", blob)) for name, blob in blobs]


def test_the_logged_rows_are_those_the_models_saw(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        await live(parts)
        at = datetime.now(UTC)
        bundle = parts.bundle
        names = bundle.processors
        states = await parts.store.read(StateKeys("tok_1", "shop_1", "411111", "DE", names))
        views, candidates = views_of(states, names)
        for asked in (auth(occurred_at=at), routing(payment_id="pay_2", card_token="tok_1", occurred_at=at)):
            expected = bundle.plan.rows(asked, micros(at), views, candidates)
            assert (expected[:, : WIDTH // 2] != -1).any()
            model = "approval" if isinstance(asked, AuthRequest) else "routing"
            ask: Any = parts.decide.auth if isinstance(asked, AuthRequest) else parts.decide.routing
            answer = await ask(asked, deadline=soon())
            event = await parts.journal.find(answer.decision_id)
            assert isinstance(event, AuthDecided | RoutingDecided)
            assert event.answer == answer
            assert event.request == asked
            rows = rows_of(event)
            if model == "approval":
                # The routing question comes after it and sees its attempt.
                assert rows.tobytes() == expected.tobytes()
            again = dict(zip(names, bundle.scorer.probability(model, rows), strict=True))
            assert {one.processor: one.approval_probability for one in answer.ranking} == again
            assert answer.risk_score == bundle.scorer.probability("risk", rows[:1])[0]

    tell(story)


def test_the_logged_rows_of_a_retry_give_its_probability_again(eager_shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        await live(parts)
        asked = retry("atlas", "51", payment_id="before_1", occurred_at=datetime.now(UTC))
        answer = await parts.decide.retry(asked, deadline=soon())
        assert answer.wait_seconds is not None
        assert answer.processor is not None
        assert asked.occurred_at is not None
        event = await parts.journal.find(answer.decision_id)
        assert isinstance(event, RetryDecided)
        assert event.answer == answer
        bundle = parts.bundle
        at = micros(asked.occurred_at)
        names = bundle.processors
        rows = bundle.plan.retry_rows(rows_of(event), asked, at, names, [answer.wait_seconds])
        probabilities = bundle.scorer.probability("retry", rows)
        assert probabilities[names.index(answer.processor)] == answer.success_probability

    asyncio.run(act(story, eager_shelf, tmp_path))


def test_vectors_are_left_out_when_they_are_not_wanted(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        decide = Decide(parts.bundles, parts.store, parts.journal, log_vectors=False)
        answer = await decide.auth(auth(), deadline=soon())
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.vectors is None

    tell_memory(story)


# One answer, one bundle


class TurningStore(MemoryStore):
    """A store in whose reads, while a decision waits for them, the bundle is swapped."""

    turn: Callable[[], Awaitable[None]] | None = None

    async def read(self, keys: StateKeys, *, deadline: float | None = None) -> States:
        if self.turn is not None:
            await self.turn()
        return await super().read(keys, deadline=deadline)


def test_a_swap_in_the_midst_of_a_decision_does_not_mix_bundles(bundle_shelf: Path, tmp_path: Path) -> None:
    def other(manifest: Manifest) -> Manifest:
        fees = dict.fromkeys(("one", "two"), manifest.processors["atlas"])
        policy = msgspec.structs.replace(manifest.policy, version="other-1")
        bare = without("approval", "risk", "routing", "retry")(manifest)
        return msgspec.structs.replace(bare, processors=fees, policy=policy)

    shelf = tmp_path / "shelf"
    add_bundle(shelf, bundle_shelf, "old")
    add_bundle(shelf, bundle_shelf, "new", other)
    activate(shelf, "old")
    store = TurningStore()

    async def story(parts: Parts) -> None:
        asks: list[Callable[[], Awaitable[Decision | RetryDecision]]] = [
            lambda: parts.decide.auth(auth(payment_id="pay_a"), deadline=soon()),
            lambda: parts.decide.routing(routing(payment_id="pay_b"), deadline=soon()),
            lambda: parts.decide.retry(retry("atlas", "51", payment_id="pay_c"), deadline=soon()),
        ]
        for ask in asks:
            activate(shelf, "old")
            await parts.bundles.refresh()
            old = parts.bundle
            activate(shelf, "new")
            store.turn = parts.bundles.refresh
            answer = await ask()
            store.turn = None
            assert parts.bundle.manifest.version == "new"
            assert answer.bundle_version == "old"
            assert answer.policy_version == old.policy.policy_version
            event = await parts.journal.find(answer.decision_id)
            assert event is not None
            assert event.vectors is not None
            assert event.vectors.processors == old.processors
            if isinstance(answer, Decision):
                assert {one.processor for one in answer.ranking} == set(old.processors)
            after = await parts.decide.auth(auth(payment_id=answer.decision_id), deadline=soon())
            assert after.bundle_version == "new"
            assert {one.processor for one in after.ranking} == {"one", "two"}

    asyncio.run(act(story, shelf, tmp_path, store))
