"""A fitted regression on logs and absence flags as an ONNX graph that computes in float64.

Logs, their squares and flags of one column lean on each other, so their coefficients are large and of opposite signs; summed
in float32, as the general converter would, answers are off by more than the parity gate allows. Scaling is folded into the
coefficients.

This module must not know what the regression is for.
"""

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

OUTPUT: Final = "raw"
"""Name of the output: (n, 1) float32, the margin (log odds) of the positive class."""


def regression_graph(pipeline: Pipeline, columns: int, opset: int) -> onnx.ModelProto:
    """Return a model with the input "rows" (n, columns) float32 and the output "raw" (n, 1) float32, the margin.

    Parameters
    ----------
    pipeline
        Fitted, with the steps "expand", "scale" and "regress" (``trainer.fit.estimators``).
    columns
        Width of a row.
    opset
        Version of the ordinary operators.
    """
    scale, regress = pipeline.named_steps["scale"], pipeline.named_steps["regress"]
    weights = regress.coef_[0].astype(np.float64) / scale.scale_
    bias = float(regress.intercept_[0]) - float(scale.mean_ @ weights)
    constants = {
        "ceiling": pipeline.named_steps["expand"].ceiling_.astype(np.float64),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "bias": np.array(bias),
        "of_logs": weights[:columns].reshape(-1, 1),
        "of_squares": weights[columns : 2 * columns].reshape(-1, 1),
        "of_flags": weights[2 * columns :].reshape(-1, 1),
    }
    nodes = [
        helper.make_node("Cast", ["rows"], ["x"], to=TensorProto.DOUBLE),
        helper.make_node("Min", ["x", "ceiling"], ["tame"]),
        helper.make_node("Max", ["tame", "zero"], ["there"]),
        helper.make_node("Add", ["there", "one"], ["above"]),
        helper.make_node("Log", ["above"], ["logs"]),
        helper.make_node("Mul", ["logs", "logs"], ["squares"]),
        helper.make_node("Less", ["x", "zero"], ["absent"]),
        helper.make_node("Cast", ["absent"], ["flags"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["logs", "of_logs"], ["by_logs"]),
        helper.make_node("MatMul", ["squares", "of_squares"], ["by_squares"]),
        helper.make_node("MatMul", ["flags", "of_flags"], ["by_flags"]),
        helper.make_node("Sum", ["by_logs", "by_squares", "by_flags", "bias"], ["z"]),
        helper.make_node("Cast", ["z"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "regression",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
