"""From a model's answer and description to the bodies of the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic_core import to_json

from shoal_agent.endpoint import RequestError, Response
from shoal_agent.endpoint.message import UNPROCESSABLE, Piece
from shoal_agent.engines import Array
from shoal_agent.serving.binary import write_tensor
from shoal_agent.serving.decode import InferRequest
from shoal_agent.serving.models import ServedModel
from shoal_agent.serving.parameters import parameters_of
from shoal_contract.manifest import TensorSpec

_PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx", "litert": "litert_tflite"}
_BINARY: Final = "application/octet-stream"


def encode_answer(served: ServedModel, request: InferRequest, outputs: Mapping[str, Array], answer_id: str) -> Response:
    """Return `$inference_response`, with the id by which its true label may come back.

    Outputs that the request wants as binary data follow the JSON, in order.

    Raises:
        RequestError: The model answered NaN or infinity, or bytes that are no text, for which JSON has no form.
    """
    datatypes = {spec.name: spec.datatype for spec in served.engine.outputs}
    tail: list[Piece] = []
    described: list[dict[str, Any]] = []
    for name, is_binary in request.outputs:
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": array.shape}
        if is_binary:
            data = write_tensor(array)
            tail.append(data)
            tensor["parameters"] = {"binary_data_size": memoryview(data).nbytes}
        else:
            tensor["data"] = _data(name, array)
        described.append(tensor)
    about = {"model_name": served.name, "model_version": str(served.version), "id": answer_id}
    answer: dict[str, Any] = about | {"outputs": described}
    if parameters := parameters_of(served, outputs):
        answer["parameters"] = parameters
    head = to_json(answer)
    if not tail:
        return Response((head,))
    return Response((head, *tail), content_type=_BINARY, headers=[("inference-header-content-length", str(len(head)))])


def describe_model(served: ServedModel) -> dict[str, Any]:
    """Return the body of `$metadata_model_response`."""
    runtime = "" if served.members else served.manifest.variant_for(served.target).runtime
    return {
        "name": served.name,
        "versions": [str(served.version)],
        "platform": _PLATFORMS.get(runtime, served.target),
        "inputs": _tensors(served.engine.inputs),
        "outputs": _tensors(served.engine.outputs),
    }


def _tensors(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]


def _data(name: str, output: Array) -> list[Any]:
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        message = f"the model's output {name!r} is NaN or infinite for this input"
        remedy = "check that the input is of the kind the model was trained on, or ask for binary data"
        raise RequestError(message, UNPROCESSABLE, remedy)
    if output.dtype.kind == "O":
        try:
            return [element.decode() for element in output.ravel()]
        except UnicodeDecodeError as error:
            message = f"the model's output {name!r} has bytes that are no text"
            raise RequestError(message, UNPROCESSABLE, "ask for binary data") from error
    values: list[Any] = output.ravel().tolist()
    return values
