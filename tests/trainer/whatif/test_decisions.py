"""Decisions of a journal: the last answer about an attempt, and what became of it in the end."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.event import LoggedVectors
from features.assemble import WIDTH
from features.catalog import FINGERPRINT
from tests.trainer.whatif.journals import PROCESSORS, START, Answered, Told, active, answered, outcome, request
from trainer.evaluate.bundle import Ready
from trainer.whatif import decisions
from trainer.whatif.decisions import told_by

EQUAL = (0.8, 0.8, 0.8, 0.8)


@pytest.fixture(scope="module")
def ready(fitted: Path) -> Ready:
    return active(fitted)


@pytest.fixture
def one(ready: Ready) -> Answered:
    return answered(ready, request(1, np.random.default_rng(0)), EQUAL)


def read(*events: Any, **options: Any) -> decisions.Told:
    told: Any = Told(events)
    return told_by(told, options.get("since"), options.get("until"), options.get("most", 1_000))


def test_a_decision_and_its_outcome(one: Answered) -> None:
    (found,) = read(one.event, outcome(one.event, "approved")).decided
    assert found.status == "approved"
    assert found.kind == "auth"
    assert found.processors == PROCESSORS
    assert found.is_sent
    assert found.propensity == next(
        entry.propensity for entry in one.choice.ranking if entry.processor == one.choice.processor
    )
    assert not found.charged_back


@pytest.mark.parametrize(
    ("reports", "status"),
    [
        ((("timeout", "applied"), ("approved", "revised")), "approved"),
        ((("error", "applied"), ("declined", "revised")), "declined"),
        ((("approved", "applied"), ("declined", "repeated")), "approved"),
        ((("timeout", "pending"), ("approved", "applied")), "approved"),
        ((("timeout", "applied"),), "timeout"),
    ],
)
def test_the_last_status_that_the_service_took_is_what_became_of_it(
    one: Answered, reports: tuple[tuple[str, str], ...], status: str
) -> None:
    told = [outcome(one.event, name, result=result) for name, result in reports]
    (found,) = read(one.event, *told).decided
    assert found.status == status


def test_a_chargeback_is_known_unless_the_issuer_bears_it(one: Answered) -> None:
    back = outcome(one.event, "approved", kind="chargeback")
    issuer = msgspec.structs.replace(one.event, answer=msgspec.structs.replace(one.event.answer, liability="issuer"))
    merchant = msgspec.structs.replace(
        one.event, answer=msgspec.structs.replace(one.event.answer, liability="merchant")
    )
    assert read(merchant, outcome(one.event, "approved"), back).decided[0].charged_back
    assert not read(issuer, outcome(one.event, "approved"), back).decided[0].charged_back
    # A chargeback is no authorisation: alone it says nothing of what came back.
    assert read(merchant, back).counts[decisions.MISSING] == 1


def test_a_refund_changes_nothing(one: Answered) -> None:
    (found,) = read(one.event, outcome(one.event, "declined"), outcome(one.event, "approved", kind="refund")).decided
    assert found.status == "declined"


def test_the_last_answer_about_an_attempt_counts_and_a_repeated_one_is_none(ready: Ready, one: Answered) -> None:
    again = answered(ready, one.event.request, (0.1, 0.2, 0.9, 0.3), number=1)
    repeat = msgspec.structs.replace(one.event, repeat=True)
    told = read(one.event, again.event, repeat, outcome(again.event, "approved"))
    (found,) = told.decided
    assert found.answer == again.event.answer
    assert told.counts[decisions.SUPERSEDED] == 1


def test_attempts_of_one_payment_are_decisions_of_their_own(ready: Ready, one: Answered) -> None:
    second = answered(ready, msgspec.structs.replace(one.event.request, attempt=2), EQUAL)
    told = read(one.event, second.event, outcome(one.event, "declined"), outcome(second.event, "approved"))
    assert [each.status for each in told.decided] == ["declined", "approved"]


def test_what_was_sent_and_never_heard_of_is_left_out(one: Answered) -> None:
    told = read(one.event)
    assert told.decided == []
    assert told.counts[decisions.MISSING] == 1


def test_what_was_sent_elsewhere_is_left_out(one: Answered) -> None:
    elsewhere = next(name for name in PROCESSORS if name != one.choice.processor)
    told = read(one.event, outcome(one.event, "approved", processor=elsewhere))
    assert told.decided == []
    assert told.counts[decisions.ELSEWHERE] == 1
    # An outcome that names no processor is of the one that was answered.
    assert len(read(one.event, outcome(one.event, "approved", processor=None)).decided) == 1


def test_a_payer_who_never_came_back_from_a_challenge_counts_as_not_approved(ready: Ready) -> None:
    asked = request(2, np.random.default_rng(0), uses_3ds=False)
    risk = ready.manifest.policy.challenge_from + 0.01
    made = answered(ready, asked, EQUAL, risk=risk)
    assert made.choice.three_ds == "challenge"
    told = read(made.event)
    (found,) = told.decided
    assert found.status is None
    assert found.is_sent
    assert told.counts[decisions.ABANDONED] == 1
    assert read(made.event, outcome(made.event, "approved")).counts[decisions.ABANDONED] == 0


def test_a_payment_that_the_policy_declined_has_no_outcome_to_wait_for(ready: Ready) -> None:
    made = answered(ready, request(3, np.random.default_rng(0)), EQUAL, risk=0.999)
    assert made.choice.processor is None
    told = read(made.event)
    (found,) = told.decided
    assert not found.is_sent
    assert (found.status, found.propensity) == (None, 1.0)
    assert told.counts[decisions.UNSENT] == 1


def test_an_answer_without_the_odds_of_its_processor_is_left_out(one: Answered) -> None:
    bare = msgspec.structs.replace(one.event.answer, ranking=())
    told = read(msgspec.structs.replace(one.event, answer=bare), outcome(one.event, "approved"))
    assert told.decided == []
    assert told.counts[decisions.UNRANKED] == 1


def test_the_window_is_of_the_moment_of_the_question(ready: Ready) -> None:
    made = [
        answered(ready, request(number, np.random.default_rng(number)), EQUAL, number=number) for number in range(4)
    ]
    events = [event for each in made for event in (each.event, outcome(each.event, "approved"))]
    since, until = START + timedelta(seconds=60), START + timedelta(seconds=180)
    told = read(*events, since=since, until=until)
    assert [each.request.payment_id for each in told.decided] == ["pay_1", "pay_2"]


def test_a_sample_is_of_whole_payments(ready: Ready) -> None:
    events: list[Any] = []
    for number in range(60):
        asked = request(number, np.random.default_rng(number))
        for attempt in (1, 2):
            made = answered(ready, msgspec.structs.replace(asked, attempt=attempt), EQUAL)
            events += [made.event, outcome(made.event, "approved")]
    told = read(*events, most=40)
    assert told.share == pytest.approx(1 / 3, abs=0.01)
    assert 10 < len(told.decided) < 80
    by_payment: dict[str, int] = {}
    for each in told.decided:
        by_payment[each.request.payment_id] = by_payment.get(each.request.payment_id, 0) + 1
    assert set(by_payment.values()) == {2}
    assert told.counts[decisions.MISSING] == 0


def test_vectors_are_taken_when_they_are_of_this_catalog_and_of_these_candidates(one: Answered) -> None:
    rows = np.arange(len(PROCESSORS) * WIDTH, dtype=np.float32)

    def with_vectors(**changes: Any) -> Any:
        known = {"fingerprint": FINGERPRINT, "processors": PROCESSORS, "rows": rows.tobytes(), **changes}
        return msgspec.structs.replace(one.event, vectors=LoggedVectors(**known))

    told = outcome(one.event, "approved")
    (found,) = read(with_vectors(), told).decided
    assert found.rows is not None
    assert found.rows.tolist() == rows.reshape(len(PROCESSORS), WIDTH).tolist()
    for changes in ({"fingerprint": "other"}, {"rows": rows[1:].tobytes()}, {"processors": PROCESSORS[::-1]}):
        (found,) = read(with_vectors(**changes), told).decided
        assert found.rows is None
