"""Only what has proved quick is answered in the event loop; answers leave in one write."""

import json
import threading
from collections.abc import Mapping

import anyio
import pytest
from tests.agent.serving.conftest import Endpoint, GatedEngine, running, served_tiny

from shoal_agent.engines import Array
from shoal_agent.serving import ServingSettings
from shoal_agent.serving.pace import Pace

pytestmark = pytest.mark.anyio

ROW = [0.5, -1.0, 2.0, 0.25]


def _body(rows: int) -> dict[str, object]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": ROW * rows}]}


class ThreadNoting(GatedEngine):
    """An engine that notes in which threads it ran."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.threads.append(threading.current_thread())
        return self.engine.infer(inputs)

    @property
    def threads(self) -> list[threading.Thread]:
        return self.__dict__.setdefault("_threads", [])


async def test_the_first_request_of_a_size_runs_in_a_worker_and_the_others_in_place() -> None:
    engine = ThreadNoting(served_tiny().engine)
    async with running(ServingSettings(in_place_ms=1000)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, engine))
        for rows in (1, 1, 2000, 1, 2000):
            assert (await endpoint.infer(_body(rows))).status_code == 200
    here = threading.current_thread()
    assert [thread is here for thread in engine.threads] == [False, True, False, True, True]


async def test_a_model_that_is_not_quick_never_runs_in_place() -> None:
    engine = ThreadNoting(served_tiny().engine)
    async with running(ServingSettings(in_place_ms=0)) as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, engine))
        for _ in range(3):
            assert (await endpoint.infer(_body(1))).status_code == 200
    assert threading.current_thread() not in engine.threads


def test_one_slow_run_sends_the_next_ones_to_workers_until_it_is_forgotten() -> None:
    pace, served = Pace(ServingSettings(in_place_ms=1.0)), served_tiny()
    pace.note(served, "json", 100, 0.1)
    assert pace.is_quick(served, "json", 100)
    pace.note(served, "json", 100, 2.0)
    quick = []
    for _ in range(30):
        quick.append(pace.is_quick(served, "json", 100))
        pace.note(served, "json", 100, 0.1)
    assert quick == sorted(quick)
    assert (quick[0], quick[-1]) == (False, True)


def test_a_new_version_has_to_prove_itself_again() -> None:
    pace = Pace(ServingSettings())
    first = served_tiny(1)
    pace.note(first, "json", 100, 0.1)
    assert not pace.is_quick(served_tiny(2), "json", 100)


async def test_head_and_body_of_an_answer_come_in_one_piece(endpoint: Endpoint) -> None:
    body = json.dumps(_body(1)).encode()
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: device\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
        for _ in range(5):
            await stream.send(head + body)
            answer = await stream.receive()
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"}]}")


async def test_an_answer_without_a_body_is_not_held_back(endpoint: Endpoint) -> None:
    async with await anyio.connect_tcp("127.0.0.1", endpoint.port) as stream:
        await stream.send(b"HEAD /v2/health/live HTTP/1.1\r\nHost: device\r\n\r\n")
        with anyio.fail_after(5):
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")


async def test_a_defect_is_an_error_body_and_the_endpoint_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(GatedEngine):
        def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
            raise ZeroDivisionError(inputs)

    async with running() as endpoint:
        await endpoint.server.swap("tiny", served_tiny(1, Broken(served_tiny().engine)))
        response = await endpoint.infer(_body(1))
        assert response.status_code == 500
        assert "ZeroDivisionError; this is a defect of the agent" in response.json()["error"]
        assert (await endpoint.client.get("/v2/health/live")).status_code == 200
    assert "answering POST /v2/models/tiny/infer" in caplog.text
