"""The application tells true labels over loopback, by the id that each answer carries; hostile input is bounded."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import anyio
import httpx
import pytest
from tests.agent.endpoints import ask, listening
from tests.agent.serving.conftest import served_tiny
from tests.agent.trials.conftest import START

from shoal_agent.endpoint import EndpointLimits, Router
from shoal_agent.label_api import label_routes
from shoal_agent.monitor import Monitor
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_contract.desired import DesiredConfig

pytestmark = pytest.mark.anyio
PATH = "/shoal/v1/labels"
X = [[0.5, -1.0, 2.0, 0.25], [0.0, 0.0, 0.0, 0.0]]
LATER, ALL = START + timedelta(seconds=100), DesiredConfig(window_s=1)


@dataclass
class Endpoint:
    """A served model whose answers can be labelled."""

    client: httpx.AsyncClient
    monitor: Monitor
    server: ModelServer

    async def infer(self, **more: object) -> tuple[str, list[int]]:
        """Ask once; return the answer's id and the predicted labels."""
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": X}
        answer = await self.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]} | more)
        assert answer.status_code == 200, answer.text
        scores = answer.json()["outputs"][0]["data"]
        rows = [scores[start : start + 3] for start in (0, 3)]
        return str(answer.json()["id"]), [row.index(max(row)) for row in rows]

    async def tell(self, answer_id: str, labels: object, **more: object) -> httpx.Response:
        return await self.client.post(PATH, json={"model": "tiny", "id": answer_id, "labels": labels} | more)


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    server, monitor = ModelServer(), Monitor(lambda: START)
    async with listening(create_router(Inference(server, monitor), label_routes(monitor))) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await server.swap("tiny", served_tiny())
            yield Endpoint(client, monitor, server)
        await server.aclose()


async def test_each_answer_has_an_id_of_its_own_and_is_labelled_by_it(endpoint: Endpoint) -> None:
    (first, predicted), (second, _) = await endpoint.infer(), await endpoint.infer()
    assert first != second
    wrong = [predicted[0], (predicted[1] + 1) % 3]
    told = await endpoint.tell(first, wrong)
    assert (told.status_code, told.json()) == (200, {"version": 1, "labelled": 2, "correct": 1})
    [window] = endpoint.monitor.take_windows(LATER, ALL)
    assert (window.requests, window.labelled, window.correct) == (2, 2, 1)


async def test_the_clients_own_id_names_its_answer(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer(id="order-7")
    assert answer_id == "order-7"
    assert (await endpoint.tell("order-7", predicted)).json()["correct"] == 2


async def test_labels_of_an_id_that_two_answers_had_are_refused(endpoint: Endpoint) -> None:
    for _ in range(2):
        _, predicted = await endpoint.infer(id="1")
    refused = await endpoint.tell("1", predicted)
    assert (refused.status_code, "id of its own" in refused.json()["error"]) == (409, True)


async def test_after_a_swap_the_label_is_of_the_version_that_answered(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    await endpoint.server.swap("tiny", served_tiny(2))
    await endpoint.infer()
    assert (await endpoint.tell(answer_id, predicted, version=2)).status_code == 409
    assert (await endpoint.tell(answer_id, predicted)).json()["version"] == 1


@pytest.mark.parametrize(
    ("answer_id", "labels", "status"),
    [
        ("nobody-1", [0, 0], 404),
        (None, [0], 422),
        (None, [0, 3], 422),
        (None, [], 400),
        (None, [0, -1], 400),
        (None, [0, True], 400),
        (None, [0, 2**70], 400),
        (None, [0, 1.0], 400),
        (None, "00", 400),
        (None, [0] * 9000, 400),
        ("", [0, 0], 400),
        ("x" * 300, [0, 0], 400),
    ],
)
async def test_labels_that_fit_no_answer_are_refused_and_the_right_ones_still_count(
    endpoint: Endpoint, answer_id: str | None, labels: object, status: int
) -> None:
    known, predicted = await endpoint.infer()
    refused = await endpoint.tell(known if answer_id is None else answer_id, labels)
    assert refused.status_code == status, refused.text
    assert "error" in refused.json()
    assert (await endpoint.tell(known, predicted)).json()["correct"] == 2
    assert (await endpoint.tell(known, predicted)).status_code == 409, "once"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 30_000, b"{}" + b" " * 70_000, b'{"model": "tiny"}'])
async def test_a_body_that_is_no_label_is_refused(endpoint: Endpoint, body: bytes) -> None:
    assert (await endpoint.client.post(PATH, content=body)).status_code == (413 if len(body) > 65_536 else 400)


async def test_a_body_that_never_ends_holds_no_connection() -> None:
    monitor = Monitor(lambda: START)
    router, limits = Router(label_routes(monitor)), EndpointLimits(read_timeout_s=0.2)
    async with listening(router, limits) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{{".encode())
        with anyio.fail_after(5):
            answer = b"".join([part async for part in stream])
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not end within 0.2 s" in answer


async def test_what_became_of_labels_can_be_asked(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    for labels in (predicted, predicted):
        await endpoint.tell(answer_id, labels)
    await endpoint.tell("nobody-1", predicted)
    found = (await endpoint.client.get(PATH)).json()
    assert found == {
        "taken": 1,
        "unknown": 1,
        "late": 0,
        "repeated": 1,
        "ambiguous": 0,
        "wrong_version": 0,
        "misfit": 0,
    }


async def test_a_web_page_and_another_device_are_refused(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    body = {"model": "tiny", "id": answer_id, "labels": predicted}
    text = {"origin": "https://evil.example", "content-type": "text/plain"}
    simple = await endpoint.client.post(PATH, content=json.dumps(body), headers=text)  # sent without asking before
    page = await endpoint.client.post(PATH, json=body, headers={"origin": "https://evil.example"})
    named = await endpoint.client.post(PATH, json=body, headers={"host": "evil.example"})
    routes = Router(label_routes(endpoint.monitor))
    other = await ask(routes, "POST", PATH, json.dumps(body).encode(), peer="192.168.1.7")
    assert [one.status_code for one in (simple, page, named)] + [other.status] == [403] * 4
    assert endpoint.monitor.label_fates()["taken"] == 0


async def test_feedback_by_request_id_is_counted_without_the_model_s_name(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    told = await endpoint.client.post("/feedback", json={"request_id": answer_id, "labels": predicted})
    assert (told.status_code, told.json()) == (200, {"model": "tiny", "version": 1, "labelled": 2, "correct": 2})
    assert (await endpoint.tell(answer_id, predicted)).status_code == 409, "the same answers as by the other path"


async def test_one_label_is_of_a_request_of_one_sample(endpoint: Endpoint) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X[0]}
    answer = (await endpoint.client.post("/v2/models/tiny/infer", json={"inputs": [tensor], "id": "one"})).json()
    scores = answer["outputs"][0]["data"]
    body = {"request_id": "one", "label": scores.index(max(scores)), "model": "tiny", "version": 1}
    assert (await endpoint.client.post("/feedback", json=body)).json()["correct"] == 1


async def test_feedback_on_an_id_that_answers_of_two_models_have_needs_the_model(endpoint: Endpoint) -> None:
    await endpoint.server.swap("other", replace(served_tiny(), name="other"))
    for model in ("tiny", "other"):
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X[0]}
        await endpoint.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], "id": "both"})
    refused = await endpoint.client.post("/feedback", json={"request_id": "both", "label": 0})
    assert (refused.status_code, "name the model as well" in refused.json()["error"]) == (409, True)
    told = await endpoint.client.post("/feedback", json={"request_id": "both", "label": 0, "model": "other"})
    assert (told.status_code, told.json()["model"]) == (200, "other")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"request_id": "nobody"}, 404),
        ({"model": "other"}, 404),
        ({"version": 2}, 409),
        ({"labels": [0]}, 422),
        ({"label": 0}, 400),
        ({"labels": None}, 400),
        ({"labels": None, "label": True}, 400),
        ({"unknown": 1}, 400),
    ],
)
async def test_feedback_that_fits_no_answer_is_refused(
    endpoint: Endpoint, changes: dict[str, object], status: int
) -> None:
    answer_id, predicted = await endpoint.infer()
    body = {"request_id": answer_id, "labels": predicted} | changes
    refused = await endpoint.client.post("/feedback", json=body)
    assert refused.status_code == status, refused.text


async def test_a_web_page_can_not_give_feedback(endpoint: Endpoint) -> None:
    answer_id, predicted = await endpoint.infer()
    body = json.dumps({"request_id": answer_id, "labels": predicted})
    page = await endpoint.client.post("/feedback", content=body, headers={"origin": "https://evil.example"})
    other = await ask(Router(label_routes(endpoint.monitor)), "POST", "/feedback", body.encode(), peer="192.168.1.7")
    assert (page.status_code, other.status) == (403, 403)
