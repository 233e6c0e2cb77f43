"""A job that is killed, at whatever point, and run again ends with every row once: the disk's operations are counted.

In this process each sync, rename, truncation and deletion is made the last one, before and after it is done. In a
process of its own, SIGKILL comes at a sync.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.agent.batch import jobs

from shoal_agent.batch import BatchError
from shoal_agent.batch.journal import Journal, Part
from shoal_agent.batch.runner import Bounds

ROOT = Path(__file__).parents[3]


class KilledError(BaseException):
    """Stands in for a kill: nothing may catch it."""


class Operations:
    """Counts what is asked of the disk, and kills at one of them.

    Args:
        fatal: Which one, from 0; None: none.
        is_after: Whether it is still done.
    """

    def __init__(self, fatal: int | None, *, is_after: bool) -> None:
        self.count = 0
        self._fatal = fatal
        self._is_after = is_after

    def watched(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            is_fatal = self.count == self._fatal
            self.count += 1
            if is_fatal and not self._is_after:
                raise KilledError
            result = operation(*arguments, **options)
            if is_fatal:
                raise KilledError
            return result

        return run


@contextmanager
def disk(fatal: int | None, *, is_after: bool = False) -> Iterator[Operations]:
    operations = Operations(fatal, is_after=is_after)
    with (
        mock.patch("os.fsync", operations.watched(os.fsync)),
        mock.patch.object(Path, "replace", operations.watched(Path.replace)),
        mock.patch.object(Path, "unlink", operations.watched(Path.unlink)),
        mock.patch("shutil.rmtree", operations.watched(shutil.rmtree)),
        mock.patch.object(Path, "write_text", operations.watched(Path.write_text)),
    ):
        yield operations


def sources(tmp_path: Path) -> tuple[list[Path], dict[int, str]]:
    """Two inputs with bad rows; 130 and 80 rows."""
    first = jobs.write_csv(tmp_path / "1.csv", jobs.table(130, 1))
    lines = first.read_text().splitlines()
    lines[40], lines[90] = "cut", "id-89,,1,1,1"
    first.write_text("\n".join(lines) + "\n")
    second = jobs.write_parquet(tmp_path / "2.parquet", jobs.table(80, 2), group_rows=30)
    return [first, second], {40: "1 fields found", 90: "is missing"}


def check(output: Path, inputs: list[Path]) -> None:
    """Every row stands once, in the output or in the rejects, and nothing else is left."""
    answered = [(row["file"], row["row"]) for row in jobs.read_rows(output)]
    rejects = jobs.read_rows(output.with_name(f"{output.name}.rejects.jsonl"))
    assert [row["row"] for row in rejects] == [40, 90]
    first = [(str(inputs[0]), row) for row in range(1, 131) if row not in {40, 90}]
    assert answered == [*first, *((str(inputs[1]), row) for row in range(1, 81))]
    left = {path.name for path in output.parent.iterdir()} - {path.name for path in inputs}
    assert left == {output.name, f"{output.name}.journal", f"{output.name}.rejects.jsonl"}


@pytest.mark.parametrize("suffix", [".jsonl", pytest.param(".parquet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_after", [False, True])
def test_a_kill_at_any_operation_of_the_disk_loses_and_doubles_no_row(
    is_after: bool, suffix: str, data: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    inputs, _ = sources(whole)
    with disk(None) as operations:
        jobs.run(small(data, whole / f"out{suffix}", inputs))
    check(whole / f"out{suffix}", inputs)
    assert operations.count > 40
    expected = (whole / f"out{suffix}").read_bytes() if suffix == ".jsonl" else None
    for fatal in range(operations.count):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        copies, _ = sources(folder)
        job = small(data, folder / f"out{suffix}", copies)
        with disk(fatal, is_after=is_after), pytest.raises(KilledError):
            jobs.run(job)
        assert jobs.run(job)["answered"] == 208, fatal
        check(job.output, copies)
        if expected is not None:
            assert job.output.read_bytes() == expected.replace(str(whole).encode(), str(folder).encode())


def test_a_second_kill_on_the_way_back_is_as_harmless(data: Path, tmp_path: Path) -> None:
    inputs, _ = sources(tmp_path)
    job = small(data, tmp_path / "out.jsonl", inputs)
    killed = 0
    for fatal in [11, 9, 7, 5, 3, 2, 1, 0, 13, 17] * 3:
        try:
            with disk(fatal):
                jobs.run(job)
        except KilledError:
            killed += 1
    jobs.run(job)
    assert killed > 5
    check(job.output, inputs)


def small(data: Path, output: Path, inputs: list[Path]) -> Any:
    """A job of several parts: chunks are 16 rows, and parts begin anew after each 20."""
    return jobs.job_of(data, output, *inputs, batch_size=16, bounds=Bounds(part_rows=20))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_agent.batch.runner.TABLE_ROWS", 16)


_KILLED_AT = """
import os, signal, sys
from shoal_agent.batch import runner
from shoal_agent.cli import main

runner.TABLE_ROWS = 64
sync, left = os.fsync, int(sys.argv.pop(1))

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

os.fsync = fsync
runner.Bounds.__init__.__defaults__ = (150, 30.0)
main()
"""


def shell(data: Path, output: Path, source: Path, syncs: int) -> "subprocess.CompletedProcess[str]":
    """Run `shoal-agent batch` in a process of its own, which dies at the so many-th sync; 0: at none."""
    options = ["--data", str(data), "--model", "tiny", "--input", str(source), "--output", str(output), "--json"]
    command = [sys.executable, "-c", _KILLED_AT, str(syncs), "batch", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("suffix", [".csv", pytest.param(".parquet", marks=pytest.mark.slow)])
def test_a_process_that_is_killed_goes_on_where_it_was(suffix: str, data: Path, tmp_path: Path) -> None:
    columns = jobs.table(3000)
    source, output = jobs.WRITERS[suffix](tmp_path / f"in{suffix}", columns), tmp_path / "out.parquet"
    parts: list[int] = []
    for syncs in (2, 4, 6, 9, 12):
        killed = shell(data, output, source, syncs)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        lines = output.with_name("out.parquet.journal").read_text().splitlines()
        parts.append(sum(json.loads(line)["kind"] == "part" for line in lines if line.endswith("}")))
    assert parts == sorted(parts)
    assert 0 < parts[-1] < 3000 / 200 + 1
    ended = shell(data, output, source, 0)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) | {"seconds": 0} == {
        "model": "tiny", "version": 1, "target": "generic-onnx-float32", "output": str(output), "rejects": None,
        "answered": 3000, "rejected": 0, "seconds": 0, "rested_seconds": 0.0, "resumed": True,
    }  # fmt: skip
    rows = jobs.read_rows(output)
    assert [row["row"] for row in rows] == list(range(1, 3001))
    assert [row["probabilities.label"] for row in rows] == jobs.labels(columns)


def test_every_file_is_synced_before_its_rename_and_its_folder_before_the_journal_relies_on_it(
    data: Path, tmp_path: Path
) -> None:
    """What a power cut may undo is what was not synced: the order of the calls is what it is safe by."""
    steps: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        steps.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        sync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        steps.append(("rename", str(path)))
        return replace(path, target)

    inputs, _ = sources(tmp_path)
    with mock.patch("os.fsync", noted_sync), mock.patch.object(Path, "replace", noted_replace):
        jobs.run(small(data, tmp_path / "out.jsonl", inputs))
    renames = [place for place, (step, _) in enumerate(steps) if step == "rename"]
    assert len(renames) > 10
    for place in renames:
        renamed = Path(steps[place][1])
        assert steps[place - 1] == ("sync", str(renamed))
        assert steps[place + 1] == ("sync", str(renamed.parent))
    assert steps[-1] == ("sync", str(tmp_path / "out.jsonl.journal"))


def test_a_line_that_a_kill_has_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"
    journal = Journal(path)
    part = Part(number=0, answered=3, rejected=0, input=0, after={"byte": 7, "row": 3})
    journal.write(part)
    journal.write(part.model_copy(update={"number": 1}))
    journal.close()
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        again = Journal(path)
        assert len(again.parts) == whole[:size].count(b"\n")
        again.write(part)
        again.close()
        assert path.read_bytes().endswith(b"}\n")
        read = Journal(path)
        assert len(read.parts) == whole[:size].count(b"\n") + 1
        read.close()


def test_a_full_disk_ends_the_job_and_more_room_lets_it_go_on(data: Path, tmp_path: Path) -> None:
    inputs, _ = sources(tmp_path)
    job = small(data, tmp_path / "out.jsonl", inputs)
    syncs = iter(range(1000))

    def full(descriptor: int) -> None:
        if next(syncs) == 15:
            raise OSError(28, "No space left on device")
        os.fdatasync(descriptor)

    with mock.patch("os.fsync", full), pytest.raises(BatchError, match="No space left") as error:
        jobs.run(job)
    assert "free some disk space" in error.value.remedy
    assert jobs.run(job)["answered"] == 208
    check(job.output, inputs)


def test_a_part_that_somebody_has_deleted_is_told(data: Path, tmp_path: Path) -> None:
    inputs, _ = sources(tmp_path)
    job = small(data, tmp_path / "out.jsonl", inputs)
    with disk(30), pytest.raises(KilledError):
        jobs.run(job)
    for path in (tmp_path / "out.jsonl.parts").glob("part-*"):
        path.unlink()
    with pytest.raises(BatchError, match="is not there, and its journal says that it is") as error:
        jobs.run(job)
    assert "--restart" in error.value.remedy
