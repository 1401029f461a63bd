"""FastAPI and scikit-learn, as one would write it in an afternoon: validated rows in, probabilities out."""

import os
from pathlib import Path

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

forest = joblib.load(Path(os.environ["FOREST"]) / "forest.joblib")
app = FastAPI()


class Question(BaseModel):
    """Rows of features."""

    rows: list[list[float]]


class Answer(BaseModel):
    """A probability for each row."""

    probabilities: list[float]


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Say that it is."""
    return {"ready": True}


# Not `def`: in a thread of the pool it would take longer.
@app.post("/predict")
async def predict(question: Question) -> Answer:
    """Answer."""
    rows = np.array(question.rows, dtype=np.float32)
    return Answer(probabilities=forest.predict_proba(rows)[:, 1].tolist())
