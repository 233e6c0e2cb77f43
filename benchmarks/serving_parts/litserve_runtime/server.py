"""The peer LitServe with ONNX Runtime, the same session options as the agent's engine. Usage: server.py MODEL PORT."""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime as ort


class OnnxApi(litserve.LitAPI):
    """One ONNX file; a request is {"inputs": [{"shape": ..., "data": ...}]}, as the others get it."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's
        """Open the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        self._session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """Return the input."""
        tensor = request["inputs"][0]
        return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the model."""
        return self._session.run(["probabilities"], {"x": x})[0]

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Return the answer."""
        tensor = {"name": "probabilities", "datatype": "FP32", "shape": list(output.shape)}
        return {"outputs": [tensor | {"data": output.ravel().tolist()}]}


if __name__ == "__main__":
    litserve.LitServer(OnnxApi(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning"
    )
