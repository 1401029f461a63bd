"""A fitted estimator as an ONNX graph that answers one calibrated probability per row, proved equal to the estimator.

This module must not know where rows come from.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

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

from contracts.bundle import Attribution, Calibration
from trainer.errors import ExportError
from trainer.fit import regression as _registered  # noqa: F401  (teaches skl2onnx the risk regression)
from trainer.fit.attribution import attributed, is_trees
from trainer.fit.calibration import EDGE, apply, slope_high
from trainer.fit.stumps import without_bare_leaves

Floats = npt.NDArray[np.float32]

OPSET: Final = 17
XGB_OPSET: Final = 15
TOLERANCE: Final = 1e-5
"""The largest difference between the graph's float32 answer and the estimator's own."""


class Graph(NamedTuple):
    """A serialized graph, and what its moves are; None where it says none."""

    serialized: bytes
    attribution: Attribution | None


def export(
    estimator: Any, columns: int, calibration: Calibration, groups: Sequence[str] = (), rows: Floats | None = None
) -> Graph:
    """Return the graph of a fitted estimator.

    Its input "rows" is float32 (n, columns), its output "probability" float32 (n,). Trees whose `groups` are given have a second
    output "moves", float32 (n, number of groups): how far each group moved the answer before it was calibrated
    (``trainer.fit.attribution``).

    Parameters
    ----------
    groups
        The group of each column.
    rows
        Shape (n, columns): what the moves are from the mean of.
    """
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
    inner = graph.graph
    inner.name = "model"
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None])]
    attribution = None
    if groups and rows is not None and is_trees(inner):
        nodes, attribution = attributed(inner, groups, rows, "pm_both", "moves")
        del inner.node[:]
        inner.node.extend(nodes)
        inner.node.extend(_calibrated(inner, "pm_both", 0, calibration))
        outputs.append(helper.make_tensor_value_info("moves", TensorProto.FLOAT, [None, len(attribution.groups)]))
    else:
        inner.node.extend(_calibrated(inner, inner.output[1].name, 1, calibration))
    del inner.output[:]
    inner.output.extend(outputs)
    _prune(inner)
    onnx.checker.check_model(graph)
    return Graph(graph.SerializeToString(), attribution)


def _prune(graph: Any) -> None:
    """Take out what no output needs: every node costs about a microsecond a run."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))


def _calibrated(graph: Any, both: str, positive: int, calibration: Calibration) -> list[Any]:
    """Return the nodes that calibrate the positive class, as ``trainer.fit.calibration.apply`` does.

    Parameters
    ----------
    both, positive
        Name of the shares of both classes, (n, 2), and which column is the positive class. The other class' own share is used
        too: near 1, float32 has too few digits left for 1 - p.
    """
    node, constant = helper.make_node, helper.make_tensor
    edge = 0.0 if calibration.method == "none" else EDGE
    # A sum of float32 shares may end a hair outside 0 to 1.
    graph.initializer.append(constant("pm_low", TensorProto.FLOAT, [], [edge]))
    graph.initializer.append(constant("pm_high", TensorProto.FLOAT, [], [1 - edge]))
    clip = node("Clip", [both, "pm_low", "pm_high"], ["pm_kept"])
    if calibration.method == "none":
        graph.initializer.append(constant("pm_positive", TensorProto.INT64, [], [positive]))
        return [clip, node("Gather", ["pm_kept", "pm_positive"], ["probability"], axis=1)]
    slopes = [calibration.slope, -slope_high(calibration)]
    graph.initializer.append(constant("pm_slopes", TensorProto.FLOAT, [2, 1], slopes[:: -1 if positive else 1]))
    graph.initializer.append(constant("pm_offset", TensorProto.FLOAT, [1], [calibration.offset]))
    graph.initializer.append(constant("pm_flat", TensorProto.INT64, [1], [-1]))
    return [
        clip,
        node("Log", ["pm_kept"], ["pm_logs"]),
        node("Gemm", ["pm_logs", "pm_slopes", "pm_offset"], ["pm_scaled"]),
        node("Sigmoid", ["pm_scaled"], ["pm_column"]),
        node("Reshape", ["pm_column", "pm_flat"], ["probability"]),
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
