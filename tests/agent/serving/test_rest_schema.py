"""The endpoint against the protocol's own OpenAPI document, over TCP and a Unix-domain socket, as JSON and binary data.

What the document leaves open or says otherwise than the text beside it (`inference_rest.md`):

- It gives probes no body. The text does, and calls the field of "server ready" `live`, as that of "server live"; other
  editions call it `ready`. Ours has both.
- It has paths of models with a version alone, and `/v2/` with a slash; the text has the version optional, and no slash.
- It does not demand the `error` of an inference error, which the text does.
- It demands `data` of each tensor: one that the binary data extension puts behind the JSON is looked at with its data
  back in place.
- The text's list of platforms lacks the one by which clients know ONNX Runtime; of those only the form is looked at.
"""

import functools
import http.client
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio.from_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.serving.conftest import SeenRequests, served_pair, served_tiny

from shoal_agent.client_connection import connect
from shoal_agent.endpoint import Address, Listener
from shoal_agent.engines import NUMPY_TYPES
from shoal_agent.serving import Inference, ModelServer, create_router

jsonschema = pytest.importorskip("jsonschema")  # a plain device has neither
yaml = pytest.importorskip("yaml")

DOCUMENT = yaml.safe_load(Path(__file__).with_name("open_inference_rest.yaml").read_text())
ERROR = {"type": "object", "properties": {"error": {"type": "string", "minLength": 1}}, "required": ["error"]}
BOOLEAN = {"type": "boolean"}
LIVE = {"type": "object", "properties": {"live": BOOLEAN}, "required": ["live"]}
READY = {"type": "object", "properties": {"live": BOOLEAN, "ready": BOOLEAN}, "required": ["live", "ready"]}
MODEL_READY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ready": BOOLEAN},
    "required": ["name", "ready"],
}
"""Bodies of which the text speaks alone."""
PROBES = {"/v2/health/live": LIVE, "/v2/health/ready": READY}
MODELS = {"tiny": ["x"], "pair": ["values", "factor"]}
JSON_BYTES = "Inference-Header-Content-Length"
FORMATS = {"FP32": "<f", "INT32": "<i"}


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: "http.client.HTTPMessage"
    body: bytes

    def json(self) -> Any:
        """The JSON of it, with data that stood behind it back in place."""
        size = int(self.headers.get(JSON_BYTES, len(self.body)))
        found, rest = json.loads(self.body[:size], parse_constant=pytest.fail), self.body[size:]
        for output in found.get("outputs", []):
            if "binary_data_size" in output.get("parameters", {}):
                size = output["parameters"]["binary_data_size"]
                taken, rest = rest[:size], rest[size:]
                output["data"] = [value for (value,) in struct.iter_unpack(FORMATS[output["datatype"]], taken)]
        assert rest == b""
        return found


class Device:
    """An endpoint that serves two models, asked over one connection that stays."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url, 10.0)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module", params=["tcp", "unix"])
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    path = tmp_path_factory.mktemp("run") / "agent.sock"
    address = Address(path=path) if request.param == "unix" else Address()

    async def serve(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        server = ModelServer()
        await server.swap("tiny", served_tiny())
        await server.swap("pair", served_pair())
        await Listener(create_router(Inference(server, SeenRequests()))).serve(address, task_status=task_status)

    with anyio.from_thread.start_blocking_portal() as portal:
        serving, port = portal.start_task(serve)
        found = Device(f"unix:{path}" if address.path else f"http://127.0.0.1:{port}")
        yield found
        found.close()
        serving.cancel()


def check(found: Any, schema: dict[str, Any]) -> None:
    """See that something is in a schema of the document, or in one of the text's."""
    jsonschema.Draft202012Validator({"components": DOCUMENT["components"], **schema}).validate(found)


def declared(path: str, method: str, status: str) -> dict[str, Any] | None:
    content = DOCUMENT["paths"][path][method]["responses"][status].get("content")
    return content["application/json"]["schema"] if content else None


def paths() -> list[tuple[str, str]]:
    return [(path, method) for path, one in DOCUMENT["paths"].items() for method in ("get", "post") if method in one]


GOOD = {
    "id": "42",
    "inputs": [
        {"name": "values", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, 3, 4]},
        {"name": "factor", "shape": [2, 1], "datatype": "INT32", "data": [[1], [2]]},
    ],
    "outputs": [{"name": "scaled"}, {"name": "negated", "parameters": {"binary_data": True}}],
}


@pytest.mark.parametrize("is_versioned", [True, False])
@pytest.mark.parametrize(("path", "method"), paths())
def test_every_path_answers_in_its_schema_with_and_without_a_version(
    device: Device, path: str, method: str, is_versioned: bool
) -> None:
    asked = path if is_versioned else path.replace("/versions/${MODEL_VERSION}", "").rstrip("/")
    asked = asked.replace("${MODEL_NAME}", "pair").replace("${MODEL_VERSION}", "1")
    answer = device.ask(method.upper(), asked, json.dumps(GOOD).encode() if method == "post" else b"")
    assert answer.status == 200
    check(answer.json(), declared(path, method, "200") or PROBES.get(path, MODEL_READY))


def test_an_answer_names_the_id_and_the_outputs_that_were_asked_for(device: Device) -> None:
    answer = device.ask("POST", "/v2/models/pair/infer", json.dumps(GOOD).encode()).json()
    assert (answer["id"], answer["model_version"]) == ("42", "1")
    assert [(one["name"], one["data"]) for one in answer["outputs"]] == [
        ("scaled", [1.0, 2.5, 6.0, 8.0]),
        ("negated", [-1, -2]),
    ]


def test_metadata_is_what_the_text_asks_for_beyond_the_schema(device: Device) -> None:
    model = device.ask("GET", "/v2/models/pair").json()
    assert {"versions", "inputs", "outputs"} <= model.keys()
    assert re.fullmatch(r"[a-z0-9]+_[a-z0-9]+", model["platform"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/none/ready", 404),
        ("GET", "/v2/models/tiny/versions/9", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/models/tiny/infer", 400),
        ("POST", "/v2/models/tiny/versions/9/infer", 404),
        ("DELETE", "/v2", 405),
        ("GET", "/v2/nothing", 404),
    ],
)
def test_what_is_refused_gets_the_protocol_s_error(device: Device, method: str, path: str, status: int) -> None:
    answer = device.ask(method, path)
    assert answer.status == status
    check(answer.json(), ERROR)


# --- requests made from the document


NAMES = [name for names in MODELS.values() for name in names] + ["scaled", "negated", "probabilities"]
KNOWN = {
    "name": st.sampled_from(NAMES),
    "datatype": st.sampled_from(["FP32", "INT32", *NUMPY_TYPES]),
    "shape": st.sampled_from([[1, 4], [1, 2], [1, 1], [2, 2], [4]]),
}
"""What a field of the schema holds in a request that is nearly right."""
MOST_ITEMS = 4


def made_from(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return what is in a schema of the document: as much of JSON Schema as that uses."""
    if "$ref" in schema:
        return named(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return st.one_of(*reversed([made_from(one) for one in schema["anyOf"]]))
    if schema["type"] == "array":
        return st.lists(made_from(schema["items"]), max_size=MOST_ITEMS)
    if schema["type"] == "object":
        needed = set(schema.get("required", []))
        fields = {name: field_of(name, one) for name, one in schema.get("properties", {}).items()}
        optional = {name: one for name, one in fields.items() if name not in needed}
        if not fields:
            return st.dictionaries(st.sampled_from(["binary_data", "other"]), st.booleans(), max_size=1)
        return st.fixed_dictionaries({name: fields[name] for name in fields if name in needed}, optional=optional)
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(max_size=4),
        "integer": st.integers(-2, 2**65),
        "number": st.one_of(st.integers(-9, 9), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
        "boolean": st.booleans(),
    }
    return scalars[schema["type"]]


@functools.cache
def named(name: str) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: made_from(DOCUMENT["components"]["schemas"][name]))


def field_of(name: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    free = made_from(schema)
    return st.one_of(KNOWN[name], free) if name in KNOWN else free


REQUESTS = made_from({"$ref": "#/components/schemas/inference_request"})


@settings(max_examples=120)
@given(model=st.sampled_from(list(MODELS)), request=REQUESTS)
def test_any_request_in_the_schema_is_answered_in_the_schema_or_refused(
    device: Device, model: str, request: dict[str, Any]
) -> None:
    check(request, {"$ref": "#/components/schemas/inference_request"})
    see(device.ask("POST", f"/v2/models/{model}/infer", json.dumps(request).encode()))


@settings(max_examples=120)
@given(model=st.sampled_from(list(MODELS)), request=REQUESTS, data=st.data())
def test_the_same_with_tensors_as_binary_data(
    device: Device, model: str, request: dict[str, Any], data: st.DataObject
) -> None:
    tail = b""
    for tensor in request["inputs"]:
        piece = data.draw(st.one_of(st.sampled_from([b"\0" * 16, b"\0" * 8, b"\0" * 4]), st.binary(max_size=20)))
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(piece)}
        tail += piece
    request["parameters"] = {"binary_data_output": data.draw(st.booleans())}
    head = json.dumps(request).encode()
    headers = {JSON_BYTES.replace("-", "_"): str(len(head))}
    see(device.ask("POST", f"/v2/models/{model}/versions/1/infer", head + tail, **headers))


@settings(max_examples=40)
@given(data=st.binary(min_size=16, max_size=16))
def test_a_tensor_as_binary_data_is_answered_whatever_numbers_it_holds(device: Device, data: bytes) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    see(device.ask("POST", "/v2/models/tiny/infer", head + data, Inference_Header_Content_Length=str(len(head))))


def see(answer: Answer) -> None:
    """See that it is an answer or a refusal, in its schema."""
    assert answer.status in {200, 400, 422}
    check(answer.json(), {"$ref": "#/components/schemas/inference_response"} if answer.status == 200 else ERROR)
