"""The choice of an algorithm: a challenger replaces the champion when it is better by more than chance."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from contracts.bundle import Manifest
from tests.trainer.fit.conftest import Made, rows_of
from trainer.fit import choice, estimators
from trainer.fit.choice import JUDGED_SHARE, LEARNT_SHARE, SURE, choose, compare
from trainer.fit.dataset import Rows

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 40
BOTH: tuple[estimators.Algorithm, ...] = ("forest", "boosted")


def window(features: np.ndarray, labels: np.ndarray, *, cards: int | None = None) -> Rows:
    """Return rows spread evenly over `DAYS` days, each answered a second later."""
    rows = rows_of(features, labels)
    count = len(labels)
    started = pl.Series([START + timedelta(days=DAYS) * number / count for number in range(count)])
    card = [None if cards is None else f"c{number % cards}" for number in range(count)]
    frame = rows.frame.with_columns(
        started_at=started, settled_at=started + timedelta(seconds=1), card_token=pl.Series(card, dtype=pl.String)
    )
    return msgspec.structs.replace(rows, frame=frame)


def checkered(count: int, seed: int = 0) -> Rows:
    """Return rows whose label only trees can learn: two features say something together and nothing alone."""
    chance = np.random.default_rng(seed)
    features = chance.random((count, 6)) * 10
    high = (features[:, 0] > 5) ^ (features[:, 1] > 5)
    return window(features, chance.random(count) < np.where(high, 0.3, 0.02))


def smooth(count: int, seed: int = 0) -> Rows:
    """Return rows whose label is just what a regression on logs says."""
    chance = np.random.default_rng(seed)
    features = chance.random((count, 6)) * 10
    z = np.log1p(features) @ np.array([1.5, -1.5, 1.0, -1.0, 1.2, -1.2]) - 3
    return window(features, chance.random(count) < expit(z))


def test_a_challenger_that_is_better_by_more_than_chance_replaces_the_champion() -> None:
    algorithm, selection = choose("risk", checkered(6_000), timedelta(days=3), 0, BOTH)
    assert algorithm in BOTH
    assert selection is not None
    champion, *others = selection.candidates
    assert (champion.lead, champion.sure) == (None, None)
    best = max(others, key=lambda each: each.figure.value)
    assert best.algorithm == estimators.describe(algorithm)
    assert best.sure is not None
    assert best.sure >= SURE
    assert best.lead is not None
    assert best.lead.value == pytest.approx(best.figure.value - champion.figure.value)
    assert f"{best.algorithm} replaces the champion, {champion.algorithm}" in selection.reading


def test_the_champion_stays_where_no_challenger_is_surely_better() -> None:
    algorithm, selection = choose("risk", smooth(6_000), timedelta(days=3), 0, BOTH)
    assert algorithm == "regression"
    assert selection is not None
    assert len(selection.candidates) == 3
    assert "stays champion" in selection.reading


def test_noise_seldom_replaces_the_champion() -> None:
    replaced = 0
    for seed in range(10):
        chance = np.random.default_rng(seed)
        rows = window(chance.random((1_500, 6)), chance.random(1_500) < 0.2)
        replaced += choose("risk", rows, timedelta(0), 0, ("boosted",)).algorithm != "regression"
    assert replaced <= 2


def test_with_too_few_of_the_rarer_class_the_champion_is_not_challenged_and_it_says_why() -> None:
    chance = np.random.default_rng(1)
    rows = window(chance.random((4_000, 6)), np.arange(4_000) % 50 == 0)
    algorithm, selection = choose("risk", rows, timedelta(days=3), 0)
    assert algorithm == "regression"
    assert selection is not None
    assert selection.candidates == ()
    assert selection.positives < 50
    assert (
        f"was not challenged: of the rarer class a slice of the training window has {selection.positives} rows"
        in selection.reading
    )


def test_a_model_without_challengers_is_its_champion() -> None:
    assert choose("approval", smooth(500), timedelta(0), 0) == ("forest", None)


def test_any_model_can_be_challenged_by_its_own_measure() -> None:
    _, selection = choose("approval", smooth(3_000), timedelta(0), 0, ("regression",))
    assert selection is not None
    assert selection.measure == "auc"
    assert [each.algorithm for each in selection.candidates] == [
        estimators.describe("forest"),
        estimators.describe("regression"),
    ]


@pytest.mark.parametrize(("delay", "gap"), [(0.0, 0.0), (5.0, 5.0), (90.0, DAYS * (1 - LEARNT_SHARE - JUDGED_SHARE))])
def test_between_the_slices_lies_the_label_delay_as_far_as_there_is_room(
    delay: float, gap: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = smooth(4_000)
    seen: list[np.ndarray] = []
    real = estimators.fit

    def fit(algorithm: estimators.Algorithm, features: np.ndarray, *rest: object) -> object:
        seen.append(features)
        return real(algorithm, features, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(choice.estimators, "fit", fit)
    _, selection = choose("risk", rows, timedelta(days=delay), 0, ("boosted",))
    assert selection is not None
    assert selection.learnt_until is not None
    assert selection.judged_from is not None
    assert (selection.judged_from - selection.learnt_until) / timedelta(days=1) == pytest.approx(gap, abs=0.05)
    # What was learnt from is the beginning of the window and nothing else.
    assert len(seen) == 2
    for features in seen:
        assert np.array_equal(features, rows.features[: selection.learnt])
    assert selection.learnt == pytest.approx(4_000 * LEARNT_SHARE, abs=2)
    assert selection.judged == pytest.approx(4_000 * (1 - LEARNT_SHARE - gap / DAYS), abs=10)


def test_a_try_that_was_answered_after_the_later_slice_began_is_not_learnt_from() -> None:
    rows = smooth(4_000)
    late = pl.when(pl.int_range(pl.len()) < 100).then(pl.lit(START + timedelta(days=DAYS))).otherwise("settled_at")
    rows = msgspec.structs.replace(rows, frame=rows.frame.with_columns(settled_at=late))
    _, selection = choose("risk", rows, timedelta(0), 0, ("boosted",))
    assert selection is not None
    assert selection.learnt == pytest.approx(4_000 * LEARNT_SHARE - 100, abs=2)


def test_more_rows_than_needed_are_thinned_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MOST_LEARNT", 900)
    monkeypatch.setattr(choice, "MOST_JUDGED", 1_200)
    rows = checkered(8_000)
    first, again = (choose("risk", rows, timedelta(0), 3, ("boosted",)) for _ in range(2))
    assert first == again
    assert first.selection is not None
    # None of the rarer class is left out of what is learnt from.
    assert first.selection.learnt == pytest.approx(900 + rows.labels[:4_000].sum(), abs=1)
    assert first.selection.judged == 1_200


def test_the_same_answers_lead_in_no_redrawn_slice_and_better_ones_in_all() -> None:
    chance = np.random.default_rng(0)
    labels = chance.random(3_000) < 0.2
    weak, strong = labels + chance.normal(0, 2, 3_000), labels + chance.normal(0, 0.3, 3_000)
    found = compare(
        {"regression": weak, "forest": weak.copy(), "boosted": strong}, labels, np.arange(3_000), "average_precision", 0
    )
    assert found["forest"].sure == 0.0
    assert found["boosted"].sure == 1.0
    assert found["boosted"].lead is not None
    assert found["boosted"].lead.low > 0


def test_frauds_of_one_card_are_one_case() -> None:
    # The same rows as thirty cards or as cards of their own: fewer cases, wider intervals.
    chance = np.random.default_rng(2)
    card = np.repeat(np.arange(30), 100)
    labels = chance.random(3_000) < np.repeat(chance.random(30) ** 4, 100)
    weak, strong = labels + chance.normal(0, 1.0, 3_000), labels + np.repeat(chance.normal(0, 1.0, 30), 100)
    few = compare({"regression": weak, "forest": strong}, labels, card, "average_precision", 0)
    many = compare({"regression": weak, "forest": strong}, labels, np.arange(3_000), "average_precision", 0)
    widths = [each["forest"].figure.high - each["forest"].figure.low for each in (few, many)]
    assert widths[0] > 1.5 * widths[1]


def test_the_manifest_and_the_card_say_how_risk_was_chosen(bundle: Made) -> None:
    manifest: Manifest = bundle.manifest
    selection = manifest.models["risk"].selection
    assert selection is not None
    assert [model for model, entry in manifest.models.items() if entry.selection is not None] == ["risk"]
    assert selection.judged_from is not None
    assert selection.judged_from < manifest.data.test_from
    page = (bundle.folder / "card.html").read_text(encoding="utf-8")
    assert selection.reading[1:].split("'")[0] in page


def test_a_forest_draws_as_many_varying_columns_as_if_all_varied() -> None:
    chance = np.random.default_rng(0)
    features = chance.random((50, 64)).astype(np.float32)
    assert estimators.drawn(features) == 8
    features[:, 16:] = -1.0
    assert estimators.drawn(features) == 32
    features[:, 4:] = -1.0
    assert estimators.drawn(features) == 64
    assert estimators.drawn(np.full((50, 64), -1.0, dtype=np.float32)) == 64
