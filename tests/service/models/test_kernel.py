"""Models that answer in C: every kind the trainer exports, as ONNX Runtime answers; what differs stays with the reference."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from contracts.bundle import Calibration, ModelEntry
from features.assemble import RETRY_WIDTH, Matrix
from features.catalog import GROUP_OF, NAMES
from service.errors import ModelFailed
from service.models import kernel
from service.models.active import POINTER
from service.models.agreement import around, disagreement
from service.models.bundle import load
from service.models.graph import UnknownGraph, read
from service.models.moves import Moves
from service.models.packed import Packed
from service.models.scorer import Model
from tests.parts import RULES, read_manifest
from trainer.fit import estimators
from trainer.fit.estimators import Algorithm
from trainer.fit.export import Graph, export

needs_kernels = pytest.mark.skipif(not kernel.THERE, reason="the kernels are not built")

MODELS = ["approval", "risk", "routing", "retry"]
INPUTS = (NAMES[3], *NAMES[10:19])


def bundle_folder(shelf: Path) -> Path:
    return shelf / (shelf / POINTER).read_text().strip()


def opened(shelf: Path, name: str) -> tuple[Model, bytes, Matrix]:
    """Return a model that ONNX Runtime answers for, its graph and its golden rows."""
    folder = bundle_folder(shelf)
    entry = read_manifest(folder).models[name]
    serialized = (folder / f"{name}.onnx").read_bytes()
    return Model(name, entry, serialized), serialized, np.array(entry.golden_rows, dtype=np.float32)


@needs_kernels
def test_all_models_of_a_bundle_answer_in_c_and_keep_no_session(bundle_shelf: Path) -> None:
    bundle = load(bundle_folder(bundle_shelf), RULES)
    assert bundle.scorer.engines == dict.fromkeys(MODELS, "c")
    assert all(model._run is None for model in bundle.scorer._models.values())


@needs_kernels
@pytest.mark.parametrize("name", MODELS)
def test_a_bundles_model_answers_and_explains_as_onnx_runtime_does(name: str, bundle_shelf: Path) -> None:
    reference, _, golden = opened(bundle_shelf, name)
    native, serialized, _ = opened(bundle_shelf, name)
    assert native.settle(serialized, golden) is None
    assert (reference.engine, native.engine) == ("onnxruntime", "c")
    random = np.random.default_rng(5)
    rows = golden[random.integers(0, len(golden), 200)] * random.choice(
        np.array([1, 1, 1, 0.5, -1], np.float32), (200, 1)
    )
    whole = np.full((len(rows), RETRY_WIDTH), np.nan, dtype=np.float32)
    whole[:, native._columns] = rows
    expected, told = reference.score(whole)
    found, walk = native.score(whole)
    assert found == pytest.approx(expected, abs=1e-6)
    if told is None or walk is None:
        assert (told, walk) == (None, None)
        return
    for row in range(len(rows)):
        np.testing.assert_array_equal(walk.row(row), told.row(row))
        for shift in (0.0, 0.3):
            assert native.without(walk, row, 3, shift) == reference.without(told, row, 3, shift)


def fitted(algorithm: Algorithm, calibration: Calibration, groups: bool) -> tuple[Graph, Matrix]:
    random = np.random.default_rng(3)
    rows = random.lognormal(0, 2, (900, len(INPUTS))).astype(np.float32)
    rows[random.random(rows.shape) < 0.2] = -1
    labels = rows[:, 0] - rows[:, 3] + random.normal(0, 1, len(rows)) > 0
    estimator = estimators.fit(algorithm, rows, labels, np.ones(len(rows)), 1)
    of_columns = [GROUP_OF[name] for name in INPUTS] if groups else ()
    return export(estimator, len(INPUTS), calibration, of_columns, rows), rows


def entry_of(graph: Graph, calibration: Calibration) -> ModelEntry:
    return ModelEntry(algorithm="", inputs=INPUTS, prior=0.5, calibration=calibration, attribution=graph.attribution)


NONE = Calibration(method="none", rows=9)
PLATT = Calibration(method="platt", slope=1.3, slope_high=1.3, offset=-0.4, rows=900)
BETA = Calibration(method="beta", slope=0.7, slope_high=1.6, offset=0.3, rows=900)


@needs_kernels
@pytest.mark.parametrize("calibration", [NONE, PLATT, BETA], ids=["none", "platt", "beta"])
@pytest.mark.parametrize("algorithm", ["forest", "boosted", "regression"])
def test_every_algorithm_and_calibration_of_the_trainer_is_known(
    algorithm: Algorithm, calibration: Calibration
) -> None:
    graph, rows = fitted(algorithm, calibration, groups=algorithm != "regression")
    model = Model("approval", entry_of(graph, calibration), graph.serialized)
    expected, _ = model.of_inputs(rows)
    assert model.settle(graph.serialized, rows[:16]) is None
    whole = np.zeros((len(rows), RETRY_WIDTH), dtype=np.float32)
    whole[:, model._columns] = rows
    assert model.score(whole)[0] == pytest.approx(expected, abs=1e-6)


@needs_kernels
def test_a_forest_that_does_not_tell_stays_with_onnx_runtime() -> None:
    graph, rows = fitted("forest", BETA, groups=False)
    model = Model("risk", entry_of(graph, BETA), graph.serialized)
    assert model.settle(graph.serialized, rows[:16]) == "expected Cast, got TreeEnsembleClassifier"
    whole = np.zeros((1, RETRY_WIDTH), dtype=np.float32)
    assert (model.engine, len(model.score(whole)[0])) == ("onnxruntime", 1)


def more(serialized: bytes) -> bytes:
    """Put a node more behind a graph; it changes nothing."""
    model = onnx.load_from_string(serialized)
    for node in model.graph.node:
        node.output[:] = ["before" if name == "probability" else name for name in node.output]
    model.graph.node.append(helper.make_node("Identity", ["before"], ["probability"]))
    changed: bytes = model.SerializeToString()
    return changed


@needs_kernels
@pytest.mark.parametrize("name", MODELS)
def test_a_graph_with_a_node_more_stays_with_onnx_runtime(name: str, bundle_shelf: Path) -> None:
    _, serialized, golden = opened(bundle_shelf, name)
    entry = read_manifest(bundle_folder(bundle_shelf)).models[name]
    model = Model(name, entry, more(serialized))
    assert model.settle(more(serialized), golden) == "expected Reshape, got Identity"
    assert model.engine == "onnxruntime"
    assert model.of_inputs(golden)[0] == pytest.approx(entry.golden_expected, abs=1e-5)


class Off:
    """A kernel that answers by another."""

    def __init__(self, real: Any, change: Callable[[list[float]], list[float]], moved: float = 0.0) -> None:
        self._real, self._change, self._moved = real, change, moved

    def score(self, rows: Matrix) -> tuple[list[float], Moves | None]:
        found, walk = self._real.score(rows)
        return self._change(found), None if walk is None else OffWalk(walk, self._moved)


class OffWalk:
    def __init__(self, walk: Any, moved: float) -> None:
        self._walk, self._moved = walk, moved

    def row(self, row: int) -> Any:
        return self._walk.row(row) + np.float32(self._moved)

    def without(self, *given: Any) -> Any:
        return self._walk.without(*given)


@needs_kernels
@pytest.mark.parametrize(
    ("change", "moved", "said"),
    [
        (lambda found: [*found[:-1], found[-1] + 5e-6], 0.0, "an answer is "),
        (lambda found: [*found[:-1], float("nan")], 0.0, "an answer is nan off"),
        (lambda found: found, 1e-4, "a move is "),
        (lambda found: found[:-1], 0.0, "shapes"),
    ],
    ids=["an answer", "no number", "a move", "an answer too few"],
)
def test_a_kernel_that_differs_is_not_used(
    change: Any, moved: float, said: str, bundle_shelf: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    real = kernel.compiled

    def compiled(*given: Any) -> Any:
        native, made = real(*given)
        return Off(native, change, moved), made

    monkeypatch.setattr(kernel, "compiled", compiled)
    with caplog.at_level(logging.WARNING):
        bundle = load(bundle_folder(bundle_shelf), RULES)
    assert bundle.scorer.engines["approval"] == "onnxruntime"
    told = [record.getMessage() for record in caplog.records if "the approval model" in record.getMessage()]
    assert len(told) == 1
    assert "stays with ONNX Runtime" in told[0]
    assert said in told[0]


def test_without_kernels_everything_is_onnx_runtimes(bundle_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "THERE", False)
    bundle = load(bundle_folder(bundle_shelf), RULES)
    assert bundle.scorer.engines == dict.fromkeys(MODELS, "onnxruntime")
    rows = np.zeros((2, RETRY_WIDTH), dtype=np.float32)
    found, moves = bundle.scorer.score("approval", rows)
    assert moves is not None
    assert len(found) == len(bundle.scorer.without("approval", moves, 1, 2, 0.0)) == 2


@needs_kernels
def test_the_rows_of_the_check_are_the_same_every_time_and_lie_on_thresholds(bundle_shelf: Path) -> None:
    model, serialized, golden = opened(bundle_shelf, "approval")
    _, packed = kernel.compiled(serialized, model._columns.tolist(), tells=True)
    assert isinstance(packed, Packed)
    rows = around(golden, packed, model._columns)
    np.testing.assert_array_equal(rows, around(golden, packed, model._columns))
    assert np.isnan(rows).any(axis=1).mean() > 0.5
    thresholds = set(packed.nodes["threshold"][packed.nodes["skip"] > 0].tolist())
    assert np.mean([any(value in thresholds for value in row) for row in rows.tolist()]) > 0.9


@needs_kernels
def test_one_threshold_that_is_a_bit_off_is_found(bundle_shelf: Path) -> None:
    """At a root, where all rows pass."""
    from service.models.forest_native import Forest

    model, serialized, golden = opened(bundle_shelf, "approval")
    native, packed = kernel.compiled(serialized, model._columns.tolist(), tells=True)
    assert isinstance(packed, Packed)
    rows = around(golden, packed, model._columns)
    for number in packed.roots:
        packed.nodes["threshold"][number] = np.nextafter(packed.nodes["threshold"][number], np.float32(np.inf))
    tail = kernel._tail(read(serialized))[0]
    altered = Forest(packed, tail, True)
    assert disagreement(native, model.of_inputs, rows, model._columns, RETRY_WIDTH) is None
    assert disagreement(altered, model.of_inputs, rows, model._columns, RETRY_WIDTH) is not None


@needs_kernels
def test_what_is_no_number_in_a_regression_is_no_probability(bundle_shelf: Path) -> None:
    model, serialized, golden = opened(bundle_shelf, "risk")
    assert model.settle(serialized, golden) is None
    whole = np.zeros((1, RETRY_WIDTH), dtype=np.float32)
    whole[:, model._columns] = golden[:1]
    whole[0, model._columns[0]] = np.nan
    with pytest.raises(ModelFailed, match="no probability"):
        model.score(whole)


def test_a_regression_with_other_numbers_of_columns_is_refused(bundle_shelf: Path) -> None:
    model, serialized, _ = opened(bundle_shelf, "risk")
    with pytest.raises(UnknownGraph, match="weights of every column"):
        kernel.compiled(serialized, model._columns.tolist()[1:], tells=False)
    with pytest.raises(UnknownGraph, match="moves only of trees"):
        kernel.compiled(serialized, model._columns.tolist(), tells=True)
