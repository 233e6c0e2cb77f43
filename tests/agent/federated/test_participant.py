"""A device's part in rounds, with real training processes: each round is answered once, whatever happens to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from safetensors.numpy import load_file
from tests.agent.simulators.director import NOW, ref_of
from tests.agent.simulators.retained import RetainedTopics
from tests.fixtures import tiny_trainer

from shoal_agent.blobs import BlobStore
from shoal_agent.errors import FetchError
from shoal_agent.federated import Datasets, Participant
from shoal_agent.federated.participant import RoundError
from shoal_agent.fetch import Fetcher
from shoal_agent.outbox import Outbox
from shoal_agent.settings import FetchSettings, OutboxSettings, TrainingSettings
from shoal_agent.uploads import Uploads
from shoal_contract.desired import DesiredRound
from shoal_contract.telemetry import BlobOffer, RoundResult
from shoal_numerics.update_coding import decode_update

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.anyio
TRAINER, WEIGHTS = tiny_trainer.TRAINER.read_bytes(), tiny_trainer.WEIGHTS.read_bytes()


class Device:
    """A participant on a retained source in memory; a second one on the same folder is the device after a start."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.source = RetainedTopics()
        for data in (TRAINER, WEIGHTS):
            self.source.publish(data)
        self.outbox = Outbox(folder / "outbox.sqlite", OutboxSettings())
        self.results: list[RoundResult] = []
        self.offers: list[BlobOffer] = []
        self.datasets = Datasets(folder / "datasets")
        self.folder = folder
        self.participant = Participant(
            folder=folder / "federated",
            fetcher=Fetcher(self.source, BlobStore(folder / "blobs"), self._ask, FetchSettings(silence_s=0.05)),
            datasets=self.datasets,
            uploads=Uploads(folder / "uploads", self.outbox, self.offers.append),
            settings=TrainingSettings(nice=0, **limits),
            now=lambda: NOW,
            tell=self.results.append,
        )

    async def _ask(self, _sha256: str, _detail: str) -> None:
        """Ask nobody."""

    def add_examples(self, count: int = 50, **arrays: Any) -> None:
        path = tiny_trainer.write_examples(self.folder / "labelled.npz", count, **arrays)
        self.datasets.add("digits", path)

    def children(self) -> list[int]:
        """Return the training processes of this device that live."""
        return _training(self.folder)


def _training(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if b"-m\0shoal_agent.federated.child\0" in command and str(folder).encode() in command and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    made = Device(tmp_path)
    yield made
    made.outbox.close()
    assert made.children() == []


def wanted(**changes: Any) -> DesiredRound:
    fields: dict[str, Any] = {
        "run": "run-1",
        "round": 1,
        "dataset": "digits",
        "trainer": ref_of(TRAINER),
        "weights": ref_of(WEIGHTS),
        "epochs": 2,
        "batch_size": tiny_trainer.BATCH,
        "learning_rate": 0.1,
        "max_update_bytes": 100_000,
        "deadline_at": NOW + timedelta(minutes=1),
    }
    return DesiredRound.model_validate(fields | changes)


ENDLESS = {"epochs": 1000}


async def _until(holds: Any) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - another process's state sets no event
            await anyio.sleep(0.02)


async def test_a_round_is_trained_once_and_never_again_even_after_a_start(device: Device, tmp_path: Path) -> None:
    device.add_examples()
    await device.participant.converge(wanted())

    (result,) = device.results
    (offer,) = device.offers
    assert (result.outcome, result.examples, result.problem) == ("trained", 50, None)
    assert (result.loss_before or 0) > (result.loss_after or 0)
    assert result.update_sha256 == offer.sha256
    tensors = load_file(tiny_trainer.WEIGHTS)
    update = (tmp_path / "uploads" / offer.sha256).read_bytes()
    assert len(decode_update(update, [tensors[key] for key in sorted(tensors)], 100_000)) == 4

    device.outbox.close()
    again = Device(tmp_path)
    await again.participant.converge(wanted())
    assert (again.results, again.offers) == ([], [])
    await again.participant.converge(wanted(round=2))
    assert [result.round for result in again.results] == [2]
    again.outbox.close()


async def test_a_device_without_the_dataset_refuses_and_says_how_to_add_it(device: Device, tmp_path: Path) -> None:
    with pytest.raises(RoundError, match="has no dataset 'digits'") as refused:
        await device.participant.converge(wanted())
    assert "shoal-agent data add digits" in refused.value.remedy
    (result,) = device.results
    assert (result.outcome, result.problem) == ("refused", refused.value.to_problem())

    device.outbox.close()
    again = Device(tmp_path)
    with pytest.raises(RoundError, match="has no dataset 'digits'"):
        await again.participant.converge(wanted())  # still reported as failed, but not told a second time
    assert again.results == []
    again.outbox.close()


async def test_a_round_whose_deadline_has_passed_is_refused(device: Device) -> None:
    device.add_examples()
    with pytest.raises(RoundError, match="deadline"):
        await device.participant.converge(wanted(deadline_at=NOW))
    assert [result.outcome for result in device.results] == ["refused"]


async def test_a_deadline_that_passes_ends_the_training(device: Device) -> None:
    device.add_examples(20_000)
    with pytest.raises(RoundError, match="passed while it trained"):
        await device.participant.converge(wanted(**ENDLESS, deadline_at=NOW + timedelta(seconds=1.5)))
    assert [result.outcome for result in device.results] == ["failed"]
    assert device.children() == []


@pytest.mark.parametrize(
    ("changes", "arrays", "complaint"),
    [
        ({"batch_size": 7}, {}, "in batches of 7"),
        ({"learning_rate": 10.0}, {"x": tiny_trainer.examples()[0] * 1e18}, "diverged"),
        ({"max_update_bytes": 1}, {}, "the round allows 1"),
    ],
)
async def test_a_round_that_can_not_be_trained_is_told_with_its_reason(
    device: Device, changes: dict[str, Any], arrays: dict[str, Any], complaint: str
) -> None:
    device.add_examples(**arrays)
    with pytest.raises(RoundError, match=complaint):
        await device.participant.converge(wanted(**changes))
    (result,) = device.results
    assert (result.outcome, result.update_sha256) == ("failed", None)
    assert result.problem is not None
    assert (result.problem.code, complaint in result.problem.message) == ("training", True)
    assert device.offers == []


async def test_a_training_process_that_is_killed_is_told_to_the_hub(device: Device) -> None:
    device.add_examples(20_000)

    async def kill() -> None:
        await _until(device.children)
        os.kill(device.children()[0], signal.SIGKILL)

    async with anyio.create_task_group() as group:
        group.start_soon(kill)
        with pytest.raises(RoundError, match="was ended by SIGKILL"):
            await device.participant.converge(wanted(**ENDLESS))
    assert [result.outcome for result in device.results] == ["failed"]


async def test_a_training_process_holds_to_its_memory_limit(tmp_path: Path, device: Device) -> None:
    device.outbox.close()
    small = Device(tmp_path, max_memory_bytes=2**20)
    small.add_examples()
    with pytest.raises(RoundError, match="(?i)memory|allocat|loading the trainer"):
        await small.participant.converge(wanted())
    assert [result.outcome for result in small.results] == ["failed"]
    small.outbox.close()


async def test_a_round_that_is_superseded_ends_its_training_at_once(device: Device) -> None:
    device.add_examples(20_000)
    async with anyio.create_task_group() as group:
        group.start_soon(device.participant.converge, wanted(**ENDLESS))
        await _until(device.children)
        group.cancel_scope.cancel()
    assert device.children() == []
    assert device.results == []
    await device.participant.converge(wanted(round=2, epochs=1))
    assert [(result.round, result.outcome) for result in device.results] == [(2, "trained")]


async def test_an_artifact_that_is_missing_is_waited_for_and_not_told_as_a_failure(device: Device) -> None:
    device.add_examples()
    held = dict(device.source.messages)
    device.source.messages.clear()
    with pytest.raises(FetchError):
        await device.participant.converge(wanted())
    assert device.results == []
    device.source.messages.update(held)
    await device.participant.converge(wanted())
    assert [result.outcome for result in device.results] == ["trained"]


async def test_a_training_process_does_not_outlive_the_agent(device: Device, tmp_path: Path) -> None:
    device.add_examples(20_000)
    with anyio.move_on_after(0.01):  # leaves the artifacts and the job's file behind
        await device.participant.converge(wanted(**ENDLESS))
    await device.participant.fetcher.fetch(ref_of(TRAINER))
    await device.participant.fetcher.fetch(ref_of(WEIGHTS))
    blobs = tmp_path / "blobs"
    job = device.participant._job(
        wanted(**ENDLESS), blobs / ref_of(TRAINER).sha256, blobs / ref_of(WEIGHTS).sha256, tmp_path / "work"
    )
    path = tmp_path / "job.json"
    path.write_text(job.model_dump_json())
    script = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'shoal_agent.federated.child']\n"
        f"subprocess.Popen([*command, {str(path)!r}, str(os.getpid())])\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])  # noqa: ASYNC220 - nothing else runs here
    # In the middle of training: before, it could not know yet that its parent must live.
    await _until(lambda: device.children() and _cpu_s(device.children()[0]) > 1.0)
    parent.kill()
    parent.wait()
    await _until(lambda: device.children() == [])


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_damaged_note_of_what_is_done_trains_once_more(
    device: Device, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device.add_examples()
    (tmp_path / "federated" / "run-1").mkdir(parents=True)
    (tmp_path / "federated" / "run-1" / "done.json").write_bytes(b"damaged")
    await device.participant.converge(wanted())
    assert [result.outcome for result in device.results] == ["trained"]
    assert "damaged" in caplog.text
