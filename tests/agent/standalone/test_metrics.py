"""Metrics of several workers, labelled and together; one that does not answer is told as such."""

import pytest
from tests.agent.endpoints import ask, listening

from shoal_agent.endpoint import Router
from shoal_agent.metrics.exposition import Family, Sample
from shoal_agent.standalone.metrics import merge, merged_route, own_router

pytestmark = pytest.mark.anyio


def family(value: float) -> Family:
    return Family("requests_total", "counter", "Requests.", (Sample(value, {"model": "tiny"}),))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_samples_of_all_workers_stand_below_one_family() -> None:
    up, requests = merge({2: [family(5)], 1: [family(3)], 3: None})
    assert [sample.value for sample in up.samples] == [1, 1, 0]
    assert requests.samples == (
        Sample(3, {"model": "tiny", "worker": "1"}),
        Sample(5, {"model": "tiny", "worker": "2"}),
    )


async def test_the_worker_that_is_asked_asks_the_others() -> None:
    async with listening(own_router(lambda: [family(5)])) as other:
        route = merged_route(1, lambda: [family(3)], lambda: {1: 1, 2: other, 3: 1})
        answer = await ask(Router([route]), "GET", "/metrics")
    lines = answer.body.decode().splitlines()
    assert 'requests_total{model="tiny",worker="1"} 3' in lines
    assert 'requests_total{model="tiny",worker="2"} 5.0' in lines
    assert 'shoal_serve_worker_up{worker="3"} 0' in lines
