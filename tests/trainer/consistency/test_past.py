"""What a journal says was counted is what the service counts: once, at its own time, for whom it was decided."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, LoggedVectors, OutcomeSettled, RetryDecided
from contracts.outcome import Outcome
from features.assemble import WIDTH
from features.catalog import FINGERPRINT
from features.clock import SECOND, micros
from tests.parts import auth, retry
from trainer.consistency.past import ALL, NEVER_SURE, past_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATENCY_US = 700


def vectors(**changes: Any) -> LoggedVectors:
    rows = np.zeros((1, WIDTH), dtype="<f4").tobytes()
    made = LoggedVectors(fingerprint=FINGERPRINT, processors=("north",), rows=rows)
    return msgspec.structs.replace(made, **changes)


def decided(
    seconds: float = 0.0,
    processor: str | None = "north",
    degraded: tuple[str, ...] = (),
    logged: LoggedVectors | None = None,
    decision_id: str = "d_1",
    **fields: Any,
) -> AuthDecided:
    request = auth(**fields)
    answer = Decision(
        decision_id=decision_id,
        payment_id=request.payment_id,
        attempt=request.attempt,
        action="approve",
        approval_probability=0.5,
        risk_score=0.1,
        risk_tier="LOW",
        processor=processor,
        ranking=(),
        three_ds="none",
        exemption=None,
        reasons=(),
        degraded=degraded,
        bundle_version="b",
        policy_version="p",
        latency_us=LATENCY_US,
    )
    moment = NOW + timedelta(seconds=seconds)
    return AuthDecided(decided_at=moment, request=request, answer=answer, vectors=logged or vectors())


def planned(seconds: float, wait: int, processor: str = "south", **fields: Any) -> RetryDecided:
    request = retry("north", "51", **fields)
    answer = RetryDecision(
        decision_id="d_retry",
        payment_id=request.payment_id,
        attempt=request.attempt,
        should_retry=True,
        verdict="retry_later",
        retry_at=NOW + timedelta(seconds=seconds + wait),
        wait_seconds=wait,
        processor=processor,
        success_probability=0.5,
        expected_value_minor=1.0,
        rules=(),
        quota=None,
        reasons=(),
        degraded=(),
        bundle_version="b",
        policy_version="p",
        latency_us=LATENCY_US,
    )
    return RetryDecided(decided_at=NOW + timedelta(seconds=seconds), request=request, answer=answer, vectors=vectors())


def settled(seconds: float, result: str = "applied", **fields: Any) -> OutcomeSettled:
    outcome = msgspec.convert({"payment_id": "pay_1", "status": "declined", **fields}, Outcome)
    return OutcomeSettled(received_at=NOW + timedelta(seconds=seconds), outcome=outcome, result=result)


def at(seconds: float) -> int:
    return micros(NOW) + int(seconds * SECOND)


def test_an_attempt_counts_when_it_was_decided_with_a_processor_and_once() -> None:
    past = past_of([decided(0, None), decided(1), decided(2, "south", decision_id="d_2"), decided(3, attempt=2)])
    assert [(known.what, known.at, known.processor) for known in past.events] == [
        ("attempt", at(1), "north"),
        ("attempt", at(3), "north"),
    ]
    assert past.events[0].applied == at(1) + LATENCY_US
    # The second answer was about an attempt that had not been counted yet; the third did not see it.
    assert [one.own for one in past.asked] == [None, None, 0, None]


def test_after_five_minutes_an_attempt_sees_itself() -> None:
    past = past_of([decided(0), decided(299.9, decision_id="d_2"), decided(300, decision_id="d_3")])
    assert [one.own for one in past.asked] == [None, 0, None]


def test_times_from_the_future_are_now_and_others_are_as_told() -> None:
    told = [NOW - timedelta(days=30), NOW + timedelta(minutes=4), NOW + timedelta(minutes=6)]
    events = [decided(payment_id=f"p{number}", occurred_at=when) for number, when in enumerate(told)]
    past = past_of([*events, settled(5, payment_id="p0", occurred_at=NOW + timedelta(hours=1))])
    assert [known.at for known in past.events] == [at(-30 * 86_400), at(240), at(0), at(5)]
    assert [one.at for one in past.asked] == [known.at for known in past.events[:3]]
    assert {one.read for one in past.asked} == {at(0)}


def test_a_result_counts_for_the_decision_it_names_through_the_processor_it_names() -> None:
    past = past_of(
        [
            decided(0, payment_id="pay_1", card_token="first", decision_id="d_1"),
            settled(2, processor="east", response_code="51", decision_id="d_1"),
            settled(3, "repeated"),
            settled(4, "kept", kind="refund", status=None),
            settled(90, kind="chargeback", status=None),
        ]
    )
    result, chargeback = past.events[1:]
    assert (result.what, result.processor, result.status, result.response_code) == ("result", "east", "declined", "51")
    assert (result.at, result.applied) == (at(2), at(2))
    assert (chargeback.what, chargeback.at, chargeback.processor) == ("chargeback", at(90), "north")


def test_a_planned_retry_counts_with_its_outcome_no_later_than_that() -> None:
    events = [decided(0), settled(1), planned(2, wait=100)]
    soon = past_of([*events, settled(10, attempt=2, status="approved")])
    assert [(known.what, known.at, known.applied, known.processor) for known in soon.events[2:]] == [
        ("attempt", at(10), at(10), "south"),
        ("result", at(10), at(10), "south"),
    ]
    later = past_of([*events, settled(500, attempt=2, status="approved")])
    assert [known.at for known in later.events[2:]] == [at(102), at(500)]
    # Asked about by itself it has been counted: the plan changes nothing.
    own = past_of([*events, decided(20, attempt=2, processor="east"), settled(30, attempt=2)])
    assert [(known.what, known.at, known.processor) for known in own.events[2:]] == [
        ("attempt", at(20), "east"),
        ("result", at(30), "east"),
    ]


def test_a_result_that_the_store_may_have_missed_is_never_sure_until_it_is_reported_again() -> None:
    once = past_of([decided(0), settled(1, "pending")])
    assert [known.applied for known in once.events] == [at(0) + LATENCY_US, NEVER_SURE]
    twice = past_of([decided(0), settled(1, "pending"), settled(50)])
    assert [(known.at, known.applied) for known in twice.events[1:]] == [(at(50), at(50))]


def test_outcomes_of_decisions_from_before_the_journal_are_counted_as_unmatched() -> None:
    past = past_of([settled(1, payment_id="elsewhere"), decided(2), settled(3, decision_id="d_1", payment_id="other")])
    assert past.unmatched == 2
    assert [known.what for known in past.events] == ["attempt"]
    assert past.first == at(1)


def test_what_cannot_be_compared_is_counted_by_reason() -> None:
    short = vectors(rows=b"1234")
    past = past_of(
        [
            decided(0, degraded=("features:store_timeout",)),
            decided(1, logged=short, payment_id="p1"),
            msgspec.structs.replace(decided(2, payment_id="p2"), vectors=None),
            decided(3, logged=vectors(fingerprint="old"), payment_id="p3"),
            decided(4, payment_id="p4"),
        ]
    )
    assert past.skipped == {
        "made without the state, and said so": 1,
        "logged with vectors of another length": 1,
        "logged without vectors": 1,
    }
    assert past.other_fingerprints == {"old": 1}
    assert len(past.asked) == 1
    # All of them count for the others nevertheless.
    assert len(past.events) == 5


def test_without_the_state_an_earlier_answer_is_not_known() -> None:
    past = past_of([decided(0), decided(1, degraded=("features:store_unavailable",), decision_id="d_2")])
    assert len(past.events) == 1
    assert len(past.asked) == 1


@pytest.mark.parametrize("share", [0, ALL // 2, ALL])
def test_a_share_of_the_questions_is_compared_and_all_of_them_counted(share: int) -> None:
    past = past_of(
        [decided(number, payment_id=f"p{number}", decision_id=f"d_{number}") for number in range(200)], share
    )
    assert len(past.events) == 200
    assert abs(len(past.asked) - 200 * share / ALL) < 30
