"""The application tells labels, values and metrics over loopback, and the window holds what they come to."""

import base64
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import served_tiny
from tests.agent.test_label_api import ALL, LATER, Endpoint
from tests.agent.trials.conftest import START

from shoal_agent.label_api import label_routes
from shoal_agent.monitor import Monitor
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_numerics import unpack_counts
from shoal_numerics.label_counts import LabelCounts, LabelLayout

pytestmark = pytest.mark.anyio


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    server, monitor = ModelServer(), Monitor(lambda: START)
    async with listening(create_router(Inference(server, monitor), label_routes(monitor))) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await server.swap("tiny", served_tiny())
            yield Endpoint(client, monitor, server)
        await server.aclose()


async def feedback(endpoint: Endpoint, **body: object) -> httpx.Response:
    return await endpoint.client.post("/feedback", json=body)


async def test_labels_and_metrics_become_counts_of_the_window(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    truth = [predicted[0], (predicted[1] + 1) % 3]
    told = await feedback(endpoint, request_id=answer_id, labels=truth, metrics={"late_min": 4})
    assert told.json() == {"model": "tiny", "version": 1, "labelled": 2, "correct": 1, "metrics": 1}
    [window] = endpoint.monitor.take_windows(LATER, ALL)
    assert window.performance is not None
    assert window.performance.counts is not None
    baseline = served_tiny().manifest.baseline
    layout = LabelLayout.of(baseline)
    counts = LabelCounts(layout, unpack_counts(base64.b64decode(window.performance.counts), layout.size))
    expected = np.zeros((3, 3), dtype=np.int64)
    np.add.at(expected, (truth, predicted), 1)
    assert np.array_equal(counts.matrix, expected)
    assert counts.scores.sum(axis=2).sum(axis=1).tolist() == [2, 2, 2]
    [metric] = window.performance.metrics
    assert (metric.name, metric.sums.mean) == ("late_min", 4.0)


async def test_metrics_may_come_alone_and_labels_later(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    alone = await endpoint.client.post(
        "/shoal/v1/labels", json={"model": "tiny", "id": answer_id, "metrics": {"m": 0.5}}
    )
    assert alone.json() == {"version": 1, "labelled": 0, "correct": 0, "metrics": 1}
    assert (await feedback(endpoint, request_id=answer_id, metrics={"m": 1})).status_code == 409
    assert (await endpoint.tell(answer_id, predicted)).json()["correct"] == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"values": [1.0, 2.0]}, 422),
        ({"value": 1.0}, 422),
        ({}, 400),
        ({"metrics": {}}, 400),
        ({"label": 0, "value": 1.0}, 400),
        ({"labels": [0, 0], "values": [1.0, 2.0]}, 400),
        ({"metrics": {"Bad Name": 1.0}}, 400),
        ({"metrics": {"x" * 65: 1.0}}, 400),
        ({"metrics": {"m": "1"}}, 400),
        ({"metrics": {"m": True}}, 400),
        ({"metrics": {"m": 1e300}}, 422),
        ({"metrics": {f"m{number}": 1.0 for number in range(17)}}, 400),
    ],
)
async def test_what_can_not_be_counted_is_refused_and_the_right_labels_still_count(
    endpoint: Endpoint, body: dict[str, object], status: int
) -> None:
    answer_id, predicted = await endpoint.infer()
    refused = await feedback(endpoint, request_id=answer_id, **body)
    assert refused.status_code == status, refused.text
    for text in ('{"request_id": "x", "metrics": {"m": NaN}}', '{"request_id": "x", "values": [Infinity]}'):
        assert (await endpoint.client.post("/feedback", content=text)).status_code == 400
    assert (await endpoint.tell(answer_id, predicted)).json()["correct"] == 2
