"""Classes whose devices are absent: real profiles of the agent, and what is predicted by them beside the clock."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.compression.test_runs import Hub
from tests.hub.registry.bundles import register_bundle, wide_onnx, write_bundle
from tests.simulators.rows import HARDWARE

from shoal_agent.benchmarks import child
from shoal_agent.benchmarks.job import MeasuringJob
from shoal_contract.benchmarks import (
    BenchmarkCandidate,
    BenchmarkResult,
    CandidateMeasured,
    DesiredBenchmark,
    LatencySpread,
)
from shoal_contract.operator_profile import OperatorProfile
from shoal_hub.benchmarks.collect import take_benchmark_result
from shoal_hub.benchmarks.device_classes import BoardClass
from shoal_hub.benchmarks.offer import Plan, begin_benchmark
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.compression.profiles import profiled_files
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import Device
from shoal_hub.registry.artifacts import store_artifact

RECIPES = ["float16"]
BOARD = f"{HARDWARE.model} ({HARDWARE.architecture})"
SPREAD = LatencySpread(p25=1.0, p50=1.0, p75=1.0, p95=1.0, runs=50)


class Fleet(Hub):
    """A hub whose one device measures with the agent's own code, here."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        super().__init__(hub, client, folder)
        self.folder = folder

    def add_version(self, width: int) -> None:
        """Register a version whose layers have this width."""
        register_bundle(self.hub, write_bundle(self.folder / f"v{width}", model_onnx=wide_onnx(width, width)))

    def measure(self, body: DesiredBenchmark) -> list[CandidateMeasured]:
        """Return what the agent measures of a benchmark."""
        found = []
        for one in body.candidates:
            paths = {name: self.folder / name for name in ("file", "samples", "reference.npz", "result.json")}
            paths["file"].write_bytes(self.hub.artifacts.read(one.sha256))
            paths["samples"].write_bytes(self.hub.artifacts.read(body.samples_sha256))
            job = MeasuringJob(
                data=self.folder,
                wanted=body.model_copy(update={"max_load": None}),
                candidate=one,
                file=paths["file"],
                samples=paths["samples"],
                reference=paths["reference.npz"],
                is_first=one == body.candidates[0],
                result=paths["result.json"],
                max_memory_bytes=2**32,
                max_data_bytes=None,
                max_sample_bytes=2**26,
                nice=0,
            )
            told = child.profiled(job, child.measure(job, ()))
            assert told.operators is not None, told.operators_problem
            kept = told.model_dump(exclude={"error", "remedy", "cores", "runtime_version"})
            found.append(CandidateMeasured.model_validate({"name": one.name, "sha256": one.sha256, **kept}))
        return found

    def answer(self, measured: list[CandidateMeasured]) -> None:
        [name] = self.wanted()
        result = BenchmarkResult(benchmark=name, outcome="done", measured=tuple(measured))
        with self.hub.database.transaction() as session:
            take_benchmark_result(session, self.device, result, utc_now())

    def compress(self, *, is_real: bool = True, change: Any = lambda one: one) -> Any:
        """Run recipes on the newest version, with what the device measures if it is there."""
        run_id = self.start(recipes=RECIPES, prefer="latency").json()["id"]
        self.work()
        for body in self.wanted().values():
            measured = self.measure(body) if is_real else [_made(one.name, one.sha256) for one in body.candidates]
            self.answer([change(one) for one in measured])
        self.move()
        return self.show(run_id)

    def body(self, files: dict[str, bytes]) -> DesiredBenchmark:
        """Return what asks for files to be measured; samples are those of the last benchmark."""
        with self.hub.database.transaction() as session:
            [*_, asked] = session.exec(select(Benchmark).order_by(col(Benchmark.created_at))).all()
            stored = {name: store_artifact(session, self.hub.artifacts, content) for name, content in files.items()}
        candidates = [
            BenchmarkCandidate(name=name, runtime="onnxruntime", sha256=one.sha256, size_bytes=one.size_bytes)
            for name, one in stored.items()
        ]
        return DesiredBenchmark.model_validate(asked.body).model_copy(update={"candidates": tuple(candidates)})

    def profile(self, run_id: str, widths: Sequence[int]) -> None:
        """Have the device measure more files, as if they were a run's."""
        body = self.body({f"w{width}": wide_onnx(width, width) for width in widths})
        with self.hub.database.transaction() as session:
            plan = Plan(f"compression/{run_id}", body, 50, [BoardClass(BOARD, "generic")], 1, 600.0)
            begin_benchmark(session, plan, by="ada", now=utc_now())
        self.answer(self.measure(body))
        self.move()

    def set_presence(self, presence: Literal["online", "offline"]) -> None:
        """Have the device disappear, or come back."""
        with self.hub.database.transaction() as session:
            device = session.get_one(Device, self.device)
            device.presence, device.presence_since = presence, utc_now() - timedelta(days=1)
            session.add(device)


def _made(name: str, sha256: str) -> CandidateMeasured:
    return CandidateMeasured(name=name, sha256=sha256, latency_ms=SPREAD, samples=50, agreed=50, right=50)


@pytest.fixture
def fleet(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Fleet:
    return Fleet(sqlite_hub, sqlite_client, tmp_path)


def test_latency_on_an_absent_class_is_predicted_by_what_was_profiled_there_with_its_error(fleet: Fleet) -> None:
    first = fleet.compress()
    assert first["choices"][0]["basis"] == "devices"
    fleet.profile(first["id"], (1_000, 3_000, 6_000, 20_000, 40_000))
    fleet.set_presence("offline")
    fleet.add_version(12_000)
    run = fleet.compress()
    assert (run["state"], run["devices"]) == ("succeeded", [])
    [choice] = run["choices"]
    assert (choice["basis"], choice["devices"], choice["left_out"]) == ("predicted", {}, {})
    assert choice["errors"][BOARD]["files"] == 7
    assert 0 <= choice["errors"][BOARD]["median"] <= choice["errors"][BOARD]["worst"]
    assert set(choice["predicted"]) == {"source", *RECIPES}
    figures = {one["name"]: one["measures"] for one in choice["candidates"]}
    for name, told in choice["predicted"].items():
        assert told["low_ms"] <= told["latency_ms"] == figures[name]["latency_p50_ms"] <= told["high_ms"]
        assert (told["board"], figures[name]["latency_p95_ms"]) == (BOARD, None)
    sizes = {one["name"]: one["size_bytes"] for one in run["results"]}
    assert {name: figures[name]["size_bytes"] for name in RECIPES} == sizes
    variant = fleet.variants()[-1]
    assert variant.report["measured_on"]["errors"] == choice["errors"]
    assert variant.report["measured_on"]["basis"] == "predicted"
    for one in fleet.measure(fleet.body({"source": wide_onnx(12_000, 12_000)})):
        assert one.latency_ms is not None
        ratio = figures[one.name]["latency_p50_ms"] / one.latency_ms.p50
        assert 1 / 3 < ratio < 3, f"{one.name}: predicted {ratio:.2f} of what was measured"
    picture = fleet.client.get(f"/api/v1/compression/runs/{run['id']}/picture").text
    assert f"predicted for {BOARD}, at worst" in picture


def _told(macs: int = 10, times_us: float = 1.0) -> OperatorProfile:
    columns = {"macs": [macs], "input_bytes": [1], "output_bytes": [1], "output_elements": [1], "times_us": [times_us]}
    return OperatorProfile.model_validate({"kinds": ["MatMul float"], "kind": [0], **columns})


def _with_operators(operators: OperatorProfile | None, one: CandidateMeasured) -> CandidateMeasured:
    return one.model_copy(update={"operators": operators})


@pytest.mark.parametrize(
    ("operators", "known"),
    [
        (None, "none"),  # an older agent
        (_told(times_us=1e9), "none"),  # a million times what the file took
        (_told(macs=10**15), "1 of"),  # not the multiplications of the file: it was looked at here
        (_told(macs=0), "1 of"),
    ],
)
def test_without_profiles_that_can_be_true_nothing_is_registered_and_it_is_said_what_to_do(
    fleet: Fleet, operators: OperatorProfile | None, known: str
) -> None:
    told = fleet.compress(is_real=False, change=partial(_with_operators, operators))
    assert told["choices"][0]["basis"] == "devices", "what was measured counts all the same"
    assert "operators" not in told["devices"][0]["result"]["measured"][0], "they are long"
    fleet.set_presence("offline")
    [choice] = fleet.compress()["choices"]
    assert (choice["basis"], choice["predicted"], choice["errors"]) == ("here", {}, {})
    assert "no device of generic has measured, and to predict its latency" in choice["reason"]
    assert f"have to be known of one of its boards: {known}" in choice["reason"]
    assert choice["chosen"] is None, "what nobody has measured is not registered"


def test_of_a_class_the_newest_results_are_read_and_no_more(fleet: Fleet) -> None:
    for macs in (10, 20, 30):
        fleet.compress(is_real=False, change=partial(_with_operators, _told(macs)))
    with fleet.hub.database.session() as session:
        [(board, files)] = profiled_files(session, "generic", 2).items()
        assert profiled_files(session, "pi4", 2) == {}
    assert board == BOARD
    assert {one.profile.operators[0].macs for one in files} == {30}, "each file by its newest result"
    assert {one.model for one in files} == {"colours"}
    assert len({one.profile.name for one in files}) == len(files) == 2
