"""Requests pass between two real endpoints over mutual TLS: each is answered once, whatever a neighbour does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import httpx
import numpy as np
import pytest
from anyio.abc import TaskGroup
from anyio.streams.tls import TLSStream
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import GatedEngine, SeenRequests, served_tiny
from tests.agent.simulators.false_cache import Answer, FalseCache, hangs_up, never_begins, says, speaks_no_http
from tests.fixtures import tiny
from tests.simulators.lan import Lan, running_lan

from shoal_agent.clock import Clock
from shoal_agent.errors import SiteError
from shoal_agent.handover import Neighbours
from shoal_agent.handover.choice import Wanted
from shoal_agent.identity import PAIR, Identity
from shoal_agent.serving import Inference, ModelServer, ServedModel, ServingSettings, create_router
from shoal_agent.serving.infer import infer_handler
from shoal_agent.settings import HandoverSettings
from shoal_contract.desired import DesiredHandover, DesiredSite, HandoverPeer

pytestmark = pytest.mark.anyio
ROW = [[0.5, -1.0, 2.0, 0.25]]
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}]}
PATH = "/v2/models/tiny/infer"
QUICK = HandoverSettings(
    host="127.0.0.1", port=0, connect_s=1.0, silence_s=0.5, rest_s=60.0, busy_s=60.0, lacking_s=60.0
)


@dataclass
class Device:
    """A device's endpoint, with its model behind a gate."""

    identity: Identity
    inference: Inference
    neighbours: Neighbours
    client: httpx.AsyncClient
    engine: GatedEngine
    seen: SeenRequests
    group: TaskGroup

    @property
    def peer(self) -> HandoverPeer:
        port = self.neighbours._server.port
        return HandoverPeer(host="127.0.0.1", port=port or 1, device=self.identity.device_id)

    async def follow(self, *peers: HandoverPeer, patience_ms: int = 0) -> None:
        policy = DesiredHandover(peers=peers, patience_ms=patience_ms)
        site = DesiredSite(name="lan", cache=self.identity.device_id, host="127.0.0.1", port=1, handover=policy)
        await self.neighbours.converge(self.group, site)

    async def ask(self, **headers: str) -> httpx.Response:
        return await self.client.post(PATH, json=BODY, headers=headers)

    @property
    def passed(self) -> dict[str, int]:
        """What became of requests that were passed on."""
        return {outcome: count for (_, outcome), count in self.neighbours._handover.passed.items()}


def asking(port: int) -> httpx.AsyncClient:
    """Return a client of an endpoint on loopback."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)


@asynccontextmanager
async def device(
    group: TaskGroup, identity: Identity, served: ServedModel | None = None, serving: ServingSettings | None = None
) -> AsyncIterator[Device]:
    """Run a device with one worker."""
    served = served or served_tiny()
    engine = GatedEngine(served.engine)
    server, seen = ModelServer(), SeenRequests()
    inference = Inference(server, seen, serving or ServingSettings(workers=1, in_place_ms=0.0))
    await server.swap(served.name, replace(served, engine=engine))
    neighbours = Neighbours(inference, identity, Clock(None), QUICK)
    router = create_router(inference, pass_on=neighbours.pass_on)
    async with listening(router) as port, asking(port) as client:
        yield Device(identity, inference, neighbours, client, engine, seen, group)
        engine.gate.set()
        await neighbours.converge(group, None)
    inference.close()


@pytest.fixture
async def lan(tmp_path: Path) -> AsyncIterator[Lan]:
    async with running_lan(tmp_path) as running:
        yield running


@asynccontextmanager
async def pair(lan: Lan, other: ServedModel | None = None) -> AsyncIterator[tuple[Device, Device]]:
    """Run a device whose one worker is busy, and a neighbour whose gate is open."""
    async with (
        device(lan.group, lan.identity("here")) as here,
        device(lan.group, lan.identity("there"), other) as there,
    ):
        there.engine.gate.set()
        await there.follow(here.peer)
        await here.follow(there.peer)
        async with busy(here):
            yield here, there
        await here.neighbours.converge(lan.group, None)  # hangs up, so that the neighbour's end is quick


@asynccontextmanager
async def busy(here: Device) -> AsyncIterator[None]:
    """Have one request run on a device while the block runs; its answer has to be the model's."""
    here.inference._pace.note(here.inference.server.get("tiny"), "json", 64, 1000.0)  # what a run took before
    first = asyncio.ensure_future(here.ask())
    await here.engine.wait_entered()
    yield
    here.engine.gate.set()
    check(await first)


def check(response: httpx.Response) -> None:
    """See that an answer is the model's."""
    assert response.status_code == 200, response.text
    found = response.json()["outputs"][0]["data"]
    np.testing.assert_allclose(found, tiny.probabilities(np.array(ROW, np.float32))[0], atol=1e-6)


async def waiting_here(here: Device, count: int = 1) -> None:
    """Wait until so many requests wait for their turn at a device."""
    with anyio.fail_after(3):
        while here.inference.workers.waiting() < count:  # noqa: ASYNC110 - nothing tells it
            await anyio.sleep(0.01)


async def test_a_busy_device_passes_a_request_on_and_an_idle_one_answers_itself(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        response = await here.ask()
        check(response)
        assert response.headers["shoal-answered-by"] == there.identity.device_id
        assert (here.passed, len(there.seen.answered)) == ({"answered": 1}, 1)
        own = await there.ask()
        check(own)
        assert "shoal-answered-by" not in own.headers
    assert len(here.seen.answered) == 1


async def test_many_requests_pass_over_connections_that_stay_open_and_binary_data_with_them(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        for _ in range(10):
            check(await here.ask())
        [client] = here.neighbours._handover._clients.values()
        assert len(client._idle) == 1
        data = np.array(ROW, dtype="<f4").tobytes()
        head = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}],'
        head += b'"parameters":{"binary_data_output":true}}'
        headers = {"inference-header-content-length": str(len(head))}
        response = await here.client.post(PATH, content=head + data, headers=headers)
        start = int(response.headers["inference-header-content-length"])
        found = np.frombuffer(response.content[start:], dtype="<f4")
        np.testing.assert_allclose(found, tiny.probabilities(np.array(ROW, np.float32))[0], atol=1e-6)
        assert len(there.seen.answered) == 11


async def test_a_request_that_was_passed_on_is_never_passed_on_again(lan: Lan) -> None:
    async with device(lan.group, lan.identity("here")) as here, device(lan.group, lan.identity("there")) as there:
        await there.follow(here.peer)
        await here.follow(there.peer)
        await there.follow(here.peer)
        async with busy(here), busy(there):
            asking = asyncio.ensure_future(here.ask(**{"shoal-timeout-ms": "300"}))
            response = await asking
        assert response.status_code == 504
        assert there.passed == {}


@pytest.mark.parametrize("other", [served_tiny(2), replace(served_tiny(), manifest_sha256="f" * 64)])
async def test_the_version_has_to_be_the_very_same_there(lan: Lan, other: ServedModel) -> None:
    async with pair(lan, other) as (here, there):
        asking = asyncio.ensure_future(here.ask())
        await waiting_here(here)
        assert (here.passed, there.seen.answered) == ({"refused": 1}, [])
        here.engine.gate.set()
        check(await asking)


async def test_a_request_that_says_that_it_was_passed_on_is_answered_where_it_is(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        asking = asyncio.ensure_future(here.ask(**{"shoal-passed": "1"}))
        await waiting_here(here)
        here.engine.gate.set()
        check(await asking)
        assert (here.passed, there.seen.answered) == ({}, [])


async def test_what_is_left_of_the_time_goes_along_and_is_kept(lan: Lan) -> None:
    async with device(lan.group, lan.identity("here")) as here, device(lan.group, lan.identity("there")) as there:
        await there.follow(here.peer)
        await here.follow(there.peer)
        async with busy(here):
            started_s = anyio.current_time()
            response = await here.ask(**{"shoal-timeout-ms": "200"})
            assert response.status_code == 504
            assert anyio.current_time() - started_s < 1.5
            assert here.passed == {"late": 1}
            [state] = here.neighbours._handover._states.values()
            assert state.may_take(Wanted("tiny", 1, ""), 0.0, 1), "a short time of its own is not the neighbour's fault"
        there.engine.gate.set()


async def test_a_timeout_that_is_none_is_refused(lan: Lan) -> None:
    async with device(lan.group, lan.identity("here")) as here:
        for wrong in ("soon", "-1", "0", "99999999999999"):
            assert (await here.ask(**{"shoal-timeout-ms": wrong})).status_code == 400


@pytest.mark.parametrize("said", [hangs_up, speaks_no_http, never_begins, says(b"")])
async def test_a_neighbour_that_fails_costs_a_bounded_time_and_the_answer_comes_from_here_once(
    lan: Lan, said: Answer
) -> None:
    liar = lan.identity("liar")
    false = FalseCache(liar.folder / PAIR, liar.ca_path, said)
    port = await lan.group.start(false.serve)
    async with device(lan.group, lan.identity("here")) as here:
        await here.follow(HandoverPeer(host="127.0.0.1", port=port, device=liar.device_id))
        async with busy(here):
            asking = asyncio.ensure_future(here.ask())
            await waiting_here(here)
            here.engine.gate.set()
            check(await asking)
        assert len(here.seen.answered) == 2


async def test_a_neighbour_that_is_away_is_not_asked_again_for_a_while(lan: Lan) -> None:
    async with device(lan.group, lan.identity("here")) as here:
        await here.follow(HandoverPeer(host="127.0.0.1", port=1, device=lan.identity("gone").device_id))
        async with busy(here):
            asking = [asyncio.ensure_future(here.ask()) for _ in range(3)]
            await waiting_here(here, 3)
            here.engine.gate.set()
            for one in asking:
                check(await one)
        assert here.passed["failed"] <= 3
        assert len(here.seen.answered) == 4


async def test_another_devices_certificate_gets_no_request(lan: Lan) -> None:
    heard: list[bytes] = []

    async def poses(stream: TLSStream) -> None:
        while data := await stream.receive():
            heard.append(data)
            headers = b"content-type: application/json\r\nshoal-load: 0\r\ncontent-length: 2"
            await stream.send(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n{}")

    liar = lan.identity("liar")
    port = await lan.group.start(FalseCache(liar.folder / PAIR, liar.ca_path, poses).serve)
    async with device(lan.group, lan.identity("here")) as here:
        await here.follow(HandoverPeer(host="127.0.0.1", port=port, device=lan.identity("meant").device_id))
        async with busy(here):
            asking = asyncio.ensure_future(here.ask())
            await waiting_here(here)
            here.engine.gate.set()
            check(await asking)
        assert (here.passed, heard) == ({"failed": 1}, [])


async def test_the_time_that_a_neighbour_took_in_vain_is_not_given_twice(lan: Lan) -> None:
    async def is_silent(stream: TLSStream) -> None:
        await stream.receive()
        await anyio.sleep_forever()

    liar = lan.identity("liar")
    port = await lan.group.start(FalseCache(liar.folder / PAIR, liar.ca_path, is_silent).serve)
    async with device(lan.group, lan.identity("here")) as here:
        await here.follow(HandoverPeer(host="127.0.0.1", port=port, device=liar.device_id))
        async with busy(here):
            started_s = anyio.current_time()
            response = await here.ask(**{"shoal-timeout-ms": "1500"})
            assert response.status_code == 504
            assert anyio.current_time() - started_s < 1.5 + QUICK.silence_s * 0.8


async def test_who_is_not_named_gets_no_answer(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        await there.follow(HandoverPeer(host="127.0.0.1", port=1, device=lan.identity("other").device_id))
        asking = asyncio.ensure_future(here.ask())
        await waiting_here(here)
        here.engine.gate.set()
        check(await asking)
        assert (here.passed, there.seen.answered) == ({"refused": 1}, [])


async def test_a_device_that_may_not_listen_says_so_and_passes_on_all_the_same(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        here.neighbours._settings = replace(QUICK, host="")
        with pytest.raises(SiteError, match="not set up to listen"):
            await here.follow(there.peer)
        check(await here.ask())
        assert here.passed == {"answered": 1}


@pytest.mark.parametrize("named", [{}, {"model_name": "tiny", "version": "latest"}, {"version": "1", "id": "order-7"}])
async def test_the_friendly_call_is_passed_on_as_well(lan: Lan, named: dict[str, str]) -> None:
    async with pair(lan) as (here, there):
        answer = await here.client.post("/predict?k=%C3%A9", json={"features": ROW[0]} | named)
        assert answer.status_code == 200, answer.text
        found, expected = answer.json(), tiny.probabilities(np.array(ROW, np.float32))[0]
        assert (found["label"], found["confidence"]) == (expected.argmax(), pytest.approx(expected.max(), abs=1e-6))
        assert (found["model_name"], found["model_version"]) == ("tiny", "1")
        assert answer.headers["shoal-answered-by"] == there.identity.device_id
        assert there.seen.ids == [found["id"]]
        assert found["id"] == named.get("id", found["id"])
        assert here.passed == {"answered": 1}


async def test_what_only_this_device_can_answer_of_friendly_calls_stays_here(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        refused = [
            await here.client.post("/predict", content=body)
            for body in (b"{", b'{"features": [1], "model_name": 3}', b'{"entity_id": "pump-1"}')
        ]
        assert [one.status_code for one in refused] == [400, 400, 503]
        unknown = await here.client.post("/predict", json={"features": ROW[0], "model_name": "none"})
        assert unknown.status_code == 404
        assert (here.passed, there.seen.answered) == ({}, [])


async def test_a_neighbour_that_takes_no_friendly_calls_still_gets_the_others(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal_agent.handover.server.CALLS", {"infer": infer_handler})
    async with pair(lan) as (here, there):
        asked = asyncio.ensure_future(here.client.post("/predict", json={"features": ROW[0]}))
        await waiting_here(here)
        assert here.passed == {"refused": 1}
        check(await here.ask())
        assert (here.passed, len(there.seen.answered)) == ({"refused": 1, "answered": 1}, 1)
        here.engine.gate.set()
        assert (await asked).status_code == 200


async def test_a_friendly_call_has_its_time_from_its_asker(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        there.engine.gate.clear()
        late = await here.client.post("/predict", json={"features": ROW[0]}, headers={"shoal-timeout-ms": "200"})
        assert late.status_code == 504
        wrong = await here.client.post("/predict", json={"features": ROW[0]}, headers={"shoal-timeout-ms": "soon"})
        assert wrong.status_code == 400


async def test_without_a_policy_nothing_is_passed_on_and_nobody_is_listened_to(lan: Lan) -> None:
    async with pair(lan) as (here, there):
        await here.neighbours.converge(lan.group, None)
        assert not here.neighbours._server.is_listening
        asking = asyncio.ensure_future(here.ask())
        await waiting_here(here)
        assert there.seen.answered == []
        here.engine.gate.set()
        check(await asking)


async def test_what_gets_429_here_is_answered_there(lan: Lan) -> None:
    bounds = ServingSettings(workers=1, in_place_ms=0.0, max_waiting=1)
    async with (
        device(lan.group, lan.identity("here"), serving=bounds) as here,
        device(lan.group, lan.identity("there")) as there,
    ):
        there.engine.gate.set()
        await there.follow(here.peer)
        await here.follow(there.peer, patience_ms=60_000)
        async with busy(here):
            waiting = asyncio.ensure_future(here.ask())
            await waiting_here(here)
            response = await here.ask()
            check(response)
            assert response.headers["shoal-answered-by"] == there.identity.device_id
            assert here.inference.statistics.refused == {}
            here.engine.gate.set()
            check(await waiting)
