"""Models whose requests are one sample, whatever the sizes of their tensors: a state that comes back, a setting."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.serving.conftest import Endpoint, GatedEngine, running, served_stream, served_tiny
from tests.fixtures import tiny

from shoal_agent.batch import BatchError
from shoal_agent.batch.answering import Answering
from shoal_agent.engines import Array, run_golden
from shoal_agent.monitor.rows import rows_of
from shoal_agent.processing import Pipeline
from shoal_agent.serving import ServingSettings
from shoal_agent.serving.wire import read_answer, write_request

pytestmark = pytest.mark.anyio
PATH = "/v2/models/stream/infer"
RATE = np.array(5, dtype=np.int64)
CHUNKS = np.random.default_rng(3).normal(size=(4, 1, 16)).astype(np.float32)
STILL = np.zeros((2, 1, 3), dtype=np.float32)


def tensors(sound: Array, state: Array, rate: Array = RATE) -> list[dict[str, Any]]:
    given = {"sound": ("FP32", sound), "state": ("FP32", state), "rate": ("INT64", rate)}
    return [
        {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, (datatype, array) in given.items()
    ]


def outputs_of(answer: Any) -> dict[str, Array]:
    return {
        one["name"]: np.array(one["data"], dtype=np.float32).reshape(one["shape"]) for one in answer.json()["outputs"]
    }


async def test_a_state_that_the_client_hands_back_makes_a_stream() -> None:
    state = expected = STILL
    async with running() as endpoint:
        await endpoint.server.swap("stream", served_stream())
        for sound in CHUNKS:
            found = outputs_of(await endpoint.infer({"inputs": tensors(sound, state)}, PATH))
            heard, expected = tiny.stream(sound, expected, 5)
            np.testing.assert_allclose(found["heard"], heard, rtol=1e-5, atol=1e-6)
            state = found["next"]
        np.testing.assert_allclose(state, expected, rtol=1e-5, atol=1e-6)
        counted = (await endpoint.client.get("/v2/models/stream/stats")).json()["model_stats"][0]
    assert counted["inference_count"] == counted["execution_count"] == len(CHUNKS)


async def test_a_scalar_goes_as_binary_data_too_and_is_kept_with_its_answer() -> None:
    body, json_bytes = write_request({"sound": CHUNKS[0], "state": STILL, "rate": RATE})
    headers = {"inference-header-content-length": str(json_bytes)}
    async with running(ServingSettings(cache_bytes=100_000)) as endpoint:
        await endpoint.server.swap("stream", served_stream())
        for _ in range(2):
            answer = await endpoint.client.post(PATH, content=body, headers=headers)
            found = read_answer(answer.content, int(answer.headers["inference-header-content-length"]))
            np.testing.assert_allclose(found["heard"], tiny.stream(CHUNKS[0], STILL, 5)[0], rtol=1e-5, atol=1e-6)
        assert endpoint.inference.cache is not None
        assert endpoint.inference.cache.counts().hits == 1


async def test_requests_that_wait_are_never_joined_whatever_was_measured_of_the_file() -> None:
    """The same file, declared as one with batches, would be: its tensors are open in their first axis."""

    class Noting(GatedEngine):
        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            self.entered.release()
            assert self.gate.wait(10)
            shapes.append(inputs["x"].shape)
            return self.engine.infer(inputs)

    shapes: list[tuple[int, ...]] = []
    engine = Noting(served_tiny().engine, together=8)
    served = served_tiny(1, engine)
    served = replace(served, manifest=served.manifest.model_copy(update={"batching": "none"}))
    async with running(ServingSettings(workers=1, in_place_ms=0)) as endpoint:
        await endpoint.server.swap("tiny", served)

        async def ask() -> None:
            tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0.5] * 8}
            assert (await endpoint.infer({"inputs": [tensor]})).status_code == 200

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await engine.wait_entered()
            for _ in range(3):
                group.start_soon(ask)
            await endpoint.wait_for_waiting(3)
            engine.gate.set()
        counted = (await endpoint.client.get("/v2/models/tiny/stats")).json()["model_stats"][0]
    assert shapes == [(2, 4)] * 4
    assert counted["inference_count"] == 4, "a request is one sample"


@pytest.mark.parametrize(
    ("name", "shape"), [("rate", [1]), ("state", [1, 1, 3]), ("state", [2, 3]), ("sound", [16]), ("sound", [0, 16])]
)
async def test_a_shape_that_is_not_the_models_is_refused(name: str, shape: list[int]) -> None:
    wrong = [
        one | ({"shape": shape, "data": [1] * int(np.prod(shape)) or [1]} if one["name"] == name else {})
        for one in tensors(CHUNKS[0], STILL)
    ]
    async with running() as endpoint:
        await endpoint.server.swap("stream", served_stream())
        answer = await endpoint.infer({"inputs": wrong}, PATH)
    assert answer.status_code == 400
    assert f"input '{name}' has shape" in answer.json()["error"]


async def ask_friendly(endpoint: Endpoint, **features: Any) -> Any:
    return (await endpoint.client.post("/predict", json={"features": features})).json()


async def test_the_friendly_call_takes_each_input_by_name_in_its_own_shape() -> None:
    sound, state = CHUNKS[0], STILL + 0.5
    heard = float(tiny.stream(sound, state, 5)[0][0, 0])
    async with running() as endpoint:
        await endpoint.server.swap("stream", served_stream())
        for rate in (5, [5]):
            found = await ask_friendly(endpoint, sound=sound.tolist(), state=state.tolist(), rate=rate)
            assert found["prediction"] == pytest.approx(heard, abs=1e-5)
        refused = await ask_friendly(endpoint, sound=sound.ravel().tolist(), state=state.tolist(), rate=5)
    assert "features for input 'sound' has shape [16], expected [-1, -1]" in refused["error"]


def test_a_request_is_one_row_of_the_inputs_that_are_watched() -> None:
    served = served_stream()
    sound = np.array([[0.0, 1.0, 5.0], [2.0, 2.0, 2.0]], dtype=np.float32)
    [row] = rows_of(served, {"sound": sound, "state": np.full((2, 2, 3), 99.0, dtype=np.float32), "rate": RATE})
    np.testing.assert_allclose(row, [2.0, sound.std(), 0.0, 5.0], rtol=1e-5)
    served.engine.close()


def test_it_passes_its_self_test_and_answers_no_files_in_batches() -> None:
    served = served_stream()
    assert run_golden(served.engine, served.manifest, served.manifest.variants[0]) < 1e-5
    with pytest.raises(BatchError, match="a request of it is one sample"):
        Answering(served, Pipeline(served.manifest), 8)
    served.engine.close()
