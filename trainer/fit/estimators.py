"""The three algorithms, which of them each model starts with, and how one is fitted.

Champions: random forest of 100 trees, depth 10, for approval and routing; logistic regression for risk; gradient boosted trees
for retry. Challengers may take their place (``trainer.fit.choice``). This module must not know where rows come from.
"""

import math
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

from contracts.bundle import ModelName

Floats = npt.NDArray[np.float32]

Algorithm = Literal["forest", "regression", "boosted"]

CHAMPIONS: Final[dict[ModelName, Algorithm]] = {
    "approval": "forest",
    "risk": "regression",
    "routing": "forest",
    "retry": "boosted",
}
"""What each model is unless a challenger wins."""

CHALLENGERS: Final[dict[ModelName, tuple[Algorithm, ...]]] = {
    "approval": (),
    "risk": ("forest", "boosted"),
    "routing": (),
    "retry": (),
}
"""What is tried against the champion."""

_DESCRIPTIONS: Final[dict[Algorithm, str]] = {
    "forest": "random forest, 100 trees, depth 10",
    "regression": "logistic regression on logs, their squares and absence flags",
    "boosted": "gradient boosted trees (xgboost, 200 rounds, depth 4)",
}


def describe(algorithm: Algorithm, *, weighted: bool = False) -> str:
    """Return an algorithm in words; `weighted` when rows weigh unlike."""
    return _DESCRIPTIONS[algorithm] + (", inverse propensity weighted" if weighted else "")


RARE: Final = 0.05
"""Below this share of the rarer class the least hessian of a leaf shrinks with it: a row's hessian is about that share, and 20
units of it would be 2,000 rows of a week in which one payment in a hundred is fraud. Fraud Detection Handbook, two weeks before
the test, average precision with 20 and with 5: 0.680 and 0.693, 0.700 and 0.703."""


TREE_ROWS: Final = 60_000
"""Rows each tree of a forest is grown on at the most, drawn anew for every tree. Simulated history, 280,000 rows, held-out
AUC and processor seconds: 30,000 rows a tree 0.778 in 11 s, 60,000 0.782 in 22 s, 120,000 0.782 in 41 s."""


CEILING: Final = 0.999
"""Quantile of a column's values above zero from which on they say no more to the regression. Windowed counts grow with a
history, and a straight line continued past what was seen answers certainties. Simulated history, three time splits, held-out
log loss of risk: 0.0267, 0.0340 and 0.0248 without, 0.0256, 0.0292 and 0.0211 with."""


def _ceiling(values: Floats) -> np.float32:
    return np.quantile(values, CEILING, method="higher") if len(values) else np.float32(0)


class LogAndAbsence(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each feature as log(1 + x), that squared, and whether it is absent (below zero): n columns in, 3 n out.

    The square lets a linear model say "high, but only above a point"; on the Fraud Detection Handbook's week it lifts
    average precision from 0.54 to 0.66 (measured with C = 1). A value above its column's ceiling counts as the ceiling. An
    absent one counts as its column's mean log, beside the flag: a field that training always had and a request has not must
    not pass for a zero, which for a fraud score would be the best one there is.
    """

    def fit(self, features: Floats, labels: object = None) -> "LogAndAbsence":
        """Remember the number of columns and their ceilings."""
        self.n_features_in_ = features.shape[1]
        # Of the values above zero: most columns are zero or absent nearly everywhere, and what is rare must count.
        self.ceiling_ = np.array([_ceiling(column[column > 0]) for column in features.T], dtype=np.float32)
        logs = self._logs(features)
        there = features >= 0
        self.fill_ = np.where(there, logs, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        return self

    def transform(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return the 3 n columns, float64: their sum is the small difference of large terms."""
        absent = features < 0
        logs = np.where(absent, self.fill_, self._logs(features))
        return np.hstack([logs, logs * logs, absent])

    def _logs(self, features: Floats) -> npt.NDArray[np.float64]:
        return np.log1p(np.maximum(np.minimum(features, self.ceiling_), 0).astype(np.float64))


class RiskRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression on `LogAndAbsence` columns, standardised."""

    def fit(
        self, features: Floats, labels: npt.NDArray[np.int64], sample_weight: npt.NDArray[np.float64] | None = None
    ) -> "RiskRegression":
        """Fit on rows of shape (n, columns); labels are 0 and 1."""
        self.n_features_in_ = features.shape[1]
        self.pipeline_ = Pipeline(
            [
                ("expand", LogAndAbsence()),
                ("scale", StandardScaler()),
                ("regress", LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=100)),
            ]
        ).fit(features, labels, regress__sample_weight=sample_weight)
        self.classes_ = self.pipeline_.classes_
        return self

    def predict_proba(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return the probability of both classes, shape (n, 2)."""
        return np.asarray(self.pipeline_.predict_proba(features))

    @property
    def coefficients(self) -> npt.NDArray[np.float64]:
        """The standardised coefficients, shape (3, columns): of the logs, their squares and the flags."""
        return np.asarray(self.pipeline_.named_steps["regress"].coef_[0]).reshape(3, -1)


def make(algorithm: Algorithm, rows: int, seed: int, rarer: int | None = None) -> Any:
    """Return an unfitted estimator, to be fitted on `rows` rows of which `rarer` (default: half) are of the rarer class.

    The least weight of a leaf follows the rarer class where that is rare. A forest on the same two weeks, leaves of 16 rows and
    of 5: 0.703 and 0.710, 0.722 and 0.730.
    """
    rarer = rows // 2 if rarer is None else rarer
    match algorithm:
        case "forest":
            return RandomForestClassifier(
                n_estimators=100,
                max_depth=10,
                min_samples_leaf=max(5, min(rows // 4000, rarer // 100)),
                max_features="sqrt",
                max_samples=None if rows <= TREE_ROWS else TREE_ROWS,
                n_jobs=-1,
                random_state=seed,
            )
        case "regression":
            return RiskRegression()
        case "boosted":
            return XGBClassifier(
                n_estimators=200,
                max_depth=4,
                learning_rate=0.05,
                subsample=0.8,
                colsample_bytree=0.6,
                min_child_weight=min(20.0, max(5.0, 20.0 * rarer / (rows * RARE))),
                reg_lambda=5.0,
                tree_method="hist",
                # More threads than one wait for each other on so few rows.
                n_jobs=1 if rows < 50_000 else 2,
                random_state=seed,
            )


def fit(
    algorithm: Algorithm,
    features: Floats,
    labels: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    seed: int,
    *,
    smaller: bool = False,
) -> Any:
    """Return the fitted estimator; it answers ``predict_proba``.

    Parameters
    ----------
    algorithm
        Which.
    features, labels, weights
        Rows, shape (n, inputs) and (n,).
    seed
        Draws what is drawn.
    smaller
        Half a forest: enough to answer for rows left out. A whole one of rows that weigh alike answers out of bag itself.
    """
    positives = int(labels.sum())
    estimator = make(algorithm, len(labels), seed, min(positives, len(labels) - positives))
    targets = labels.astype(np.int64)
    if isinstance(estimator, RandomForestClassifier):
        estimator.set_params(max_features=drawn(features))
        if smaller:
            estimator.set_params(n_estimators=estimator.n_estimators // 2)
        if weights.min() == weights.max():
            # Unweighted: with weights a forest draws heavy rows more often, and counts them no heavier.
            return _ordered(estimator.set_params(oob_score=not smaller).fit(features, targets))
        return _ordered(estimator.fit(features, targets, sample_weight=weights))
    return estimator.fit(features, targets, sample_weight=weights)


def drawn(features: Floats) -> int:
    """Return how many columns a split draws: the root of their number, times all over those that vary.

    A draw of a column that is the same in every row is a draw lost, and a shop that lacks half of the fields lacks half of the
    columns. So as many of those that vary are drawn as if all did. Random forest, whole windows before the test: psp routing,
    January, 51 of 117 vary, AUC 0.658 with the root and 0.663 to 0.670 with 1.6 to 3 times as many; Fraud Detection Handbook,
    two weeks, half of 92 vary, average precision 0.698 and 0.710 with the root, 0.709 and 0.720 with twice as many.
    """
    count = int(features.shape[1])
    varying = int((features.min(axis=0) != features.max(axis=0)).sum())
    return min(count, math.ceil(count * math.sqrt(count) / max(varying, 1)))


def _ordered(forest: RandomForestClassifier) -> RandomForestClassifier:
    """Return a forest that adds up its trees in one thread: in several their order, and so the last bits, are chance."""
    return forest.set_params(n_jobs=1)
