"""Platt scaling on the logit of a model's raw probability, fitted on rows the model did not learn from."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from contracts.bundle import Calibration

EDGE = 1e-6
"""Raw probabilities are kept this far from 0 and 1, here and in the exported graph."""

LEAST_POSITIVES = 30


def calibrate(raw: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> Calibration:
    """Return the scaling p = sigmoid(slope * logit(raw) + offset) that minimises log loss (Platt 1999).

    With fewer than 30 rows of either class the raw probability stays as it is.
    """
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < LEAST_POSITIVES:
        return Calibration(method="none", rows=len(labels))
    x = logit(np.clip(raw, EDGE, 1 - EDGE))

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        z = parameters[0] * x + parameters[1]
        # A light pull towards "no change" keeps small calibration sets from bending the curve.
        return float(np.mean(np.logaddexp(0, z) - labels * z)) + 1e-4 * float((parameters[0] - 1) ** 2)

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 20.0), (-20.0, 20.0)]).x
    return Calibration(method="platt", slope=float(slope), offset=float(offset), rows=len(labels))


def apply(calibration: Calibration, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return calibrated probabilities."""
    if calibration.method == "none":
        return raw
    x = logit(np.clip(raw, EDGE, 1 - EDGE))
    return np.asarray(expit(calibration.slope * x + calibration.offset))
