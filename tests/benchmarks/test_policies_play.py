"""Policies on a stage: the same payments with the same fates for all, in the order of simulated time."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks.policies.baselines import BASELINES, ELIMINATION, HEDGED, Random, Static, Window
from benchmarks.policies.clock import simulated
from benchmarks.policies.codes import meaning
from benchmarks.policies.judge import HORIZON_US, violations
from benchmarks.policies.material import Material
from benchmarks.policies.oracle import AllKnowing, Oracle
from benchmarks.policies.play import Played, play
from benchmarks.policies.pointsman import Pointsman
from benchmarks.policies.policy import Again, Send
from benchmarks.policies.run import fair_after, leaves_after
from benchmarks.policies.stage import DAY_S, PROGRAMME, Stage
from contracts.outcome import Outcome
from service import question
from tests.benchmarks.policies_parts import small
from trainer.simulate.changes import NEWCOMER
from trainer.simulate.facts import DAY_US, PROCESSORS
from trainer.simulate.gateway import Attempt


class Told(Static):
    """The static order that writes down what it is told, and when."""

    def __init__(self, stage: Stage, material: Material) -> None:
        super().__init__(stage, material.tail)
        self.heard: list[tuple[int, str]] = []
        self.results: list[Outcome] = []

    def decide(self, row: int, at_us: int) -> Send | None:
        self.heard.append((at_us, "payment"))
        return super().decide(row, at_us)

    def retry(self, attempts: list[Attempt], at_us: int) -> Again | None:
        self.heard.append((at_us, "question"))
        return super().retry(attempts, at_us)

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        self.heard.append((at_us, "result"))
        assert attempt.at_us < at_us
        assert outcome.occurred_at == self.gateway.moment(at_us)
        self.results.append(outcome)


def test_all_play_the_same_payments_with_the_same_fates(played_with: Material, calm: Stage) -> None:
    static, chance = (play(calm, make(calm, played_with.tail)) for make in (Static, Random))
    assert static == play(calm, Static(calm, played_with.tail))
    same = [
        (one[0], other[0])
        for one, other in zip(static.chains, chance.chains, strict=True)
        if one[0].processor == other[0].processor
    ]
    assert 0.1 * len(calm) < len(same) < 0.4 * len(calm)
    assert all(one == other for one, other in same)


def test_a_stage_is_the_same_for_the_same_seed_and_another_for_another(played_with: Material, calm: Stage) -> None:
    again, other = small(played_with, "calm"), small(played_with, "calm", 1)
    assert again.requests == calm.requests
    assert again.requests != other.requests
    assert not set(again.payments.key.tolist()) & set(other.payments.key.tolist())


def test_results_are_heard_when_they_settle_and_in_order(played_with: Material, calm: Stage) -> None:
    policy = Told(calm, played_with)
    played = play(calm, policy)
    times = [at_us for at_us, _ in policy.heard]
    assert times == sorted(times)
    assert sum(what == "payment" for _, what in policy.heard) == len(calm)
    attempts = [attempt for chain in played.chains for attempt in chain]
    reported = {(outcome.payment_id, outcome.attempt) for outcome in policy.results}
    assert len(reported) == len(attempts)
    late = [attempt for attempt in attempts if attempt.settled_us > attempt.heard_us]
    assert late
    assert sum(outcome.status == "timeout" for outcome in policy.results) == len(late)


def test_the_fixed_rule_retries_as_it_says_and_breaks_no_rule(played_with: Material, calm: Stage) -> None:
    followed: set[str] = set()
    for make in BASELINES:
        played = play(calm, make(calm, played_with.tail))
        assert violations(calm, played) == []
        for chain in played.chains:
            for before, after in itertools.pairwise(chain):
                what = meaning(calm.requests[before.row].card_network, before.code, before.advice)
                followed.add(what)
                waited_s = (after.at_us - before.settled_us) / 1e6
                if what == "technical":
                    assert (waited_s, after.processor != before.processor) == (1.0, True)
                elif what == "authenticate":
                    assert (waited_s, after.with_3ds) == (1.0, True)
                else:
                    assert waited_s >= DAY_S
    assert {"technical", "later"} <= followed <= {"technical", "later", "authenticate"}


@pytest.mark.parametrize(
    ("network", "code", "advice", "what"),
    [
        ("visa", "14", None, "never"),
        ("visa", "05", None, "later"),
        ("visa", "N7", None, "fix_data"),
        ("discover", "82", None, "later"),
        ("visa", "1A", None, "authenticate"),
        ("mastercard", "65", None, "authenticate"),
        ("visa", "65", None, "later"),
        ("mastercard", "51", "03", "never"),
        ("mastercard", "41", "24", "never"),
        ("mastercard", "51", "24", "later"),
        ("mastercard", "83", "01", "authenticate"),
        ("mastercard", "54", "01", "fix_data"),
        ("amex", "91", None, "technical"),
        ("amex", None, None, "technical"),
    ],
)
def test_declines_are_read_as_the_tables_say(network: str, code: str | None, advice: str | None, what: str) -> None:
    assert meaning(network, code, advice) == what


def attempt(
    row: int, number: int, at_us: int, code: str | None, *, advice: str | None = None, status: int = 1
) -> Attempt:
    return Attempt(
        row=row,
        number=number,
        processor=0,
        at_us=at_us,
        status=status,
        code=code,
        advice=advice,
        cause=3,
        latency_ms=400,
        settled_us=at_us + 400_000,
        passed=0.9,
        with_3ds=False,
        chance=0.5,
    )


def judged(stage: Stage, *chain: Attempt) -> list[str]:
    chains: list[list[Attempt]] = [[] for _ in range(len(stage))]
    chains[chain[0].row] = list(chain)
    return violations(stage, Played([], chains, set()))


def test_the_judge_sees_what_breaks_a_rule(calm: Stage) -> None:
    visa = next(row for row, request in enumerate(calm.requests) if request.card_network == "visa")
    other = next(row for row, request in enumerate(calm.requests) if request.card_network == "mastercard")
    later = DAY_US

    def following(row: int, code: str, wait_us: int, advice: str | None = None) -> list[str]:
        return judged(calm, attempt(row, 1, 0, code, advice=advice), attempt(row, 2, 400_000 + wait_us, "05"))

    assert "forbids" in following(visa, "14", later)[0]
    assert "forbids" in following(visa, "54", later)[0]
    assert "authentication" in following(visa, "1A", later)[0]
    assert "too soon" in following(visa, "51", 59_000_000)[0]
    assert "too soon" in following(other, "51", later, "26")[0]
    assert "30 days" in following(visa, "51", HORIZON_US)[0]
    for row, code, wait_us, advice in (
        (visa, "51", later, None),
        (other, "51", 2 * later, "26"),
        (visa, "91", 0, None),
    ):
        assert following(row, code, wait_us, advice) == []


@pytest.mark.parametrize(("network", "most", "window_us"), [("visa", 20, 30 * DAY_US), ("mastercard", 10, DAY_US)])
def test_the_judge_counts_failures_of_a_card_at_a_merchant(
    calm: Stage, network: str, most: int, window_us: int
) -> None:
    row = next(row for row, request in enumerate(calm.requests) if request.card_network == network)
    step = window_us // (most + 2)
    tries = [attempt(row, number + 1, number * step, "91") for number in range(most + 1)]
    assert judged(calm, *tries[:-1]) == []
    assert "limit" in judged(calm, *tries)[0]
    approved = attempt(row, most, (most - 1) * step, "00", status=0)
    resets = judged(calm, *tries[: most - 1], approved, tries[most]) if network == "visa" else []
    assert resets == []


def test_the_window_leaves_a_processor_that_fails_and_hedges_one_in_twenty(played_with: Material, calm: Stage) -> None:
    window = Window(calm, played_with.tail)
    best = [window.order(row, PROCESSORS)[0] for row in range(len(calm))]
    sent = [window.decide(row, int(calm.payments.at_us[row])) for row in range(len(calm))]
    hedged = np.mean([send is not None and send.processor != name for send, name in zip(sent, best, strict=True)])
    assert hedged == pytest.approx(HEDGED, abs=0.03)
    place = PROCESSORS.index(best[0])
    failure = calm.gateway.send(0, best[0])
    gone = Outcome(payment_id="p", status="error", processor=best[0])
    for _ in range(ELIMINATION):
        assert window.order(0, PROCESSORS)[-1] != best[0]
        window.learn(failure, gone, 0)
    assert failure.processor == place
    assert window.order(0, PROCESSORS)[-1] == best[0]


def test_the_oracles_keep_the_rules_and_the_told_one_is_never_beaten(played_with: Material, calm: Stage) -> None:
    assert violations(calm, play(calm, Oracle(calm, np.full(len(calm), 0.002)))) == []
    assert violations(calm, play(calm, AllKnowing(calm))) == []


def test_pointsman_plays_whole_in_simulated_time(played_with: Material) -> None:
    stage = small(played_with, "price_change", 2)
    real = question.datetime
    with Pointsman(stage, played_with.bundle, played_with.rules, played_with.states) as policy:
        assert question.datetime is not real
        played = play(stage, policy)
        (mark,) = stage.marks
        fees = policy.bundle.manifest.processors[PROCESSORS[mark.subject]]
    assert question.datetime is real
    assert policy.degraded == set()
    assert len(policy.best) == len(stage)
    assert fees.approved_share == pytest.approx(
        played_with.bundle.manifest.processors[PROCESSORS[mark.subject]].approved_share + 0.015
    )
    assert {send.processor for send in played.sent if send is not None} <= set(PROCESSORS)
    assert any(len(chain) > 1 for chain in played.chains)


def test_the_clock_is_simulated_for_the_service_alone() -> None:
    with simulated() as clock:
        clock.moment = datetime(2026, 1, 2, tzinfo=UTC)
        assert question.datetime.now(UTC) == datetime(2026, 1, 2, tzinfo=UTC)
        assert question.datetime.fromtimestamp(0, UTC) == datetime(1970, 1, 1, tzinfo=UTC)
        assert datetime.now(UTC) - datetime(2026, 1, 2, tzinfo=UTC) != timedelta(0)


class Stubborn(Static):
    """Sends to one processor until a moment, and to another from then on."""

    def __init__(self, stage: Stage, material: Material, first: str, then: str, from_us: int) -> None:
        super().__init__(stage, material.tail)
        self._plan = (first, then, from_us)

    def decide(self, row: int, at_us: int) -> Send | None:
        first, then, from_us = self._plan
        return Send(first if at_us < from_us else then)


def test_how_soon_a_dead_processor_is_left_is_measured_from_its_death(played_with: Material) -> None:
    stage = small(played_with, "processor_outage")
    assert len(stage) / PROGRAMME["processor_outage"].quick_seconds == 20
    (mark,) = stage.marks
    dead = PROCESSORS[mark.subject]
    other = next(name for name in PROCESSORS if name != dead)

    def left(from_us: int) -> float:
        return leaves_after(stage, play(stage, Stubborn(stage, played_with, dead, other, from_us)))

    assert left(mark.begins_us + 12_000_000) == pytest.approx(12, abs=1)
    assert left(0) == 0
    assert left(mark.ends_us) == float("inf")


def test_how_soon_a_newcomer_has_its_share_is_counted_from_its_joining(played_with: Material) -> None:
    stage = small(played_with, "new_processor")
    (mark,) = stage.marks
    oracle = play(stage, AllKnowing(stage))

    def fair(from_us: int) -> float:
        return fair_after(stage, play(stage, Stubborn(stage, played_with, PROCESSORS[0], NEWCOMER, from_us)), oracle)

    late = int(np.sort(stage.payments.at_us[stage.payments.at_us >= mark.begins_us])[200])
    assert fair(mark.begins_us) == 100
    assert 200 < fair(late) < 300
    assert fair(mark.ends_us) == float("inf")
