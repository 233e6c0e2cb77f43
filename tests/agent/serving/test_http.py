"""The server lives inside the agent's task group: own port, no signal handlers, local only, ends when cancelled."""

import signal
import socket

import anyio
import httpx
import pytest
from tests.agent.serving.conftest import Endpoint, GatedEngine, SeenRequests, running, served_tiny

from shoal_agent.endpoint import Address, EndpointError, Listener
from shoal_agent.serving import Inference, ModelServer, create_router

pytestmark = pytest.mark.anyio


async def test_signal_handlers_stay_the_agents_own() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with running() as endpoint:
        assert (await endpoint.client.get("/v2/health/live")).status_code == 200
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_port_is_free_again_after_the_end() -> None:
    async with running() as endpoint:
        port = endpoint.port
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    router = create_router(Inference(ModelServer(), SeenRequests()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EndpointError, match=f"127.0.0.1 port {port} cannot be bound"):
            await Listener(router).serve(Address(port=port))


async def test_an_address_that_others_could_reach_is_refused_without_tls() -> None:
    router = create_router(Inference(ModelServer(), SeenRequests()))
    with pytest.raises(EndpointError, match=r"host '0\.0\.0\.0' found"):
        await Listener(router).serve(Address("0.0.0.0"))  # noqa: S104 - what is refused


async def test_answers_do_not_wait_for_delayed_acknowledgements(endpoint: Endpoint) -> None:
    # With Nagle's algorithm on, each answer took 40 ms.
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}]}
    for _ in range(30):  # past the kernel's quick acknowledgements of a new connection
        assert (await endpoint.infer(body)).status_code == 200
    with anyio.fail_after(30 * 0.04):
        for _ in range(30):
            await endpoint.infer(body)


async def test_a_stop_lets_the_request_in_flight_end() -> None:
    engine = GatedEngine(served_tiny().engine)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}]}
    statuses: list[int] = []

    async def ask(port: int) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.post(f"http://127.0.0.1:{port}/v2/models/tiny/infer", json=body)
            statuses.append(response.status_code)

    server = ModelServer()
    await server.swap("tiny", served_tiny(1, engine))
    async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
        port = await group.start(Listener(create_router(Inference(server, SeenRequests()))).serve, Address())
        outer.start_soon(ask, port)
        await engine.wait_entered()
        group.cancel_scope.cancel()
        engine.gate.set()
    assert statuses == [200]
