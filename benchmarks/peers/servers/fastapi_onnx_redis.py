"""FastAPI, ONNX Runtime and redis-py: what a team builds that has read about latency.

The state of card, merchant and BIN is read in one pipeline and put into the rows; the forest runs in process.
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import redis.asyncio as redis
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    (Path(os.environ["FOREST"]) / "forest.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
)
client = redis.from_url(os.environ["FOREST_REDIS"])
COLUMNS = {"card": slice(0, 6), "merchant": slice(6, 12), "bin": slice(12, 16)}
FIELDS = {entity: [str(column) for column in range(of.start, of.stop)] for entity, of in COLUMNS.items()}
app = FastAPI()


class Question(BaseModel):
    """A payment, and rows of what is known of its candidates."""

    card: str
    merchant: str
    bin: str
    rows: list[list[float]]


class Answer(BaseModel):
    """A probability for each row."""

    probabilities: list[float]


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Say that it is."""
    return {"ready": await client.ping()}


@app.post("/predict")
async def predict(question: Question) -> Answer:
    """Answer."""
    async with client.pipeline(transaction=False) as pipeline:
        for entity, fields in FIELDS.items():
            pipeline.hmget(getattr(question, entity), fields)
        states = await pipeline.execute()
    rows = np.array(question.rows, dtype=np.float32)
    for columns, state in zip(COLUMNS.values(), states, strict=True):
        rows[:, columns] = [float(value) for value in state]
    return Answer(probabilities=session.run(["probabilities"], {"rows": rows})[0][:, 1].tolist())
