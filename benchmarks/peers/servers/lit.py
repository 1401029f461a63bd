"""LitServe: one API, one worker process behind its server."""

import os
from pathlib import Path
from typing import Any

import joblib
import litserve
import numpy as np


class Forest(litserve.LitAPI):
    """The forest."""

    def setup(self, device: str) -> None:
        """Load it."""
        self.forest = joblib.load(Path(os.environ["FOREST"]) / "forest.joblib")

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Return the rows."""
        return np.array(request["rows"], dtype=np.float32)

    def predict(self, rows: Any) -> Any:
        """Answer."""
        return self.forest.predict_proba(rows)[:, 1]

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        """Return the answer as it is sent."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Forest(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["FOREST_PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
