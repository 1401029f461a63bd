"""A runtime of MLServer for the forest as ONNX; MLServer itself comes with one for scikit-learn."""

import os
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forest(MLModel):
    """The forest."""

    async def load(self) -> bool:
        """Open it."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = (Path(os.environ["FOREST"]) / "forest.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self._session.run(["probabilities"], {"rows": rows})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("predict_proba", answers)])
