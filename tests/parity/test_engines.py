"""One definition, two engines: the state served online, the plan over history and the naive definition give one vector."""

import random
from typing import Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.catalog import CATALOG
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS, candidate_keys, payment_keys
from features.offline.expressions import STATIC, WINDOWED
from features.source import OPERATIONS
from features.spec import STATE_OPERATIONS, STATIC_OPERATIONS
from tests.parity.oracle import expected
from tests.parity.replay import Matrix, differences, keys, offline, online, online_from_nothing
from tests.parity.streams import Row, attempts, dense, request

EXCLUDED: Final[dict[str, str]] = {}
"""Catalog entries that the streams leave at one value, each with the reason."""

SLOW: Final = [HealthCheck.too_slow, HealthCheck.data_too_large]
SEEDS: Final = (1, 2)
BUSY: Final = 1500


@pytest.fixture(scope="module")
def busy() -> dict[int, tuple[list[Row], Matrix]]:
    """Busy streams by seed, with their offline matrices."""
    streams = {seed: dense(BUSY, seed) for seed in SEEDS}
    return {seed: (rows, offline(rows)) for seed, rows in streams.items()}


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(st.lists(attempts(), min_size=1, max_size=16), st.integers(0, 9))
def test_the_state_served_online_equals_the_plan_over_history(rows: list[Row], seed: int) -> None:
    assert differences(online(rows, seed), offline(rows)) == []


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(st.lists(attempts(), min_size=1, max_size=10), st.integers(0, 9))
def test_what_arrives_weeks_late_and_twice_ends_in_the_same_vector(rows: list[Row], seed: int) -> None:
    assert differences(online_from_nothing(rows, seed), offline(rows)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_busy_stream_agrees(busy: dict[int, tuple[list[Row], Matrix]], seed: int) -> None:
    rows, matrix = busy[seed]
    assert differences(online(rows, seed), matrix) == []


def test_the_order_of_arrival_between_two_questions_changes_nothing() -> None:
    rows = dense(300, 9)
    assert differences(online(rows, 1), online(rows, 2)) == []


def naive(rows: list[Row], asked: list[int], matrix: Matrix) -> Matrix:
    """Return `matrix` with the features of entities of the rows `asked` by their naive definition."""
    result = matrix.copy()
    for number in asked:
        for column, spec in enumerate(CATALOG):
            if spec.entity is not None:
                row = rows[number]
                result[number, column] = np.float32(expected(rows, spec, row, row["occurred_at"]))
    return result


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(st.lists(attempts(), min_size=1, max_size=12))
def test_the_plan_equals_the_naive_definition(rows: list[Row]) -> None:
    matrix = offline(rows)
    assert differences(matrix, naive(rows, list(range(len(rows))), matrix)) == []


def test_the_plan_equals_the_naive_definition_on_a_busy_stream(busy: dict[int, tuple[list[Row], Matrix]]) -> None:
    rows, matrix = busy[1]
    asked = random.Random(1).sample(range(BUSY), 30)
    assert differences(matrix, naive(rows, asked, matrix)) == []


def test_every_catalog_entry_takes_more_than_its_default(busy: dict[int, tuple[list[Row], Matrix]]) -> None:
    matrix = np.concatenate([matrix for _, matrix in busy.values()])
    alone = {spec.name for column, spec in enumerate(CATALOG) if len(np.unique(matrix[:, column])) == 1}
    assert alone == set(EXCLUDED)


def test_counts_that_are_capped_reach_their_cap_and_stay_below_it(busy: dict[int, tuple[list[Row], Matrix]]) -> None:
    matrix = np.concatenate([matrix for _, matrix in busy.values()])
    reached = set()
    for column, spec in enumerate(CATALOG):
        cap = {"distinct": "members", "streak": "streak"}.get(spec.operation)
        if cap is not None:
            most = matrix[:, column].max()
            assert most <= getattr(spec.layout, cap), spec.name
            if most == getattr(spec.layout, cap):
                reached.add(spec.operation)
    assert reached == {"distinct", "streak"}


def test_every_operation_stands_in_both_engines() -> None:
    assert {*STATIC, "prior"} == set(STATIC_OPERATIONS)
    assert set(WINDOWED) == set(STATE_OPERATIONS)
    assert set(OPERATIONS) == {*STATIC_OPERATIONS, *STATE_OPERATIONS}
    assert {spec.operation for spec in CATALOG} == set(OPERATIONS)


def test_the_keys_of_the_replay_are_those_of_a_payment() -> None:
    rows = [row for row in dense(200, 3) if None not in (row["card_token"], row["issuer_country"], row["processor"])]
    assert rows
    for number, row in enumerate(rows):
        assert payment_keys(request(row, number)) == keys(row, PAYMENT_KINDS)
        assert candidate_keys(request(row, number), row["processor"]) == keys(row, CANDIDATE_KINDS)
