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
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from xgboost import XGBClassifier

from contracts.bundle import Calibration
from trainer.errors import ExportError
from trainer.fit import regression as _registered  # noqa: F401  (teaches skl2onnx the risk regression)
from trainer.fit.calibration import EDGE, apply, slope_high
from trainer.fit.stumps import without_bare_leaves

OPSET: Final = 17
XGB_OPSET: Final = 15
TOLERANCE: Final = 1e-5
"""The largest difference between the graph's float32 answer and the estimator's own."""


def export(estimator: Any, columns: int, calibration: Calibration) -> bytes:
    """Return the serialized graph: input "rows" (n, columns) float32, output "probability" (n,) float32."""
    if isinstance(estimator, XGBClassifier):
        graph = convert_xgboost(
            without_bare_leaves(estimator),
            initial_types=[("rows", XgbFloat([None, columns]))],
            target_opset=XGB_OPSET,
        )
    else:
        graph = convert_sklearn(
            estimator,
            initial_types=[("rows", FloatTensorType([None, columns]))],
            options={id(estimator): {"zipmap": False}},
            target_opset=OPSET,
        )
    if not any(entry.domain == "" for entry in graph.opset_import):
        # A graph of trees alone names only the ml domain; the calibration needs the ordinary operators.
        graph.opset_import.append(helper.make_opsetid("", XGB_OPSET))
    # skl2onnx names a graph by chance; the same model must be the same bytes.
    graph.graph.name = "model"
    steps = _calibrated(graph.graph, graph.graph.output[1].name, calibration)
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


def _calibrated(graph: Any, probabilities: str, calibration: Calibration) -> list[Any]:
    """Return the nodes that take the positive class and calibrate it, as ``trainer.fit.calibration.apply`` does."""
    node = helper.make_node
    graph.initializer.append(helper.make_tensor("pm_positive", TensorProto.INT64, [], [1]))
    positive = node("Gather", [probabilities, "pm_positive"], ["pm_raw"], axis=1)
    if calibration.method == "none":
        # A sum of float32 shares may end a hair outside 0 to 1.
        low, high = _constants(graph, low=0.0, high=1.0)
        return [positive, node("Clip", ["pm_raw", low, high], ["probability"])]
    low, high = _constants(graph, low=EDGE, high=1 - EDGE)
    # The other class' own share: near 1, float32 has too few digits left for 1 - p.
    graph.initializer.append(helper.make_tensor("pm_negative", TensorProto.INT64, [], [0]))
    slope, at_high, offset = _constants(
        graph, slope=calibration.slope, slope_high=slope_high(calibration), offset=calibration.offset
    )
    return [
        positive,
        node("Clip", ["pm_raw", low, high], ["pm_p"]),
        node("Gather", [probabilities, "pm_negative"], ["pm_raw_q"], axis=1),
        node("Clip", ["pm_raw_q", low, high], ["pm_q"]),
        node("Log", ["pm_p"], ["pm_log_p"]),
        node("Log", ["pm_q"], ["pm_log_q"]),
        node("Mul", ["pm_log_p", slope], ["pm_for"]),
        node("Mul", ["pm_log_q", at_high], ["pm_against"]),
        node("Sub", ["pm_for", "pm_against"], ["pm_scaled"]),
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
