"""A fitted estimator as an ONNX graph that answers one calibrated probability per row, proved equal to the estimator.

This module must not know where rows come from.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from xgboost import XGBClassifier

from contracts.bundle import Calibration
from trainer.errors import ExportError
from trainer.fit import regression, trees
from trainer.fit.calibration import EDGE, apply, slope_high

OPSET: Final = 17
TOLERANCE: Final = 1e-5
"""The largest difference between the graph's float32 answer and the estimator's own."""


def export(estimator: Any, columns: int, calibration: Calibration) -> bytes:
    """Return the serialized graph: input "rows" (n, columns) float32, output "probability" (n,) float32."""
    if isinstance(estimator, RandomForestClassifier):
        graph = trees.forest_graph(estimator, columns, OPSET)
        steps = _on_shares(graph.graph, trees.OUTPUT, 0, calibration)
    elif isinstance(estimator, XGBClassifier):
        graph = trees.boosted_graph(estimator, columns, OPSET)
        steps = _on_margins(graph.graph, trees.OUTPUT, calibration)
    elif isinstance(estimator, Pipeline) and "expand" in estimator.named_steps:
        graph = regression.regression_graph(estimator, columns, OPSET)
        steps = _on_margins(graph.graph, regression.OUTPUT, calibration)
    else:
        graph = convert_sklearn(
            estimator,
            initial_types=[("rows", FloatTensorType([None, columns]))],
            options={id(estimator): {"zipmap": False}},
            target_opset=OPSET,
        )
        steps = _on_shares(graph.graph, graph.graph.output[1].name, 1, calibration)
    graph.graph.node.extend(steps)
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None]))
    onnx.checker.check_model(graph)
    serialized: bytes = graph.SerializeToString()
    return serialized


def _constants(graph: Any, **values: float) -> list[str]:
    """Add named float32 numbers to a graph and return their names there."""
    for name, value in values.items():
        graph.initializer.append(helper.make_tensor(f"pm_{name}", TensorProto.FLOAT, [], [value]))
    return [f"pm_{name}" for name in values]


def _column(graph: Any, value: str, column: int) -> Any:
    """Return the node that takes one column of a value as "pm_raw", (n,)."""
    graph.initializer.append(helper.make_tensor("pm_column", TensorProto.INT64, [], [column]))
    return helper.make_node("Gather", [value, "pm_column"], ["pm_raw"], axis=1)


def _on_shares(graph: Any, value: str, column: int, calibration: Calibration) -> list[Any]:
    """Return the nodes that calibrate a column of raw probabilities."""
    node = helper.make_node
    if calibration.method == "none":
        # A sum of float32 shares may end a hair outside 0 to 1.
        low, high = _constants(graph, low=0.0, high=1.0)
        return [_column(graph, value, column), node("Clip", ["pm_raw", low, high], ["probability"])]
    low, high, unit = _constants(graph, low=EDGE, high=1 - EDGE, unit=1.0)
    slope, at_high, offset = _constants(
        graph, slope=calibration.slope, slope_high=slope_high(calibration), offset=calibration.offset
    )
    return [
        _column(graph, value, column),
        node("Clip", ["pm_raw", low, high], ["pm_p"]),
        node("Sub", [unit, "pm_p"], ["pm_q"]),
        node("Log", ["pm_p"], ["pm_log_p"]),
        node("Log", ["pm_q"], ["pm_log_q"]),
        node("Mul", ["pm_log_p", slope], ["pm_for"]),
        node("Mul", ["pm_log_q", at_high], ["pm_against"]),
        node("Sub", ["pm_for", "pm_against"], ["pm_scaled"]),
        node("Add", ["pm_scaled", offset], ["pm_moved"]),
        node("Sigmoid", ["pm_moved"], ["probability"]),
    ]


def _on_margins(graph: Any, value: str, calibration: Calibration) -> list[Any]:
    """Return the nodes that calibrate margins, whose logit need not be taken."""
    node = helper.make_node
    if calibration.method == "none":
        return [_column(graph, value, 0), node("Sigmoid", ["pm_raw"], ["probability"])]
    if calibration.method == "beta":
        shares = node("Sigmoid", [value], ["pm_shares"])
        return [shares, *_on_shares(graph, "pm_shares", 0, calibration)]
    edge = float(np.log((1 - EDGE) / EDGE))
    low, high, slope, offset = _constants(
        graph, low=-edge, high=edge, slope=calibration.slope, offset=calibration.offset
    )
    return [
        _column(graph, value, 0),
        node("Clip", ["pm_raw", low, high], ["pm_logit"]),
        node("Mul", ["pm_logit", slope], ["pm_scaled"]),
        node("Add", ["pm_scaled", offset], ["pm_moved"]),
        node("Sigmoid", ["pm_moved"], ["probability"]),
    ]


def session(serialized: bytes) -> Any:
    """Open a graph with one thread, as the service does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])


def answers(serialized: bytes) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """Return what answers rows, (n, columns) float32, with a graph's probabilities, (n,) float32."""
    opened = session(serialized)

    def answer(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = opened.run(["probability"], {"rows": rows})[0]
        return found

    return answer


def run(serialized: bytes, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what the graph answers to `rows`."""
    return answers(serialized)(rows)


def raw_probability(estimator: Any, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the estimator's own uncalibrated probability of the positive class."""
    return np.asarray(estimator.predict_proba(rows)[:, 1], dtype=np.float64)


def prove(
    serialized: bytes, estimator: Any, calibration: Calibration, rows: npt.NDArray[np.float32], model: str
) -> float:
    """Return the largest difference between graph and estimator on `rows`.

    Raises
    ------
    ExportError
        When it is above 1e-5.
    """
    expected = apply(calibration, raw_probability(estimator, rows))
    difference = float(np.abs(run(serialized, rows) - expected).max()) if len(rows) else 0.0
    if not difference <= TOLERANCE:
        msg = (
            f"the exported {model} model differs from the fitted one by {difference:.2e} on {len(rows)} rows, "
            f"allowed {TOLERANCE:.0e}"
        )
        raise ExportError(msg)
    return difference
