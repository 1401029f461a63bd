"""The simulated world resembles what is known of real e-commerce payments."""

from dataclasses import dataclass

import numpy as np
import pytest

from trainer.simulate.facts import APPROVED, CAUSES, DAY_US, FIRST_PROCESSOR_CAUSE, HOUR_US, NONE, Array
from trainer.simulate.payments import Payments, generate
from trainer.simulate.shop import Attempts, run
from trainer.simulate.world import MARGIN_SHARE, World

PAYMENTS = 300_000


@dataclass(frozen=True)
class Simulated:
    world: World
    payments: Payments
    attempts: Attempts
    approved: Array
    gap_s: Array


@pytest.fixture(scope="module", params=[7, 1])
def simulated(request: pytest.FixtureRequest) -> Simulated:
    built = World.build(request.param)
    payments = generate(built, (1, 0), PAYMENTS, 0, 90 * DAY_US)
    attempts = run(built, payments, MARGIN_SHARE)
    order = np.lexsort((attempts.attempt, attempts.row))
    ended = attempts.at_us + attempts.fate.latency_ms * 1000
    gap = np.full(len(attempts.row), np.nan)
    again = attempts.attempt[order][1:] > 1
    gap[order[1:][again]] = (attempts.at_us[order][1:] - ended[order][:-1])[again] / 1e6
    return Simulated(built, payments, attempts, attempts.fate.status == APPROVED, gap)


def test_about_82_of_100_attempts_and_85_of_100_payments_are_approved_at_first(simulated: Simulated) -> None:
    assert simulated.approved.mean() == pytest.approx(0.82, abs=0.015)
    assert simulated.approved[simulated.attempts.attempt == 1].mean() == pytest.approx(0.855, abs=0.015)


def test_approval_falls_at_night_and_is_best_in_the_afternoon(simulated: Simulated) -> None:
    hour = simulated.attempts.at_us // HOUR_US % 24
    by_hour = np.array([simulated.approved[hour == h].mean() for h in range(24)])
    assert by_hour[5] == pytest.approx(0.64, abs=0.045)
    assert by_hour[14] == pytest.approx(0.87, abs=0.02)
    assert 3 <= by_hour.argmin() <= 6
    assert 12 <= by_hour.argmax() <= 17


def test_cards_from_abroad_are_approved_far_less(simulated: Simulated) -> None:
    abroad = simulated.payments.abroad[simulated.attempts.row]
    assert simulated.approved[abroad].mean() == pytest.approx(0.49, abs=0.03)
    assert simulated.approved[~abroad].mean() == pytest.approx(0.83, abs=0.015)


@pytest.mark.parametrize(
    ("from_s", "until_s", "expected", "tolerance"),
    [(0, 300, 0.04, 0.01), (21_600, 86_400, 0.10, 0.03), (259_200, 604_800, 0.13, 0.035)],
)
def test_a_retry_succeeds_more_often_after_a_longer_wait(
    simulated: Simulated, from_s: float, until_s: float, expected: float, tolerance: float
) -> None:
    waited = (simulated.gap_s >= from_s) & (simulated.gap_s < until_s)
    assert simulated.approved[waited].mean() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("attempt", "expected", "tolerance"), [(2, 0.057, 0.01), (3, 0.052, 0.012), (4, 0.036, 0.015), (5, 0.024, 0.018)]
)
def test_each_further_attempt_succeeds_less_often(
    simulated: Simulated, attempt: int, expected: float, tolerance: float
) -> None:
    assert simulated.approved[simulated.attempts.attempt == attempt].mean() == pytest.approx(expected, abs=tolerance)


def test_chargebacks_arrive_weeks_later(simulated: Simulated) -> None:
    fate = simulated.attempts.fate
    came = fate.chargeback_us >= 0
    days = (fate.chargeback_us - simulated.attempts.at_us)[came] / DAY_US
    assert days.min() >= 12
    assert days.max() <= 185
    assert np.median(days) == pytest.approx(81, abs=6)
    assert simulated.approved[came].all()
    assert 0.002 < came.sum() / simulated.approved.sum() < 0.008


def test_perfect_routing_gains_two_to_four_points_and_no_more(simulated: Simulated) -> None:
    first = simulated.attempts.attempt == 1
    approval = simulated.attempts.approval[first]
    rows = np.arange(len(approval))
    merchant = simulated.payments.merchant[simulated.attempts.row[first]]
    preferred = approval[rows, simulated.world.merchants.order[merchant, 0]].mean()
    logged = approval[rows, simulated.attempts.processor[first]].mean()
    worthiest = approval[rows, simulated.attempts.best[first]].mean()
    for policy in (preferred, logged):
        assert 0.02 <= approval.max(axis=1).mean() - policy <= 0.04
        assert 0.02 <= worthiest - policy <= 0.04


def test_the_probabilities_are_the_truth(simulated: Simulated) -> None:
    """Within bins of the stated probability, as many are approved as it says (4 standard errors)."""
    attempts = simulated.attempts
    stated = attempts.approval[np.arange(len(attempts.row)), attempts.processor].astype(np.float64)
    for rows in np.array_split(np.argsort(stated), 20):
        expected = stated[rows].mean()
        error = np.sqrt(max(expected * (1 - expected), 1e-4) / len(rows))
        assert simulated.approved[rows].mean() == pytest.approx(expected, abs=4 * error)


def test_scores_tell_fraud_from_the_rest_but_not_surely(simulated: Simulated) -> None:
    score, fraud = simulated.payments.fraud_score, simulated.payments.is_fraud
    known = ~np.isnan(score)
    ranks = score[known].argsort().argsort()
    bad = fraud[known]
    area = (ranks[bad].mean() - (bad.sum() - 1) / 2) / (~bad).sum()
    assert 0.85 < area < 0.97


def test_every_cause_occurs_and_most_lie_with_the_issuer(simulated: Simulated) -> None:
    cause = simulated.attempts.fate.cause[simulated.attempts.attempt == 1]
    assert set(cause.tolist()) == set(range(len(CAUSES)))
    declined = cause[cause != NONE]
    assert 0.2 < (declined >= FIRST_PROCESSOR_CAUSE).mean() < 0.4


def test_the_logged_policy_explores_every_processor_with_the_propensity_it_states(simulated: Simulated) -> None:
    first = simulated.attempts.attempt == 1
    propensity = simulated.attempts.propensity[first]
    for stated, share in zip(*np.unique(propensity, return_counts=True), strict=True):
        assert share / len(propensity) == pytest.approx(stated, abs=0.005)
    assert np.bincount(simulated.attempts.processor[first], minlength=5).min() > 0.02 * first.sum()


def test_cards_come_back_and_merchants_differ_in_size(simulated: Simulated) -> None:
    visits = np.bincount(simulated.payments.card)
    assert (visits >= 5).sum() > 10_000
    size = np.sort(np.bincount(simulated.payments.merchant))[::-1]
    assert size[0] > 10 * size[len(size) // 2]
