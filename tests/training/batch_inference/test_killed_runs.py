"""Runs that are killed and gone on with leave what a run leaves that was not."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.training.batch_inference.killed import killed_run
from tests.training.batch_inference.models import run

from shoal_training.batch_inference.manifest import Manifest

PLACES = 6
FILES = "{path: out, partition_by: [site]}"
SQL = "{kind: sql, url: 'sqlite:///out.db', table: scores}"


def places(folder: Path, sink: str) -> list[int]:
    """Return writes to be killed at: each of those by which a part is written amid the run, and the last of all."""
    count = killed_run(folder, sink, None)
    return [*range(count // 2, count // 2 + PLACES), count]


def copied(folder: Path, to: Path) -> Path:
    for name in ("rows", "bundle"):
        shutil.copytree(folder / name, to / name)
    return to


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies in the sink, without the manifest's time."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    manifest = Manifest.model_validate_json(found.pop("out/_shoal/r1.json"))
    told = {**manifest.source, "path": "", "fingerprint": ""}  # the folders differ
    plain = manifest.model_copy(update={"finished_at": None, "source": told})
    return {**found, "manifest": plain.model_dump_json(warnings=False).encode()}


def table(folder: Path) -> tuple[list[object], ...]:
    with sqlite3.connect(folder / "out.db") as connection:
        rows = connection.execute("SELECT * FROM scores ORDER BY id").fetchall()
        parts = connection.execute("SELECT * FROM shoal_inference_parts ORDER BY part").fetchall()
        runs = connection.execute("SELECT run, name FROM shoal_inference_runs").fetchall()
    connection.close()
    return rows, parts, runs


@pytest.mark.parametrize(("sink", "left"), [(FILES, files), (SQL, table)], ids=["files", "sql"])
@pytest.mark.slow
def test_a_run_that_was_killed_anywhere_ends_as_one_that_was_not(
    folder: Path, tmp_path: Path, sink: str, left: Callable[[Path], object]
) -> None:
    at_all = places(folder, sink)
    expected = left(folder)
    for at in at_all:
        again = copied(folder, tmp_path / f"killed-{at}")
        killed_run(again, sink, at)
        done = run(again, sink)
        assert done.state == "finished"
        assert left(again) == expected, f"killed at write {at}"


@pytest.mark.slow
def test_what_a_killed_run_had_written_is_not_written_again(folder: Path) -> None:
    count = killed_run(folder, FILES, None)
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "store")
    killed_run(folder, FILES, count * 2 // 3)
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.json")}
    assert before
    run(folder, FILES)
    assert before == {path: path.stat().st_mtime_ns for path in before}
