"""Streams of predictions: what models answer to others, bounded for who is slow, and over when reader or agent goes."""

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import numpy as np
import pytest
from tests.agent.endpoints import ask
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.serving.echo import EchoEngine, served_echo
from tests.fixtures import tiny

from shoal_agent.client import Client
from shoal_agent.endpoint import Address, Listener, Router
from shoal_agent.errors import AgentError
from shoal_agent.prediction_stream import PredictionStream, event, stream_routes
from shoal_agent.serving import Inference, ModelServer, ServedModel, create_router
from shoal_agent.settings import StreamSettings
from shoal_contract.processing import BoxesOutput, ClassesOutput, Processing

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 29, 12, 0, tzinfo=timezone.utc)
X = np.array([[0.5, -1.0, 2.0, 0.25], [0.0] * 4], dtype=np.float32)


@dataclass
class Device:
    """Served models whose answers are streamed."""

    server: ModelServer
    stream: PredictionStream
    seen: SeenRequests
    router: Router
    port: int
    stop: Callable[[], None]

    def observe(self, served: ServedModel, x: Any, answer_id: str = "a-1") -> None:
        self.stream.observe(served, {"x": x}, served.engine.infer({"x": x}), 1.0, answer_id)

    async def read(self, model: str = "") -> socket.socket:
        """Open a stream; return once the reader is let in."""
        query = f"?model_name={model}" if model else ""
        reader = socket.create_connection(("127.0.0.1", self.port))
        reader.settimeout(5)
        reader.sendall(f"GET /predictions/stream{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await until(reader, b"\r\n\r\n:\n\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-type: text/event-stream\r\n" in head
        assert b"cache-control: no-store\r\n" in head
        return reader

    async def until_readers(self, count: int) -> None:
        with anyio.fail_after(5):
            while self.stream.readers != count:  # noqa: ASYNC110 - nothing tells it
                await anyio.sleep(0.005)


@asynccontextmanager
async def running(**bounds: Any) -> AsyncIterator[Device]:
    server, seen = ModelServer(), SeenRequests()
    stream = PredictionStream(seen, StreamSettings(**bounds), lambda: NOON)
    router = create_router(Inference(server, stream), stream_routes(stream, server))
    await server.swap("tiny", served_tiny())
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(router).serve, Address())
        yield Device(server, stream, seen, router, port, group.cancel_scope.cancel)
        group.cancel_scope.cancel()
    await server.aclose()


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with running() as made:
        yield made


async def until(reader: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        piece = await anyio.to_thread.run_sync(reader.recv, 65536)
        assert piece, found
        found += piece
    return found


def events(text: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return name and data of each event, as the HTML standard reads them; comments are none."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":")]
        if fields:
            assert [name for name, _ in fields] == ["event", "data"]
            found.append((fields[0][1], json.loads(fields[1][1])))
    return found


async def test_what_others_ask_for_is_streamed_without_what_they_asked(device: Device) -> None:
    with await device.read() as reader:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{device.port}", trust_env=False) as caller:
            answer = (await caller.post("/predict", json={"features": X[0].tolist(), "id": "call-7"})).json()
        [(name, data)] = events(await until(reader, b"\n\n"))
    assert name == "prediction"
    assert data == {
        "model_name": "tiny",
        "version": "1",
        "id": "call-7",
        "prediction": answer["prediction"],
        "confidence": pytest.approx(answer["confidence"]),
        "time": "2026-11-29T12:00:00+00:00",
    }
    assert len(device.seen.answered) == 1, "whoever watches sees it as before"


async def test_each_sample_of_a_request_is_an_event_with_its_place(device: Device) -> None:
    with await device.read() as reader:
        device.observe(served_tiny(), X)
        found = [data for _, data in events(await until(reader, b"\n\n"))]
    expected = tiny.probabilities(X)
    assert [(one["sample"], one["prediction"]) for one in found] == [
        (place, "abc"[row.argmax()]) for place, row in enumerate(expected)
    ]


async def test_a_stream_of_one_model_has_its_predictions_alone(device: Device) -> None:
    echo = served_echo("echo", EchoEngine("FP32", (-1, 2)))
    await device.server.swap("echo", echo)
    with await device.read("echo") as reader:
        device.observe(served_tiny(), X)
        device.observe(echo, np.ones((1, 2), dtype=np.float32))
        [(_, data)] = events(await until(reader, b"\n\n"))
    assert data["model_name"] == "echo"
    unknown = await ask(device.router, "GET", "/predictions/stream")
    assert unknown.status == 200


async def test_a_model_that_is_not_served_is_not_found(device: Device) -> None:
    async with httpx.AsyncClient(trust_env=False) as caller:
        answer = await caller.get(f"http://127.0.0.1:{device.port}/predictions/stream?model_name=none")
    assert (answer.status_code, device.stream.readers) == (404, 0)


async def test_a_composition_has_no_stream_of_its_own(device: Device) -> None:
    member = device.server.get("tiny")
    assert member is not None
    await device.server.swap("both", replace(served_tiny(), name="both", members=(member,)))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{device.port}", trust_env=False) as caller:
        answer = await caller.get("/predictions/stream?model_name=both")
    assert (answer.status_code, "under their names" in answer.json()["error"]) == (400, True)


async def test_an_id_cannot_make_events_of_its_own(device: Device) -> None:
    with await device.read() as reader:
        device.observe(served_tiny(), X[:1], 'a\n\nevent: dropped\ndata: {"dropped": 7}\n\n' + "b" * 1000)
        [(name, data)] = events(await until(reader, b"\n\n"))
    assert (name, data["id"][:3], len(data["id"])) == ("prediction", "a\n\n", 128)


def changed(served: ServedModel, **changes: object) -> ServedModel:
    return replace(served, manifest=served.manifest.model_copy(update=changes))


async def shown(device: Device, served: ServedModel, x: Any) -> Any:
    with await device.read() as reader:
        device.observe(served, x)
        [(_, data)] = events(await until(reader, b"\n\n"))
    return data["prediction"], data["confidence"]


async def test_what_is_declared_of_an_output_is_shown_as_predict_shows_it(device: Device) -> None:
    declared = changed(served_tiny(), processing=Processing(outputs={"probabilities": ClassesOutput()}))
    expected = tiny.probabilities(X)[0]
    assert await shown(device, declared, X[:1]) == ("abc"[expected.argmax()], pytest.approx(float(expected.max())))


async def test_of_what_an_event_cannot_show_it_is_shown_that_it_was(device: Device) -> None:
    boxes = Processing(outputs={"probabilities": BoxesOutput(scores="probabilities")})
    assert await shown(device, changed(served_tiny(), processing=boxes), X[:1]) == (None, None)
    large = served_echo("large", EchoEngine("FP32", (-1, 65)))
    large = changed(large, baseline=large.manifest.baseline.model_copy(update={"predictions": ()}))
    assert await shown(device, large, np.ones((1, 65), dtype=np.float32)) == (None, None)
    assert await shown(device, served_tiny(), np.full((1, 4), np.nan, dtype=np.float32)) == (None, None)
    detector = served_echo("detector", EchoEngine("FP32", (-1, 7)))
    detector = changed(detector, baseline=detector.manifest.baseline.model_copy(update={"predictions": ()}))
    with await device.read():
        device.observe(detector, np.empty((0, 7), dtype=np.float32))  # finding nothing fails nobody's request
    text = served_echo("text", EchoEngine("BYTES", (-1, 1)))
    assert await shown(device, text, np.array([[b"x" * 9000]], dtype=np.object_)) == (None, None)


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    echo = served_echo("text", EchoEngine("BYTES", (-1, 1)))
    x = np.array([[b"x" * 4000]], dtype=np.object_)
    async with running(max_waiting=16) as device:
        with await device.read() as reader:
            [waiting] = [one.waiting for one in device.stream._readers]
            sent = 0
            while waiting.dropped < 100:
                device.observe(echo, x, f"a-{sent}")
                sent += 1
                for _ in range(8 if sent % 8 == 0 else 0):
                    await anyio.lowlevel.checkpoint()  # as far as the connection takes them
            device.observe(echo, x, "last")
            rest = b'"last","prediction":"%b","confidence":null,"time":"2026-11-29T12:00:00+00:00"}\n\n'
            found = events(await until(reader, rest % (b"x" * 4000)))
    dropped = [data["dropped"] for name, data in found if name == "dropped"]
    ids = [data["id"] for name, data in found if name == "prediction"]
    assert sum(dropped) >= 100
    assert len(ids) + sum(dropped) == sent + 1
    assert (ids[-1], len(ids) * 4000 > 64 * 1024) == ("last", True)
    assert ids[:3] == ["a-0", "a-1", "a-2"], "what was sent before is whole and in order"


async def test_a_stream_without_events_says_that_it_lives() -> None:
    async with running(heartbeat_s=0.02) as device:
        with await device.read() as reader:
            assert await until(reader, b":\n\n" * 3) == b":\n\n" * 3


async def test_a_reader_that_goes_is_forgotten(device: Device) -> None:
    with await device.read():
        assert device.stream.readers == 1
    await device.until_readers(0)
    device.observe(served_tiny(), X)


async def test_one_stream_more_than_allowed_is_refused_until_one_goes() -> None:
    async with running(max_streams=2) as device, httpx.AsyncClient(trust_env=False) as caller:
        readers = [await device.read() for _ in range(2)]
        answer = await caller.get(f"http://127.0.0.1:{device.port}/predictions/stream")
        assert answer.status_code == 503
        assert "2 streams of predictions are open, at most 2 may be" in answer.json()["error"]
        readers.pop().close()
        await device.until_readers(1)
        readers.append(await device.read())
        for reader in readers:
            reader.close()


async def test_head_opens_no_stream(device: Device) -> None:
    async with httpx.AsyncClient(trust_env=False) as caller:
        answer = await caller.head(f"http://127.0.0.1:{device.port}/predictions/stream")
    assert answer.headers["content-type"] == "text/event-stream"
    await device.until_readers(0)


async def test_a_stream_ends_with_the_agent_at_once() -> None:
    ended = []
    async with running() as device:
        reader = await device.read()
        began_s = anyio.current_time()
        device.stop()
    ended.append(anyio.current_time() - began_s)
    assert await anyio.to_thread.run_sync(reader.recv, 100) == b""
    reader.close()
    assert (ended[0] < 2, device.stream.readers) == (True, 0)


async def test_the_client_iterates_over_predictions(device: Device) -> None:
    found: list[dict[str, Any]] = []

    def read() -> None:
        for one in Client(f"http://127.0.0.1:{device.port}").stream("tiny"):
            found.append(one)
            if len(found) == 2:
                break

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, read)
        await device.until_readers(1)
        device.observe(served_tiny(), X)
    await device.until_readers(0)
    assert [one["sample"] for one in found] == [0, 1]


async def test_a_client_in_another_process_reads_along_at_the_agent(device: Device, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "endpoint.json").write_text(json.dumps({"url": f"http://127.0.0.1:{device.port}"}))
    found: list[dict[str, Any]] = []

    def read() -> None:
        with Client.in_process(tmp_path) as client:
            found.append(next(client.stream("tiny")))

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, read)
        await device.until_readers(1)
        device.observe(served_tiny(), X[:1], "a-7")
    assert [one["id"] for one in found] == ["a-7"]
    await device.until_readers(0)


async def test_the_client_s_iterator_ends_with_the_agent_and_tells_what_is_refused() -> None:
    async with anyio.create_task_group() as group, running() as device:
        client = Client(f"http://127.0.0.1:{device.port}")

        def read() -> None:
            assert list(client.stream()) == []

        def ask_for_another() -> None:
            with pytest.raises(AgentError, match="404: model 'none' is not served"):
                next(client.stream("none"))

        await anyio.to_thread.run_sync(ask_for_another)
        group.start_soon(anyio.to_thread.run_sync, read)
        await device.until_readers(1)
        device.stop()
    with pytest.raises(AgentError, match="is it running|Connection refused"):
        next(client.stream())


def test_an_event_is_one_of_the_standard_s() -> None:
    assert (
        event("prediction", {"a": "x\ny", "b": float("nan")}) == b'event: prediction\ndata: {"a":"x\\ny","b":null}\n\n'
    )
