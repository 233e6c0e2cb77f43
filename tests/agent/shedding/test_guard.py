"""A device that is too hot refuses its less important models with a reason, tells the hub once, and recovers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import httpx
import pytest
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import SeenRequests, served_tiny
from tests.agent.simulators.boards import PI4, write

from shoal_agent.errors import DiskError
from shoal_agent.metrics import exposition
from shoal_agent.serving import Inference, ModelServer, Statistics, create_router
from shoal_agent.settings import SheddingSettings
from shoal_agent.shedding import Band, Guard, Limits, shedding_families
from shoal_agent.shedding.guard import Look
from shoal_contract.telemetry import LoadShed

pytestmark = pytest.mark.anyio
SETTINGS = SheddingSettings(priorities=(("doorbell", 10), ("faces", 5)), retry_after_s=30, quiet_s=600)
LIMITS = Limits(Band(80.0, 85.0, 5.0), Band(0.92, 0.96, 0.04))
GIGABYTE = 1_000_000_000
X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.0] * 4}


@dataclass
class Hot:
    """A guard, what it told the hub, and a clock."""

    told: list[LoadShed] = field(default_factory=list)
    served: list[str] = field(default_factory=lambda: ["birds", "doorbell", "faces"])
    now_s: float = 1000.0
    has_disk: bool = True
    root: Path = Path("/")

    def __post_init__(self) -> None:
        self.guard = Guard(self.root, LIMITS, SETTINGS, lambda: self.served, self._tell, lambda: self.now_s)

    def _tell(self, event: LoadShed) -> None:
        if not self.has_disk:
            raise DiskError("queueing a message: disk full")
        self.told.append(event)

    def see(self, celsius: float, free_ratio: float = 0.5) -> list[str]:
        """Let the guard look, five seconds later; return what it refuses."""
        self.now_s += 5
        self.guard.update(Look(celsius, int(free_ratio * GIGABYTE), GIGABYTE))
        return sorted(self.guard.shed)


def test_models_go_by_priority_as_it_gets_hotter_and_come_back_as_it_cools_down() -> None:
    hot = Hot()
    steps: list[tuple[int, list[str]]] = [(70, []), (81, ["birds"]), (86, ["birds", "faces"]), (81, ["birds", "faces"])]
    steps += [(80, ["birds"]), (76, ["birds"]), (75, [])]
    assert [hot.see(celsius) for celsius, _ in steps] == [refused for _, refused in steps]


def test_a_device_short_of_memory_refuses_too_and_says_that_it_is_memory() -> None:
    hot = Hot()
    assert hot.see(50, free_ratio=0.07) == ["birds"]
    assert hot.see(50, free_ratio=0.11) == ["birds"]
    assert hot.told == [
        LoadShed(reason="memory", level=1, temperature_c=50, available_memory_bytes=70_000_000, models=("birds",))
    ]
    assert hot.see(50, free_ratio=0.13) == []


def test_the_hub_is_told_once_of_an_episode_and_again_of_the_next_one() -> None:
    hot = Hot()
    for celsius in (81, 86, 70, 82, 60):
        hot.see(celsius)
    assert [(event.reason, event.level, event.temperature_c) for event in hot.told] == [("hot", 1, 81)]
    hot.now_s += 580
    hot.see(86)
    assert len(hot.told) == 1, "less than quiet_s after the last one: the same episode"
    hot.see(60)
    hot.now_s += 600
    hot.see(86)
    assert (len(hot.told), hot.told[-1].models) == (2, ("birds", "faces"))


def test_a_long_episode_is_told_once() -> None:
    hot = Hot()
    for _ in range(1000):
        hot.see(84)
    assert len(hot.told) == 1


def test_a_full_disk_keeps_the_hub_from_hearing_of_it_and_sheds_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    hot = Hot(has_disk=False)
    assert hot.see(81) == ["birds"]
    assert "the hub could not be told" in caplog.text


def test_a_model_that_comes_while_it_is_hot_has_its_turn_at_the_next_look() -> None:
    hot = Hot(served=["doorbell"])
    assert hot.see(90) == []
    hot.served.append("birds")
    assert hot.see(90) == ["birds"]


def test_levels_and_episodes_are_in_the_metrics() -> None:
    hot = Hot()
    hot.see(86)
    lines = exposition(shedding_families(hot.guard)).decode().splitlines()
    assert 'shoal_agent_shedding_level{reason="hot"} 2' in lines
    assert 'shoal_agent_shedding_level{reason="memory"} 0' in lines
    assert 'shoal_agent_shedding_episodes_total{reason="hot"} 1' in lines


@asynccontextmanager
async def serving(hot: Hot) -> AsyncIterator[tuple[httpx.AsyncClient, Statistics]]:
    server = ModelServer()
    inference = Inference(server, SeenRequests(), admission=hot.guard)
    statistics = inference.statistics
    hot.guard.on_refused = statistics.note_refused
    router = create_router(inference)
    async with listening(router) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for name in hot.served:
                await server.swap(name, replace(served_tiny(), name=name))
            yield client, statistics
        await server.aclose()


async def test_a_refused_client_is_told_why_and_when_to_come_back_and_the_device_stays_ready() -> None:
    hot = Hot()
    async with serving(hot) as (client, statistics):

        async def ask(model: str) -> httpx.Response:
            return await client.post(f"/v2/models/{model}/infer", json={"inputs": [X]})

        hot.see(86)
        refused = await ask("birds")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert "the device is too hot: requests to 'birds' are refused" in refused.json()["error"]
        assert [(await ask(model)).status_code for model in ("faces", "doorbell", "other")] == [503, 200, 404]
        for path in ("/v2/health/ready", "/v2/health/live", "/v2/models/birds/ready"):
            assert (await client.get(path)).status_code == 200, path
        hot.see(60)
        assert (await ask("birds")).status_code == 200
        assert statistics.refused == {("birds", "hot"): 1, ("faces", "hot"): 1}


async def test_the_board_is_looked_at_without_being_asked(tmp_path: Path) -> None:
    root = write(tmp_path, PI4 | {"sys/class/thermal/thermal_zone0/temp": "86000\n"})
    hot, seen = Hot(root=root), anyio.Event()
    tell = hot._tell

    def told(event: LoadShed) -> None:
        tell(event)
        seen.set()

    hot.guard._tell = told
    async with anyio.create_task_group() as group:
        group.start_soon(hot.guard.run)
        with anyio.fail_after(10):
            await seen.wait()
        group.cancel_scope.cancel()
    assert hot.told == [
        LoadShed(
            reason="hot",
            level=2,
            temperature_c=86.0,
            available_memory_bytes=1942186 * 1024,
            models=("birds", "faces"),
        )
    ]
