"""A loopback listener answers those who mean this device, and no web page whose name was made to lead here."""

import time
from pathlib import Path

import anyio
import httpx
import pytest
from tests.agent.serving.conftest import SeenRequests

from shoal_agent.endpoint import EndpointLimits, LocalNames, RequestError
from shoal_agent.local_serving import Opening, open_places
from shoal_agent.serving import Inference, ModelServer, create_router
from shoal_agent.settings import ServingPlaces

PANEL = "https://panel.example"


def status(names: LocalNames, **headers: str) -> int:
    try:
        names.authorize({name.encode(): value.encode("latin-1") for name, value in headers.items()})
    except RequestError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8080",
        "LocalHost:80",
        "127.0.0.1:9999",
    ],
)
def test_the_device_s_own_names_are_right_at_any_port(host: str) -> None:
    names = LocalNames()
    assert [status(names, host=host) for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil.example, localhost",
        "localhost, evil.example:8080",
        "localhost:8080@evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.2",
        "0.0.0.0:8080",
        "[::2]:8080",
        "localhost:port",
        ":8080",
        "\xff",
    ],
)
def test_other_names_are_refused_each_time(host: str) -> None:
    names = LocalNames()
    assert [status(names, host=host) for _ in range(2)] == [421, 421]


def test_a_program_that_names_no_host_is_no_browser() -> None:
    assert status(LocalNames()) == 200


def test_pages_of_others_are_refused_and_those_of_the_same_address_are_not() -> None:
    names = LocalNames()
    assert status(names, host="localhost:8080", origin="http://localhost:8080") == 200
    for origin in (PANEL, "null", "", "http://localhost:3000", "https://localhost:8080", "http://localhost:8080.evil"):
        assert status(names, host="localhost:8080", origin=origin) == 403
    assert status(names, origin="http://") == 403


def test_the_owner_may_allow_names_and_pages() -> None:
    names = LocalNames(["Camera-7.local"], [PANEL])
    assert status(names, host="camera-7.local:8080") == 200
    assert status(names, host="camera-8.local:8080") == 421
    assert status(names, host="localhost", origin=PANEL) == 200
    assert status(names, host="localhost", origin=PANEL + ":444") == 403
    assert status(names, host="evil.example", origin=PANEL) == 421


def test_what_is_remembered_is_bounded() -> None:
    names = LocalNames()
    for port in range(1000):
        assert status(names, host=f"localhost:{port}") == 200
    assert len(names._right) <= 64


def test_it_costs_less_than_two_microseconds_a_request() -> None:
    names, headers = LocalNames(), {b"host": b"127.0.0.1:8080", b"content-length": b"7"}
    best_s = 1.0
    for _ in range(20):
        before_s = time.process_time()
        for _ in range(1000):
            names.authorize(headers)
        best_s = min(best_s, (time.process_time() - before_s) / 1000)
    assert best_s < 2e-6


@pytest.mark.anyio
async def test_the_agent_s_loopback_is_so_guarded_and_its_socket_needs_not_be(tmp_path: Path) -> None:
    inference = Inference(ModelServer(), SeenRequests())
    places = ServingPlaces(port=0, socket=tmp_path / "agent.sock", allowed_hosts=("camera-7.local",))
    opening = Opening(places, EndpointLimits(), tmp_path, "d-1")
    async with anyio.create_task_group() as group:
        url = await open_places(group, opening, create_router(inference), inference)
        asked: tuple[dict[str, str], ...] = (
            {},
            {"host": "camera-7.local"},
            {"host": "evil.example"},
            {"origin": PANEL},
        )
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            paths = ("/v2/health/live", "/v2/models/tiny/infer")
            answers = [await client.post(path, headers=one, content=b"{}") for path in paths for one in asked]
        assert [one.status_code for one in answers] == [405, 405, 421, 403, 503, 503, 421, 403]
        transport = httpx.AsyncHTTPTransport(uds=str(places.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://device") as client:
            assert (await client.get("/v2/health/live")).status_code == 200
        group.cancel_scope.cancel()
