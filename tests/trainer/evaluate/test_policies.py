"""Policies without a model: what each would have done, and how the best fixed one is chosen."""

import numpy as np
import pytest

from tests.trainer.evaluate.bandits import APPROVAL, LOGGING, Shop
from trainer.errors import EvaluateError
from trainer.evaluate.direct import folds
from trainer.evaluate.log import Log
from trainer.evaluate.off_policy import estimate
from trainer.evaluate.policies import simple


def partly(count: int = 6_000) -> Log:
    """A shop in which harbor is offered to the first two segments only."""
    shop = Shop.open(count, 0)
    offered = np.ones((count, 3), dtype=bool)
    offered[shop.segment >= 2, 2] = False
    return Log(
        ("north", "atlas", "harbor"), shop.taken, np.full(count, 0.5), np.zeros(count), np.arange(count), offered
    )


def test_uniform_takes_what_is_offered_alike() -> None:
    log = partly()
    found = simple("uniform", log, np.zeros(len(log)))
    assert found.chosen is not None
    assert found.chosen[log.offered[:, 2]] == pytest.approx(1 / 3)
    assert found.chosen[~log.offered[:, 2]][0].tolist() == [0.5, 0.5, 0.0]


def test_logged_is_whoever_decided() -> None:
    assert simple("logged", partly(), np.zeros(6_000)).chosen is None


def test_a_processor_that_is_not_offered_is_stood_in_for_by_chance_and_that_is_said() -> None:
    log = partly()
    found = simple("processor:harbor", log, np.zeros(len(log)))
    assert found.chosen is not None
    there = log.offered[:, 2]
    assert (found.chosen[there] == [0.0, 0.0, 1.0]).all()
    assert (found.chosen[~there] == [0.5, 0.5, 0.0]).all()
    assert found.notes == (f"by chance in the {1 - there.mean():.1%} of questions where it is not offered",)
    assert simple("processor:atlas", log, np.zeros(len(log))).notes == ()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("processor:nowhere", "expected one of north, atlas, harbor after processor:, got 'nowhere'"),
        (
            "bset-fixed",
            "expected a policy as uniform, logged, best-fixed, processor:NAME or bundle:VERSION, got 'bset-fixed'",
        ),
    ],
)
def test_an_unknown_policy_is_refused(policy: str, said: str) -> None:
    with pytest.raises(EvaluateError) as refused:
        simple(policy, partly(), np.zeros(6_000))
    assert str(refused.value) == said


def test_the_best_fixed_processor_is_found() -> None:
    shop = Shop.open(20_000, 1)
    # Beyond doubt: what went through atlas in the last segment was all approved.
    shop = shop._replace(approved=shop.approved | ((shop.segment == 3) & (shop.taken == 1)))
    log = shop.log()
    found = simple("best-fixed", log, folds(log.payment, 0))
    assert APPROVAL.mean(axis=0).argmax() == 1
    assert found.chosen is not None
    assert (found.chosen == [0.0, 1.0, 0.0]).all()
    assert found.notes == ("it is atlas, chosen on the other half",)


def test_the_best_of_equals_is_not_praised_for_its_luck() -> None:
    """Chosen and judged by the same payments, the luckiest of eight equal processors would look better than it is."""
    high = 0
    for seed in range(30):
        chance = np.random.default_rng(seed)
        taken = chance.integers(0, 8, 4_000)
        won = (chance.random(4_000) < 0.5).astype(float)
        log = Log(
            tuple("abcdefgh"), taken, np.full(4_000, 1 / 8), won, np.arange(4_000), np.ones((4_000, 8), dtype=bool)
        )
        found = estimate(log, simple("best-fixed", log, folds(log.payment, seed)), reward="approval", seed=seed)
        high += found.snips.value > 0.5
    assert 6 <= high <= 24


def test_a_processor_of_which_little_is_known_is_not_taken_for_the_best() -> None:
    shop = Shop.open(4_000, 2)
    taken = shop.taken.copy()
    won = shop.approved.astype(float)
    propensity = LOGGING[shop.segment, shop.taken].copy()
    # Six lucky attempts through a fourth one.
    taken[:6], won[:6], propensity[:6] = 3, 1.0, 0.001
    log = Log(("a", "b", "c", "lucky"), taken, propensity, won, np.arange(4_000), np.ones((4_000, 4), dtype=bool))
    assert "lucky" not in simple("best-fixed", log, folds(log.payment, 0)).notes[0]
