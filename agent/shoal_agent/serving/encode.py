"""From a model's answer and description to the bodies of the Open Inference Protocol v2."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from shoal_agent.engines import Array
from shoal_agent.serving.decode import InferRequest
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.refusal import UNPROCESSABLE, RequestError
from shoal_contract.manifest import TensorSpec

_PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx", "litert": "litert_tflite"}


def encode_answer(served: ServedModel, request: InferRequest, outputs: Mapping[str, Array], answer_id: str) -> bytes:
    """Return the body of `$inference_response`, with the id by which its true label may come back.

    Raises:
        RequestError: The model answered NaN or infinity, for which JSON has no form.
    """
    datatypes = {spec.name: spec.datatype for spec in served.engine.outputs}
    answer: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version), "id": answer_id}
    answer["outputs"] = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": list(outputs[name].shape),
            "data": _data(name, outputs[name]),
        }
        for name in request.outputs
    ]
    return json.dumps(answer, separators=(",", ":")).encode()


def describe_model(served: ServedModel) -> dict[str, Any]:
    """Return the body of `$metadata_model_response`."""
    variant = served.manifest.variant_for(served.target)
    return {
        "name": served.name,
        "versions": [str(served.version)],
        "platform": _PLATFORMS[variant.runtime],
        "inputs": _tensors(served.engine.inputs),
        "outputs": _tensors(served.engine.outputs),
    }


def _tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]


def _data(name: str, output: Array) -> list[Any]:
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        msg = f"the model's output {name!r} is NaN or infinite for this input"
        raise RequestError(msg, UNPROCESSABLE, remedy="check that the input is of the kind the model was trained on")
    values: list[Any] = output.ravel().tolist()
    return values
