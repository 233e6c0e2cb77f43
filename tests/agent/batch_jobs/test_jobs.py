"""Jobs of the hub on a device: done once, over kills and restarts, told, and answers sent if the owner lets them."""

import hashlib
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.agent.batch import jobs

from shoal_agent.batch import BatchError
from shoal_agent.batch_jobs import BatchJobs
from shoal_agent.batch_jobs import jobs as jobs_module
from shoal_agent.batch_jobs.child import Interrupted, Summary, rows_so_far, run_child
from shoal_agent.errors import DiskError
from shoal_agent.idle_settings import BatchJobSettings
from shoal_agent.uploads import Elsewhere
from shoal_contract.ack import BlobAnswer
from shoal_contract.batch_jobs import BatchResult, DesiredBatch
from shoal_contract.reported import SectionReport
from shoal_contract.telemetry import BlobOffer
from shoal_contract.update_policy import MaintenanceWindow

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
WANTED = DesiredBatch(
    model="tiny",
    input="*.csv",
    keep=("id",),
    max_load=None,
    deadline_at=NOW + timedelta(hours=1),
    max_result_bytes=10**6,
)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.deploy(tmp_path_factory.mktemp("device"))


class Device:
    """A device's folder, and who hears of it."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data, self.now = data, NOW
        self.told: list[BatchResult] = []
        self.reports: list[SectionReport] = []
        self.offers: list[BlobOffer] = []
        self.got: list[bytes] = []
        self.answer = BlobAnswer(state="stored")
        fields = {"folders": (data / "inputs",), "may_send": True, "report_s": 0.05} | settings
        self.jobs = BatchJobs(
            data,
            self,  # type: ignore[arg-type]  # the one method that is called
            lambda _section, report: self.reports.append(report),
            self.told.append,  # type: ignore[arg-type]  # no other event comes
            lambda: self.now,
            BatchJobSettings(**fields),
        )

    def offer_elsewhere(self, offer: BlobOffer, elsewhere: Elsewhere) -> None:
        self.offers.append(offer)
        self.got.append(elsewhere.read())
        elsewhere.settled(self.answer)

    def answers(self, name: str = "march") -> Path:
        return self.data / "batches" / name / "answers.jsonl"


@pytest.fixture
def device(served: Path, tmp_path: Path) -> Device:
    for name in ("models", "blobs"):
        (tmp_path / name).symlink_to(served / name)
    (tmp_path / "inputs").mkdir()
    jobs.write_csv(tmp_path / "inputs" / "in.csv", jobs.table(50))
    return Device(tmp_path)


async def test_a_job_is_done_once_told_and_its_answers_sent(device: Device) -> None:
    assert await device.jobs.converge("march", WANTED) == "50 answered, 0 rejected"
    [told] = device.told
    assert (told.batch, told.outcome, told.version, told.answered, told.rejected) == ("march", "done", 1, 50, 0)
    assert [row["id"] for row in jobs.read_rows(device.answers())] == [f"id-{row}" for row in range(50)]
    assert device.got == [device.answers().read_bytes()]
    assert told.result_sha256 == hashlib.sha256(device.got[0]).hexdigest()
    assert (device.offers[0].purpose, device.offers[0].about) == ("batch_result", "march")

    again = Device(device.data)
    assert await again.jobs.converge("march", WANTED) == "50 answered, 0 rejected"
    assert (again.told, again.offers) == ([], [])


@pytest.mark.parametrize("why", ["owner", "bound", "refused"])
async def test_answers_stay_where_owner_bound_or_hub_say_no(
    device: Device, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    finished(monkeypatch)
    one = Device(device.data, may_send=why != "owner")
    one.answer = BlobAnswer(state="refused", reason="no room")
    wanted = WANTED.model_copy(update={"max_result_bytes": 2 if why == "bound" else 10**6})
    await one.jobs.converge("march", wanted)
    assert one.answers().exists()
    assert (len(one.offers), one.told[0].result_bytes) == (int(why == "refused"), 8)
    assert (one.told[0].result_sha256 is None) == (why != "refused")
    await one.jobs.converge("march", wanted)
    assert len(one.offers) == int(why == "refused"), "what was refused is not offered again"


async def test_a_job_that_can_not_be_done_is_told_once_with_the_childs_reason(device: Device) -> None:
    wanted = WANTED.model_copy(update={"model": "other"})
    for _ in range(2):
        with pytest.raises(BatchError, match="looking for model 'other'") as failed:
            await device.jobs.converge("march", wanted)
        assert "roll it out" in failed.value.remedy
    [told] = device.told
    assert (told.outcome, told.problem is not None) == ("failed", True)


async def test_a_job_without_files_or_beyond_the_owners_folders_fails(device: Device) -> None:
    for number, pattern in enumerate(("*.parquet", "/etc/*")):
        with pytest.raises(BatchError):
            await device.jobs.converge(f"job-{number}", WANTED.model_copy(update={"input": pattern}))
    assert [one.outcome for one in device.told] == ["failed", "failed"]


async def test_a_job_that_was_ended_from_outside_goes_on_and_one_that_ever_is_fails(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []

    async def run(_data: Path, folder: Path, wanted: DesiredBatch, inputs: list[str], _zone: str) -> Summary:
        runs.append(inputs)
        if len(runs) != 3:
            raise Interrupted
        return write_answers(folder, wanted)

    monkeypatch.setattr(jobs_module, "run_child", run)
    await device.jobs.converge("march", WANTED)
    assert (len(runs), device.told[0].outcome) == (3, "done")
    jobs.write_csv(device.data / "inputs" / "later.csv", jobs.table(1))
    with pytest.raises(BatchError, match="its process was ended 5 times"):
        await device.jobs.converge("april", WANTED)


async def test_a_job_goes_on_with_the_files_that_were_there_when_it_began(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = finished(monkeypatch)
    begun = device.data / "batches" / "march"
    begun.mkdir(parents=True)
    device.jobs._inputs(WANTED, begun)
    jobs.write_csv(device.data / "inputs" / "later.csv", jobs.table(1))
    await device.jobs.converge("march", WANTED)
    assert [Path(one).name for one in seen[0]] == ["in.csv"]


async def test_a_job_that_is_not_done_by_its_deadline_ends_and_says_how_far_it_came(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_data: Path, folder: Path, _wanted: DesiredBatch, *_more: object) -> Summary:
        part = '{"kind": "part", "number": 0, "answered": 7, "rejected": 2, "input": 0, "after": null}\n{"kind": "pa'
        (folder / "answers.jsonl.journal").write_text(part)
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(jobs_module, "run_child", never)
    wanted = WANTED.model_copy(update={"deadline_at": NOW + timedelta(seconds=0.3)})
    with pytest.raises(BatchError, match="has passed"):
        await device.jobs.converge("march", wanted)
    [told] = device.told
    assert (told.outcome, told.answered, told.rejected) == ("expired", 7, 2)
    assert "7 answered, 2 rejected" in [one.step for one in device.reports]
    assert rows_so_far(device.data / "nowhere", wanted) == (0, 0)


async def test_jobs_are_done_one_after_the_other_and_a_cancelled_one_is_killed(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[str] = []
    most: list[int] = []

    async def run(_data: Path, folder: Path, wanted: DesiredBatch, *_more: object) -> Summary:
        running.append(folder.name)
        most.append(len(running))
        await anyio.sleep(0.05)
        running.remove(folder.name)
        return write_answers(folder, wanted)

    monkeypatch.setattr(jobs_module, "run_child", run)
    async with anyio.create_task_group() as group:
        for name in ("one", "two", "three"):
            group.start_soon(device.jobs.converge, name, WANTED)
    assert (max(most), len(device.told)) == (1, 3)


async def test_a_job_that_is_not_wanted_any_more_leaves_its_answers(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(monkeypatch)
    await device.jobs.converge("march", WANTED)
    await device.jobs._forget("march")
    assert [path.name for path in (device.data / "batches" / "march").iterdir()] == ["answers.jsonl"]


async def test_a_cancelled_child_is_killed_and_the_same_job_goes_on(device: Device) -> None:
    folder = device.data / "batches" / "march"
    folder.mkdir(parents=True)
    inputs = [str(device.data / "inputs" / "in.csv")]
    with anyio.move_on_after(0.2):
        await run_child(device.data, folder, WANTED, inputs, "")
    summary = await run_child(device.data, folder, WANTED, inputs, "Europe/Paris")
    assert summary == Summary(version=1, answered=50, rejected=0)


@pytest.mark.slow
def test_a_job_of_an_agent_that_was_killed_ends_with_it_and_goes_on_with_the_next_one(device: Device) -> None:
    folder = device.data / "batches" / "march"
    folder.mkdir(parents=True)
    never = WANTED.model_copy(update={"windows": (MaintenanceWindow(days=("mon",), start="00:00", minutes=1),)})
    agent = f"""
import anyio, sys
from pathlib import Path
from shoal_agent.batch_jobs.child import run_child
from shoal_contract.batch_jobs import DesiredBatch
wanted = DesiredBatch.model_validate_json(sys.argv[1])
anyio.run(run_child, Path({str(device.data)!r}), Path({str(folder)!r}), wanted, [sys.argv[2]], "")
"""
    inputs = [str(device.data / "inputs" / "in.csv")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", agent, never.model_dump_json(), *inputs], env=variables)
    deadline_s = time.monotonic() + 30
    while not (folder / "answers.jsonl.journal").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    summary = anyio.run(run_child, device.data, folder, WANTED, inputs, "")
    assert summary == Summary(version=1, answered=50, rejected=0)


def write_answers(folder: Path, wanted: DesiredBatch) -> Summary:
    (folder / f"answers.{wanted.form}").write_bytes(b"answers\n")
    return Summary(version=1, answered=1, rejected=0)


def finished(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Have each job be done at once; return the files that they were given."""
    seen: list[list[str]] = []

    async def run(_data: Path, folder: Path, wanted: DesiredBatch, inputs: list[str], _zone: str) -> Summary:
        seen.append(inputs)
        return write_answers(folder, wanted)

    monkeypatch.setattr(jobs_module, "run_child", run)
    return seen


async def test_a_disk_that_does_not_take_a_job_is_told_and_tried_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> Summary:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs_module, "run_child", full)
    with pytest.raises(DiskError, match="No space left"):
        await device.jobs.converge("march", WANTED)
    assert device.told == []
