"""`GET /metrics` tells what was served and how the board is, in a form that Prometheus' own checker passes."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.agent.endpoints import listening
from tests.agent.serving.conftest import GatedEngine, SeenRequests, served_tiny
from tests.agent.simulators.boards import ORIN, PI4, SERVER, write
from tests.environments import ROOT

from shoal_agent.board import Board
from shoal_agent.endpoint import Address, Listener
from shoal_agent.endpoint.keys import ApiKeys
from shoal_agent.metrics import DeviceSource, metrics_routes
from shoal_agent.serving import Inference, ModelServer, ServingSettings, Statistics, create_router
from shoal_contract import __version__

pytestmark = pytest.mark.anyio
X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.5, -1.0, 2.0, 0.25]}
INFER = "/v2/models/tiny/infer"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Device:
    """A served tiny model and its metrics."""

    server: ModelServer
    statistics: Statistics
    client: httpx.AsyncClient
    source: DeviceSource

    async def infer(self, path: str = INFER, **changes: object) -> int:
        return (await self.client.post(path, json={"inputs": [X | changes]})).status_code

    async def text(self) -> str:
        response = await self.client.get("/metrics")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return response.text

    async def series(self) -> Series:
        """All samples by name and labels; no two are the same."""
        families = text_string_to_metric_families(await self.text())
        samples = [sample for family in families for sample in family.samples]
        found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
        assert len(found) == len(samples)
        return found


def key(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@asynccontextmanager
async def device(
    root: Path,
    files: dict[str, str],
    settings: ServingSettings = ServingSettings(),  # noqa: B008 - frozen
) -> AsyncIterator[Device]:
    board = Board(write(root, files), lambda: "")
    source = DeviceSource("d-abcdefgh234567ab", root, lambda: True, lambda: 3, board, 1.79e9)
    server = ModelServer()
    inference = Inference(server, SeenRequests(), settings)
    statistics = inference.statistics
    router = create_router(inference, metrics_routes(statistics, source))
    async with listening(router) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await server.swap("tiny", served_tiny())
            yield Device(server, statistics, client, source)
        await server.aclose()


def promtool() -> str:
    """Prometheus' own checker, which `scripts/setup test` installs."""
    found = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".cache" / "bin")
    if found is None:
        pytest.skip("promtool is not installed: scripts/setup test")
    return found


@pytest.mark.parametrize("files", [PI4, ORIN, SERVER], ids=["pi4", "orin", "server"])
async def test_promtool_passes_all_that_is_told(tmp_path: Path, files: dict[str, str]) -> None:
    async with device(tmp_path, files) as tiny:
        assert [await tiny.infer(), await tiny.infer(datatype="FP64")] == [200, 400]
        tiny.statistics.note_refused("tiny", "hot")
        text = await tiny.text()
    checked = await anyio.run_process([promtool(), "check", "metrics"], input=text.encode(), check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_requests_errors_and_latency_are_told_by_model_and_version(tmp_path: Path) -> None:
    async with device(tmp_path, PI4) as tiny:
        assert [await tiny.infer(), await tiny.infer(shape=[2, 4], data=[0.0] * 8)] == [200, 200]
        assert await tiny.infer(datatype="FP64") == 400
        await tiny.server.swap("tiny", second := served_tiny(2))
        assert await tiny.infer() == 200
        series = await tiny.series()
        assert second.version == 2
    of_second = {"model": "tiny", "version": "2"}
    assert series[key("shoal_agent_requests_total", **of_second)] == 1
    assert series[key("shoal_agent_request_errors_total", **of_second)] == 0
    assert series[key("shoal_agent_request_duration_seconds_count", **of_second)] == 1
    assert 0 < series[key("shoal_agent_request_duration_seconds_sum", **of_second)] < 60
    buckets = [
        (float(dict(labels)["le"]), count)
        for (name, labels), count in series.items()
        if name == "shoal_agent_request_duration_seconds_bucket" and ("version", "2") in labels
    ]
    assert len(buckets) == 14
    assert [count for _, count in sorted(buckets)] == sorted(count for _, count in buckets)
    assert max(buckets) == (float("inf"), 1)


async def test_errors_are_of_the_version_that_made_them_and_samples_of_those_answered(tmp_path: Path) -> None:
    async with device(tmp_path, PI4) as tiny:
        for shape in ([1, 4], [2, 4]):
            assert await tiny.infer(shape=shape, data=[0.0] * shape[0] * 4) == 200
        assert await tiny.infer(datatype="FP64") == 400
        series = await tiny.series()
    labels = {"model": "tiny", "version": "1"}
    names = ("requests", "request_errors", "samples", "cache_hits", "cache_misses")
    assert [series[key(f"shoal_agent_{name}_total", **labels)] for name in names] == [3, 1, 3, 0, 0]
    assert series[key("shoal_agent_inference_seconds_total", **labels)] > 0


async def test_a_version_that_is_loaded_twice_is_one_series(tmp_path: Path) -> None:
    async with device(tmp_path, PI4) as tiny:
        first = tiny.server.get("tiny")
        await tiny.infer()
        await tiny.server.swap("tiny", served_tiny())
        await tiny.infer()
        series = await tiny.series()
        assert first is not None
    assert series[key("shoal_agent_requests_total", model="tiny", version="1")] == 2


async def test_what_runs_waits_and_is_refused_is_told(tmp_path: Path) -> None:
    async with device(tmp_path, PI4, ServingSettings(workers=1, max_waiting=1)) as tiny:
        engine = GatedEngine(served_tiny().engine)
        await tiny.server.swap("tiny", served_tiny(2, engine))
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append(await tiny.infer())

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await engine.wait_entered()
            group.start_soon(ask)
            while tiny.statistics.load().waiting.get("tiny") != 1:
                await anyio.lowlevel.checkpoint()
            assert await tiny.infer() == 429
            series = await tiny.series()
            engine.gate.set()
        after = await tiny.series()
    assert statuses == [200, 200]
    assert series[key("shoal_agent_requests_in_flight", model="tiny")] == 1
    assert series[key("shoal_agent_requests_waiting", model="tiny")] == 1
    assert series[key("shoal_agent_requests_refused_total", model="tiny", reason="overloaded")] == 1
    assert after[key("shoal_agent_requests_in_flight", model="tiny")] == 0


async def test_a_request_that_got_no_answer_in_time_is_told(tmp_path: Path) -> None:
    async with device(tmp_path, PI4, ServingSettings(workers=1, timeout_s=0.05)) as tiny:
        engine = GatedEngine(served_tiny().engine)
        await tiny.server.swap("tiny", served_tiny(2, engine))
        assert await tiny.infer() == 504
        series = await tiny.series()
        engine.gate.set()
    assert series[key("shoal_agent_requests_refused_total", model="tiny", reason="timeout")] == 1


async def test_the_device_and_its_board_are_told(tmp_path: Path) -> None:
    async with device(tmp_path / "pi", PI4) as tiny:
        pi = await tiny.series()
    async with device(tmp_path / "orin", ORIN) as tiny:
        orin = await tiny.series()
    assert pi[key("shoal_agent_info", version=__version__, device_id="d-abcdefgh234567ab")] == 1
    assert (pi[key("shoal_agent_link_up")], pi[key("shoal_agent_outbox_messages")]) == (1, 3)
    assert pi[key("shoal_board_memory_available_bytes")] == 1942186 * 1024
    assert pi[key("shoal_board_memory_bytes")] == 3884372 * 1024
    assert pi[key("shoal_agent_disk_bytes")] >= pi[key("shoal_agent_disk_free_bytes")] > 0
    assert pi[key("shoal_board_temperature_celsius", zone="0", name="cpu-thermal")] == 61.836
    assert pi[key("shoal_board_throttled", reason="under_voltage")] == 1
    assert pi[key("shoal_board_throttled", reason="soft_temperature_limit")] == 0
    assert pi[key("shoal_board_throttled_since_boot", reason="throttled")] == 1
    assert orin[key("shoal_board_hottest_celsius")] == 63.5
    assert orin[key("shoal_board_power_watts", chip="ina3221", rail="VDD_IN")] == 5.0
    assert "throttled_since_boot" not in str(orin)


async def test_a_link_that_is_down_is_told(tmp_path: Path) -> None:
    async with device(tmp_path, PI4) as tiny:
        object.__setattr__(tiny.source, "is_linked", lambda: False)
        assert (await tiny.series())[key("shoal_agent_link_up")] == 0


async def test_on_the_network_nobody_may_ask_without_a_key(tmp_path: Path) -> None:
    board = Board(write(tmp_path / "root", PI4), lambda: "")
    source = DeviceSource("d-abcdefgh234567ab", tmp_path, lambda: True, lambda: 0, board, 0.0)
    inference = Inference(ModelServer(), SeenRequests())
    router = create_router(inference, metrics_routes(inference.statistics, source))
    keys = ApiKeys(tmp_path / "api-keys.json")
    async with anyio.create_task_group() as group:
        port = await group.start(Listener(router, authorize=keys.authorize).serve, Address())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/metrics")).status_code == 401
        group.cancel_scope.cancel()


async def test_hits_and_misses_of_the_cache_are_told(tmp_path: Path) -> None:
    async with device(tmp_path, PI4, ServingSettings(cache_bytes=1_000_000)) as tiny:
        assert [await tiny.infer() for _ in range(3)] == [200] * 3
        series = await tiny.series()
    labels = {"model": "tiny", "version": "1"}
    assert series[key("shoal_agent_cache_hits_total", **labels)] == 2
    assert series[key("shoal_agent_cache_misses_total", **labels)] == 1
