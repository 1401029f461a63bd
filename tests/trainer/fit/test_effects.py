"""Effects: what is particular to a processor is found, what is not is left, and both readings of them agree."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from contracts.hierarchy import Level
from features.effects import Effects, shifted
from features.hierarchy import log_odds, probability
from trainer.fit import effects

ROWS = 40_000


def world(seed: int, spread: float) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Return payments, what a model says of them, and the truth, which differs per processor and network."""
    chance = np.random.default_rng(seed)
    through, network = chance.integers(0, 4, ROWS), chance.integers(0, 3, ROWS)
    said = 1 / (1 + np.exp(-chance.normal(1.5, 0.8, ROWS)))
    off = chance.normal(0, spread, (4, 3))[through, network]
    truth = 1 / (1 + (1 - said) / said * np.exp(-off))
    countries = np.array(["DE", "FR", None], dtype=object)
    frame = pl.DataFrame(
        {
            "processor": [f"p{number}" for number in through],
            "card_network": [("visa", "mastercard", "amex")[number] for number in network],
            "merchant_country": countries[chance.integers(0, 3, ROWS)].tolist(),
            "issuer_country": countries[chance.integers(0, 2, ROWS)].tolist(),
            "amount_minor": chance.integers(0, 1_000_000, ROWS),
            "is_network_token": [(True, False, None)[number] for number in chance.integers(0, 3, ROWS)],
            "merchant_id": [f"m{number}" for number in chance.integers(0, 30, ROWS)],
        }
    )
    return frame, said, truth


def loss(p: np.ndarray, truth: np.ndarray) -> float:
    return float(-(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean())


def test_what_a_model_misses_of_a_processor_is_found() -> None:
    frame, said, truth = world(1, 0.5)
    labels = np.random.default_rng(2).random(ROWS) < truth
    found = effects.applied(said, frame, effects.learn(frame, labels, said))
    missed, left = loss(said, truth) - loss(truth, truth), loss(found, truth) - loss(truth, truth)
    assert left < 0.1 * missed


def test_where_a_model_misses_nothing_nothing_is_added() -> None:
    frame, said, truth = world(3, 0.0)
    labels = np.random.default_rng(4).random(ROWS) < truth
    found = effects.applied(said, frame, effects.learn(frame, labels, said))
    assert np.abs(np.log(found / (1 - found)) - np.log(said / (1 - said))).mean() < 0.03


def test_the_service_and_the_trainer_read_effects_alike() -> None:
    frame, said, truth = world(5, 0.6)
    labels = np.random.default_rng(6).random(ROWS) < truth
    levels = effects.learn(frame, labels, said)
    assert {level.fields for level in levels} >= {("processor", "card_network")}
    served = Effects(levels)
    # Also a processor, a merchant and a network that nobody has seen.
    asked = pl.concat([frame.head(300), frame.head(1).with_columns(merchant_id=pl.lit("new"), processor=pl.lit("new"))])
    expected = effects.applied(said[:301], asked, levels)
    for row, p, wanted in zip(asked.iter_rows(named=True), said, expected, strict=False):
        (offset,) = served.offsets(SimpleNamespace(**row), (row["processor"],))
        assert shifted(float(p), offset) == pytest.approx(wanted, abs=1e-12)
    assert served.offsets(SimpleNamespace(**asked.row(300, named=True)), ("new",)) == [0.0]


@pytest.mark.parametrize("amount", [0, 1, 3, 4, 4095, 4096, 10**9, 2**39, 10**12])
def test_bands_of_amounts_are_the_same_in_both(amount: int) -> None:
    level = Level(fields=("processor", "amount_band"), spread=1.0, offsets={f"p|{n}": float(n) for n in range(25)})
    frame = pl.DataFrame({"processor": ["p"], "amount_minor": [amount]})
    assert Effects((level,)).offsets(SimpleNamespace(amount_minor=amount), ("p",)) == [
        effects.offsets(frame, [level])[0]
    ]


def test_an_offset_moves_log_odds_and_none_moves_nothing() -> None:
    assert shifted(0.1234567890123, 0.0) == 0.1234567890123
    assert shifted(0.5, 1.0) == pytest.approx(probability(1.0))
    assert log_odds(shifted(0.9, -0.7)) == pytest.approx(log_odds(0.9) - 0.7)


def test_few_rows_teach_no_effects() -> None:
    frame, said, truth = world(7, 0.6)
    assert effects.learn(frame.head(999), truth[:999] > 0.5, said[:999]) == ()


def test_a_level_by_what_no_payment_has_is_refused() -> None:
    with pytest.raises(ValueError, match="by a field of a payment, got 'weather'"):
        Effects((Level(fields=("processor", "weather"), spread=1.0, offsets={}),))
    with pytest.raises(ValueError, match="begin with 'processor'"):
        Effects((Level(fields=("card_network",), spread=1.0, offsets={}),))
