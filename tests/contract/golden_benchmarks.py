"""A benchmark that a hub hands out, and what a device measured, see `golden_messages`."""

from datetime import timedelta

from tests.contract.golden_enrolment import DEVICE, NOON

from shoal_contract.benchmarks import (
    BenchmarkCandidate,
    BenchmarkResult,
    CandidateMeasured,
    DesiredBenchmark,
    LatencySpread,
    Paired,
)
from shoal_contract.desired import DesiredState
from shoal_contract.manifest import TensorSpec
from shoal_contract.operator_profile import OperatorProfile
from shoal_contract.reported import Problem


def desired_benchmarks() -> DesiredState:
    benchmark = DesiredBenchmark(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
        outputs=(TensorSpec(name="scores", datatype="FP32", shape=(-1, 10)),),
        candidates=(
            BenchmarkCandidate(name="source", runtime="onnxruntime", sha256="7" * 64, size_bytes=40_000),
            BenchmarkCandidate(name="int8", runtime="litert", sha256="8" * 64, size_bytes=11_000),
        ),
        samples_sha256="9" * 64,
        samples_bytes=65_536,
        runs=100,
        warm_up_runs=10,
        threads=2,
        max_load=0.25,
        max_seconds=60.0,
        deadline_at=NOON + timedelta(hours=2),
    )
    return DesiredState(
        device_id=DEVICE,
        epoch=1,
        generation=1_772_366_400_000,
        issued_at=NOON,
        expires_at=NOON + timedelta(days=30),
        benchmarks={"c-3f5g7h2j": benchmark},
    )


def benchmark_result(problem: Problem) -> BenchmarkResult:
    measured = CandidateMeasured(
        name="source",
        sha256="7" * 64,
        latency_ms=LatencySpread(p25=1.0, p50=1.25, p75=1.5, p95=2.5, runs=100),
        load_ms=12.5,
        memory_bytes=1_048_576,
        samples=256,
        agreed=256,
        right=250,
        paired=Paired(samples=256, right=250, first_right=250, signal=640.5, noise=0.25),
        disturbed=10,
        hottest_c=61.5,
        is_throttled=True,
        load_before=0.25,
        load_after=1.5,
    )
    failed = CandidateMeasured(name="int8", sha256="8" * 64, problem=problem)
    return BenchmarkResult(
        benchmark="c-3f5g7h2j",
        outcome="failed",
        measured=(measured, failed),
        runtimes={"onnxruntime": "1.26.0"},
        cores=(2, 3),
        duration_s=41.5,
        problem=problem,
    )


def benchmark_operators() -> BenchmarkResult:
    spread = LatencySpread(p25=1.0, p50=1.25, p75=1.5, p95=2.5, runs=100)
    operators = OperatorProfile(
        kinds=("FusedConv/2d dense float", "Softmax float"),
        kind=(0, 0, 1),
        macs=(73_728, 147_456, 0),
        input_bytes=(4_352, 8_960, 40),
        output_bytes=(8_192, 8_192, 40),
        output_elements=(2_048, 2_048, 10),
        times_us=(41.5, 80.0, 1.0),
    )
    profiled = CandidateMeasured(name="source", sha256="7" * 64, latency_ms=spread, samples=256, operators=operators)
    without = CandidateMeasured(
        name="int8",
        sha256="8" * 64,
        latency_ms=spread,
        samples=256,
        operators_problem="telling the operators: 600 operators of 9 kinds found, at most 512 of 64 have room",
    )
    return BenchmarkResult(
        benchmark="c-3f5g7h2j",
        outcome="done",
        measured=(profiled, without),
        runtimes={"onnxruntime": "1.26.0"},
        cores=(3,),
        duration_s=41.5,
    )
