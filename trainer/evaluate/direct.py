"""A model of the rewards, fitted on the other folds: what each action would have come to, for the doubly robust estimate.

Boosted trees over the columns of the question and the action itself; no feature of the catalog, so that a bundle is not judged
by what it was made of. This module must not know what an action costs.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from xgboost import XGBClassifier

from trainer.evaluate.log import Flags, Floats, Places

FOLDS: Final = 2
MOST_VALUES: Final = 200
"""Values of a category that are told apart, the commonest."""

LEAST_OF_A_CLASS: Final = 20
"""On fewer successes or failures the rate of the fold is all there is to learn."""

_STREAM: Final = 15
"""What sets these draws apart from any other made by the same seed: a sample so drawn would lie in one fold."""

_SETTINGS: Final[Mapping[str, Any]] = {
    "n_estimators": 80,
    "learning_rate": 0.1,
    "max_depth": 4,
    "min_child_weight": 5.0,
    "reg_lambda": 5.0,
    "tree_method": "hist",
    "enable_categorical": True,
    # A second thread gains little on so few rows, and on a busy machine threads that wait for each other lose all of it.
    "n_jobs": 1,
}


def folds(payment: Places, seed: int) -> Places:
    """Return the fold of each question, shape (n,): questions of one payment are in one fold."""
    _, number = np.unique(payment, return_inverse=True)
    drawn: Places = np.random.default_rng((seed, _STREAM)).integers(0, FOLDS, int(number.max()) + 1)[number]
    return drawn


def expected(
    context: pl.DataFrame, taken: Places, succeeded: Flags, offered: Flags, fold: Places, seed: int = 0
) -> Floats:
    """Return the probability of success of every action, by a model fitted on the other folds, shape (n, k).

    Parameters
    ----------
    context
        What is known of each question, n rows: strings and booleans are categories, the rest numbers.
    taken, offered
        As in ``trainer.evaluate.log.Log``; what is not offered has 0.
    succeeded
        What came of it, shape (n,).
    fold
        From `folds`.
    seed
        Of the trees.
    """
    columns, categories = _numbers(context)
    answers = np.zeros(offered.shape)
    for number in np.unique(fold):
        asked = np.flatnonzero(fold == number)
        learnt = np.flatnonzero(fold != number)
        rate = float(succeeded[learnt].mean()) if len(learnt) else 0.5
        wins = int(succeeded[learnt].sum())
        if min(wins, len(learnt) - wins) < LEAST_OF_A_CLASS:
            answers[asked] = rate
            continue
        kinds = ["c" if is_category else "q" for is_category in (*categories, True)]
        model = XGBClassifier(feature_types=kinds, random_state=seed, **_SETTINGS)
        model.fit(np.column_stack([columns[learnt], taken[learnt]]), succeeded[learnt])
        for place in range(offered.shape[1]):
            some = asked[offered[asked, place]]
            if len(some):
                rows = np.column_stack([columns[some], np.full(len(some), place)])
                answers[some, place] = model.predict_proba(rows)[:, 1]
    return np.where(offered, answers, 0.0)


def _numbers(context: pl.DataFrame) -> tuple[npt.NDArray[np.float64], list[bool]]:
    """Return the columns as numbers, NaN where unknown, and which of them are categories."""
    columns, categories = [], []
    for series in context:
        is_category = series.dtype in (pl.String, pl.Boolean, pl.Categorical)
        categories.append(is_category)
        if is_category:
            text = series.cast(pl.String)
            counts = text.drop_nulls().value_counts().sort(["count", series.name], descending=[True, False])
            common = counts[series.name].head(MOST_VALUES).to_list()
            codes = text.replace_strict(common, list(range(len(common))), default=len(common), return_dtype=pl.Float64)
            columns.append(pl.select(pl.when(text.is_not_null()).then(codes)).to_series())
        else:
            columns.append(series.cast(pl.Float64))
    if not columns:
        return np.empty((len(context), 0)), categories
    return np.column_stack([column.to_numpy().astype(np.float64) for column in columns]), categories
