"""Only what has proved quick is answered in the event loop; answers leave in one write."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace

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


def _quick_after(took_ms: list[float]) -> list[bool]:
    """Return, after each of these runs, whether the next one is answered in the event loop."""
    pace, served, quick = Pace(ServingSettings(in_place_ms=1.0)), served_tiny(), []
    for each_ms in took_ms:
        pace.note(served, "json", 100, each_ms)
        quick.append(pace.is_quick(served, "json", 100))
    return quick


def test_one_slow_run_among_quick_ones_is_not_the_models_doing() -> None:
    assert all(_quick_after([0.1, 5.0, *[0.1] * 40, 5.0, 0.1]))


def test_two_slow_runs_send_the_next_ones_to_workers_until_they_are_forgotten() -> None:
    quick = _quick_after([0.1, 2.0, 0.1, 2.0, *[0.1] * 30])[3:]
    assert quick == sorted(quick)
    assert (quick[0], quick[-1]) == (False, True)


def test_a_slow_first_run_is_enough() -> None:
    assert _quick_after([2.0, 0.1]) == [False, False]


def _quick_in_the_next_version(took_ms: float, self_tests_s: tuple[float, float]) -> bool:
    """Return whether a new version answers in the event loop what took the one before so long."""
    pace = Pace(ServingSettings(in_place_ms=1.0))
    first, second = (replace(served_tiny(number), self_test_s=one_s) for number, one_s in enumerate(self_tests_s, 1))
    pace.note(first, "json", 100, took_ms)
    assert not pace.is_quick(second, "json", 100_000)  # of another size nothing is known
    return pace.is_quick(second, "json", 100)


@pytest.mark.parametrize(
    ("took_ms", "self_tests_s", "expected"),
    [
        (0.3, (0.002, 0.002), True),
        (0.3, (0.002, 0.006), True),
        (0.3, (0.002, 0.020), False),
        (2.0, (0.002, 0.0001), False),  # no self-test proves that large requests have become quick
        (0.3, (0.0, 0.002), False),
        (0.3, (0.002, 0.0), False),
    ],
)
def test_a_new_version_is_as_quick_as_the_one_before_but_for_what_its_self_test_took_longer(
    took_ms: float, self_tests_s: tuple[float, float], *, expected: bool
) -> None:
    assert _quick_in_the_next_version(took_ms, self_tests_s) == expected


async def test_the_first_request_to_a_new_version_runs_in_place_where_the_one_before_was_quick() -> None:
    engines = [ThreadNoting(served_tiny().engine) for _ in range(2)]
    async with running(ServingSettings(in_place_ms=1000)) as endpoint:
        for number, engine in enumerate(engines, 1):
            await endpoint.server.swap("tiny", replace(served_tiny(number, engine), self_test_s=0.001))
            for _ in range(2):
                assert (await endpoint.infer(_body(1))).status_code == 200
    here = threading.current_thread()
    assert [[thread is here for thread in engine.threads] for engine in engines] == [[False, True], [True, True]]


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
