"""The stock tritonclient works over gRPC, and typed contents are taken as raw bytes are."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.serving.echo import NAMES, EchoEngine, served_echo
from tests.agent.serving.stock_client import GRPC_SCRIPT, visit
from tests.checks.inference_protocol import TritonGrpcChecks

from shoal_agent.endpoint import EndpointError, RequestError
from shoal_agent.serving import Inference, ModelServer

pytest.importorskip("grpc")
from shoal_agent.serving.grpc.codec import decode_message, encode_message
from shoal_agent.serving.grpc.messages import MESSAGES
from shoal_agent.serving.grpc.service import serve_grpc


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the client found at an endpoint with `tiny` and the echoes."""

    async def ask() -> dict[str, Any]:
        server = ModelServer()
        await server.swap("tiny", served_tiny())
        for kind, datatype in NAMES.items():
            await server.swap(f"echo-{kind}", served_echo(f"echo-{kind}", EchoEngine(datatype)))
        async with anyio.create_task_group() as group:
            port = await group.start(serve_grpc, Inference(server, SeenRequests()), 0, 2**24)
            answer = await visit(f"127.0.0.1:{port}", GRPC_SCRIPT)
            group.cancel_scope.cancel()
        await server.aclose()
        return answer

    return anyio.run(ask)


class TestStockClient(TritonGrpcChecks):
    """The agent's endpoint."""


@pytest.mark.parametrize(("kind", "datatype"), [pair for pair in NAMES.items() if pair[1] != "FP16"])
def test_typed_contents_are_read_and_written(kind: str, datatype: str) -> None:
    engine = EchoEngine(NAMES[kind])
    special: dict[str, list[Any]] = {"b": [True, False, True], "O": [b"a", b"", b"\xff"]}
    values = special.get(np.dtype(kind).kind, [0, 1, 100])
    request = MESSAGES["ModelInferRequest"](model_name="echo", id="seven")
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[1, 3])
    place = {"BOOL": "bool", "BYTES": "bytes", "FP32": "fp32", "FP64": "fp64", "INT64": "int64", "UINT64": "uint64"}
    name = place.get(datatype, "uint" if datatype.startswith("UINT") else "int")
    getattr(tensor.contents, f"{name}_contents").extend(values)
    asked = decode_message(request, engine.inputs, engine.outputs)
    assert asked.inputs["x"].ravel().tolist() == values
    message = encode_message(("echo", 1, "seven"), asked, engine.infer(asked.inputs), engine.outputs)
    assert list(getattr(message.outputs[0].contents, f"{name}_contents")) == values
    assert list(message.raw_output_contents) == []


def bad_requests() -> dict[str, tuple[Any, str]]:
    """Requests that do not fit an input of (-1, 3) INT8, and why."""

    def request(**changes: Any) -> Any:
        message = MESSAGES["ModelInferRequest"](model_name="echo")
        item = {"name": "x", "datatype": "INT8", "shape": [1, 3]} | changes
        contents = item.pop("values", [1, 2, 3])
        tensor = message.inputs.add(**item)
        tensor.contents.int_contents.extend(contents)
        return message

    raw = request(values=[])
    raw.raw_input_contents.extend([b"abc", b"d"])
    wanting = request()
    wanting.outputs.add(name="z")
    return {
        "a name": (request(name="q"), "'q' is not one of the model's inputs"),
        "a datatype": (request(datatype="FP32"), "has datatype 'FP32', expected 'INT8'"),
        "a shape": (request(shape=[3]), "has shape [3], expected [-1, 3]"),
        "a count": (request(values=[1]), "has 1 elements, expected 3"),
        "a range": (request(values=[1, 2, 300]), "has elements beyond INT8"),
        "raw contents": (raw, "raw_input_contents has 2 entries, expected one for each of 1 inputs"),
        "an output": (wanting, "output 'z' is not one of the model's outputs"),
    }


@pytest.mark.parametrize("kind", bad_requests())
def test_a_request_that_does_not_fit_is_refused_with_its_reason(kind: str) -> None:
    message, reason = bad_requests()[kind]
    engine = EchoEngine("INT8")
    with pytest.raises(RequestError) as refused:
        decode_message(message, engine.inputs, engine.outputs)
    assert reason in str(refused.value)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with anyio.create_task_group() as group:
        yield await group.start(serve_grpc, Inference(ModelServer(), SeenRequests()), 0, 2**20)
        group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_taken_port_is_an_error_that_names_it(port: int) -> None:
    with pytest.raises(EndpointError, match=f"port {port} cannot be bound"):
        await serve_grpc(Inference(ModelServer(), SeenRequests()), port, 2**20)
