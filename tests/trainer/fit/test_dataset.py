"""The dataset: nothing of the test or of later is in what is learnt, and a retry looks as it did when the attempt failed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.clock import micros
from tests.trainer.fit.conftest import made, rows_of
from trainer import history as canonical
from trainer.fit.dataset import (
    INPUTS,
    MOST_WEIGHT,
    Dataset,
    _weighted,
    approval_rows,
    build,
    capped,
    label_delay,
    retry_rows,
    risk_rows,
    sample,
)
from trainer.fit.split import Split, split

T = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LATER = Split(train_from=T, train_until=T + 10 * DAY, test_from=T + 10 * DAY, test_until=T + 20 * DAY)


def built(history: pl.LazyFrame, boundaries: Split) -> Dataset:
    return build(history, dict.fromkeys(INPUTS, boundaries), exclude_compromised=False, most=100_000, seed=0)


@pytest.fixture(scope="module")
def simulated(world: Path) -> pl.LazyFrame:
    return canonical.scan(world / "history").collect().lazy()


@pytest.fixture(scope="module")
def boundaries(simulated: pl.LazyFrame) -> Split:
    first, last = simulated.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max()).collect().row(0)
    return split(first, last)


def test_nothing_that_is_learnt_changes_when_the_labels_of_the_test_are_flipped(
    simulated: pl.LazyFrame, boundaries: Split
) -> None:
    in_test = pl.col("occurred_at").min().over("payment_id") >= boundaries.test_from
    approved = pl.col("status") == "approved"
    flipped = simulated.with_columns(
        status=pl.when(in_test & approved)
        .then(pl.lit("declined"))
        .when(in_test)
        .then(pl.lit("approved"))
        .otherwise(pl.col("status")),
        chargeback_at=pl.when(in_test & pl.col("chargeback_at").is_null())
        .then(pl.col("occurred_at") + DAY)
        .when(~in_test)
        .then(pl.col("chargeback_at")),
    )
    as_was, as_flipped = built(simulated, boundaries), built(flipped, boundaries)
    assert as_was.encodings == as_flipped.encodings
    for model in INPUTS:
        before, after = as_was.parts[model]["train"], as_flipped.parts[model]["train"]
        assert len(before.labels) > 100
        assert np.array_equal(before.features, after.features), model
        assert np.array_equal(before.labels, after.labels), model
        assert np.array_equal(before.weights, after.weights), model
    # The flip did reach the test.
    assert not np.array_equal(as_was.parts["approval"]["test"].labels, as_flipped.parts["approval"]["test"].labels)


def test_a_feature_does_not_see_what_is_not_known_yet(simulated: pl.LazyFrame, boundaries: Split) -> None:
    # Cut off everything that became known after a moment: features of attempts before it must not notice.
    cut = boundaries.train_from + (boundaries.train_until - boundaries.train_from) / 2
    known = simulated.filter(pl.col("occurred_at") < cut).with_columns(
        chargeback_at=pl.when(pl.col("chargeback_at") < cut).then(pl.col("chargeback_at"))
    )
    half = Split(train_from=boundaries.train_from, train_until=cut, test_from=cut, test_until=cut + DAY)
    whole, short = built(simulated, half), built(known, half)
    columns = [position for position, name in enumerate(INPUTS["approval"]) if not name.endswith("_prior")]
    before, after = whole.parts["approval"]["train"], short.parts["approval"]["train"]
    shared = before.frame["payment_id"].is_in(after.frame["payment_id"].to_list()).to_numpy()
    assert shared.sum() == len(after.labels)
    assert np.array_equal(before.features[shared][:, columns], after.features[:, columns])


def test_no_payment_is_in_two_parts(simulated: pl.LazyFrame, boundaries: Split) -> None:
    for model, parts in built(simulated, boundaries).parts.items():
        train, test = (set(parts[part].frame["payment_id"]) for part in ("train", "test"))
        assert train, model
        assert test, model
        assert not train & test, model
        assert parts["train"].frame["occurred_at"].min() >= boundaries.train_from
        assert parts["train"].frame["settled_at"].max() < boundaries.test_from or model == "risk"


def test_rows_are_in_time_order_and_the_same_each_time(simulated: pl.LazyFrame, boundaries: Split) -> None:
    first, again = built(simulated, boundaries), built(simulated, boundaries)
    for model in INPUTS:
        rows = first.parts[model]["train"]
        assert rows.frame["at"].is_sorted()
        assert np.array_equal(rows.features, again.parts[model]["train"].features)


def test_risk_learns_from_approved_attempts_and_a_chargeback_is_the_label() -> None:
    history = made(
        [
            {"payment_id": "kept", "occurred_at": T},
            {"payment_id": "back", "occurred_at": T, "chargeback_at": T + 30 * DAY},
            {"payment_id": "declined", "occurred_at": T, "status": "declined"},
        ]
    )
    rows = risk_rows(history, LATER, exclude_compromised=False).collect()
    assert dict(rows.select("payment_id", "label").iter_rows()) == {"kept": False, "back": True}


def test_cards_known_as_compromised_by_the_day_before_are_left_out_of_the_test_alone() -> None:
    start = T + 12 * DAY
    known = {"occurred_at": T + DAY, "chargeback_at": start - 2 * DAY}
    history = made(
        [
            {"payment_id": "first", "card_token": "bad", **known},
            {"payment_id": "same card, test", "card_token": "bad", "occurred_at": start},
            {"payment_id": "same card, train", "card_token": "bad", "occurred_at": T + 9 * DAY},
            {"payment_id": "other card", "card_token": "good", "occurred_at": start},
            {"payment_id": "no card", "card_token": None, "occurred_at": start},
            # Known on the day itself, not the day before.
            {"payment_id": "b1", "card_token": "late", "occurred_at": T, "chargeback_at": start - timedelta(hours=3)},
            {"payment_id": "known too late", "card_token": "late", "occurred_at": start},
            # Known, but of an attempt before training began.
            {"payment_id": "old", "card_token": "old", "occurred_at": T - DAY, "chargeback_at": T + DAY},
            {"payment_id": "of old", "card_token": "old", "occurred_at": start},
        ]
    )
    left = set(risk_rows(history, LATER, exclude_compromised=True).collect()["payment_id"])
    everything = set(risk_rows(history, LATER, exclude_compromised=False).collect()["payment_id"])
    assert everything - left == {"same card, test"}


def retried(**second: Any) -> pl.LazyFrame:
    first = {"payment_id": "p", "occurred_at": T, "status": "declined", "response_code": "51", "advice_code": "24"}
    return made([first, {"payment_id": "p", "attempt": 2, "occurred_at": T + 60 * MINUTE, **second}])


def test_a_retry_is_paired_with_the_failure_before_it() -> None:
    row = retry_rows(retried(processor="south", response_code="00"), LATER).collect().row(0, named=True)
    assert (row["response_code"], row["advice_code"], row["attempt"]) == ("51", "24", 1)
    assert row["same_processor"] is False
    assert row["label"] is True
    assert row["at"] == micros(T + timedelta(milliseconds=500)) + 1
    assert row["retry_at"] == micros(T + 60 * MINUTE)
    assert row["wait_seconds"] == 3599


def test_a_retry_looks_as_the_gateway_knew_it_when_it_asked() -> None:
    changed = {"uses_3ds": True, "fraud_score": 0.9, "cvv_result": "N", "amount_minor": 5}
    history = retried(**changed).with_columns(
        uses_3ds=pl.when(pl.col("attempt") == 1).then(pl.lit(value=False)).otherwise(pl.col("uses_3ds"))
    )
    row = retry_rows(history, LATER).collect().row(0, named=True)
    assert (row["uses_3ds"], row["fraud_score"], row["cvv_result"], row["amount_minor"]) == (False, None, None, 1000)


def test_only_what_follows_a_failure_of_the_same_payment_is_a_retry() -> None:
    history = made(
        [
            {"payment_id": "a", "occurred_at": T, "status": "declined"},
            {"payment_id": "b", "occurred_at": T + MINUTE},
            {"payment_id": "c", "occurred_at": T + 2 * MINUTE},
            {"payment_id": "c", "attempt": 2, "occurred_at": T + 3 * MINUTE},
            {"payment_id": "d", "occurred_at": T, "status": "timeout"},
            {"payment_id": "d", "attempt": 3, "occurred_at": T + MINUTE, "status": "error"},
            {"payment_id": "d", "attempt": 4, "occurred_at": T + 5 * MINUTE},
        ]
    )
    rows = retry_rows(history, LATER).collect().sort("at")
    # Attempt 2 of "d" is not in the history: the question was asked with the number of the one that failed.
    assert list(rows.select("payment_id", "attempt", "label").iter_rows()) == [("d", 1, False), ("d", 3, True)]


def test_a_retry_sees_the_state_of_the_moment_of_the_failure_and_nothing_later() -> None:
    between = [{"payment_id": f"x{n}", "occurred_at": T + n * MINUTE, "status": "approved"} for n in range(1, 30)]
    first = {"payment_id": "p", "occurred_at": T, "status": "declined", "response_code": "51"}
    retry = {"payment_id": "p", "attempt": 2, "occurred_at": T + 60 * MINUTE}
    names = INPUTS["retry"]
    parts = [built(made([first, retry, *others]), LATER).parts["retry"]["train"] for others in ([], between)]
    # Rates of categories are learnt from all of training, whenever it was; everything else is of the moment.
    alone, crowded = (
        {name: float(part.features[0, place]) for place, name in enumerate(names) if not name.endswith("_prior")}
        for part in parts
    )
    assert alone == crowded
    assert alone["card_attempts_1h"] == 1.0
    assert alone["processor_approved_per_results_1h"] == 0.0
    assert alone["wait_seconds"] == 3599.0


def test_a_retry_whose_answer_came_after_the_test_began_is_not_learnt_from() -> None:
    history = made(
        [
            {"payment_id": "p", "occurred_at": T + 9 * DAY, "status": "declined"},
            {"payment_id": "p", "attempt": 2, "occurred_at": T + 11 * DAY},
        ]
    )
    assert retry_rows(history, LATER).collect()["part"].to_list() == [None]
    assert approval_rows(history, LATER).sort("attempt").collect()["part"].to_list() == ["train", None]


def test_weights_are_one_over_the_logged_propensity_with_mean_one() -> None:
    rows = rows_of(np.zeros((4, 1)), np.array([1, 0, 1, 0]))
    frame = rows.frame.with_columns(
        propensity=pl.Series([0.5, 0.25, 0.5, 0.25]),
        processor=pl.lit("north"),
        merchant_segment=pl.lit("x"),
        card_network=pl.lit("visa"),
        issuer_country=pl.lit("DE"),
    )
    weights = _weighted(
        {"train": type(rows)(features=rows.features, labels=rows.labels, weights=rows.weights, frame=frame)}
    )["train"].weights
    assert weights == pytest.approx([2 / 3, 4 / 3, 2 / 3, 4 / 3])


def test_propensities_that_were_not_logged_are_the_processors_share_of_its_cell() -> None:
    rows = rows_of(np.zeros((8, 1)), np.array([1, 0] * 4))
    frame = rows.frame.with_columns(
        propensity=pl.lit(None, pl.Float64),
        processor=pl.Series(["north"] * 3 + ["south"] + ["north"] * 2 + ["south"] * 2),
        merchant_segment=pl.lit(None, pl.String),
        card_network=pl.lit("visa"),
        issuer_country=pl.Series(["DE"] * 4 + ["FR"] * 4),
    )
    weights = _weighted(
        {"train": type(rows)(features=rows.features, labels=rows.labels, weights=rows.weights, frame=frame)}
    )["train"].weights
    assert weights.mean() == pytest.approx(1.0)
    assert weights[3] / weights[0] == pytest.approx(3.0)
    assert weights[4:] == pytest.approx(weights[4])


def test_no_weight_is_above_ten_times_the_average_and_the_average_is_one() -> None:
    found = capped(np.array([1.0] * 2_000 + [5_000.0] * 3))
    assert found.mean() == pytest.approx(1.0)
    assert found.max() == pytest.approx(MOST_WEIGHT, rel=1e-6)
    assert len(set(found[:2_000])) == 1


def test_a_sample_keeps_its_parts_and_their_order() -> None:
    frame = pl.DataFrame(
        {"part": ["train"] * 50 + ["test"] * 5, "at": range(55), "payment_id": ["p"] * 55, "attempt": range(55)}
    )
    kept = sample(frame, 10, seed=1)
    assert kept.group_by("part").len().sort("part")["len"].to_list() == [5, 10]
    assert kept.filter(pl.col("part") == "train")["at"].is_sorted()
    assert kept.equals(sample(frame, 10, seed=1))


def test_the_delay_of_labels_is_what_nine_of_ten_chargebacks_took() -> None:
    rows = [{"payment_id": f"p{n}", "occurred_at": T, "chargeback_at": T + n * DAY} for n in range(1, 12)]
    assert label_delay(made(rows)) == 10 * DAY
    assert label_delay(made([{"payment_id": "p", "occurred_at": T}])) is None
