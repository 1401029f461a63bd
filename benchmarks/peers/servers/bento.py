"""BentoML: a service class with one API."""

import os
from pathlib import Path

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": True})
class Forest:
    """The forest."""

    def __init__(self) -> None:
        self.forest = joblib.load(Path(os.environ["FOREST"]) / "forest.joblib")

    @bentoml.api(route="/predict")
    def predict(self, rows: list[list[float]]) -> dict[str, list[float]]:
        """Answer."""
        answers = self.forest.predict_proba(np.array(rows, dtype=np.float32))[:, 1]
        return {"probabilities": answers.tolist()}
