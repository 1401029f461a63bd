"""What moved an answer of trees: base and moves add up to it, and each move is the step from mean to mean."""

import numpy as np
import onnxruntime
import pytest
from scipy.special import logit

from contracts.bundle import Calibration
from tests.trainer.fit.conftest import random_rows
from trainer.fit import estimators
from trainer.fit.export import Graph, export, raw_probability

NONE = Calibration(method="none")
BETA = Calibration(method="beta", slope=1.3, slope_high=0.8, offset=-0.2, rows=100)


def moves(graph: Graph, rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(graph.serialized).run(["moves"], {"rows": rows})[0]
    return found


@pytest.mark.parametrize("scaling", [NONE, BETA], ids=["plain", "calibrated"])
@pytest.mark.parametrize("algorithm", ["forest", "boosted"])
def test_base_and_moves_add_up_to_the_answer(algorithm: estimators.Algorithm, scaling: Calibration) -> None:
    rows = random_rows("approval", 1_500)
    names = [f"g{column % 4}" for column in range(rows.features.shape[1])]
    estimator = estimators.fit(algorithm, rows.features, rows.labels, rows.weights, 0)
    graph = export(estimator, len(names), scaling, names, rows.features)
    assert graph.attribution is not None
    assert graph.attribution.groups == ("g0", "g1", "g2", "g3")
    fresh = random_rows("approval", 400, seed=5).features
    raw = raw_probability(estimator, fresh)
    whole = logit(raw) if algorithm == "boosted" else raw
    assert graph.attribution.unit == ("log_odds" if algorithm == "boosted" else "probability")
    assert np.abs(graph.attribution.base + moves(graph, fresh).sum(axis=1) - whole).max() < 1e-4
    assert np.abs(moves(graph, fresh)).max() > 0.01


def test_the_base_is_the_mean_of_the_rows_it_is_made_of_and_a_move_the_step_between_means() -> None:
    # One split on the second column: its group moves the answer, the other none.
    features = np.array([[0, 0], [1, 0], [0, 1], [1, 1]] * 50, dtype=np.float32)
    labels = features[:, 1] > 0
    labels[:10] = True
    forest = estimators.make("forest", len(features), 0)
    forest.set_params(n_estimators=1, bootstrap=False, max_features=None, max_depth=1).fit(features, labels)
    rows = features[:100]
    graph = export(forest, 2, NONE, ("one", "two"), rows)
    assert graph.attribution is not None
    answers = raw_probability(forest, rows)
    assert graph.attribution.base == pytest.approx(answers.mean(), abs=1e-6)
    found = moves(graph, rows)
    assert (found[:, 0] == 0).all()
    assert found[:, 1] == pytest.approx(answers - answers.mean(), abs=1e-6)


def test_a_node_that_no_row_comes_to_takes_the_middle_of_its_children() -> None:
    features = np.array([[0], [1], [2], [3]] * 20, dtype=np.float32)
    labels = (features[:, 0] % 2) > 0
    forest = estimators.make("forest", len(features), 0)
    forest.set_params(n_estimators=1, bootstrap=False, max_features=None, max_depth=3, min_samples_leaf=1)
    forest.fit(features, labels)
    graph = export(forest, 1, NONE, ("one",), features[:1])
    assert graph.attribution is not None
    answers = raw_probability(forest, features[:4])
    assert graph.attribution.base + moves(graph, features[:4])[:, 0] == pytest.approx(answers, abs=1e-6)


def test_without_groups_and_for_a_regression_nothing_is_told() -> None:
    rows = random_rows("risk", 400)
    columns = rows.features.shape[1]
    forest = estimators.fit("forest", rows.features, rows.labels, rows.weights, 0)
    regression = estimators.fit("regression", rows.features, rows.labels, rows.weights, 0)
    names = ["all"] * columns
    assert export(forest, columns, BETA).attribution is None
    assert export(regression, columns, BETA, names, rows.features).attribution is None
