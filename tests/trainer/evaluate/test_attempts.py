"""Attempts of a history: which are judged by, and with which propensities."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tests.trainer.fit.conftest import made
from trainer.errors import EvaluateError
from trainer.evaluate.attempts import attempts
from trainer.evaluate.propensities import LOUD

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def row(payment: str, attempt: int = 1, day: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "payment_id": payment,
        "attempt": attempt,
        "occurred_at": START + timedelta(days=day),
        "propensity": 0.5,
        **more,
    }


def many(count: int, **more: Any) -> pl.LazyFrame:
    return made([row(f"p{number}", day=number / count * 20, **more) for number in range(count)])


def test_first_attempts_of_the_payments_that_began_in_the_stretch() -> None:
    history = made(
        [
            row("before", day=0.5),
            row("in", day=2.0),
            row("in", attempt=2, day=2.1, processor="south"),
            row("late", day=4.0, processor="south"),
            row("after", day=9.0),
            row("nowhere", day=3.0, processor=None),
        ]
    )
    asked = attempts(history, START + timedelta(days=1), START + timedelta(days=5))
    assert asked.frame["payment_id"].to_list() == ["in", "late"]
    assert asked.processors == ("north", "south")
    assert asked.taken.tolist() == [0, 1]
    assert asked.offered.tolist() == [[True, True], [True, True]]
    every = attempts(history, START + timedelta(days=1), START + timedelta(days=5), which="all")
    assert every.frame.select("payment_id", "attempt").rows() == [("in", 1), ("in", 2), ("late", 1)]
    assert every.payment[0] == every.payment[1] != every.payment[2]
    assert every.fold[0] == every.fold[1]


def test_a_merchants_candidates_are_the_processors_it_is_seen_to_use() -> None:
    history = made([row("a"), row("b", merchant_id="m2", processor="south"), row("c", merchant_id="m2")])
    asked = attempts(history, START, END)
    by_payment = dict(zip(asked.frame["payment_id"], asked.offered.tolist(), strict=True))
    assert by_payment == {"a": [True, False], "b": [True, True], "c": [True, True]}


def test_logged_propensities_are_taken_as_they_are() -> None:
    asked = attempts(made([row("a", propensity=0.25), row("b", propensity=0.75)]), START, END)
    assert asked.propensity.tolist() == [0.25, 0.75]
    assert not asked.is_estimated
    assert asked.notes == ()


def test_attempts_without_a_logged_propensity_are_left_out_where_others_have_one() -> None:
    asked = attempts(made([row("a"), row("b", propensity=None), row("c")]), START, END)
    assert asked.frame["payment_id"].to_list() == ["a", "c"]
    assert asked.notes == ("1 attempts without a logged propensity are left out",)


def test_without_any_propensity_they_are_estimated_and_that_is_said_loudly() -> None:
    rows = [row(f"p{number}", propensity=None, processor=("north", "south")[number % 4 == 0]) for number in range(400)]
    asked = attempts(made(rows), START, END)
    assert asked.is_estimated
    assert asked.notes == (LOUD,)
    assert "ESTIMATED" in LOUD
    assert asked.propensity[asked.taken == 0].mean() == pytest.approx(0.75, abs=0.05)
    assert asked.propensity[asked.taken == 1].mean() == pytest.approx(0.25, abs=0.05)


def test_logged_propensities_are_estimated_over_when_that_is_asked() -> None:
    rows = [row(f"p{number}", propensity=0.01, processor=("north", "south")[number % 2]) for number in range(100)]
    asked = attempts(made(rows), START, END, estimate=True)
    assert asked.is_estimated
    assert asked.propensity == pytest.approx(0.5, abs=0.1)
    assert asked.notes[0].startswith(LOUD)
    assert "100 of 100 were logged" in asked.notes[0]


def test_a_sample_is_of_whole_payments_and_is_said() -> None:
    rows = [row(f"p{number}", attempt=attempt, day=number / 50) for number in range(300) for attempt in (1, 2)]
    asked = attempts(made(rows), START, END, which="all", most=100)
    assert len(asked) == 100
    assert asked.frame.group_by("payment_id").len()["len"].to_list() == [2] * 50
    assert asked.notes == ("a sample of 100 of 600 attempts, by whole payments",)
    assert len(attempts(made(rows), START, END, most=100)) == 100


def test_what_is_left_of_attempts_keeps_its_columns_together() -> None:
    asked = attempts(made([row(f"p{n}", propensity=0.1 * (n + 1), day=n) for n in range(5)]), START, END)
    kept = asked.only(asked.frame.filter(pl.col("payment_id").is_in(["p1", "p3"])))
    assert kept.frame["row"].to_list() == [0, 1]
    assert kept.propensity == pytest.approx([0.2, 0.4])
    assert len(kept.offered) == len(kept.payment) == len(kept.fold) == len(kept) == 2


def test_a_model_of_the_rewards_sees_no_column_that_is_empty_and_nothing_that_came_later() -> None:
    names = attempts(many(20), START, END).context.columns
    assert "merchant_segment" not in names
    assert not {"status", "response_code", "latency_ms", "label", "processor", "propensity", "settled_at"} & set(names)
    assert {"card_network", "amount_minor", "hour"} <= set(names)


def test_a_stretch_without_attempts_is_refused() -> None:
    with pytest.raises(EvaluateError, match="expected attempts with a processor from 2027-01-01"):
        attempts(many(5), START + timedelta(days=365), START + timedelta(days=400))
