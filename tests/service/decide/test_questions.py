"""What a decision says of what was never seen, and to a question that was asked before."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.decision import Decision, RetryDecision
from features.catalog import CANDIDATE, PAYMENT, POSITION
from features.layout import LAYOUTS
from features.state import View
from service.store.base import StateKeys
from tests.parts import (
    Parts,
    Tell,
    act,
    auth,
    is_probability,
    retry,
    routing,
    soon,
)

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
        assert is_probability(answer.risk_score)
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


# An attempt asked about before


def test_an_attempt_asked_about_twice_is_no_payment_before_itself(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        earlier = datetime.now(UTC) - timedelta(hours=1)
        for number in range(3):
            await parts.decide.auth(auth(payment_id=f"early {number}", occurred_at=earlier), deadline=soon())
        asked = await parts.decide.auth(auth(payment_id="twice"), deadline=soon())
        await parts.decide.settle()
        routed = await parts.decide.routing(routing(payment_id="twice"), deadline=soon())
        await parts.decide.settle()
        rows = []
        for answer in (asked, routed):
            event = await parts.journal.find(answer.decision_id)
            assert event is not None
            assert event.vectors is not None
            rows.append(np.frombuffer(event.vectors.rows, dtype="<f4").reshape(len(event.vectors.processors), -1))
        # A window's numbers are those of the first question; only what is made of this moment has gone on.
        still = [
            POSITION[spec.name]
            for spec in (*PAYMENT, *CANDIDATE)
            if spec.entity is not None and spec.operation not in ("since", "relative")
        ]
        assert (rows[0][:, still] == rows[1][:, still]).all()
        since = POSITION["card_seconds_since_attempt"]
        assert rows[1][0, since] > 3_000

    tell(story)


# Whatever the contract allows


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


MOMENTS = maybe(
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+14:00",
    "2199-12-31T23:59:59Z",
    datetime.now(UTC) - timedelta(days=20),
    datetime.now(UTC) - timedelta(seconds=30),
)
QUESTIONS = st.fixed_dictionaries(
    {
        "payment_id": st.sampled_from(["pay_1", "pay_2", "ü|:"]),
        "attempt": st.sampled_from([1, 2, 1000]),
        "occurred_at": MOMENTS,
        "merchant_id": st.sampled_from(["shop_1", "a|b"]),
        "amount_minor": st.sampled_from([0, 1, 2999, 10**12]),
        "currency": st.sampled_from(["EUR", "JPY", "KWD", "UYW"]),
        "card_bin": maybe("411111", "00000000"),
        "card_network": st.sampled_from(["visa", "mastercard", "amex", "orbit"]),
        "issuer_country": st.sampled_from(["DE", "US", "BR", "AQ"]),
        "merchant_country": maybe("DE", "US"),
        "uses_3ds": maybe(True, False),
        "initiator": maybe("customer", "merchant"),
        "fraud_score": maybe(0.0, 1.0, 1e-300),
        "cvv_result": maybe("M", "Z"),
        "processors": st.sampled_from([(), ("atlas",), ("nobody",), tuple(f"p{number}" for number in range(16))]),
    }
)
DECLINES = st.fixed_dictionaries(
    {
        "processor": st.sampled_from(["atlas", "nobody"]),
        "response_code": maybe("51", "54", "04", "91", "1A", "83", "zz"),
        "advice_code": maybe("01", "02", "03", "24", "99"),
        "decline_reason": maybe("timeout", "whatever"),
        "declined_at": MOMENTS,
    }
)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(QUESTIONS, st.none() | DECLINES | st.just("routing")), min_size=5, max_size=40))
def test_every_question_within_the_contract_is_answered(bundle_shelf: Path, asked: list[tuple[Any, Any]]) -> None:
    async def story(parts: Parts) -> None:
        for number, (payment, decline) in enumerate(asked):
            payment = {**payment, "payment_id": f"{payment['payment_id']}{number}"}
            answer: Decision | RetryDecision
            if decline is None:
                answer = await parts.decide.auth(auth(**payment), deadline=soon())
            elif decline == "routing":
                answer = await parts.decide.routing(routing(**payment), deadline=soon())
            else:
                answer = await parts.decide.retry(retry(**{**payment, **decline}), deadline=soon())
            assert set(answer.degraded) <= {"clock:occurred_in_future", "clock:occurred_long_ago"}
            assert msgspec.json.decode(msgspec.json.encode(answer), type=type(answer)) == answer
            if isinstance(answer, Decision):
                assert 0.0 <= answer.risk_score <= 1.0
                assert all(0.0 <= one.approval_probability <= 1.0 for one in answer.ranking)
                assert sum(one.propensity for one in answer.ranking) == pytest.approx(1.0)
            else:
                assert 0.0 <= answer.success_probability <= 1.0

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(act(story, bundle_shelf, Path(folder)))


def test_asked_again_with_another_card_leaves_that_cards_history_alone(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        earlier = datetime.now(UTC) - timedelta(hours=1)
        for number in range(2):
            before = auth(payment_id=f"b{number}", card_token="tok_b", amount_minor=500, occurred_at=earlier)
            await parts.decide.auth(before, deadline=soon())
        await parts.decide.auth(auth(payment_id="p", card_token="tok_a", amount_minor=100_000), deadline=soon())
        await parts.decide.settle()
        answer = await parts.decide.routing(
            routing(payment_id="p", card_token="tok_b", amount_minor=100_000), deadline=soon()
        )
        event = await parts.journal.find(answer.decision_id)
        assert event is not None
        assert event.vectors is not None
        row = np.frombuffer(event.vectors.rows, dtype="<f4").reshape(len(event.vectors.processors), -1)[0]
        assert row[POSITION["card_attempts_24h"]] == 2
        assert row[POSITION["card_amount_mean_24h"]] == 500
        # The shop is the same, and does not see the attempt as one before itself.
        assert row[POSITION["merchant_attempts_24h"]] == 2

    tell(story)


@pytest.mark.parametrize("store", ["memory", "redis", "cluster"])
def test_an_attempt_answered_again_through_another_processor_counts_through_the_first(
    store: str, eager_shelf: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async def story(parts: Parts) -> None:
        first_answer = await parts.decide.auth(auth(processors=("atlas",)), deadline=soon())
        assert first_answer.processor == "atlas"
        second_answer = await parts.decide.routing(routing(processors=("cobalt",)), deadline=soon())
        assert second_answer.processor == "cobalt"
        states = await parts.store.read(StateKeys((), (("atlas",), ("cobalt",))))
        (first,), (second,) = (one[:1] for one in states.candidates)
        assert first is not None
        assert View(LAYOUTS["processor"], first).sums[0] == 1
        assert second is None

    url = "memory://" if store == "memory" else request.getfixturevalue(f"{store}_url")
    asyncio.run(act(story, eager_shelf, tmp_path, url, timeout_ms=5000.0))
