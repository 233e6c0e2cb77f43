"""One suite for every way to ask: an endpoint over TCP, over a Unix-domain socket, and the models in this process.

Then what the last of them promises alone: it follows what the device serves, and never changes the agent's folder.
"""

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest
from tests.agent.batch.jobs import deploy
from tests.agent.serving.conftest import SeenRequests
from tests.agent.simulators.device import version
from tests.fixtures import tiny

from shoal_agent.client import Client
from shoal_agent.endpoint import Address, Listener, json_response
from shoal_agent.endpoint.routes import Route, Router
from shoal_agent.errors import AgentError
from shoal_agent.followed_model import RETRY_S, FollowedModel
from shoal_agent.in_process import InProcessClient
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.slots import Slot, SlotFile, Slots
from shoal_agent.stored_model import open_model

pytestmark = pytest.mark.anyio
Asks = Client | InProcessClient
ROW = [0.5, -1.0, 2.0, 0.25]
X = np.array([ROW, [0.0] * 4], dtype=np.float32)
PLACES = ["tcp", "unix", "in process"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deploy(tmp_path_factory.mktemp("device"), version(1))


def active(data: Path) -> Slot:
    slot = SlotFile(data / "models", "tiny").slots.active
    assert slot is not None
    return slot


@asynccontextmanager
async def serving(data: Path, address: Address) -> AsyncIterator[str]:
    server = ModelServer()
    await server.swap("tiny", await anyio.to_thread.run_sync(open_model, data, "tiny", active(data)))
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(create_router(Inference(server, SeenRequests()))).serve, address)
        yield f"unix:{address.path}" if address.path else f"http://127.0.0.1:{port}"
        group.cancel_scope.cancel()
    await server.aclose()


@pytest.fixture(params=PLACES)
async def ask(request: pytest.FixtureRequest, data: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Calls one method of a client, in a thread."""
    if request.param == "in process":
        with Client.in_process(data, cache_mb=1) as client:
            yield lambda name, *given, **named: _call(client, name, *given, **named)
        return
    async with serving(data, Address(path=tmp_path / "agent.sock") if request.param == "unix" else Address()) as url:
        with Client(url) as client:
            yield lambda name, *given, **named: _call(client, name, *given, **named)


async def _call(client: Asks, name: str, *given: Any, **named: Any) -> Any:
    return await anyio.to_thread.run_sync(lambda: getattr(client, name)(*given, **named))


async def test_one_sample_and_several_are_predicted(ask: Callable[..., Any]) -> None:
    expected = tiny.probabilities(X)
    for features in (ROW, tuple(ROW), np.array(ROW), {f"f{n}": value for n, value in enumerate(ROW)}, {"x": ROW}):
        answer = await ask("predict", features, model="tiny")
        assert (answer["prediction"], answer["label"]) == ("abc"[expected[0].argmax()], expected[0].argmax())
        assert answer["confidence"] == pytest.approx(float(expected[0].max()), abs=1e-6)
        assert (answer["model_name"], answer["model_version"]) == ("tiny", "1")
        assert answer["id"]
        assert answer["inference_time_ms"] > 0
    for several in (X, X.tolist(), [tuple(row) for row in X.tolist()]):
        answer = await ask("predict", several)
        assert [one["label"] for one in answer["predictions"]] == expected.argmax(axis=1).tolist()
    assert list((await ask("predict", [tuple(ROW)]))["predictions"][0]) == ["prediction", "label", "confidence"]


async def test_arrays_go_in_and_out(ask: Callable[..., Any]) -> None:
    outputs = await ask("infer", "tiny", {"x": X}, "1")
    np.testing.assert_allclose(outputs["probabilities"], tiny.probabilities(X), atol=1e-6)
    outputs["probabilities"][:] = 0  # the caller's own
    again = await ask("infer", "tiny", {"x": np.asfortranarray(X)})
    np.testing.assert_allclose(again["probabilities"], tiny.probabilities(X), atol=1e-6)


async def test_what_there_is_is_listed(ask: Callable[..., Any]) -> None:
    assert await ask("models") == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]


REFUSED: dict[str, tuple[Callable[[Callable[..., Any]], Any], str]] = {
    "another model": (lambda ask: ask("predict", ROW, model="none"), "404: model 'none' is not served; ask for one of"),
    "a path for a model": (lambda ask: ask("infer", "../tiny", {"x": X}), "404"),
    "another version": (lambda ask: ask("predict", ROW, version="9"), "404: version '9' of model 'tiny' is not served"),
    "another version of arrays": (lambda ask: ask("infer", "tiny", {"x": X}, "9"), "404: version '9' of model"),
    "too few features": (lambda ask: ask("predict", ROW[:3]), "400: features for input 'x': 3 values found, expected"),
    "no features": (lambda ask: ask("predict"), "400: .*features"),
    "features and an entity": (lambda ask: ask("predict", ROW, entity_id="a"), "422: .*both features and an entity_id"),
    "an unknown feature": (lambda ask: ask("predict", {"f9": 1}), "400: features: missing or unknown: f0"),
    "text": (lambda ask: ask("predict", ["a", "b", "c", "d"]), "400: features for input 'x': expected FP32"),
    "NaN": (lambda ask: ask("infer", "tiny", {"x": np.full((1, 4), np.nan, dtype=np.float32)}), "400: .*NaN"),
    "another datatype": (
        lambda ask: ask("infer", "tiny", {"x": X.astype(np.float64)}),
        "400: input 'x' has datatype 'FP64'",
    ),
    "another shape": (lambda ask: ask("infer", "tiny", {"x": X[:, :3].copy()}), r"400: input 'x' has shape \[2, 3\]"),
    "another input": (lambda ask: ask("infer", "tiny", {"y": X}), "400: input 'y' is not one of the model's inputs"),
    "no datatype": (lambda ask: ask("infer", "tiny", {"x": X.astype(np.complex64)}), "input 'x' is complex64"),
    "labels of nobody's answer": (lambda ask: ask("feedback", "tiny", "no-1", [0]), "labels"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_wrong_is_refused_alike(ask: Callable[..., Any], kind: str) -> None:
    call, reason = REFUSED[kind]
    with pytest.raises(AgentError, match=reason) as refused:
        await call(ask)
    assert refused.value.remedy


# --- in this process alone


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A device that had version 1 and serves version 2."""
    return deploy(tmp_path / "device", version(1), version(2))


def served_version(client: InProcessClient) -> str:
    return str(client.predict(ROW, model="tiny")["model_version"])


def number(followed: FollowedModel) -> int:
    served = followed.served()
    assert served is not None
    return served.version


def put(data: Path, slots: Slots) -> None:
    SlotFile(data / "models", "tiny").put(slots)


def test_a_swap_and_a_rollback_are_followed_between_calls(own: Path) -> None:
    slots = SlotFile(own / "models", "tiny").slots
    with Client.in_process(own, cache_mb=1) as client:
        found = [served_version(client)]
        put(own, slots.fell_back())
        found += [served_version(client), served_version(client)]
        put(own, slots)
        found.append(served_version(client))
        put(own, Slots())
        with pytest.raises(AgentError, match="404: model 'tiny' is not served"):
            client.predict(ROW, model="tiny")
    assert found == ["2", "1", "1", "2"]


def test_every_call_amid_swaps_is_answered_by_one_whole_version(own: Path) -> None:
    slots = SlotFile(own / "models", "tiny").slots
    has_ended = threading.Event()

    def swap() -> None:
        while not has_ended.is_set():
            put(own, slots.fell_back())
            put(own, slots)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with Client.in_process(own, cache_mb=1) as client:
            answers = [client.predict(ROW, model="tiny") for _ in range(60)]
    finally:
        has_ended.set()
        swapping.join()
    expected = float(tiny.probabilities(X)[0].max())
    assert {one["model_version"] for one in answers} <= {"1", "2"}
    assert all(one["confidence"] == pytest.approx(expected, abs=1e-6) for one in answers)


def test_a_version_that_does_not_load_leaves_the_one_before_and_is_tried_again(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slots, now_s, tried = SlotFile(own / "models", "tiny").slots, 0.0, []

    def load(data: Path, name: str, slot: Slot) -> Any:
        tried.append(slot.version)
        return open_model(data, name, slot)

    put(own, slots.fell_back())
    followed = FollowedModel(own, "tiny", load, lambda: now_s)
    assert number(followed) == 1
    assert slots.active is not None
    manifest = own / "blobs" / slots.active.manifest.sha256
    signed = manifest.read_bytes()
    manifest.write_bytes(b"damaged")
    put(own, slots)
    assert [number(followed) for _ in range(3)] == [1, 1, 1]
    assert tried == [1, 2], "not at each call"
    assert "tiny stays at version 1: checking the stored artifact" in caplog.text
    manifest.write_bytes(signed)
    now_s = RETRY_S
    assert number(followed) == 2
    followed.close()


def test_a_version_that_the_agent_replaces_while_it_is_opened_is_not_waited_for(own: Path) -> None:
    slots = SlotFile(own / "models", "tiny").slots

    def load(data: Path, name: str, slot: Slot) -> Any:
        if slot.version == 2:
            put(own, slots.fell_back())
            (own / "blobs" / slot.manifest.sha256).unlink()
        return open_model(data, name, slot)

    followed = FollowedModel(own, "tiny", load)
    assert number(followed) == 1
    followed.close()


def test_a_file_that_is_not_what_its_slot_says_is_not_loaded(own: Path) -> None:
    path = own / "blobs" / active(own).file_sha256
    path.write_bytes(path.read_bytes() + b"more")
    with Client.in_process(own) as client, pytest.raises(AgentError, match="its bytes have changed on disk"):
        client.predict(ROW)
    with Client.in_process(own) as client:
        [listed] = client.models()
    assert (listed["state"], "have changed on disk" in listed["reason"]) == ("UNAVAILABLE", True)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_nothing_in_the_agent_s_folder_is_written(own: Path) -> None:
    before = listing(own)
    with Client.in_process(own) as client:
        served_version(client)
        client.models()
    assert listing(own) == before


async def test_it_works_where_an_event_loop_runs(own: Path) -> None:
    with Client.in_process(own) as client:
        assert served_version(client) == "2"


def test_a_kept_answer_is_of_the_version_that_serves(own: Path) -> None:
    slots = SlotFile(own / "models", "tiny").slots
    with Client.in_process(own, cache_mb=1) as client:
        two = [client.infer("tiny", {"x": X})["probabilities"] for _ in range(2)]
        cache = client._inference.cache
        assert cache is not None
        assert (cache.counts().hits, cache.counts().misses) == (1, 1)
        np.testing.assert_array_equal(*two)
        put(own, slots.fell_back())
        client.infer("tiny", {"x": X})
        assert (cache.counts().hits, cache.counts().misses) == (1, 2)


def test_a_folder_without_models_says_what_to_do(tmp_path: Path) -> None:
    with Client.in_process(tmp_path) as client, pytest.raises(AgentError, match="503: no model is served yet; roll a"):
        client.predict(ROW)


async def test_an_entity_s_features_are_asked_of_the_agent(own: Path) -> None:
    values = {f"d/f{n}": {"value": value, "age_s": 0.5, "is_fallback": n == 3} for n, value in enumerate(ROW)}
    known = {"entity": "pump/7", "is_known": True, "features": values}
    routes = [
        Route("/shoal/v1/features/pump%2F7", {"GET": lambda _: json_response(known)}),
        Route("/shoal/v1/features/{entity}", {"GET": lambda _: json_response({"is_known": False, "features": {}})}),
    ]
    with Client.in_process(own) as client:
        with pytest.raises(AgentError, match="looking for the agent's endpoint"):
            client.predict(entity_id="pump/7")
        async with anyio.create_task_group() as group:
            port = await group.start(Listener(Router(routes)).serve, Address())
            (own / "run").mkdir(exist_ok=True)
            (own / "run" / "endpoint.json").write_text(f'{{"url": "http://127.0.0.1:{port}"}}')
            answer = await _call(client, "predict", entity_id="pump/7")
            with pytest.raises(AgentError, match="404: .*entity 'nobody': there are none"):
                await _call(client, "predict", entity_id="nobody")
            group.cancel_scope.cancel()
    assert answer["label"] == tiny.probabilities(X)[0].argmax()
    assert answer["features_age_s"] == {"f0": 0.5, "f1": 0.5, "f2": 0.5, "f3": None}
    assert (answer["fallbacks"], answer["entity_id"]) == (["f3"], "pump/7")


def test_the_folder_may_be_named_as_text(own: Path) -> None:
    with Client.in_process(os.fspath(own)) as client:
        assert served_version(client) == "2"
