"""The endpoint speaks the Open Inference Protocol v2: health, metadata, inference."""

import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, running, served_tiny
from tests.checks.inference_protocol import ProtocolChecks, X, tiny_request

pytestmark = pytest.mark.anyio


class TestDevice(ProtocolChecks):
    """A device's endpoint."""


async def test_health_follows_what_is_served(endpoint: Endpoint) -> None:
    async def statuses() -> list[int]:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready")
        return [(await endpoint.client.get(path)).status_code for path in paths]

    assert await statuses() == [200, 200, 200, 200]
    await endpoint.server.swap("tiny", None)
    assert await statuses() == [200, 503, 503, 503]


async def test_nothing_served_yet_is_told_with_its_reason() -> None:
    async with running() as endpoint:
        response = await endpoint.infer(tiny_request())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "no model is served yet" in response.json()["error"]


async def test_the_observer_sees_arrays_and_latency_of_an_answer(endpoint: Endpoint) -> None:
    await endpoint.infer(tiny_request())
    [(inputs, outputs, latency_ms)] = endpoint.seen.answered
    np.testing.assert_array_equal(inputs["x"], np.array(X, dtype=np.float32))
    assert outputs["probabilities"].shape == (2, 3)
    assert 0 < latency_ms < 10_000
    assert endpoint.seen.errors == []


async def test_a_refused_request_is_counted_but_not_shown(endpoint: Endpoint) -> None:
    await endpoint.infer(tiny_request(shape=[2, 5]))
    assert (endpoint.seen.answered, endpoint.seen.errors) == ([], ["tiny"])


async def test_served_versions_are_told_apart(endpoint: Endpoint) -> None:
    await endpoint.server.swap("tiny", served_tiny(version=2))
    assert (await endpoint.infer(tiny_request())).json()["model_version"] == "2"
