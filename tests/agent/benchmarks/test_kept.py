"""What a device has measured outlives its agent: nothing is measured twice, and nothing of it stays behind."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.agent.benchmarks.test_benchmarks import ONNX, SMALL, SOURCE, Device

from shoal_agent.benchmarks.benchmarks import Benchmarks
from shoal_agent.benchmarks.errors import BenchmarkError
from shoal_agent.benchmarks.job import Measured, MeasuringJob
from shoal_agent.benchmarks.kept import KeptResults
from shoal_agent.errors import FetchError
from shoal_contract.benchmarks import LatencySpread
from shoal_contract.ids import sha256_hex

pytestmark = pytest.mark.anyio
SPREAD = LatencySpread(p25=1.0, p50=2.0, p75=3.0, p95=4.0, runs=20)
OTHER = ("other", "onnxruntime", ONNX + b"\x32\x011")


class Played:
    """Measures in the place of a process, and can lose the device amid it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.dies_at = ""
        monkeypatch.setattr(Benchmarks, "_run", partial(_play, self))


async def _play(played: Played, job: MeasuringJob) -> Measured:
    played.asked.append(job.candidate.name)
    if job.candidate.name == played.dies_at:
        raise KeyboardInterrupt  # nothing is written any more
    if job.is_first:
        job.reference.parent.mkdir(parents=True, exist_ok=True)
        job.reference.write_bytes(b"answers")
    return Measured(latency_ms=SPREAD, samples=70, agreed=70, right=70, runtime_version="1.0", cores=(3,))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


async def test_after_a_restart_what_was_measured_is_told_and_not_measured_again(tmp_path: Path, played: Played) -> None:
    device = Device(tmp_path)
    wanted = device.wanted(SOURCE, SMALL, OTHER)
    played.dies_at = "other"
    with pytest.raises(KeyboardInterrupt):
        await device.benchmarks.converge("b-1", wanted)
    again = Device(tmp_path)
    played.dies_at, played.asked = "", []
    again.wanted(SOURCE, SMALL, OTHER)
    assert await again.benchmarks.converge("b-1", wanted) == "3 measured"
    assert played.asked == ["other"]
    assert [one.name for one in again.told[0].measured] == ["source", "small", "other"]
    assert (again.told[0].runtimes, again.told[0].cores) == ({"onnxruntime": "1.0", "litert": "1.0"}, (3,))


async def test_a_file_that_can_not_be_fetched_costs_no_work_that_is_done(device: Device, played: Played) -> None:
    wanted = device.wanted(SOURCE, SMALL, OTHER)
    [manifest] = [topic for topic in device.source.messages if sha256_hex(OTHER[2]) in topic and "manifest" in topic]
    held_back = device.source.messages.pop(manifest)
    with pytest.raises(FetchError):
        await device.benchmarks.converge("b-1", wanted)
    device.source.messages[manifest] = held_back
    assert await device.benchmarks.converge("b-1", wanted) == "3 measured"
    assert played.asked == ["source", "small", "other"]


async def test_what_was_measured_of_another_benchmark_or_without_its_reference_does_not_count(
    device: Device, played: Played
) -> None:
    wanted = device.wanted(SOURCE, SMALL)
    await device.benchmarks.converge("b-1", wanted)
    folder = device.data / "benchmarks" / "b-1"
    (folder / "done.json").unlink()
    played.asked = []
    later = wanted.model_copy(update={"deadline_at": wanted.deadline_at.replace(minute=59)})
    await device.benchmarks.converge("b-1", later)
    assert played.asked == [], "it may take longer, and asks for the same"
    (folder / "done.json").unlink()
    (folder / "reference.npz").unlink()
    await device.benchmarks.converge("b-1", wanted)
    assert played.asked == ["source"]
    (folder / "done.json").unlink()
    played.asked = []
    await device.benchmarks.converge("b-1", wanted.model_copy(update={"runs": 21}))
    assert played.asked == ["source", "small"]


async def test_a_candidate_that_ends_the_device_again_and_again_is_given_up(tmp_path: Path, played: Played) -> None:
    played.dies_at = "small"
    for _ in range(3):
        device = Device(tmp_path)
        wanted = device.wanted(SOURCE, SMALL)
        with pytest.raises(KeyboardInterrupt):
            await device.benchmarks.converge("b-1", wanted)
    device = Device(tmp_path)
    await device.benchmarks.converge("b-1", device.wanted(SOURCE, SMALL))
    problem = device.told[0].measured[1].problem
    assert problem is not None
    assert "ended 3 times while it was measured" in problem.message


async def test_what_lies_there_of_a_benchmark_that_ended_meanwhile_goes(device: Device) -> None:
    wanted: dict[str, Any] = {"b-1": device.wanted(SOURCE), "b-2": device.wanted(SOURCE)}
    for name in wanted:
        (device.data / "benchmarks" / name).mkdir(parents=True)

    class Asked:
        def __init__(self) -> None:
            self.gone: list[Any] = []

        def keys(self, _prefix: str) -> list[str]:
            return []

        def want(self, key: str, body: Any, _deployment: str, converge: Any) -> None:
            if body is None:
                self.gone.append((key, converge))

    asked = Asked()
    device.benchmarks.follow({"b-2": wanted["b-2"]}, asked)  # type: ignore[arg-type]  # what it asks of sections
    [(key, forget)] = asked.gone
    assert key == "benchmarks/b-1"
    await forget()
    assert [path.name for path in (device.data / "benchmarks").iterdir()] == ["b-2"]


async def test_a_kept_file_that_is_cut_or_too_large_is_no_measurement(device: Device, played: Played) -> None:
    wanted = device.wanted(SOURCE, SMALL)
    await device.benchmarks.converge("b-1", wanted)
    folder = device.data / "benchmarks" / "b-1"
    results = KeptResults(folder, wanted)
    assert results.read(wanted.candidates[0]) is not None
    for content in (b"{", b"x" * (2 * 1024 * 1024)):
        (path,) = (folder / "measured").glob(f"{wanted.candidates[0].sha256}*.json")
        path.write_bytes(content)
        assert results.read(wanted.candidates[0]) is None
    assert played.asked == ["source", "small"]


async def test_the_process_may_have_a_share_of_the_board_s_memory(device: Device) -> None:
    """A gigabyte of address space is no bound on a board that has less."""
    (device.data / "proc").mkdir()
    (device.data / "proc" / "meminfo").write_text("MemTotal: 60000 kB\n")
    wanted = device.wanted(SOURCE)
    with pytest.raises(BenchmarkError, match=r"takes more than 43 MiB|its limits are 43 MiB of memory"):
        await device.benchmarks.converge("b-1", wanted)


async def test_the_load_of_the_machine_is_told(device: Device, played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = iter([(0.5, 0.0, 0.0), (1.5, 0.0, 0.0)])
    monkeypatch.setattr("os.getloadavg", lambda: next(loads))
    await device.benchmarks.converge("b-1", device.wanted(SOURCE))
    [told] = device.told[0].measured
    assert (told.load_before, told.load_after, played.asked) == (0.5, 1.5, ["source"])


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
