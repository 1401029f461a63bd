"""The split: what is learnt lies before what is judged, and no payment lies in both."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from trainer.errors import FitError
from trainer.fit.split import Split, split

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LAST = datetime(2026, 1, 31, tzinfo=UTC)


def part(made: Split, started: datetime, answered: datetime | None = None) -> str | None:
    frame = pl.DataFrame({"started": [started], "answered": [answered or started]})
    found: str | None = frame.select(made.parts(pl.col("started"), pl.col("answered"))).item()
    return found


def test_the_last_fifth_is_judged_by_default_and_the_last_attempt_is_in_it() -> None:
    made = split(FIRST, LAST)
    assert made.train_from == FIRST
    assert abs((made.test_from - FIRST) - timedelta(days=24)) < timedelta(seconds=1)
    assert made.train_until == made.test_from
    assert part(made, LAST) == "test"
    assert part(made, FIRST) == "train"


def test_a_boundary_belongs_to_what_begins_there() -> None:
    made = split(
        FIRST, LAST, train_until=datetime(2026, 1, 10, tzinfo=UTC), test_from=datetime(2026, 1, 20, tzinfo=UTC)
    )
    instant = timedelta(microseconds=1)
    assert part(made, made.train_until - instant) == "train"
    assert part(made, made.train_until) is None
    assert part(made, made.test_from - instant) is None
    assert part(made, made.test_from) == "test"
    assert part(made, made.test_until) is None


def test_what_is_answered_after_the_test_began_is_not_learnt_from() -> None:
    made = split(FIRST, LAST)
    before = made.train_until - timedelta(days=1)
    assert part(made, before, made.test_from - timedelta(seconds=1)) == "train"
    assert part(made, before, made.test_from) is None


def test_told_when_to_stop_learning_it_judges_from_there() -> None:
    moment = datetime(2026, 1, 15, tzinfo=UTC)
    assert split(FIRST, LAST, train_until=moment).test_from == moment
    assert split(FIRST, LAST, test_from=moment).train_until == moment


@pytest.mark.parametrize(
    "told",
    [
        {"train_until": FIRST},
        {"test_from": FIRST - timedelta(days=1)},
        {"test_from": LAST + timedelta(days=1)},
        {"train_from": LAST},
        {"train_until": LAST, "test_from": LAST - timedelta(days=5)},
        {"test_until": FIRST},
    ],
)
def test_impossible_boundaries_are_refused_in_one_sentence(told: dict[str, datetime]) -> None:
    with pytest.raises(FitError) as refused:
        split(FIRST, LAST, **told)
    assert str(refused.value).startswith("expected train from < train until <= test from < test until, got 20")
    assert "\n" not in str(refused.value)


def test_a_history_of_one_moment_cannot_be_split() -> None:
    with pytest.raises(FitError):
        split(FIRST, FIRST, test_from=FIRST)
