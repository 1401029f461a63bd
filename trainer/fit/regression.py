"""The converter that teaches skl2onnx the regression on logs and absence flags, computed in float64.

Logs, their squares and flags of one column lean on each other, so their coefficients are large and of opposite signs; summed
in float32, as the ordinary converters would, answers are off by more than the parity gate allows (1.4e-5). Scaling is folded
into the coefficients. Importing this module registers the converter.

This module must not know what the regression is for.
"""

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx import update_registered_converter
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxArgMax,
    OnnxCast,
    OnnxConcat,
    OnnxGemm,
    OnnxLess,
    OnnxLog,
    OnnxMax,
    OnnxMin,
    OnnxMul,
    OnnxSigmoid,
)
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

from trainer.fit.estimators import RiskRegression


def _shape(operator: Any) -> None:
    """Say what comes out: a label per row, and the probability of both classes."""
    operator.outputs[0].type = Int64TensorType([None])
    operator.outputs[1].type = FloatTensorType([None, 2])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the regression's nodes to the graph."""
    pipeline = operator.raw_operator.pipeline_
    scale, regress = pipeline.named_steps["scale"], pipeline.named_steps["regress"]
    weights = regress.coef_[0].astype(np.float64) / scale.scale_
    bias = float(regress.intercept_[0]) - float(scale.mean_ @ weights)
    of_logs, of_squares, of_flags = weights.reshape(3, -1, 1)
    ceiling = pipeline.named_steps["expand"].ceiling_.astype(np.float64)
    fill = pipeline.named_steps["expand"].fill_
    version = {"op_version": container.target_opset}
    zero, one = np.array([0.0]), np.array([1.0])
    # What is absent counts as its column's mean log: here the log of an absent value is 0, and its flag bears the rest.
    of_flags = of_flags + fill.reshape(-1, 1) * of_logs + (fill * fill).reshape(-1, 1) * of_squares
    weights = np.concatenate([of_logs, of_squares, of_flags])

    x = OnnxCast(operator.inputs[0], to=TensorProto.DOUBLE, **version)
    there = OnnxMax(OnnxMin(x, ceiling, **version), zero, **version)
    logs = OnnxLog(OnnxAdd(there, one, **version), **version)
    flags = OnnxCast(OnnxLess(x, zero, **version), to=TensorProto.DOUBLE, **version)
    terms = OnnxConcat(logs, OnnxMul(logs, logs, **version), flags, axis=1, **version)
    # Of the other class too, so that its share keeps its digits near 0.
    margins = OnnxGemm(terms, np.concatenate([-weights, weights], axis=1), np.array([-bias, bias]), **version)
    both = OnnxSigmoid(margins, **version)
    label = OnnxArgMax(both, axis=1, keepdims=0, output_names=operator.outputs[:1], **version)
    probabilities = OnnxCast(both, to=TensorProto.FLOAT, output_names=operator.outputs[1:], **version)
    label.add_to(scope, container)
    probabilities.add_to(scope, container)


update_registered_converter(
    RiskRegression, "PointsmanRiskRegression", _shape, _convert, options={"zipmap": [False], "nocl": [True, False]}
)
