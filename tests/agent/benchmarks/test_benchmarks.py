"""Benchmarks of the hub on a device: measured by real runtimes in processes of their own, and told once."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from safetensors.numpy import save
from tests.agent.simulators.retained import RetainedTopics
from tests.fixtures import tiny

from shoal_agent.benchmarks import Benchmarks
from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.blobs import BlobStore
from shoal_agent.board import Board
from shoal_agent.fetch import Fetcher
from shoal_agent.idle_settings import BenchmarkSettings
from shoal_agent.settings import FetchSettings
from shoal_contract.benchmarks import BenchmarkCandidate, BenchmarkResult, DesiredBenchmark, misfit
from shoal_contract.ids import sha256_hex
from shoal_contract.reported import SectionReport

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ONNX = (tiny.FILES / "classify.onnx").read_bytes()
TFLITE = (tiny.FILES / "classify.tflite").read_bytes()
X = np.random.default_rng(0).normal(size=(70, tiny.FEATURES)).astype(np.float32)
LABELS = tiny.probabilities(X).argmax(axis=1)


class Device:
    """A device's folder on a retained source in memory, and who hears of it."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data, self.now = data, NOW
        self.source = RetainedTopics()
        self.told: list[BenchmarkResult] = []
        self.reports: list[SectionReport] = []
        fetcher = Fetcher(self.source, BlobStore(data / "blobs"), self._ask, FetchSettings(silence_s=0.05))
        self.benchmarks = Benchmarks(
            data,
            fetcher,
            Board(data),
            lambda _section, report: self.reports.append(report),
            self.told.append,  # type: ignore[arg-type]  # no other event comes
            lambda: self.now,
            BenchmarkSettings(**settings),
            anyio.Lock(),
        )

    async def _ask(self, _sha256: str, _detail: str) -> None:
        """Nobody publishes again."""

    def wanted(self, *files: tuple[str, str, bytes], samples: bytes | None = None, **changes: Any) -> DesiredBenchmark:
        """Publish files and samples; return the section that asks for them to be measured."""
        samples = samples_of() if samples is None else samples
        for data in (*(file for _, _, file in files), samples):
            self.source.publish(data)
        candidates = [
            BenchmarkCandidate.model_validate(
                {"name": name, "runtime": runtime, "sha256": sha256_hex(file), "size_bytes": len(file)}
            )
            for name, runtime, file in files
        ]
        fields = {
            "inputs": tiny.INPUTS,
            "outputs": tiny.OUTPUTS,
            "candidates": tuple(candidates),
            "samples_sha256": sha256_hex(samples),
            "samples_bytes": len(samples),
            "runs": 20,
            "max_load": None,
            "max_seconds": 20.0,
            "deadline_at": NOW + timedelta(hours=1),
        }
        return DesiredBenchmark.model_validate(fields | changes)


def samples_of(x: Any = X, labels: Any = LABELS, name: str = "inputs/x") -> bytes:
    return save({name: x} | ({} if labels is None else {"labels": labels.astype(np.int64)}))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


SOURCE = ("source", "onnxruntime", ONNX)
SMALL = ("small", "litert", TFLITE)


async def test_candidates_are_measured_by_their_runtimes_and_told_once(device: Device) -> None:
    wanted = device.wanted(SOURCE, SMALL)
    assert device.benchmarks.artifacts("c-1", wanted) == {sha256_hex(one) for one in (ONNX, TFLITE, samples_of())}
    assert await device.benchmarks.converge("c-1", wanted) == "2 measured"
    [told] = device.told
    files = {one.name: one.sha256 for one in wanted.candidates}
    assert (told.outcome, misfit(told, files, len(X))) == ("done", "")
    for one in told.measured:
        assert one.latency_ms is not None
        assert (one.latency_ms.runs, one.samples, one.right, one.agreed) == (20, 70, 70, 70)
        assert one.paired is not None
        assert (one.paired.samples, one.paired.right, one.paired.first_right) == (70, 70, 70)
        assert one.paired.noise is not None
        assert one.paired.signal is not None
        assert one.paired.noise < 1e-3 * one.paired.signal
        assert 0 < one.latency_ms.p25 <= one.latency_ms.p50 < 1000
    assert set(told.runtimes) == {"onnxruntime", "litert"}
    assert len(told.cores) == 1, "one thread is pinned to one core"
    assert await device.benchmarks.converge("c-1", wanted) == "2 measured"
    assert len(device.told) == 1, "what was told is not measured again"
    assert device.benchmarks.artifacts("c-1", wanted) == set(), "its files may go"


async def test_a_candidate_that_crashes_or_does_not_load_costs_the_others_nothing(device: Device) -> None:
    broken = ("broken", "onnxruntime", ONNX[: len(ONNX) // 2])
    other = ("other", "onnxruntime", (tiny.FILES / "pair.onnx").read_bytes())
    wrong_runtime = ("wrong", "litert", ONNX + b"\x32\x011")
    await device.benchmarks.converge("c-1", device.wanted(SOURCE, broken, other, wrong_runtime))
    [told] = device.told
    problems = {one.name: one.problem for one in told.measured}
    assert told.outcome == "done"
    assert [name for name, problem in problems.items() if problem is None] == ["source"]
    assert told.measured[1].agreed is None, "it has answered nothing"
    assert all(problem.remedy for problem in problems.values() if problem is not None)


async def test_where_the_first_does_not_run_nothing_is_said_of_agreement(device: Device) -> None:
    broken = ("broken", "onnxruntime", ONNX[: len(ONNX) // 2])
    await device.benchmarks.converge("c-1", device.wanted(broken, SMALL))
    small = device.told[0].measured[1]
    assert (small.samples, small.right, small.agreed, small.paired) == (70, 70, None, None)


async def test_a_process_that_is_killed_is_told_as_such(device: Device) -> None:
    """65 MB of address space hold no Python with a runtime."""
    small = Device(device.data, max_memory_bytes=65_000_000)
    with pytest.raises(BenchmarkError, match=r"measuring source: its process ended with code 1|takes more than 61 MiB"):
        await small.benchmarks.converge("c-1", small.wanted(SOURCE))
    assert (small.told[0].outcome, small.told[0].measured[0].latency_ms) == ("failed", None)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (samples_of(name="inputs/y"), "inputs ['y'] found, expected ['x']"),
        (samples_of(X[:, :3]), "expected FP32 [4]"),
        (samples_of(X.astype(np.float64)), "x is float64"),
        (samples_of(np.where(X > 1, np.nan, X)), "not finite"),
        (samples_of(labels=LABELS[:5]), "arrays of [5, 70] rows found"),
        (samples_of(X[:0], None), "at least one"),
        (b"no safetensors at all", "reading the samples"),
    ],
)
async def test_samples_that_the_model_does_not_take_are_refused(device: Device, samples: bytes, says: str) -> None:
    with pytest.raises(BenchmarkError) as failed:
        await device.benchmarks.converge("c-1", device.wanted(SOURCE, samples=samples))
    assert says in str(failed.value)
    assert device.told[0].outcome == "failed"


async def test_without_labels_nothing_is_said_to_be_right(device: Device) -> None:
    await device.benchmarks.converge("c-1", device.wanted(SOURCE, samples=samples_of(labels=None)))
    assert (device.told[0].measured[0].right, device.told[0].measured[0].samples) == (None, 70)


async def test_a_benchmark_whose_deadline_passes_ends_and_says_how_far_it_came(device: Device) -> None:
    wanted = device.wanted(SOURCE, SMALL, deadline_at=NOW + timedelta(seconds=0.01))
    with pytest.raises(BenchmarkError, match=r"has passed, with 0 of 2 candidates measured"):
        await device.benchmarks.converge("c-1", wanted)
    assert device.told[0].outcome == "expired"


async def test_a_device_whose_owner_takes_none_says_so(device: Device) -> None:
    other = Device(device.data, is_allowed=False)
    with pytest.raises(BenchmarkError, match="owner takes no benchmarks"):
        await other.benchmarks.converge("c-1", other.wanted(SOURCE))
    assert other.told[0].outcome == "failed"


async def test_what_the_hub_wants_no_more_leaves_nothing(device: Device) -> None:
    await device.benchmarks.converge("c-1", device.wanted(SOURCE))
    assert (device.data / "benchmarks" / "c-1" / "done.json").exists()
    await device.benchmarks._forget("c-1")
    assert list((device.data / "benchmarks").iterdir()) == []
