"""The endpoint speaks the Open Inference Protocol v2: health, metadata, inference."""

import json

import httpx
import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, running, served_tiny
from tests.fixtures import tiny

pytestmark = pytest.mark.anyio

X = [[0.5, -1.0, 2.0, 0.25], [0.0, 0.0, 0.0, 0.0]]


def _request(**changes: object) -> dict[str, object]:
    item: dict[str, object] = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": X}
    return {"inputs": [item | changes]}


@pytest.mark.parametrize("data", [X, [value for row in X for value in row]])
async def test_it_answers_nested_and_flat_data_alike(endpoint: Endpoint, data: list[object]) -> None:
    response = await endpoint.infer(_request(data=data) | {"id": "call-7"})
    assert response.status_code == 200
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "1", "call-7")
    [output] = body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 3])
    expected = tiny.probabilities(np.array(X, dtype=np.float32))
    np.testing.assert_allclose(np.reshape(output["data"], (2, 3)), expected, atol=1e-6)


async def test_whole_numbers_are_taken_for_floats(endpoint: Endpoint) -> None:
    response = await endpoint.infer(_request(shape=[1, 4], data=[1, 0, -1, 2]))
    assert response.status_code == 200


async def test_a_version_can_be_asked_for(endpoint: Endpoint) -> None:
    assert (await endpoint.infer(_request(), "/v2/models/tiny/versions/1/infer")).status_code == 200
    response = await endpoint.infer(_request(), "/v2/models/tiny/versions/2/infer")
    assert response.status_code == 404
    assert "ask for version 1" in response.json()["error"]


async def test_outputs_can_be_chosen_by_name(endpoint: Endpoint) -> None:
    chosen = await endpoint.infer(_request() | {"outputs": [{"name": "probabilities"}]})
    assert [output["name"] for output in chosen.json()["outputs"]] == ["probabilities"]
    unknown = await endpoint.infer(_request() | {"outputs": [{"name": "logits"}]})
    assert unknown.status_code == 400
    assert "'logits' is not one of the model's outputs (probabilities)" in unknown.json()["error"]


async def test_metadata_tells_server_and_model(endpoint: Endpoint) -> None:
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


async def test_health_follows_what_is_served(endpoint: Endpoint) -> None:
    async def statuses() -> list[int]:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready")
        return [(await endpoint.client.get(path)).status_code for path in paths]

    assert await statuses() == [200, 200, 200, 200]
    await endpoint.server.swap("tiny", None)
    assert await statuses() == [200, 503, 503, 503]


async def test_nothing_served_yet_is_told_with_its_reason() -> None:
    async with running() as endpoint:
        response = await endpoint.infer(_request())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "no model is served yet" in response.json()["error"]


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
    endpoint: Endpoint, method: str, path: str, status: int
) -> None:
    response = await endpoint.client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]
    expected = {"/v2/models/tiny/infer": "POST", "/v2/models/tiny": "GET, HEAD"}[path] if status == 405 else None
    assert response.headers.get("allow") == expected


async def test_the_observer_sees_arrays_and_latency_of_an_answer(endpoint: Endpoint) -> None:
    await endpoint.infer(_request())
    [(inputs, outputs, latency_ms)] = endpoint.seen.answered
    np.testing.assert_array_equal(inputs["x"], np.array(X, dtype=np.float32))
    assert outputs["probabilities"].shape == (2, 3)
    assert 0 < latency_ms < 10_000
    assert endpoint.seen.errors == []


async def test_a_refused_request_is_counted_but_not_shown(endpoint: Endpoint) -> None:
    await endpoint.infer(_request(shape=[2, 5]))
    assert (endpoint.seen.answered, endpoint.seen.errors) == ([], ["tiny"])


async def test_one_connection_carries_many_requests(endpoint: Endpoint) -> None:
    bodies = [json.dumps(_request(shape=[1, 4], data=[n, 0, 0, 0])) for n in range(50)]
    async with httpx.AsyncClient(
        base_url=endpoint.client.base_url, limits=httpx.Limits(max_connections=1), trust_env=False
    ) as client:
        answers = [(await client.post("/v2/models/tiny/infer", content=body)).json() for body in bodies]
    found = [answer["outputs"][0]["data"] for answer in answers]
    x = np.array([[n, 0, 0, 0] for n in range(50)], dtype=np.float32)
    np.testing.assert_allclose(found, tiny.probabilities(x), atol=1e-6)


async def test_served_versions_are_told_apart(endpoint: Endpoint) -> None:
    await endpoint.server.swap("tiny", served_tiny(version=2))
    assert (await endpoint.infer(_request())).json()["model_version"] == "2"
