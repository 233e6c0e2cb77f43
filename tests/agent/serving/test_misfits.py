"""What a request did not fit its model's schema by is told to who counts, whichever way it came."""

import json
from typing import Any

import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, served_pair
from tests.agent.serving.test_bad_requests import GOOD, INFER

from shoal_agent.serving.wire import write_request

pytestmark = pytest.mark.anyio
VALUES = {"name": "values", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 1.0]}
PROTOCOL: list[tuple[Any, str | None]] = [
    ([GOOD, GOOD | {"name": "y"}], "extra"),
    ([GOOD | {"name": "y"}], "extra"),
    ([GOOD | {"datatype": "INT8"}], "retyped"),
    ([GOOD | {"data": ["1", 2, 3, 4]}], "retyped"),
    ([GOOD | {"shape": [1, 5], "data": [1.0] * 5}], "reshaped"),
    ([GOOD | {"data": [1.0]}], "reshaped"),
    ([GOOD | {"data": [10**400, 1, 1, 1]}], "non_finite"),
    ([], None),
]
FRIENDLY: list[tuple[Any, str | None]] = [
    ({"f0": 1, "f1": 1, "f2": 1}, "missing"),
    ({"f0": 1, "f1": 1, "f2": 1, "f3": 1, "f4": 1}, "extra"),
    ({"f0": 1, "f1": 1, "f2": 1, "f3": "red"}, "retyped"),
    ([1, 2, 3], "reshaped"),
]


@pytest.mark.parametrize(("inputs", "misfit"), PROTOCOL)
async def test_of_a_request_of_the_protocol(endpoint: Endpoint, inputs: Any, misfit: str | None) -> None:
    answer = await endpoint.client.post(INFER, content=json.dumps({"inputs": inputs}).encode())
    assert answer.status_code == 400
    assert endpoint.seen.misfits == [misfit]
    assert endpoint.seen.answered == []


@pytest.mark.parametrize(("features", "misfit"), FRIENDLY)
async def test_of_a_friendly_call(endpoint: Endpoint, features: Any, misfit: str | None) -> None:
    answer = await endpoint.client.post("/predict", json={"features": features, "model_name": "tiny"})
    assert answer.status_code == 400
    assert endpoint.seen.misfits == [misfit]


async def test_of_an_input_that_is_missing(endpoint: Endpoint) -> None:
    await endpoint.server.swap("pair", served_pair())
    await endpoint.infer({"inputs": [VALUES]}, "/v2/models/pair/infer")
    await endpoint.client.post("/predict", json={"features": {"values": [1, 1]}, "model_name": "pair"})
    assert endpoint.seen.misfits == ["missing", "missing"]


async def test_of_binary_data_that_is_not_a_number(endpoint: Endpoint) -> None:
    body, head = write_request({"x": np.full((1, 4), np.nan, dtype=np.float32)})
    headers = {"Inference-Header-Content-Length": str(head)}
    answer = await endpoint.client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 400
    assert endpoint.seen.misfits == ["non_finite"]
