"""Jobs from end to end: every row is answered once or rejected with a reason, whatever the form."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.agent.batch import jobs
from tests.contract.golden_messages import manifest as golden_manifest
from tests.fixtures import tiny
from tests.numerics.processing.pictures import encoded, pixels

from shoal_agent.batch import BatchError, StoppedError
from shoal_agent.batch.runner import Bounds
from shoal_agent.engines import Array, EngineError
from shoal_agent.errors import AgentError
from shoal_agent.serving import ServedModel
from shoal_agent.slots import Slot, SlotFile
from shoal_contract.manifest import TensorSpec, VersionManifest
from shoal_contract.processing import ClassesOutput, ImageInput, Processing, Resize


class PlainEngine:
    """Answers as `function` does; fails for samples whose first number is 13."""

    def __init__(self, manifest: VersionManifest, function: Any, *, always_fails: bool = False) -> None:
        self.inputs, self.outputs = manifest.inputs, manifest.outputs
        self._function = function
        self.asked: list[int] = []
        self.is_closed = False
        self.always_fails = always_fails

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        (x,) = inputs.values()
        self.asked.append(len(x))
        if self.always_fails or (x.reshape(len(x), -1)[:, 0] == 13).any():
            message = "running it: thirteen"
            raise EngineError(message)
        return {self.outputs[0].name: self._function(x)}

    def close(self) -> None:
        self.is_closed = True


class Loading:
    """Stands in for the loader: serves a manifest with an engine of its own, under the slot's hash."""

    def __init__(self, manifest: VersionManifest, engine: PlainEngine) -> None:
        self.manifest, self.engine = manifest, engine

    def __call__(self, _data: Path, name: str, slot: Slot) -> ServedModel:
        return ServedModel(name, self.manifest.version, slot.target, self.manifest, slot.manifest.sha256, self.engine)


@pytest.mark.parametrize("suffix", sorted(jobs.WRITERS))
@pytest.mark.parametrize("output", ["out.parquet", "out.csv", "out.jsonl"])
def test_every_form_of_input_gives_the_same_answers_in_every_form_of_output(
    suffix: str, output: str, data: Path, tmp_path: Path
) -> None:
    columns = jobs.table(230)
    source = jobs.WRITERS[suffix](tmp_path / f"in{suffix}", columns)
    summary = jobs.run(jobs.job_of(data, tmp_path / output, source, keep=("id",)))
    rows = jobs.read_rows(tmp_path / output)
    assert [row["probabilities.label"] for row in rows] == jobs.labels(columns)
    assert [row["id"] for row in rows] == columns["id"].tolist()
    assert [int(row["row"]) for row in rows] == list(range(1, 231))
    assert {row["file"] for row in rows} == {str(source)}
    assert (summary["answered"], summary["rejected"], summary["version"]) == (230, 0, 1)
    left = sorted(path.name for path in tmp_path.iterdir() if path != source)
    assert left == [output, f"{output}.journal"], "no parts, no rejects, nothing temporary"


def test_bad_rows_go_to_the_rejects_with_their_reasons(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(120))
    lines = source.read_text().splitlines()
    lines[10], lines[100] = "id-9,1,abc,2,3", "id-99,1,,2,3"
    lines[50] = "cut"
    source.write_text("\n".join(lines) + "\n")
    summary = jobs.run(jobs.job_of(data, tmp_path / "out.parquet", source))
    assert (summary["answered"], summary["rejected"]) == (117, 3)
    rejects = jobs.read_rows(tmp_path / "out.parquet.rejects.jsonl")
    assert rejects == [
        {"file": str(source), "row": 10, "reason": "column 'b': 'abc' is no finite number"},
        {"file": str(source), "row": 50, "reason": "1 fields found, 5 expected"},
        {"file": str(source), "row": 100, "reason": "column 'b': the value is missing"},
    ]
    rows = {row["row"] for row in jobs.read_rows(tmp_path / "out.parquet")}
    assert rows == set(range(1, 121)) - {10, 50, 100}


def test_several_inputs_are_answered_in_order(data: Path, tmp_path: Path) -> None:
    first = jobs.write_csv(tmp_path / "1.csv", jobs.table(60, 1))
    second = jobs.write_parquet(tmp_path / "2.parquet", jobs.table(70, 2))
    jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", first, second))
    rows = jobs.read_rows(tmp_path / "out.jsonl")
    assert [(row["file"], row["row"]) for row in rows] == [
        *((str(first), row) for row in range(1, 61)), *((str(second), row) for row in range(1, 71))
    ]  # fmt: skip


def test_a_sample_that_the_model_fails_on_costs_itself_alone(data: Path, tmp_path: Path) -> None:
    columns = jobs.table(40)
    columns["a"][[3, 20]] = 13 * 2 + 1
    manifest = jobs.manifest()
    engine = PlainEngine(manifest, tiny.probabilities)
    source = jobs.write_parquet(tmp_path / "in.parquet", columns)
    summary = jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source), load=Loading(manifest, engine))
    assert (summary["answered"], summary["rejected"]) == (38, 2)
    rejects = jobs.read_rows(tmp_path / "out.jsonl.rejects.jsonl")
    assert [one["row"] for one in rejects] == [4, 21]
    assert {one["reason"] for one in rejects} == {"running it: thirteen"}
    expected = [label for row, label in enumerate(jobs.labels(columns)) if row not in {3, 20}]
    assert [row["probabilities.label"] for row in jobs.read_rows(tmp_path / "out.jsonl")] == expected
    assert engine.is_closed


def test_a_model_that_answers_nothing_any_more_ends_the_job_and_rejects_nobody(data: Path, tmp_path: Path) -> None:
    manifest = jobs.manifest()
    engine = PlainEngine(manifest, tiny.probabilities, always_fails=True)
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(40))
    job = jobs.job_of(data, tmp_path / "out.jsonl", source)
    with pytest.raises(EngineError, match="thirteen"):
        jobs.run(job, load=Loading(manifest, engine))
    engine.always_fails = False
    assert jobs.run(job, load=Loading(manifest, engine))["answered"] == 40


def test_a_model_of_a_fixed_batch_gets_it_filled_up(data: Path, tmp_path: Path) -> None:
    inputs = (TensorSpec(name="x", datatype="FP32", shape=(8, 4)),)
    manifest = jobs.manifest().model_copy(update={"inputs": inputs})
    engine = PlainEngine(manifest, tiny.probabilities)
    columns = jobs.table(21)
    source = jobs.write_csv(tmp_path / "in.csv", columns)
    jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source), load=Loading(manifest, engine))
    assert engine.asked == [8, 8, 8]
    assert [row["probabilities.label"] for row in jobs.read_rows(tmp_path / "out.jsonl")] == jobs.labels(columns)


def test_an_answer_that_is_not_one_a_sample_is_told(data: Path, tmp_path: Path) -> None:
    manifest = jobs.manifest()
    engine = PlainEngine(manifest, lambda x: tiny.probabilities(x)[:1])
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(4))
    with pytest.raises(BatchError, match=r"shape \[1, 3\] for 4 samples"):
        jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source), load=Loading(manifest, engine))


def test_a_folder_of_images_is_answered_and_a_broken_one_rejected_by_its_name(data: Path, tmp_path: Path) -> None:
    processing = Processing(
        inputs={"image": ImageInput(resize=Resize(width=4, height=4), scale=1 / 255)},
        outputs={"scores": ClassesOutput()},
    )
    manifest = golden_manifest().model_copy(
        update={
            "inputs": (TensorSpec(name="image", datatype="FP32", shape=(-1, 3, 4, 4)),),
            "processing": processing,
        }
    )
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        colour = np.full((6, 5, 3), 250 if number % 2 else 5, dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(encoded(colour))
    (folder / "3.png").write_bytes(encoded(pixels(6, 5))[:60])
    engine = PlainEngine(manifest, lambda x: np.stack([1 - x.mean((1, 2, 3)), x.mean((1, 2, 3))], axis=1))
    job = jobs.job_of(data, tmp_path / "out.jsonl", folder, batch_size=2)
    summary = jobs.run(job, load=Loading(manifest, engine))
    rows = jobs.read_rows(tmp_path / "out.jsonl")
    assert [(Path(row["file"]).name, row["scores.label"]) for row in rows] == [
        ("0.png", "zero"), ("1.png", "one"), ("2.png", "zero"), ("4.png", "zero"), ("5.png", "one"), ("6.png", "zero")
    ]  # fmt: skip
    (reject,) = jobs.read_rows(tmp_path / "out.jsonl.rejects.jsonl")
    assert (reject["file"], reject["row"]) == (str(folder / "3.png"), 4)
    assert "it is damaged" in reject["reason"]
    assert max(engine.asked) == 2
    assert summary["rejected"] == 1


def test_a_job_that_is_done_is_not_done_again(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(40))
    job = jobs.job_of(data, tmp_path / "out.jsonl", source)
    jobs.run(job)
    before = (tmp_path / "out.jsonl").stat()
    again = jobs.run(job)
    assert (again["answered"], again["resumed"]) == (40, True)
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before.st_mtime_ns


def test_another_job_on_the_same_output_is_refused_and_says_what_differs(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(40))
    job = jobs.job_of(data, tmp_path / "out.jsonl", source)
    jobs.run(job)
    with pytest.raises(BatchError, match="begun with another job; its keep differ"):
        jobs.run(replace(job, keep=("id",)))
    jobs.write_csv(source, jobs.table(41))
    with pytest.raises(BatchError, match="its inputs differ") as error:
        jobs.run(job)
    assert "--restart" in error.value.remedy
    assert jobs.run(replace(job, is_restart=True))["answered"] == 41
    assert len(jobs.read_rows(tmp_path / "out.jsonl")) == 41


def test_a_file_of_somebody_else_s_is_not_replaced(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(4))
    (tmp_path / "out.jsonl").write_text("mine\n")
    with pytest.raises(BatchError, match="no journal says that this job made it"):
        jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source))
    assert (tmp_path / "out.jsonl").read_text() == "mine\n"
    assert not (tmp_path / "out.jsonl.journal").exists()
    (tmp_path / "out.jsonl.journal").write_text("mine, too\n")
    with pytest.raises(BatchError, match="it is no journal of a batch job"):
        jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source, is_restart=True))


def test_a_second_process_on_one_output_is_refused(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(40))
    job = jobs.job_of(data, tmp_path / "out.jsonl", source)
    refused: list[str] = []

    def begin_another(_: int) -> None:
        with pytest.raises(BatchError) as error:
            jobs.run(job)
        refused.append(str(error.value))

    assert jobs.run(job, progress=begin_another)["answered"] == 40
    assert "another process works on this output" in refused[0]


def test_a_stopped_job_keeps_its_answers_and_goes_on_to_the_same_output(data: Path, tmp_path: Path) -> None:
    columns = jobs.table(5000)
    source = jobs.write_csv(tmp_path / "in.csv", columns)
    pace = jobs.free_pace()
    job = jobs.job_of(data, tmp_path / "out.jsonl", source, bounds=Bounds(part_rows=10**6))
    with pytest.raises(StoppedError):
        jobs.run(job, pace, progress=lambda done: pace.stop.set() if done > source.stat().st_size / 3 else None)
    assert (tmp_path / "out.jsonl.parts").is_dir()
    assert not (tmp_path / "out.jsonl").exists()
    reports: list[int] = []
    summary = jobs.run(job, progress=reports.append)
    assert (summary["answered"], summary["resumed"]) == (5000, True)
    assert reports[0] > source.stat().st_size / 3, "what was answered is not answered again"
    rows = jobs.read_rows(tmp_path / "out.jsonl")
    assert [row["row"] for row in rows] == list(range(1, 5001))
    assert [row["probabilities.label"] for row in rows] == jobs.labels(columns)


def test_what_was_answered_is_durable_before_a_rest(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(3000))
    looks = iter([True, False, False, True, True])
    journal = tmp_path / "out.jsonl.journal"
    seen: list[int] = []

    class Windows:
        def holds(self, _: object) -> bool:
            return next(looks)

    pace = jobs.free_pace(windows=[Windows()], check_s=0.0, wait=lambda _: None)
    told: list[str] = []

    def tell(reason: str) -> None:
        told.append(reason)
        seen.append(sum(json.loads(line)["kind"] == "part" for line in journal.read_text().splitlines()))

    jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source, bounds=Bounds(part_rows=10**6)), pace, tell=tell)
    assert told == ["outside of its windows"]
    assert seen == [1]


def test_a_part_is_written_after_its_time_however_few_rows_it_has(data: Path, tmp_path: Path) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(3000))
    jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source, bounds=Bounds(part_rows=10**6, part_s=0.0)))
    lines = (tmp_path / "out.jsonl.journal").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["plan", "part", "part", "part", "done"]


def test_a_version_that_is_replaced_meanwhile_goes_on_from_its_slot(tmp_path: Path) -> None:
    device = jobs.deploy(tmp_path / "device", jobs.manifest(1))
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(3000))
    pace = jobs.free_pace()
    job = jobs.job_of(device, tmp_path / "out.jsonl", source)
    with pytest.raises(StoppedError):
        jobs.run(job, pace, progress=lambda _: pace.stop.set())
    jobs.deploy(device, jobs.manifest(1), jobs.manifest(2))
    active = SlotFile(device / "models", "tiny").slots.active
    assert active is not None
    assert active.version == 2
    assert jobs.run(job)["version"] == 1
    assert jobs.run(replace(job, output=tmp_path / "new.jsonl"))["version"] == 2
    assert jobs.run(replace(job, output=tmp_path / "old.jsonl", version=1))["version"] == 1


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"model": "nosuch"}, "the device has tiny"),
        ({"version": 9}, r"looking for version 9 of tiny: the device has version 1 \(good\)"),
        ({"keep": ("nosuch",)}, "keeping column 'nosuch'"),
        ({"inputs": ("nosuch.csv",)}, "looking at the input"),
    ],
)
def test_a_job_that_can_not_be_done_says_why(
    fields: dict[str, Any], complaint: str, data: Path, tmp_path: Path
) -> None:
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(4))
    with pytest.raises(AgentError, match=complaint):
        jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source, **fields))
    assert not (tmp_path / "out.jsonl").exists()


def test_a_missing_column_is_an_error_of_the_job_and_not_of_each_row(data: Path, tmp_path: Path) -> None:
    columns = jobs.table(4)
    del columns["b"]
    source = jobs.write_csv(tmp_path / "in.csv", columns)
    with pytest.raises(AgentError, match="no column 'b'; the data has"):
        jobs.run(jobs.job_of(data, tmp_path / "out.jsonl", source))


def test_a_model_whose_file_has_changed_on_disk_is_not_used_and_left_to_the_agent(tmp_path: Path) -> None:
    device = jobs.deploy(tmp_path / "device")
    active = SlotFile(device / "models", "tiny").slots.active
    assert active is not None
    blob = device / "blobs" / active.file_sha256
    blob.write_bytes(blob.read_bytes() + b"x")
    source = jobs.write_csv(tmp_path / "in.csv", jobs.table(4))
    with pytest.raises(AgentError, match="its bytes have changed on disk"):
        jobs.run(jobs.job_of(device, tmp_path / "out.jsonl", source))
    assert blob.exists()


def test_nothing_in_the_device_s_folder_changes(tmp_path: Path) -> None:
    device = jobs.deploy(tmp_path / "device")

    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in device.rglob("*"))

    before, source = state(), jobs.write_csv(tmp_path / "in.csv", jobs.table(4))
    jobs.run(jobs.job_of(device, tmp_path / "out.jsonl", source))
    assert state() == before


def test_a_stop_amid_a_chunk_answers_no_row_twice(data: Path, tmp_path: Path) -> None:
    columns = jobs.table(2500)
    source, stop = jobs.write_csv(tmp_path / "in.csv", columns), threading.Event()
    manifest = jobs.manifest()

    def answer(x: Array) -> Array:
        if len(engine.asked) == 70:
            stop.set()
        return tiny.probabilities(x)

    engine = PlainEngine(manifest, answer)
    job = jobs.job_of(data, tmp_path / "out.jsonl", source)
    with pytest.raises(StoppedError):
        jobs.run(job, jobs.free_pace(stop=stop), load=Loading(manifest, engine))
    jobs.run(job, load=Loading(manifest, engine))
    assert [row["row"] for row in jobs.read_rows(tmp_path / "out.jsonl")] == list(range(1, 2501))
