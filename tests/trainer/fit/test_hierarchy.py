"""The hierarchy: what is expected where nothing is known, and how sure that is."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from contracts.hierarchy import Hierarchy, Level
from features.hierarchy import Rates, log_odds, probability
from trainer.fit import hierarchy
from trainer.fit.dataset import Rows

PAYMENT = SimpleNamespace(card_network="visa", issuer_country="DE", card_bin="411111", merchant_id="m1")


def rows(frame: pl.DataFrame, labels: np.ndarray) -> Rows:
    return Rows(
        features=np.zeros((len(labels), 1), dtype=np.float32),
        labels=labels.astype(np.bool_),
        weights=np.ones(len(labels)),
        frame=frame,
    )


def drawn(seed: int, *, bins: int, spread: float, each: int = 60, processors: float = 0.4) -> tuple[Rows, np.ndarray]:
    """Return attempts of a world whose BINs and processors differ by so much, and their true probabilities."""
    chance = np.random.default_rng(seed)
    count = bins * each
    bin_of = np.repeat(np.arange(bins), each)
    through = chance.integers(0, 6, count)
    merchant = chance.integers(0, 20, count)
    odds = 1.2 + chance.normal(0, spread, bins)[bin_of] + chance.normal(0, processors, 6)[through]
    p = 1 / (1 + np.exp(-odds))
    frame = pl.DataFrame(
        {
            "attempt": np.ones(count, dtype=np.int64),
            "card_network": np.where(bin_of % 2, "visa", "mastercard"),
            "issuer_country": np.where(bin_of % 3, "DE", "FR"),
            "card_bin": [f"4{number:05d}" for number in bin_of],
            "merchant_id": [f"m{number}" for number in merchant],
            "processor": [f"p{number}" for number in through],
        }
    )
    return rows(frame, chance.random(count) < p), p


def test_log_odds_and_probability_are_each_others_inverse() -> None:
    for p in (1e-6, 0.03, 0.5, 0.97, 1 - 1e-6):
        assert probability(log_odds(p)) == pytest.approx(p, rel=1e-9)


def test_offsets_add_up_and_what_is_missing_adds_doubt() -> None:
    rates = Rates(
        Hierarchy(
            rate=0.5,
            levels=(
                Level(fields=("card_network",), spread=0.3, offsets={"visa": 1.0}),
                Level(fields=("card_network", "issuer_country"), spread=0.4, offsets={"visa|FR": -3.0}),
            ),
            processors={"north": 0.5},
            processor_spread=0.3,
        )
    )
    expected = rates.of(PAYMENT, "north")
    assert expected.probability == pytest.approx(probability(1.5), abs=0.01)
    assert expected.doubt == pytest.approx(0.4)
    unknown = rates.of(PAYMENT, "south")
    # The mean over what may be lies nearer to a half than the likeliest.
    assert 0.5 < unknown.probability < probability(1.0)
    assert unknown.doubt == pytest.approx(0.5)
    assert rates.of(SimpleNamespace(card_network="visa", issuer_country="FR")).doubt == 0.0
    assert rates.knows("north")
    assert not rates.knows("south")


def test_the_spread_of_a_level_is_found_again() -> None:
    found = [hierarchy.learn(drawn(seed, bins=150, spread=0.7)[0], 0.7) for seed in range(3)]
    spreads = [each.levels[2].spread for each in found if each is not None]
    assert np.mean(spreads) == pytest.approx(0.7, abs=0.1)


def test_groups_that_do_not_differ_are_believed_to_be_alike() -> None:
    learnt = hierarchy.learn(drawn(5, bins=150, spread=0.0, processors=0.0)[0], 0.7)
    assert learnt is not None
    assert learnt.levels[2].spread < 0.15
    assert max(abs(offset) for offset in learnt.levels[2].offsets.values()) < 0.15


def test_a_group_of_a_few_is_shrunk_and_a_group_of_many_is_not() -> None:
    data, _ = drawn(7, bins=100, spread=0.8)
    few = data.frame.head(4).with_columns(card_bin=pl.lit("499999"))
    more = rows(pl.concat([data.frame, few]), np.concatenate([data.labels, np.zeros(4, dtype=bool)]))
    learnt = hierarchy.learn(more, 0.7)
    assert learnt is not None
    offsets = learnt.levels[2].offsets
    key = next(name for name in offsets if name.endswith("|499999"))
    # None of four was approved: a sign, not a proof. Their own log-odds would be far below.
    assert -2.0 < offsets[key] < -0.2


def test_what_is_expected_of_a_bin_nobody_has_seen_is_calibrated() -> None:
    data, p = drawn(11, bins=900, spread=0.5)
    unseen = np.array([name >= "400300" for name in data.frame["card_bin"]])
    learnt = hierarchy.learn(rows(data.frame.filter(~unseen), data.labels[~unseen]), 0.7)
    assert learnt is not None
    rates = Rates(learnt)
    later = data.frame.filter(unseen)
    said = np.array([rates.of(SimpleNamespace(**row), row["processor"]) for row in later.iter_rows(named=True)])
    assert said[:, 0].mean() == pytest.approx(p[unseen].mean(), abs=0.02)
    # The doubt is how far single BINs are off from it.
    off = np.log(p[unseen] / (1 - p[unseen])) - np.log(said[:, 0] / (1 - said[:, 0]))
    assert off.std() == pytest.approx(said[:, 1].mean(), rel=0.25)


def test_retries_and_empty_histories_teach_no_hierarchy() -> None:
    data, _ = drawn(3, bins=4, spread=0.5)
    retried = rows(data.frame.with_columns(attempt=pl.lit(2)), data.labels)
    assert hierarchy.learn(retried, 0.7) is None


def test_a_handful_of_processors_tells_little_of_the_next_one() -> None:
    data, _ = drawn(3, bins=400, spread=0.2, processors=0.0)
    learnt = hierarchy.learn(data, 0.7)
    assert learnt is not None
    # Six that are alike: doubt about a seventh falls, and not to nothing.
    assert max(abs(offset) for offset in learnt.processors.values()) < 0.1
    assert 0.25 < learnt.processor_spread < hierarchy.ASSUMED_SPREAD
    assert set(learnt.processors) == {f"p{number}" for number in range(6)}
