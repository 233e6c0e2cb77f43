"""What every server of the Open Inference Protocol v2 must do. A test class names the server and inherits the claims.

The server has `tiny` in version 1, and for the stock client one echo for each datatype.
"""

import json
from typing import Any, Protocol

import httpx
import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import NUMPY_TYPES

X = [[0.5, -1.0, 2.0, 0.25], [0.0, 0.0, 0.0, 0.0]]
ROWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
KINDS = tuple("object" if kind.kind == "O" else kind.name for kind in NUMPY_TYPES.values())


class Asked(Protocol):
    """A server that is asked."""

    @property
    def client(self) -> httpx.AsyncClient: ...

    async def infer(self, body: object, path: str = "/v2/models/tiny/infer") -> httpx.Response: ...


def tiny_request(**changes: object) -> dict[str, object]:
    """Return a request for `tiny` with two samples, but for `changes` in its input."""
    item: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": X}
    return {"inputs": [item | changes]}


@pytest.mark.anyio
class ProtocolChecks:
    """The claims; the fixture `endpoint` is the server."""

    @pytest.mark.parametrize("data", [X, [value for row in X for value in row]])
    async def test_it_answers_nested_and_flat_data_alike(self, endpoint: Asked, data: list[object]) -> None:
        response = await endpoint.infer(tiny_request(data=data) | {"id": "call-7"})
        assert response.status_code == 200
        body = response.json()
        assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "1", "call-7")
        [output] = body["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 3])
        expected = tiny.probabilities(np.array(X, dtype=np.float32))
        np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected, atol=1e-6)

    async def test_whole_numbers_are_taken_for_floats(self, endpoint: Asked) -> None:
        response = await endpoint.infer(tiny_request(shape=[1, 4], data=[1, 0, -1, 2]))
        assert response.status_code == 200

    async def test_a_version_can_be_asked_for(self, endpoint: Asked) -> None:
        assert (await endpoint.infer(tiny_request(), "/v2/models/tiny/versions/1/infer")).status_code == 200
        response = await endpoint.infer(tiny_request(), "/v2/models/tiny/versions/2/infer")
        assert response.status_code == 404
        assert "ask for version 1" in response.json()["error"]

    async def test_outputs_can_be_chosen_by_name(self, endpoint: Asked) -> None:
        chosen = await endpoint.infer(tiny_request() | {"outputs": [{"name": "probabilities"}]})
        assert [output["name"] for output in chosen.json()["outputs"]] == ["probabilities"]
        unknown = await endpoint.infer(tiny_request() | {"outputs": [{"name": "logits"}]})
        assert unknown.status_code == 400
        assert "'logits' is not one of the model's outputs (probabilities)" in unknown.json()["error"]

    async def test_metadata_tells_server_and_model(self, endpoint: Asked) -> None:
        server = (await endpoint.client.get("/v2")).json()
        assert (server["name"], server["extensions"]) == (
            "shoal-agent",
            ["binary_tensor_data", "model_repository", "statistics"],
        )
        for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
            model = (await endpoint.client.get(path)).json()
            assert (model["name"], model["versions"], model["platform"]) == ("tiny", ["1"], "onnxruntime_onnx")
            assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
            assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v2/models/other", 404),
            ("POST", "/v2/models/other/infer", 404),
            ("GET", "/v2/models/tiny/versions/9", 404),
            ("GET", "/nowhere", 404),
            ("GET", "/v2/models/tiny/infer", 405),
            ("DELETE", "/v2/models/tiny", 405),
        ],
    )
    async def test_unknown_names_paths_and_methods_get_an_error_body(
        self, endpoint: Asked, method: str, path: str, status: int
    ) -> None:
        response = await endpoint.client.request(method, path)
        assert response.status_code == status
        assert response.json()["error"]
        expected = {"/v2/models/tiny/infer": "POST", "/v2/models/tiny": "GET, HEAD"}[path] if status == 405 else None
        assert response.headers.get("allow") == expected

    async def test_one_connection_carries_many_requests(self, endpoint: Asked) -> None:
        bodies = [json.dumps(tiny_request(shape=[1, 4], data=[n, 0, 0, 0])) for n in range(50)]
        async with httpx.AsyncClient(
            base_url=endpoint.client.base_url, limits=httpx.Limits(max_connections=1), trust_env=False
        ) as client:
            answers = [(await client.post("/v2/models/tiny/infer", content=body)).json() for body in bodies]
        found = [answer["outputs"][0]["data"] for answer in answers]
        x = np.array([[n, 0, 0, 0] for n in range(50)], dtype=np.float32)
        np.testing.assert_allclose(found, tiny.probabilities(x), atol=1e-6)


class TritonChecks:
    """The claims; the fixture `found` is what the stock client found, see tests/agent/serving/triton_client.py."""

    def test_health_and_metadata(self, found: dict[str, Any]) -> None:
        assert (found["live"], found["ready"]) == (True, True)
        assert found["model_ready"] == [True, True, False]
        assert found["server"]["name"] == "shoal-agent"
        assert found["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_datatype_comes_back_as_it_went_by_json_and_as_binary_data(
        self, found: dict[str, Any], kind: str
    ) -> None:
        assert found["echo"][kind] == [True] * (2 if kind == "float16" else 4)

    def test_predictions_are_the_models_own_also_in_the_background_and_compressed(self, found: dict[str, Any]) -> None:
        for answer in (found["tiny"], found["async"], *found["compressed"]):
            np.testing.assert_allclose(answer, tiny.probabilities(ROWS), atol=1e-6)

    def test_the_repository_is_listed_and_stays_as_the_hub_wants_it(self, found: dict[str, Any]) -> None:
        assert {"name": "tiny", "version": "1", "state": "READY", "reason": ""} in found["index"]
        for verb in ("load", "unload"):
            assert found[verb].startswith("403: ")
            assert "what this device serves is decided by its hub" in found[verb]

    def test_a_misfit_is_told_in_the_servers_words(self, found: dict[str, Any]) -> None:
        assert found["misfit"].startswith("400: input 'x' has shape [1, 5], expected [-1, 4]")

    def test_statistics_count_what_was_asked(self, found: dict[str, Any]) -> None:
        [statistics] = found["statistics"]["model_stats"]
        assert (statistics["name"], statistics["version"]) == ("tiny", "1")
        assert (statistics["inference_count"], statistics["execution_count"]) == (4 * len(ROWS), 4)
        times = statistics["inference_stats"]
        assert (times["success"]["count"], times["fail"]["count"]) == (4, 1)
        parts = ("queue", "compute_input", "compute_infer", "compute_output")
        assert sum(times[part]["ns"] for part in parts) == pytest.approx(times["success"]["ns"], abs=40)


class TritonGrpcChecks:
    """The claims over gRPC; `found` is what the stock client found, see tests/agent/serving/triton_grpc_client.py."""

    def test_health_metadata_and_index(self, found: dict[str, Any]) -> None:
        assert (found["live"], found["ready"], found["server"]) == (True, True, "shoal-agent")
        assert found["model_ready"] == [True, True, False]
        assert found["model"] == ["tiny", [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]]
        assert {"name": "tiny", "version": "1", "state": "READY"} in found["index"]

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "object"])
    def test_every_datatype_comes_back_as_it_went(self, found: dict[str, Any], kind: str) -> None:
        assert found["echo"][kind] is True

    def test_bytes_and_predictions(self, found: dict[str, Any]) -> None:
        assert found["echo_object"] == ["a", "", "grüße", "\x00", "x" * 300, "1"]
        np.testing.assert_allclose(found["tiny"], tiny.probabilities(ROWS), atol=1e-6)

    def test_errors_carry_their_code_and_what_to_do(self, found: dict[str, Any]) -> None:
        assert found["misfit"].startswith("StatusCode.INVALID_ARGUMENT: input 'x' has shape [1, 5], expected [-1, 4]")
        assert found["unknown"].startswith("StatusCode.NOT_FOUND: model 'none' is not served")
