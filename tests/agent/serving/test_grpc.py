"""The stock tritonclient works over gRPC, and typed contents are taken as raw bytes are."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.serving.echo import NAMES, EchoEngine, served_echo
from tests.agent.serving.stock_client import REQUIREMENTS
from tests.checks.inference_protocol import ROWS
from tests.environments import environment
from tests.fixtures import tiny

from shoal_agent.endpoint import EndpointError, RequestError
from shoal_agent.serving import Inference, ModelServer

pytest.importorskip("grpc")
from shoal_agent.serving.grpc.codec import decode_message, encode_message
from shoal_agent.serving.grpc.messages import MESSAGES
from shoal_agent.serving.grpc.service import serve_grpc

SCRIPT = Path(__file__).with_name("triton_grpc_client.py")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the client found at an endpoint with `tiny` and the echoes."""
    python = environment("tritonclient", *REQUIREMENTS)

    async def visit() -> bytes:
        server = ModelServer()
        await server.swap("tiny", served_tiny())
        for kind, datatype in NAMES.items():
            await server.swap(f"echo-{kind}", served_echo(f"echo-{kind}", EchoEngine(datatype)))
        async with anyio.create_task_group() as group:
            port = await group.start(serve_grpc, Inference(server, SeenRequests()), 0, 2**24)
            ran = await anyio.run_process(
                [str(python), str(SCRIPT), f"127.0.0.1:{port}"], check=False, stderr=subprocess.PIPE
            )
            group.cancel_scope.cancel()
        assert ran.returncode == 0, ran.stderr.decode()
        await server.aclose()
        return ran.stdout

    answer: dict[str, Any] = json.loads(anyio.run(visit))
    return answer


def test_health_metadata_and_index(found: dict[str, Any]) -> None:
    assert (found["live"], found["ready"], found["server"]) == (True, True, "shoal-agent")
    assert found["model_ready"] == [True, True, False]
    assert found["model"] == ["tiny", [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]]
    assert {"name": "tiny", "version": "1", "state": "READY"} in found["index"]


@pytest.mark.parametrize("kind", [kind for kind in NAMES if kind != "object"])
def test_every_datatype_comes_back_as_it_went(found: dict[str, Any], kind: str) -> None:
    assert found["echo"][kind] is True


def test_bytes_and_predictions(found: dict[str, Any]) -> None:
    assert found["echo_object"] == ["a", "", "grüße", "\x00", "x" * 300, "1"]
    np.testing.assert_allclose(found["tiny"], tiny.probabilities(ROWS), atol=1e-6)


def test_errors_carry_their_code_and_what_to_do(found: dict[str, Any]) -> None:
    assert found["misfit"].startswith("StatusCode.INVALID_ARGUMENT: input 'x' has shape [1, 5], expected [-1, 4]")
    assert found["unknown"].startswith("StatusCode.NOT_FOUND: model 'none' is not served")


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
