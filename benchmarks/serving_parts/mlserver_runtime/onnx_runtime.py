"""The peer's runtime: ONNX Runtime with the same session options as the agent's engine. Runs inside MLServer."""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """One ONNX file, by `parameters.uri`."""

    async def load(self) -> bool:
        """Open the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        self._session = ort.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        x = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        [answer] = self._session.run(["probabilities"], {"x": x})
        output = NumpyCodec.encode_output(name="probabilities", payload=answer)
        return InferenceResponse(model_name=self.name, outputs=[output])
