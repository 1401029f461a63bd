"""Writes the forest as an MLflow model, which only MLflow can."""

import os
import sys
from pathlib import Path

import joblib
import mlflow

home = Path(os.environ["FOREST"])
# As `predict` it would answer classes; a decision needs the probability.
mlflow.sklearn.save_model(
    joblib.load(home / "forest.joblib"),
    sys.argv[1],
    pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle",
)
