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
from onnxmltools.convert import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as XgbFloat
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxCast, OnnxConcat, OnnxLess, OnnxLog, OnnxMin, OnnxMul, OnnxRelu
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from xgboost import XGBClassifier

from contracts.bundle import Calibration
from trainer.errors import ExportError
from trainer.fit.calibration import EDGE, apply, slope_high
from trainer.fit.estimators import LogAndAbsence
from trainer.fit.forest import RAW, forest_graph

OPSET: Final = 17
TOLERANCE: Final = 1e-5
"""The largest difference between the graph's float32 answer and the estimator's own."""


def _expand_shape(operator: Any) -> None:
    columns = operator.inputs[0].type.shape[1]
    operator.outputs[0].type = FloatTensorType([None, 3 * columns])


def _expand_convert(scope: Any, operator: Any, container: Any) -> None:
    x = operator.inputs[0]
    options = {"op_version": container.target_opset}
    tame = OnnxMin(x, operator.raw_operator.ceiling_, **options)
    logs = OnnxLog(OnnxAdd(OnnxRelu(tame, **options), np.array([1.0], dtype=np.float32), **options), **options)
    flags = OnnxCast(OnnxLess(x, np.array([0.0], dtype=np.float32), **options), to=TensorProto.FLOAT, **options)
    squares = OnnxMul(logs, logs, **options)
    both = OnnxConcat(logs, squares, flags, axis=1, output_names=operator.outputs[:1], **options)
    both.add_to(scope, container)


update_registered_converter(LogAndAbsence, "PointsmanLogAndAbsence", _expand_shape, _expand_convert)


def export(estimator: Any, columns: int, calibration: Calibration) -> bytes:
    """Return the serialized graph: input "rows" (n, columns) float32, output "probability" (n,) float32."""
    if isinstance(estimator, RandomForestClassifier):
        graph = forest_graph(estimator, columns, OPSET)
        raw, column = RAW, 0
    elif isinstance(estimator, XGBClassifier):
        graph = convert_xgboost(estimator, initial_types=[("rows", XgbFloat([None, columns]))], target_opset=15)
        raw, column = graph.graph.output[1].name, 1
    else:
        graph = convert_sklearn(
            estimator,
            initial_types=[("rows", FloatTensorType([None, columns]))],
            options={id(estimator): {"zipmap": False}},
            target_opset=OPSET,
        )
        raw, column = graph.graph.output[1].name, 1
    if not any(entry.domain == "" for entry in graph.opset_import):
        # A graph of trees alone names only the ml domain; the calibration needs the ordinary operators.
        graph.opset_import.append(helper.make_opsetid("", 15))
    _calibrated(graph.graph, raw, column, calibration)
    onnx.checker.check_model(graph)
    serialized: bytes = graph.SerializeToString()
    return serialized


def _calibrated(graph: Any, raw: str, column: int, calibration: Calibration) -> None:
    """Replace the graph's outputs by the calibrated probability of the positive class, a column of the value `raw`."""

    def constant(name: str, value: float) -> str:
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        return name

    graph.initializer.append(helper.make_tensor("pm_column", TensorProto.INT64, [], [column]))
    steps = [helper.make_node("Gather", [raw, "pm_column"], ["pm_raw"], axis=1)]
    if calibration.method == "none":
        # A sum of float32 shares may end a hair outside 0 to 1.
        low, high = constant("pm_low", 0.0), constant("pm_high", 1.0)
        steps.append(helper.make_node("Clip", ["pm_raw", low, high], ["probability"]))
    else:
        low, high, unit = constant("pm_low", EDGE), constant("pm_high", 1 - EDGE), constant("pm_unit", 1.0)
        slope, high_slope, offset = (
            constant("pm_slope", calibration.slope),
            constant("pm_slope_high", slope_high(calibration)),
            constant("pm_offset", calibration.offset),
        )
        steps += [
            helper.make_node("Clip", ["pm_raw", low, high], ["pm_p"]),
            helper.make_node("Sub", [unit, "pm_p"], ["pm_q"]),
            helper.make_node("Log", ["pm_p"], ["pm_log_p"]),
            helper.make_node("Log", ["pm_q"], ["pm_log_q"]),
            helper.make_node("Mul", ["pm_log_p", slope], ["pm_for"]),
            helper.make_node("Mul", ["pm_log_q", high_slope], ["pm_against"]),
            helper.make_node("Sub", ["pm_for", "pm_against"], ["pm_scaled"]),
            helper.make_node("Add", ["pm_scaled", offset], ["pm_moved"]),
            helper.make_node("Sigmoid", ["pm_moved"], ["probability"]),
        ]
    graph.node.extend(steps)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None]))


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
