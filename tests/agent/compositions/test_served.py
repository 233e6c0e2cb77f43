"""A composition is asked as a model is: over HTTP as JSON and binary, over gRPC, by the friendly call."""

import json
from typing import Any

import anyio
import numpy as np
import pytest
from tests.agent.compositions.conftest import ROWS, Composed, Models, cascade, composing, ensemble, watched
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.serving import Inference, ServedModel, ServingSettings
from shoal_agent.serving.wire import read_answer, write_request

pytestmark = pytest.mark.anyio
BODY = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [9, 4], "data": ROWS.ravel().tolist()}]}


async def serve_cascade(models: Models, composed: Composed) -> tuple[ServedModel, ServedModel, float]:
    """Serve a cascade that answers five of the rows by its small model and four by its large one."""
    small, large = models.member("small"), models.member("large")
    await composed.serve(small, large)
    threshold = float(np.sort(models.answer(small).max(axis=1))[4])
    composed.follow(steps=cascade(threshold, "small", "large"))
    await composed.until("steps", "applied")
    return small, large, threshold


async def test_json_says_who_answered(models: Models) -> None:
    async with composing() as composed:
        small, _, threshold = await serve_cascade(models, composed)
        found = (await composed.endpoint.infer(BODY, "/v2/models/steps/infer")).json()
        is_sure = models.answer(small).max(axis=1) >= np.float32(threshold)
        assert (found["model_name"], found["model_version"]) == ("steps", "7")
        assert found["parameters"] == {
            "members": "small/1,large/1",
            "answered_by": "small,large",
            "answered_by_sample": "".join("0" if one else "1" for one in is_sure),
        }
        assert composed.endpoint.seen.errors == []
        assert len(composed.endpoint.seen.answered) == 2  # the members, each by itself


async def test_binary_data_and_one_sample(models: Models) -> None:
    async with composing() as composed:
        small, _, threshold = await serve_cascade(models, composed)
        scores = models.answer(small)
        sure = int(np.flatnonzero(scores.max(axis=1) >= np.float32(threshold))[0])
        body, json_bytes = write_request({"image": ROWS[sure : sure + 1]})
        headers = {"inference-header-content-length": str(json_bytes)}
        response = await composed.endpoint.client.post("/v2/models/steps/infer", content=body, headers=headers)
        head_bytes = int(response.headers["inference-header-content-length"])
        found = read_answer(response.content, head_bytes)
        np.testing.assert_allclose(found["probabilities"], scores[sure : sure + 1], atol=1e-6)
        assert json.loads(response.content[:head_bytes])["parameters"]["answered_by"] == "small"
        assert models.engines["large", 1].asked == []


async def test_the_friendly_call_names_who_answered_each_sample(models: Models) -> None:
    async with composing() as composed:
        small, _, threshold = await serve_cascade(models, composed)
        asked = {"features": ROWS.tolist(), "model_name": "steps"}
        found = (await composed.endpoint.client.post("/predict", json=asked)).json()
        by = ["small" if one >= np.float32(threshold) else "large" for one in models.answer(small).max(axis=1)]
        assert [one["answered_by"] for one in found["predictions"]] == by
        assert {one["prediction"] for one in found["predictions"]} <= {"no", "yes"}
        one = (await composed.endpoint.client.post("/predict", json=asked | {"features": ROWS[0].tolist()})).json()
        assert one["answered_by"] == by[0]


async def test_index_metadata_readiness_and_statistics_know_it(models: Models) -> None:
    async with composing() as composed:
        await serve_cascade(models, composed)
        client = composed.endpoint.client
        await composed.endpoint.infer(BODY, "/v2/models/steps/infer")
        index = (await client.post("/v2/repository/index")).json()
        assert {"name": "steps", "version": "7", "state": "READY", "reason": ""} in index
        metadata = (await client.get("/v2/models/steps")).json()
        assert metadata["platform"] == "cascade"
        assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}]
        assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
        assert (await client.get("/v2/models/steps/versions/7/ready")).json() == {"name": "steps", "ready": True}
        [counted] = (await client.get("/v2/models/steps/stats")).json()["model_stats"]
        assert (counted["inference_count"], counted["inference_stats"]["success"]["count"]) == (9, 1)


async def test_kept_answers_are_of_the_members_that_serve(models: Models) -> None:
    async with composing(ServingSettings(cache_bytes=100_000)) as composed:
        await serve_cascade(models, composed)
        first = (await composed.endpoint.infer(BODY, "/v2/models/steps/infer")).json()
        again = (await composed.endpoint.infer(BODY, "/v2/models/steps/infer")).json()
        assert models.engines["small", 1].asked == [9]
        assert again["parameters"] == first["parameters"]
        await composed.serve(models.member("large", 2))
        other = (await composed.endpoint.infer(BODY, "/v2/models/steps/infer")).json()
        assert models.engines["large", 2].asked == [4]
        assert other["parameters"]["members"] == "small/1,large/2"
        assert other["outputs"] != first["outputs"]


async def test_requests_that_wait_are_answered_together_each_with_its_own_parameters(models: Models) -> None:
    async with composing(ServingSettings(workers=1)) as composed:
        small, large = watched(models.member("small"), 8), watched(models.member("large"), 8)
        await composed.serve(small, large)
        scores = models.answer(small).max(axis=1)
        threshold = np.float32(np.sort(scores)[4])
        composed.follow(steps=cascade(float(threshold), "small", "large"))
        await composed.until("steps", "applied")
        engine = models.engines["small", 1]
        engine.gate.clear()
        found: dict[int, Any] = {}

        async def ask(row: int) -> None:
            data = ROWS[row].tolist()
            body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 4], "data": data}]}
            found[row] = (await composed.endpoint.infer(body, "/v2/models/steps/infer")).json()

        async with anyio.create_task_group() as group:
            group.start_soon(ask, 0)
            await engine.wait_entered()
            for row in range(1, 9):
                group.start_soon(ask, row)
            await composed.endpoint.wait_for_waiting(8)
            engine.gate.set()
        assert engine.asked == [1, 8]
        by = ["small" if one >= threshold else "large" for one in scores]
        assert [found[row]["parameters"]["answered_by"] for row in range(9)] == by


async def test_a_request_is_over_its_time_as_a_whole(models: Models) -> None:
    async with composing(ServingSettings(timeout_s=0.2)) as composed:
        await serve_cascade(models, composed)
        models.engines["large", 1].gate.clear()
        response = await composed.endpoint.infer(BODY, "/v2/models/steps/infer")
        assert (response.status_code, "model 'steps' did not answer within 0.2 s" in response.text) == (504, True)
        models.engines["large", 1].gate.set()


async def test_an_ensemble_that_fails_is_an_error_with_words(models: Models) -> None:
    async with composing() as composed:
        await composed.serve(models.member("a"), models.member("bb"))
        composed.follow(both=ensemble("a", "bb"))
        await composed.until("both", "applied")
        models.engines["bb", 1].engine.close()
        response = await composed.endpoint.infer(BODY, "/v2/models/both/infer")
        assert "closed" in response.json()["error"]
        assert composed.endpoint.seen.errors == ["bb"]


async def test_grpc_says_who_answered(models: Models) -> None:
    grpc = pytest.importorskip("grpc")
    from shoal_agent.serving.grpc.messages import MESSAGES, SERVICE
    from shoal_agent.serving.grpc.service import serve_grpc

    async with composing() as composed, anyio.create_task_group() as group:
        await serve_cascade(models, composed)
        inference = Inference(composed.endpoint.server, SeenRequests())
        port = await group.start(serve_grpc, inference, 0, 2**24)
        request = MESSAGES["ModelInferRequest"](model_name="steps")
        request.inputs.add(name="image", datatype="FP32", shape=ROWS.shape)
        request.raw_input_contents.append(ROWS.tobytes())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = await _call(channel, f"/{SERVICE}/ModelInfer", request, MESSAGES["ModelInferResponse"])
            index = MESSAGES["RepositoryIndexRequest"](ready=True)
            listed = await _call(channel, f"/{SERVICE}/RepositoryIndex", index, MESSAGES["RepositoryIndexResponse"])
        group.cancel_scope.cancel()
        inference.close()
    said = {name: value.string_param for name, value in answer.parameters.items()}
    assert (said["members"], said["answered_by"]) == ("small/1,large/1", "small,large")
    assert sorted(said["answered_by_sample"]) == ["0"] * 5 + ["1"] * 4
    assert [one.name for one in listed.models] == ["large", "small", "steps"]


async def _call(channel: Any, path: str, message: Any, kind: Any) -> Any:
    ask = channel.unary_unary(path, lambda one: one.SerializeToString(), kind.FromString)
    return await ask(message)
