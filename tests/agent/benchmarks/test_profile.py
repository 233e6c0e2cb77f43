"""Operators of a file, profiled after it was timed: real ones, and what keeps them from being told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agent.benchmarks.test_benchmarks import ONNX, SMALL, SOURCE, Device, samples_of
from tests.fixtures import tiny

from shoal_agent.benchmarks import child
from shoal_agent.benchmarks.job import Measured, MeasuringJob
from shoal_agent.benchmarks.profile import MAX_S, MIN_RUNS, RUNS, runs_within
from shoal_agent.benchmarks.room import MAX_RESULT_BYTES, with_room
from shoal_contract.benchmarks import BenchmarkResult, CandidateMeasured, LatencySpread
from shoal_contract.operator_profile import MAX_OPERATORS
from shoal_numerics.errors import ProfileError
from shoal_numerics.operator_profile import Operator, from_wire, to_wire


def spread(ms: float) -> LatencySpread:
    return LatencySpread(p25=ms, p50=ms, p75=ms, p95=ms, runs=20)


@pytest.fixture
def job(tmp_path: Path) -> MeasuringJob:
    device = Device(tmp_path)
    wanted = device.wanted(SOURCE)
    (tmp_path / "one.onnx").write_bytes(ONNX)
    (tmp_path / "samples").write_bytes(samples_of())
    return MeasuringJob(
        data=tmp_path,
        wanted=wanted,
        candidate=wanted.candidates[0],
        file=tmp_path / "one.onnx",
        samples=tmp_path / "samples",
        reference=tmp_path / "reference.npz",
        is_first=True,
        result=tmp_path / "result.json",
        max_memory_bytes=2**32,
        max_data_bytes=None,
        max_sample_bytes=2**20,
        nice=0,
    )


@pytest.mark.anyio
async def test_an_onnx_file_is_told_with_its_operators_and_another_without(tmp_path: Path) -> None:
    device = Device(tmp_path)
    await device.benchmarks.converge("c-1", device.wanted(SOURCE, SMALL))
    onnx, litert = device.told[0].measured
    assert onnx.operators is not None, onnx.operators_problem
    assert onnx.operators_problem is None
    products = [one for one in from_wire(onnx.operators) if one.macs]
    assert products[0].macs % tiny.FEATURES == 0
    assert products[0].datatype == "float"
    assert all(0 <= one < 1e5 for one in onnx.operators.times_us)
    assert (litert.operators, litert.operators_problem) == (None, None)
    assert {one.name for one in (tmp_path / "benchmarks" / "c-1").iterdir()} <= {
        "job.json",
        "result.json",
        "reference.npz",
        "measured",
        "done.json",
    }, "what the profiler wrote is gone"


def test_a_profile_that_fails_costs_the_measurement_nothing_and_says_why(
    job: MeasuringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Measured(latency_ms=spread(1.0))

    def fails(*_arguments: Any) -> None:
        raise OSError("no disk\nat all")

    monkeypatch.setattr(child, "profile_operators", fails)
    assert child.profiled(job, measured) == measured.model_copy(update={"operators_problem": "no disk"})


def test_a_process_that_ends_amid_a_profile_has_left_what_it_measured(
    job: MeasuringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "profile_operators", dies)
    monkeypatch.setattr(child, "_limit", lambda _job: None)
    monkeypatch.setattr(child, "pin", lambda _threads: ())
    monkeypatch.setattr(child, "end_with", lambda _parent: None)
    path = job.data / "job.json"
    path.write_text(job.model_dump_json())
    with pytest.raises(KeyboardInterrupt):
        child.main(path, 1)
    left = Measured.model_validate_json(job.result.read_bytes())
    assert left.latency_ms is not None
    assert left.operators_problem == "the process ended while its operators were profiled"


@pytest.mark.parametrize(("run_ms", "runs"), [(0.0, RUNS), (1.0, RUNS), (1000.0, 6), (1400.0, 3)])
def test_a_profile_takes_as_many_runs_as_there_is_time_for(run_ms: float, runs: int) -> None:
    assert runs_within(MAX_S, Measured(latency_ms=spread(run_ms))) == runs >= MIN_RUNS


@pytest.mark.parametrize("measured", [Measured(latency_ms=spread(2000)), Measured(latency_ms=spread(1), load_ms=5e3)])
def test_a_file_that_is_too_slow_is_not_profiled(measured: Measured) -> None:
    with pytest.raises(ProfileError, match=r"10\.0 s may be taken; give candidates more seconds"):
        runs_within(MAX_S, measured)


def test_operators_that_have_no_room_go_the_longest_first_and_it_is_said() -> None:
    long, short = ([Operator("MatMul", "float", 10**9, 10**7, 10**6, 10**5)] * n for n in (MAX_OPERATORS, 20))
    measured = [
        CandidateMeasured(
            name=f"f{n}", sha256="1" * 64, latency_ms=spread(1.0), operators=to_wire(some, np.full(len(some), 1234.5))
        )
        for n, some in enumerate([long, short, long, short, long, long])
    ]
    result = with_room(BenchmarkResult(benchmark="b-1", outcome="done", measured=tuple(measured)))
    assert len(json.dumps(result.model_dump(mode="json", exclude_none=True), separators=(",", ":"))) <= MAX_RESULT_BYTES
    kept = [one.operators is not None for one in result.measured]
    assert kept[1]
    assert kept[3]
    assert 2 < sum(kept) < 6
    assert "at most 65536 are sent" in str(result.measured[0].operators_problem)
    assert with_room(result) == result
