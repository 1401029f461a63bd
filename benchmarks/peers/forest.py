"""The one model that every peer serves: a random forest of 100 trees of depth 10 over 24 features, and payments to ask it about.

A payment has five candidates and so five rows. Of its features six are its card's, six its merchant's and four its BIN's: a peer
that keeps state reads those, the others are sent them. Synthetic, and made anew for every run: it is fitted in two seconds.
This module must not know who serves it.
"""

from pathlib import Path
from typing import Final, NamedTuple

import joblib
import numpy as np
import numpy.typing as npt
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from trainer.fit.export import session

FEATURES: Final = 24
CANDIDATES: Final = 5
STATE: Final = {"card": range(6), "merchant": range(6, 12), "bin": range(12, 16)}
"""Columns that are of a payment's entities, and so the same in all its rows; the others are its candidates'."""
TREES, DEPTH = 100, 10
PAYMENTS: Final = 200
TOLERANCE: Final = 1e-5
_SEED: Final = 11
_ROWS: Final = 20_000

Matrix = npt.NDArray[np.float64]


class Payment(NamedTuple):
    """One payment.

    Attributes
    ----------
    names
        Its card, merchant and BIN.
    rows
        A row for each candidate.
    expected
        The forest's probability of each.
    """

    names: dict[str, str]
    rows: list[list[float]]
    expected: list[float]


def make(folder: Path) -> list[Payment]:
    """Fit the forest, write it into `folder` as ``forest.joblib`` and ``forest.onnx``, and return payments to ask about."""
    rng = np.random.default_rng(_SEED)
    rows = _drawn(rng, _ROWS)
    pull = rows[:, 0] - 0.8 * rows[:, 7] * rows[:, 17] + 0.6 * np.sin(3 * rows[:, 12]) + 0.7 * (rows[:, 20] > 0.3)
    answers = rng.random(_ROWS) < 1 / (1 + np.exp(-pull))
    forest = RandomForestClassifier(n_estimators=TREES, max_depth=DEPTH, random_state=_SEED, n_jobs=1)
    forest.fit(rows.astype(np.float32), answers)
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(forest, folder / "forest.joblib")
    graph = convert_sklearn(
        forest,
        initial_types=[("rows", FloatTensorType([None, FEATURES]))],
        options={id(forest): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    ).SerializeToString()
    (folder / "forest.onnx").write_bytes(graph)
    return _payments(rng, forest, graph)


def _drawn(rng: np.random.Generator, count: int) -> Matrix:
    """Return rows of numbers as they stand in JSON: of three digits after the point."""
    rows: Matrix = np.round(rng.normal(size=(count, FEATURES)), 3)
    return rows


def _payments(rng: np.random.Generator, forest: RandomForestClassifier, graph: bytes) -> list[Payment]:
    run = session(graph).run
    made: list[Payment] = []
    while len(made) < PAYMENTS:
        rows = _drawn(rng, CANDIDATES)
        for columns in STATE.values():
            rows[:, columns] = rows[0, columns]
        narrow = rows.astype(np.float32)
        expected = forest.predict_proba(narrow)[:, 1]
        # A row within a hair of a split falls to one side in float64 and to the other in float32: nothing to hold a peer to.
        if np.abs(run(["probabilities"], {"rows": narrow})[0][:, 1] - expected).max() > TOLERANCE:
            continue
        number = len(made)
        names = {entity: f"{entity}:{number}" for entity in STATE}
        made.append(Payment(names, rows.tolist(), expected.tolist()))
    return made
