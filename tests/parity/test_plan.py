"""The plan over history: a part of the keys gives the same as the whole, and no order of rows or engine changes a bit."""

import random
from typing import Any, Final

import numpy as np
import polars as pl
import pytest

from features.catalog import CATALOG
from features.decline import CLASSES, decline_class
from features.entity import FIELDS, KINDS
from features.increment import Increment, attempt_increment, chargeback_increment, result_increment
from features.layout import LAYOUTS, MEASURES
from features.offline.increments import decline_class as decline_class_column
from features.offline.increments import increments, key
from features.offline.plan import request_features
from features.offline.windows import entity_features
from tests.parity.replay import keys, offline
from tests.parity.streams import ENCODINGS, Row, dense, history, questions

ROWS: Final = dense(600, 4)
PARTS: Final = 3


def _specs(kind: str) -> list[Any]:
    return [spec for spec in CATALOG if spec.entity == kind]


def _whole(rows: list[Row], kind: str) -> pl.DataFrame:
    return entity_features(questions(rows), history(rows), kind, _specs(kind)).sort("row").collect()


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_on_parts_of_the_keys_equals_the_plan_on_the_whole(kind: str) -> None:
    whole = _whole(ROWS, kind)
    part = (pl.concat_str(FIELDS[kind], separator="/", ignore_nulls=True).hash(seed=7) % PARTS).alias("_part")
    asked, past = questions(ROWS).with_columns(part), history(ROWS).with_columns(part)
    found = [
        entity_features(
            asked.filter(pl.col("_part") == number), past.filter(pl.col("_part") == number), kind, _specs(kind)
        ).collect()
        for number in range(PARTS)
    ]
    assert sum(frame.height > 0 for frame in found) > 1
    assert pl.concat(found).sort("row").equals(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_needs_only_its_own_columns(kind: str) -> None:
    asked = questions(ROWS).select("row", *FIELDS[kind], "at", "amount_minor")
    assert entity_features(asked, history(ROWS), kind, _specs(kind)).sort("row").collect().equals(_whole(ROWS, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_of_polars_give_the_same_bits(kind: str) -> None:
    plan = entity_features(questions(ROWS), history(ROWS), kind, _specs(kind)).sort("row")
    assert plan.collect(engine="streaming").equals(plan.collect(engine="in-memory"))


def test_the_order_of_the_history_changes_nothing() -> None:
    order = list(range(len(ROWS)))
    random.Random(2).shuffle(order)
    assert np.array_equal(offline(ROWS).view(np.uint32), offline(ROWS, order).view(np.uint32))


def test_one_feature_alone_is_what_it_is_among_all() -> None:
    rows = ROWS[:200]
    for kind in KINDS:
        whole = _whole(rows, kind)
        for spec in _specs(kind):
            alone = entity_features(questions(rows), history(rows), kind, [spec]).sort("row").collect()
            assert alone.equals(whole.select(alone.columns)), spec.name


def test_nothing_known_gives_every_default() -> None:
    nothing = history(ROWS).filter(pl.lit(value=False))
    for kind in KINDS:
        found = entity_features(questions(ROWS), nothing, kind, _specs(kind)).collect()
        assert len(found) == len(ROWS)
        for spec in _specs(kind):
            assert found[f"f:{spec.name}"].unique().to_list() == [spec.default]


def test_no_question_gives_no_row() -> None:
    nobody = questions(ROWS).filter(pl.lit(value=False))
    for kind in KINDS:
        assert entity_features(nobody, history(ROWS), kind, _specs(kind)).collect().is_empty()


def test_features_of_a_request_stand_in_the_order_of_the_questions() -> None:
    specs = [spec for spec in CATALOG if spec.entity is None]
    found = request_features(questions(ROWS), ENCODINGS, specs).collect()
    assert found["row"].to_list() == list(range(len(ROWS)))
    assert found.columns == ["row", *(f"f:{spec.name}" for spec in specs)]


def test_keys_are_those_of_online() -> None:
    for kind in KINDS:
        found = history(ROWS).select(key(kind).alias("key")).collect()["key"].to_list()
        assert found == [keys(row, (kind,))[0] for row in ROWS]


def test_decline_classes_are_those_of_online() -> None:
    networks = [*sorted({network for network, _ in CLASSES}), "discover", None]
    codes = [*sorted({code for _, code in CLASSES}), "05", "", None]
    frame = pl.DataFrame(
        [(network, code) for network in networks for code in codes],
        schema={"card_network": pl.String, "response_code": pl.String},
        orient="row",
    )
    found = frame.select(name=decline_class_column())["name"].to_list()
    assert found == [decline_class(network, code) for network, code in frame.iter_rows()]
    assert len({*found}) == 6


def _expected(kind: str, rows: list[Row]) -> list[tuple[Any, ...]]:
    """Return what online would add, in the shape of `increments`."""
    layout = LAYOUTS[kind]
    found = []
    for row in rows:
        name = keys(row, (kind,))[0]
        if name is None:
            continue
        member = row[layout.distinct] if layout.distinct else None
        added: list[Increment] = [
            attempt_increment(row["occurred_at"], row["amount_minor"]),
            result_increment(row["settled_at"], row["status"], row["card_network"], row["response_code"]),
        ]
        if row["chargeback_at"] is not None:
            added.append(chargeback_increment(row["chargeback_at"]))
        for increment in added:
            if layout.takes(increment.deltas):
                sums = [increment.deltas[position] for position in layout.positions]
                found.append((name, increment.at, *sums, increment.code, member if increment.is_attempt else None))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_increments_are_those_of_online(kind: str) -> None:
    columns = ["_key", "_at", *LAYOUTS[kind].measures, "_code", "_member"]
    found = increments(history(ROWS), kind).select(columns).collect().rows()
    assert sorted(found, key=repr) == sorted(_expected(kind, ROWS), key=repr)
    assert set(LAYOUTS[kind].measures) <= set(MEASURES)
