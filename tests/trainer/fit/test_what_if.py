"""What if: a row asked again as it was is the row it was, and only what depends on the question changes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.catalog import CANDIDATE, RETRY
from trainer import history as canonical
from trainer.fit.dataset import INPUTS, Dataset, build
from trainer.fit.split import split
from trainer.fit.what_if import each_processor, each_wait, first_attempts

WAITS = (0, 3600, 86_400)


@pytest.fixture(scope="module")
def history(world: Path) -> pl.LazyFrame:
    return canonical.scan(world / "history").collect().lazy()


@pytest.fixture(scope="module")
def data(history: pl.LazyFrame) -> Dataset:
    first, last = history.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max()).collect().row(0)
    splits = dict.fromkeys(INPUTS, split(first, last))
    return build(history, splits, exclude_compromised=False, most=100_000, seed=0)


def test_the_processor_that_was_used_gives_the_row_that_was(history: pl.LazyFrame, data: Dataset) -> None:
    train, test = data.parts["routing"]["train"], data.parts["routing"]["test"]
    asked = first_attempts(test, 0)
    assert (asked["attempt"] == 1).all()
    candidates, rows = each_processor(asked, train, test, history, data.encodings)
    used = candidates.join(asked.select("row", used="processor"), on="row", maintain_order="left")
    was = (used["processor"] == used["used"]).to_numpy()
    assert was.sum() == len(asked)
    assert np.array_equal(rows[was], test.features[candidates["row"].to_numpy()[was]])


def test_another_processor_changes_what_depends_on_it_alone(history: pl.LazyFrame, data: Dataset) -> None:
    train, test = data.parts["routing"]["train"], data.parts["routing"]["test"]
    candidates, rows = each_processor(first_attempts(test, 0), train, test, history, data.encodings)
    changing = {spec.name for spec in CANDIDATE}
    fixed = [place for place, name in enumerate(INPUTS["routing"]) if name not in changing]
    free = [place for place, name in enumerate(INPUTS["routing"]) if name in changing]
    of_row = test.features[candidates["row"].to_numpy()]
    assert np.array_equal(rows[:, fixed], of_row[:, fixed])
    assert not np.array_equal(rows[:, free], of_row[:, free])


def test_the_candidates_are_those_that_the_merchant_used_before(history: pl.LazyFrame, data: Dataset) -> None:
    train, test = data.parts["routing"]["train"], data.parts["routing"]["test"]
    asked = first_attempts(test, 0)
    candidates, _ = each_processor(asked, train, test, history, data.encodings)
    used, offered = (
        {merchant: set(names) for merchant, names in rows.group_by("merchant_id").agg("processor").iter_rows()}
        for rows in (train.frame, candidates)
    )
    assert any(len(names) > 1 for names in offered.values())
    assert all(used[merchant] <= names for merchant, names in offered.items() if merchant in used)


def test_a_merchant_never_seen_may_use_any_processor(history: pl.LazyFrame, data: Dataset) -> None:
    train, test = data.parts["routing"]["train"], data.parts["routing"]["test"]
    asked = first_attempts(test, 0).head(3).with_columns(merchant_id=pl.lit("new"))
    candidates, _ = each_processor(asked, train, test, history, data.encodings)
    assert len(candidates) == 3 * train.frame["processor"].n_unique()


def test_a_retry_asked_with_the_wait_that_it_had_is_the_row_that_was(history: pl.LazyFrame, data: Dataset) -> None:
    test = data.parts["retry"]["test"]
    waited = test.frame["wait_seconds"].to_numpy()
    asked, rows = each_wait(test, sorted(set(waited.tolist())), history, data.encodings, 0)
    same = (asked["wait_seconds"].to_numpy() == waited[asked["row"].to_numpy()]).nonzero()[0]
    assert len(same) == len(waited)
    # A retry's moment is known to the microsecond, a wait in whole seconds.
    assert np.abs(rows[same] - test.features[asked["row"].to_numpy()[same]]).max() < 1e-3


def test_every_wait_is_asked_of_every_decline(history: pl.LazyFrame, data: Dataset) -> None:
    test = data.parts["retry"]["test"]
    asked, rows = each_wait(test, WAITS, history, data.encodings, 0)
    assert len(asked) == len(test.labels) * len(WAITS)
    place = INPUTS["retry"].index("wait_seconds")
    assert np.array_equal(rows[:, place], asked["wait_seconds"].to_numpy().astype(np.float32))
    changing = {spec.name for spec in RETRY}
    fixed = [place for place, name in enumerate(INPUTS["retry"]) if name not in changing]
    assert np.array_equal(rows[:, fixed], test.features[asked["row"].to_numpy()][:, fixed])
