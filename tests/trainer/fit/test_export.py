"""Export: each algorithm's graph answers like the estimator, and one with a wrong number does not pass."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from contracts.bundle import Calibration, ModelName
from tests.trainer.fit.conftest import random_rows
from trainer.errors import ExportError
from trainer.fit import calibration, estimators
from trainer.fit.dataset import INPUTS
from trainer.fit.export import export, prove, raw_probability, run

CASES: dict[str, tuple[ModelName, estimators.Algorithm]] = {
    **{model: (model, champion) for model, champion in estimators.CHAMPIONS.items()},
    **{f"{model}, {name}": (model, name) for model, names in estimators.CHALLENGERS.items() for name in names},
}
BETA = Calibration(method="beta", slope=1.6, slope_high=0.4, offset=-0.8, rows=100)
NONE = Calibration(method="none")


def exported(estimator: Any, columns: int, scaling: Calibration) -> bytes:
    return export(estimator, columns, scaling).serialized


@pytest.fixture(scope="module")
def estimator_of() -> dict[str, object]:
    made = {}
    for case, (model, algorithm) in CASES.items():
        rows = random_rows(model, 1_200)
        weights = rows.weights if model != "routing" else np.random.default_rng(0).exponential(1.0, 1_200)
        made[case] = estimators.fit(algorithm, rows.features, rows.labels, weights, 0)
    return made


@pytest.mark.parametrize("scaling", [NONE, BETA, Calibration(method="platt", slope=0.7, offset=0.3)])
@pytest.mark.parametrize("case", CASES)
def test_the_graph_answers_like_the_estimator_on_rows_it_never_saw(
    case: str, scaling: Calibration, estimator_of: dict[str, object]
) -> None:
    model, _ = CASES[case]
    graph = exported(estimator_of[case], len(INPUTS[model]), scaling)
    fresh = random_rows(model, 1_000, seed=9).features
    fresh[:100] = -1.0
    fresh[100:110] = 3e38
    assert prove(graph, estimator_of[case], scaling, fresh, model) <= 1e-5
    answer = run(graph, fresh)
    assert answer.dtype == np.float32
    assert answer.shape == (1_000,)
    assert ((answer >= 0) & (answer <= 1)).all()
    one_by_one = np.concatenate([run(graph, fresh[row : row + 1]) for row in range(0, 1_000, 250)])
    assert np.abs(one_by_one - answer[::250]).max() <= 1e-6


@pytest.mark.parametrize("case", CASES)
def test_a_graph_with_one_wrong_number_is_refused(case: str, estimator_of: dict[str, object]) -> None:
    model, _ = CASES[case]
    graph = onnx.load_from_string(exported(estimator_of[case], len(INPUTS[model]), BETA))
    for initializer in graph.graph.initializer:
        if initializer.name == "pm_slopes":
            slopes = numpy_helper.to_array(initializer) * np.float32(1.01)
            initializer.CopyFrom(numpy_helper.from_array(slopes, "pm_slopes"))
    rows = random_rows(model, 300, seed=4).features
    with pytest.raises(ExportError) as refused:
        prove(graph.SerializeToString(), estimator_of[case], BETA, rows, model)
    assert f"the exported {model} model differs from the fitted one by" in str(refused.value)


def test_a_graph_that_answers_nan_is_refused(estimator_of: dict[str, object]) -> None:
    graph = onnx.load_from_string(exported(estimator_of["risk"], len(INPUTS["risk"]), BETA))
    for initializer in graph.graph.initializer:
        if initializer.name == "pm_offset":
            initializer.CopyFrom(numpy_helper.from_array(np.float32(["nan"]), "pm_offset"))
    with pytest.raises(ExportError):
        prove(graph.SerializeToString(), estimator_of["risk"], BETA, random_rows("risk", 50).features, "risk")


def test_the_scaling_in_the_graph_is_apply_on_the_raw_answer(estimator_of: dict[str, object]) -> None:
    rows = random_rows("approval", 500, seed=2).features
    estimator = estimator_of["approval"]
    graph = exported(estimator, len(INPUTS["approval"]), BETA)
    expected = calibration.apply(BETA, raw_probability(estimator, rows))
    assert np.abs(run(graph, rows) - expected).max() <= 1e-6
    raw = np.clip(raw_probability(estimator, rows), 1e-6, 1 - 1e-6)
    assert np.allclose(expected, expit(1.6 * np.log(raw) - 0.4 * np.log(1 - raw) - 0.8))


def test_a_forest_takes_the_branch_that_float64_thresholds_say() -> None:
    # Neighbouring float32 values around every split: a threshold rounded up would send some of them the other way.
    chance = np.random.default_rng(3)
    rows = random_rows("approval", 600)
    features = (chance.integers(0, 50, rows.features.shape) * np.float32(0.1) + np.float32(16_777)).astype(np.float32)
    estimator = estimators.fit("forest", features, rows.labels, rows.weights, 0)
    near = np.concatenate([np.nextafter(features, np.float32(0)), features, np.nextafter(features, np.float32(np.inf))])
    graph = exported(estimator, features.shape[1], NONE)
    assert np.abs(run(graph, near) - raw_probability(estimator, near)).max() <= 1e-6


def test_a_forest_of_stumps_and_single_leaves_is_a_graph_too() -> None:
    rows = random_rows("approval", 40)
    for labels in (rows.labels, np.arange(40) == 0):
        estimator = estimators.make("forest", 40, 0).set_params(n_estimators=3).fit(rows.features, labels)
        graph = exported(estimator, rows.features.shape[1], NONE)
        assert np.abs(run(graph, rows.features) - raw_probability(estimator, rows.features)).max() <= 1e-6


def test_a_regression_of_large_opposite_coefficients_passes() -> None:
    # Columns that are copies of each other up to noise: the coefficients grow and cancel.
    chance = np.random.default_rng(8)
    rows = random_rows("risk", 900)
    one = chance.lognormal(8, 2, (900, 1)).astype(np.float32)
    features = (one * (1 + 1e-4 * chance.normal(size=rows.features.shape))).astype(np.float32)
    labels = chance.random(900) < expit(4 * (features[:, 0] / features[:, 1] - 1) / 1e-4)
    estimator = estimators.fit("regression", features, labels, rows.weights, 0)
    graph = exported(estimator, features.shape[1], BETA)
    assert prove(graph, estimator, BETA, features, "risk") <= 1e-5


def test_a_challenger_of_another_kind_goes_through_the_general_converter() -> None:
    rows = random_rows("risk", 400)
    estimator = LogisticRegression(solver="newton-cholesky").fit(np.minimum(rows.features, 10), rows.labels)
    graph = exported(estimator, rows.features.shape[1], BETA)
    assert prove(graph, estimator, BETA, np.minimum(rows.features, 10), "challenger") <= 1e-5


def test_boosted_trees_of_single_leaves_answer_the_base_rate() -> None:
    # Too few rows to split on: every tree is one leaf.
    rows = random_rows("retry", 60)
    estimator = estimators.fit("boosted", rows.features, rows.labels, rows.weights, 0)
    for scaling in (NONE, BETA, Calibration(method="platt", slope=2.0, offset=0.1)):
        graph = exported(estimator, rows.features.shape[1], scaling)
        assert prove(graph, estimator, scaling, rows.features, "retry") <= 1e-5
    assert len(set(run(graph, rows.features).tolist())) == 1


def test_a_field_that_training_always_had_is_neutral_where_a_request_lacks_it() -> None:
    chance = np.random.default_rng(5)
    features = chance.random((4_000, 3)).astype(np.float32)
    labels = chance.random(4_000) < expit(8 * features[:, 0] - 6)
    estimator = estimators.fit("regression", features, labels, np.ones(4_000), 0)
    graph = exported(estimator, 3, NONE)
    best, worst, unknown = run(graph, np.array([[0, 0.5, 0.5], [1, 0.5, 0.5], [-1, 0.5, 0.5]], dtype=np.float32))
    # Were absence a zero, an unknown fraud score would be the best one there is.
    assert best * 5 < unknown < worst / 2
