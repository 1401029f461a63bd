"""Encodings: a category is its smoothed rate, a rare or unknown one the overall rate, an absent one a category."""

import polars as pl
import pytest

from features.catalog import CATALOG
from trainer.fit.encodings import LEAST_ROWS, MOST_CATEGORIES, WEIGHT, learn, rates


def table(**counts: tuple[int, int]) -> pl.DataFrame:
    """Return rows per network: (rows, positives)."""
    names = {"absent": None}
    rows = [
        {"card_network": names.get(name, name), "issuer_country": "DE", "label": number < positives}
        for name, (count, positives) in counts.items()
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema={"card_network": pl.String, "issuer_country": pl.String, "label": pl.Boolean})


def test_a_rate_is_shrunk_towards_the_overall_rate_by_a_hundred_rows() -> None:
    made = rates(table(visa=(300, 60)), ("card_network",), "label", 0.5)
    assert WEIGHT == 100
    assert made.values["visa"] == pytest.approx((60 + 100 * 0.5) / 400)


def test_a_category_never_seen_or_hardly_ever_is_the_overall_rate() -> None:
    made = rates(
        table(visa=(200, 100), jcb=(LEAST_ROWS - 1, 0), amex=(LEAST_ROWS, 0)), ("card_network",), "label", 0.45
    )
    assert made.default == 0.45
    assert set(made.values) == {"visa", "amex"}


def test_an_absent_value_is_a_category_of_its_own() -> None:
    made = rates(table(visa=(200, 100), absent=(200, 20)), ("card_network",), "label", 0.3)
    assert made.values[""] == pytest.approx((20 + 30) / 300)
    pairs = rates(table(visa=(200, 100), absent=(200, 20)), ("card_network", "issuer_country"), "label", 0.3)
    assert set(pairs.values) == {"visa|DE", "|DE"}


def test_the_most_frequent_categories_are_kept_when_there_are_too_many() -> None:
    count = MOST_CATEGORIES + 5
    rows = pl.DataFrame({"card_network": [f"n{n:05}" for n in range(count)] * LEAST_ROWS + ["n02003"]})
    made = rates(rows.with_columns(label=True), ("card_network",), "label", 1.0)
    assert len(made.values) == MOST_CATEGORIES
    assert "n02003" in made.values
    assert f"n{count - 1:05}" not in made.values


def test_every_prior_feature_has_an_encoding_even_where_nothing_was_seen() -> None:
    others = {name for spec in CATALOG if spec.target is not None for name in spec.inputs}
    known = table(visa=(100, 80))
    known = known.with_columns(pl.lit(None, pl.String).alias(name) for name in sorted(others - set(known.columns)))
    made = learn(
        {"approval": (known, "label"), "chargeback": (known.clear(), "label"), "retry": (known.clear(), "label")}
    )
    assert set(made) == {spec.name for spec in CATALOG if spec.target is not None}
    assert made["card_network_approval_prior"].values["visa"] == pytest.approx(0.8)
    assert made["card_network_chargeback_prior"].values == {}
    assert made["response_code_retry_prior"].default == 0.0
