"""The friendly call, and the client that makes it: over TCP, over a Unix-domain socket, for one sample or many."""

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, SeenRequests, served_pair, served_tiny
from tests.agent.serving.echo import EchoEngine, served_echo
from tests.fixtures import tiny

from shoal_agent.client import Client
from shoal_agent.endpoint import Address, Listener
from shoal_agent.errors import AgentError
from shoal_agent.serving import Inference, ModelServer, create_router

pytestmark = pytest.mark.anyio
ROW = [0.5, -1.0, 2.0, 0.25]
EXPECTED = tiny.probabilities(np.array([ROW], dtype=np.float32))[0]


async def predict(endpoint: Endpoint, **body: Any) -> Any:
    return await endpoint.client.post("/predict", json=body)


@pytest.mark.parametrize("features", [ROW, {f"f{n}": value for n, value in enumerate(ROW)}, {"x": ROW}])
async def test_one_sample_gets_its_label_confidence_version_and_time(endpoint: Endpoint, features: object) -> None:
    answer = (await predict(endpoint, features=features, model_name="tiny", version="latest")).json()
    assert (answer["prediction"], answer["label"]) == ("abc"[EXPECTED.argmax()], EXPECTED.argmax())
    assert answer["confidence"] == pytest.approx(float(EXPECTED.max()), abs=1e-6)
    assert (answer["model_name"], answer["model_version"]) == ("tiny", "1")
    assert 0 < answer["inference_time_ms"] < 10_000
    assert answer["id"]
    assert len(endpoint.seen.answered) == 1


async def test_several_samples_get_a_prediction_each(endpoint: Endpoint) -> None:
    answer = (await predict(endpoint, features=[ROW, [0, 0, 0, 0]])).json()
    assert [one["label"] for one in answer["predictions"]] == [EXPECTED.argmax(), 0]


async def test_the_version_may_be_named(endpoint: Endpoint) -> None:
    assert (await predict(endpoint, features=ROW, version=1)).status_code == 200
    assert (await predict(endpoint, features=ROW, version="2")).status_code == 404


async def test_a_version_with_more_labels_than_are_watched_answers_by_its_labels(endpoint: Endpoint) -> None:
    served = served_tiny()
    baseline = served.manifest.baseline.model_copy(update={"predictions": ()})
    manifest = served.manifest.model_copy(update={"baseline": baseline})
    await endpoint.server.swap("tiny", replace(served, manifest=manifest))
    answer = (await predict(endpoint, features=ROW)).json()
    assert (answer["prediction"], answer["label"]) == ("abc"[EXPECTED.argmax()], EXPECTED.argmax())


async def test_numbers_are_given_back_where_there_are_no_classes() -> None:
    server = ModelServer()
    served = served_echo("echo", EchoEngine("FP32", (-1, 2)))
    manifest = served.manifest
    baseline = manifest.baseline.model_copy(update={"predictions": ()})
    await server.swap("echo", replace(served, manifest=manifest.model_copy(update={"baseline": baseline})))
    router = create_router(Inference(server, SeenRequests()))
    from tests.agent.endpoints import ask

    answer = (await ask(router, "POST", "/predict", b'{"features": [[1, 2], [3, 4]]}')).json()
    assert [one["prediction"] for one in answer["predictions"]] == [[1.0, 2.0], [3.0, 4.0]]


BAD: dict[str, tuple[Any, str]] = {
    "no features": ({}, "has no features"),
    "a field that is none": ({"features": ROW, "model": "tiny"}, "unknown field 'model', expected"),
    "a model that is no text": ({"features": ROW, "model_name": 7}, "model_name is 7, expected text"),
    "too few": ({"features": ROW[:3]}, "3 values found, expected 4 for each sample"),
    "none": ({"features": []}, "0 values found"),
    "ragged": ({"features": [ROW, ROW[:2]]}, "in lists of equal lengths"),
    "text": ({"features": ["a", "b", "c", "d"]}, "expected FP32"),
    "null": ({"features": [None, 1, 1, 1]}, "expected FP32"),
    "true": ({"features": [True, False, True, True]}, "expected FP32"),
    "beyond float32": ({"features": [1e39, 1, 1, 1]}, "beyond the range of its datatype"),
    "a feature that is none": ({"features": {"f0": 1, "f1": 1, "f2": 1, "g": 1}}, "missing or unknown: f3, g"),
    "a number": ({"features": 7}, "1 values found"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_what_is_no_sample_is_refused_with_its_reason(endpoint: Endpoint, kind: str) -> None:
    body, reason = BAD[kind]
    answer = await endpoint.client.post("/predict", json=body)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert endpoint.seen.answered == []


async def test_a_body_that_is_no_json_is_refused(endpoint: Endpoint) -> None:
    for body in (b"", b"{", b"[]", b"7", b"[" * 100_000):
        assert (await endpoint.client.post("/predict", content=body)).status_code == 400


async def test_a_body_that_would_take_long_to_read_is_refused_also_where_it_is_compressed(endpoint: Endpoint) -> None:
    large = json.dumps({"features": [0.0] * 100_000}).encode()
    assert (await endpoint.client.post("/predict", content=large)).status_code == 413
    small = {"content": gzip.compress(large), "headers": {"content-encoding": "gzip"}}
    assert (await endpoint.client.post("/predict", **small)).status_code == 413


async def test_of_several_models_one_has_to_be_named(endpoint: Endpoint) -> None:
    await endpoint.server.swap("pair", served_pair())
    answer = await predict(endpoint, features=ROW)
    assert (answer.status_code, "name one of them as model_name: pair, tiny" in answer.json()["error"]) == (400, True)
    two = await predict(endpoint, features={"values": [1.5, -2.0], "factor": [3]}, model_name="pair")
    assert two.status_code == 200
    one = await predict(endpoint, features=[1.5, -2.0, 3], model_name="pair")
    assert "give each by name: values, factor" in one.json()["error"]


@pytest.fixture(params=["tcp", "unix"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    server = ModelServer()
    await server.swap("tiny", served_tiny())
    address = Address() if request.param == "tcp" else Address(path=tmp_path / "agent.sock")
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(create_router(Inference(server, SeenRequests()))).serve, address)
        yield f"unix:{address.path}" if address.path else f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()
    await server.aclose()


async def test_the_client_predicts_infers_and_lists(url: str) -> None:
    def visit() -> None:
        with Client(url) as agent:
            assert agent.predict(ROW)["label"] == EXPECTED.argmax()
            assert agent.predict(np.array(ROW), model="tiny", version="1")["model_version"] == "1"
            rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
            outputs = agent.infer("tiny", {"x": rows})
            np.testing.assert_allclose(outputs["probabilities"], tiny.probabilities(rows), atol=1e-6)
            assert agent.models() == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]
            with pytest.raises(AgentError, match="404: model 'none' is not served"):
                agent.infer("none", {"x": rows})
            with pytest.raises(AgentError, match="input 'x' is complex64"):
                agent.infer("tiny", {"x": rows.astype(np.complex64)})

    await anyio.to_thread.run_sync(visit)


async def test_a_client_whose_idle_connection_was_closed_connects_again() -> None:
    server = ModelServer()
    await server.swap("tiny", served_tiny())
    ports: list[int] = []

    async def serve_once(port: int) -> None:
        async with anyio.create_task_group() as group:
            ports.append(
                await group.start(Listener(create_router(Inference(server, SeenRequests()))).serve, Address(port=port))
            )
            client.append(Client(f"http://127.0.0.1:{ports[0]}"))
            await anyio.to_thread.run_sync(lambda: client[0].predict(ROW))
            group.cancel_scope.cancel()

    client: list[Client] = []
    await serve_once(0)
    async with anyio.create_task_group() as group:
        await group.start(Listener(create_router(Inference(server, SeenRequests()))).serve, Address(port=ports[0]))
        answer = await anyio.to_thread.run_sync(lambda: client[0].predict(ROW))
        assert answer["label"] == EXPECTED.argmax()
        group.cancel_scope.cancel()
    client[0].close()


def test_a_client_without_an_agent_says_what_to_do() -> None:
    with Client("http://127.0.0.1:1") as agent, pytest.raises(AgentError) as failed:
        agent.predict(ROW)
    assert "shoal-agent run" in failed.value.remedy
    with pytest.raises(AgentError, match="not an address"):
        Client("ftp://device")
