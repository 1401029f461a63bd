"""Correction by residuals: its laws, and by simulation what it does to the error of the probabilities."""

import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.drift import START, Drift, World, bursting, lasting, nothing, played, walking
from features.clock import HOUR, MINUTE, SECOND
from service.policy.adaptation import BOUND, CHANCE, PRIOR, PRIOR_FAST, bounded, step
from service.policy.standings import standings_of
from service.standing import Note, add


def alone(residual: float, spread: float, kappa: float = PRIOR[0]) -> float:
    """The shift of one level by its slow sums alone."""
    return step(0.0, 0.0, residual, spread, 0.0, 0.0, kappa, PRIOR_FAST[0])[0]


@given(residual=st.floats(-1e4, 1e4), spread=st.floats(0.0, 1e4))
def test_a_shift_goes_where_the_residual_points_and_not_past_it(residual: float, spread: float) -> None:
    shift = alone(residual, spread)
    assert shift * residual >= 0.0
    assert abs(shift) <= abs(residual) / (spread + PRIOR[0])
    assert alone(-residual, spread) == -shift


@given(residual=st.floats(0.0, 1e3), spread=st.floats(0.0, 1e3), kappa=st.floats(1.0, 1e3))
def test_a_stronger_prior_moves_less(residual: float, spread: float, kappa: float) -> None:
    assert alone(residual, spread, 2.0 * kappa) <= alone(residual, spread, kappa)


@given(spread=st.floats(0.1, 1e5), part=st.floats(-1.0, 1.0))
def test_what_chance_explains_is_left_alone(spread: float, part: float) -> None:
    assert alone(part * 0.999 * (CHANCE * spread) ** 0.5, spread) == 0.0


def test_what_a_level_above_has_explained_is_not_counted_again() -> None:
    slow, total = step(0.0, 0.0, -200.0, 1000.0, 0.0, 0.0, PRIOR[0], PRIOR_FAST[0])
    # The only network of the processor has the same residual: what is left is what the prior held back.
    again, _ = step(slow, total, -200.0, 1000.0, 0.0, 0.0, PRIOR[1], PRIOR_FAST[1])
    assert slow < -0.1
    assert slow - 0.02 < again <= slow


def test_the_last_minutes_add_what_the_hours_have_not_seen() -> None:
    slow, total = step(0.0, 0.0, -10.0, 4000.0, -60.0, 150.0, PRIOR[0], PRIOR_FAST[0])
    assert abs(slow) < 0.01
    assert total < -0.15


@given(st.one_of(st.floats(allow_nan=True, allow_infinity=True)))
def test_a_shift_is_bounded(total: float) -> None:
    assert -BOUND <= bounded(total) <= BOUND


def ratio(world: World, seeds: int = 2) -> float:
    """Squared error of the corrected probabilities over that of the model's."""
    runs = [played(world, seed) for seed in range(seeds)]
    return sum(run.corrected for run in runs) / sum(run.model for run in runs)


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_when_nothing_drifts_the_error_does_not_rise(rate: float) -> None:
    # By less than a twentieth of what the model is off by itself: a root mean square of 0.007 of probability.
    assert ratio(World(nothing, rate, hours=4.0 if rate == 1.0 else 20.0), seeds=3) < 1.05


@pytest.mark.parametrize(
    ("drift", "rate", "hours", "most"),
    [
        (lasting, 1.0, 4.0, 0.6),
        (lasting, 0.1, 20.0, 0.75),
        (walking, 1.0, 4.0, 0.6),
        (bursting, 1.0, 4.0, 0.85),
    ],
)
def test_when_something_drifts_the_error_falls(drift: Drift, rate: float, hours: float, most: float) -> None:
    assert ratio(World(drift, rate, hours)) < most


def test_a_processor_that_nobody_knows_is_followed_sooner() -> None:
    off = 0.7
    world = World(lambda *_: off, rate=1 / 60, hours=6.0)
    known = [played(world, seed) for seed in range(4)]
    new = [played(world._replace(known=False), seed) for seed in range(4)]
    assert sum(run.corrected for run in new) < 0.8 * sum(run.corrected for run in known)
    assert sum(run.corrected for run in new) < 0.5 * sum(run.model for run in new)


def test_the_usual_faults_are_not_taken_for_good_news() -> None:
    # Faults are left out of the residuals, and the model's p has them in: without (1 - usual) that would read as +0.6.
    world = World(nothing, rate=2.0, hours=2.0, usual=0.08)
    assert abs(fmean(played(world, seed).shift for seed in range(3))) < 0.15


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_correction_fades_without_outcomes(seed: int) -> None:
    draw = random.Random(seed)
    blob: bytes | None = None
    for number in range(600):
        blob = add(blob, Note(START + number * SECOND, approved=draw.random() < 0.6, expected=0.85))
    at = START + 600 * SECOND
    shifts = [
        standings_of(("p",), [blob, None, None], at + later)[0].shift for later in (0, 10 * MINUTE, 6 * HOUR, 72 * HOUR)
    ]
    assert shifts == sorted(shifts)
    assert shifts[0] < -0.7
    assert shifts[-1] > -0.05
