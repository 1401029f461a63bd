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
    OnnxLess,
    OnnxLog,
    OnnxMatMul,
    OnnxMax,
    OnnxMin,
    OnnxMul,
    OnnxSigmoid,
    OnnxSub,
    OnnxWhere,
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

    x = OnnxCast(operator.inputs[0], to=TensorProto.DOUBLE, **version)
    there = OnnxMax(OnnxMin(x, ceiling, **version), zero, **version)
    absent = OnnxLess(x, zero, **version)
    logs = OnnxWhere(absent, fill, OnnxLog(OnnxAdd(there, one, **version), **version), **version)
    flags = OnnxCast(absent, to=TensorProto.DOUBLE, **version)
    terms = OnnxAdd(
        OnnxMatMul(logs, of_logs, **version),
        OnnxMatMul(OnnxMul(logs, logs, **version), of_squares, **version),
        **version,
    )
    margin = OnnxAdd(OnnxAdd(terms, OnnxMatMul(flags, of_flags, **version), **version), np.array([bias]), **version)
    p = OnnxSigmoid(margin, **version)
    both = OnnxConcat(OnnxSub(one, p, **version), p, axis=1, **version)
    label = OnnxArgMax(both, axis=1, keepdims=0, output_names=operator.outputs[:1], **version)
    probabilities = OnnxCast(both, to=TensorProto.FLOAT, output_names=operator.outputs[1:], **version)
    label.add_to(scope, container)
    probabilities.add_to(scope, container)


update_registered_converter(
    RiskRegression, "PointsmanRiskRegression", _shape, _convert, options={"zipmap": [False], "nocl": [True, False]}
)
