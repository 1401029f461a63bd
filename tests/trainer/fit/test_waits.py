"""A retry by its waits: what was said of all, and of those who waited so long, beside what became of them."""

import math

import numpy as np

from trainer.fit.waits import by_wait

GRID = (0, 300, 3600)


def test_a_retry_belongs_to_the_longest_wait_that_it_reached() -> None:
    waited = np.array([0, 299, 300, 3599, 3600, 90_000])
    p = np.array([0.1, 0.3, 0.2, 0.4, 0.5, 0.7])
    labels = np.array([False, True, False, False, True, True])
    table = by_wait(GRID, {0: 0.2, 300: 0.3, 3600: 0.6}, waited, p, labels)
    assert [(row.seconds, row.said, row.rows) for row in table] == [(0, 0.2, 2), (300, 0.3, 2), (3600, 0.6, 2)]
    assert np.allclose([row.said_there for row in table], [0.2, 0.3, 0.6])
    assert [row.observed for row in table] == [0.5, 0.0, 1.0]


def test_a_wait_that_nobody_waited_has_nothing_observed() -> None:
    table = by_wait(GRID, dict.fromkeys(GRID, 0.1), np.array([10]), np.array([0.2]), np.array([True]))
    assert [row.rows for row in table] == [1, 0, 0]
    assert math.isnan(table[1].observed)
