"""Whatever bytes come, the endpoint answers 200 or a 4xx with an error text, never a 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import anyio.from_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.endpoints import Answer, ask
from tests.agent.serving.conftest import SeenRequests, served_pair, served_tiny

from shoal_agent.engines import NUMPY_TYPES
from shoal_agent.serving import Inference, ModelServer, create_router

numbers = st.one_of(st.integers(), st.integers(-200, 200), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
values = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=16)
fitting = st.lists(st.floats(width=32), min_size=4, max_size=4)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


tensors = _object(
    name=st.one_of(st.sampled_from(["x", "values", "factor", "probabilities"]), numbers),
    datatype=st.one_of(st.sampled_from(["FP32", "INT32", *NUMPY_TYPES]), numbers),
    shape=st.one_of(st.sampled_from([[1, 4], [4], [1, 2], [1, 1]]), values),
    data=st.one_of(fitting, values),
    parameters=values,
)
near_misses = st.fixed_dictionaries(
    {"name": st.just("x"), "datatype": st.just("FP32"), "shape": st.just([1, 4]), "data": st.one_of(fitting, values)}
)
requests = _object(
    id=st.one_of(st.text(), numbers),
    inputs=st.one_of(st.lists(st.one_of(near_misses, tensors), max_size=3), values),
    outputs=st.one_of(st.lists(st.one_of(tensors, values), max_size=2), values),
)


@pytest.fixture(scope="module")
def post() -> Iterator[Any]:
    """Send a body through the app, without a socket; a failure inside the app is raised here."""
    server = ModelServer()
    router = create_router(Inference(server, SeenRequests()))

    async def send(model: str, body: bytes) -> Answer:
        return await ask(router, "POST", f"/v2/models/{model}/infer", body)

    with anyio.from_thread.start_blocking_portal() as portal:
        portal.call(server.swap, "tiny", served_tiny())
        portal.call(server.swap, "pair", served_pair())
        yield lambda model, body: portal.call(send, model, body)
        portal.call(server.aclose)


def _check(response: Answer) -> None:
    assert response.status in {200, 400, 422}
    body = json.loads(response.body, parse_constant=pytest.fail)
    assert ("error" in body) == (response.status != 200)


@settings(max_examples=300)
@given(model=st.sampled_from(["tiny", "pair"]), request=requests)
def test_any_json_is_answered_or_refused(post: Any, model: str, request: dict[str, Any]) -> None:
    _check(post(model, json.dumps(request).encode()))


@settings(max_examples=150)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused(post: Any, body: bytes) -> None:
    response = post("tiny", body)
    assert response.status == 400
    _check(response)


@settings(max_examples=150)
@given(data=st.data())
def test_a_good_request_with_flipped_bytes_is_answered_or_refused(post: Any, data: st.DataObject) -> None:
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}]}
    body = bytearray(json.dumps(good).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _check(post("tiny", bytes(body)))
