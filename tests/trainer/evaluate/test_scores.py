"""What a bundle's models say of a history: only rows whose labels are known, and processors that no model has seen."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

from features.effects import shifted
from tests.trainer.fit.conftest import Made
from trainer import history as canonical
from trainer.evaluate import scores
from trainer.evaluate.attempts import attempts
from trainer.evaluate.bundle import Ready, compiled, open_bundle
from trainer.evaluate.service_policy import requests

LATE = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def ready(bundle: Made) -> Ready:
    return open_bundle(bundle.manifest.version, bundle.bundles)


@pytest.fixture(scope="module")
def history(bundle: Made) -> pl.DataFrame:
    return canonical.load(bundle.history).collect()


def charged_back_within(history: pl.DataFrame, days: int) -> pl.LazyFrame:
    """Every twentieth approval is charged back exactly so late, as far as the history's own end lets anybody know."""
    last = history["occurred_at"].max()
    back = pl.col("occurred_at") + pl.duration(days=days)
    marked = (pl.col("status") == "approved") & (pl.int_range(pl.len()) % 20 == 0) & (back <= last)
    return history.with_columns(chargeback_at=pl.when(marked).then(back)).lazy()


def test_risk_is_judged_by_payments_old_enough_for_their_chargebacks_to_be_known(
    ready: Ready, history: pl.DataFrame
) -> None:
    last: datetime = history["occurred_at"].max()  # type: ignore[assignment]
    since = last - timedelta(days=20)
    found = scores.held_out(ready, "risk", charged_back_within(history, 7), since, LATE, 100_000, 0)
    assert not isinstance(found, str)
    moments = found.frame["occurred_at"]
    assert since <= moments.min() <= moments.max() <= last - timedelta(days=7)  # type: ignore[operator]
    assert (moments.max() - moments.min()) > timedelta(days=10)  # type: ignore[operator]
    assert 0.02 < found.labels.mean() < 0.08
    assert set(found.frame["status"]) == {"approved"}


def test_risk_is_not_judged_where_chargebacks_are_still_to_come(ready: Ready, history: pl.DataFrame) -> None:
    last: datetime = history["occurred_at"].max()  # type: ignore[assignment]
    since = last - timedelta(days=5)
    found = scores.held_out(ready, "risk", charged_back_within(history, 7), since, LATE, 1_000, 0)
    assert found == "not judged: nine of ten chargebacks arrive within 7 days, and no payment is so old"
    none = history.with_columns(chargeback_at=pl.lit(None, dtype=canonical.TIME)).lazy()
    assert scores.held_out(ready, "risk", none, since, LATE, 1_000, 0) == "not judged: no chargeback is known"


def test_a_model_that_was_not_trained_says_why(ready: Ready, history: pl.DataFrame) -> None:
    entry = msgspec.structs.replace(ready.manifest.models["retry"], file=None, untrained_because="there were none")
    manifest = msgspec.structs.replace(ready.manifest, models={**ready.manifest.models, "retry": entry})
    bare = compiled(manifest, {})
    assert scores.held_out(bare, "retry", history.lazy(), LATE, LATE, 10, 0) == "not trained: there were none"


def test_a_stretch_without_rows_is_said(ready: Ready, history: pl.DataFrame) -> None:
    since = LATE - timedelta(days=9)
    assert scores.held_out(ready, "approval", history.lazy(), since, LATE, 10, 0) == "not judged: there are no rows"


def test_rows_are_sampled_when_there_are_many(ready: Ready, history: pl.DataFrame, bundle: Made) -> None:
    found = scores.held_out(ready, "approval", history.lazy(), bundle.manifest.data.test_from, LATE, 50, 0)
    assert not isinstance(found, str)
    assert len(found.p) == len(found.labels) == len(found.frame) == 50


def test_a_processor_that_no_model_has_seen_is_answered_by_the_hierarchy(
    ready: Ready, history: pl.DataFrame, bundle: Made
) -> None:
    since = bundle.manifest.data.test_from
    renamed = history.with_columns(
        processor=pl.when((pl.col("processor") == "atlas") & (pl.col("occurred_at") >= since))
        .then(pl.lit("newcomer"))
        .otherwise("processor")
    ).lazy()
    asked = attempts(renamed, since, LATE, most=200)
    found = scores.each_processor(ready, asked, renamed)
    place = asked.processors.index("newcomer")
    assert ready.rates is not None
    checked = 0
    for row, payment in enumerate(requests(asked)):
        if asked.offered[row, place]:
            assert found[row, place] == ready.rates.of(payment, "newcomer").probability
            checked += 1
    assert checked > 50
    assert (np.isnan(found) == ~asked.offered).all()


def test_without_a_routing_model_every_candidate_is_answered_by_the_hierarchy(
    ready: Ready, history: pl.DataFrame, bundle: Made
) -> None:
    bare = ready._replace(answers={name: answer for name, answer in ready.answers.items() if name == "risk"})
    asked = attempts(history.lazy(), bundle.manifest.data.test_from, LATE, most=40)
    found = scores.each_processor(bare, asked, history.lazy())
    assert bare.rates is not None
    for row, payment in enumerate(requests(asked)):
        for place, name in enumerate(asked.processors):
            if asked.offered[row, place]:
                assert found[row, place] == bare.rates.of(payment, name).probability
    assert scores.risk(bare._replace(answers={}), asked, history.lazy()) == pytest.approx(ready.prior("risk"))


def test_candidates_are_answered_as_the_service_answers_them(ready: Ready, history: pl.DataFrame, bundle: Made) -> None:
    """The model's own answer with the effects of the processor, for this very payment."""
    asked = attempts(history.lazy(), bundle.manifest.data.test_from, LATE, most=60)
    plain = ready._replace(
        manifest=msgspec.structs.replace(
            ready.manifest,
            models={
                **ready.manifest.models,
                "routing": msgspec.structs.replace(ready.manifest.models["routing"], effects=()),
            },
        )
    )
    with_effects = scores.each_processor(ready, asked, history.lazy())
    without = scores.each_processor(plain, asked, history.lazy())
    for row, payment in enumerate(requests(asked)):
        offsets = ready.effects["routing"].offsets(payment, asked.processors)
        for place, offset in enumerate(offsets):
            if asked.offered[row, place]:
                assert with_effects[row, place] == pytest.approx(shifted(without[row, place], offset), abs=1e-6)
    assert np.nanmax(np.abs(with_effects - without)) > 0
