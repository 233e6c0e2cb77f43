"""A run as a whole: what it answers, what it leaves out, how it goes on."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.training.batch_inference.models import (
    definition_text,
    expected_scores,
    linear_bundle,
    run,
    write_rows,
)

from shoal_training.batch_inference.manifest import Manifest
from shoal_training.batch_inference.reading import parse_inference
from shoal_training.batch_inference.record import read_runs
from shoal_training.errors import CancelledError, DataError, InferenceError, SinkError

FILES = "{path: out}"


def answers(folder: Path) -> list[dict[str, object]]:
    parts = sorted((folder / "out").glob("*.parquet"))
    return [row for path in parts for row in pq.read_table(path).to_pylist()]


def test_rows_are_answered_in_order_beside_the_columns_that_go_along(folder: Path) -> None:
    done = run(folder, FILES, keep=["id", "site"])
    rows = write_rows(folder / "again")
    found = answers(folder)
    assert [(one["id"], one["site"]) for one in found] == [(one["id"], one["site"]) for one in rows]
    assert [one["scores"] for one in found] == expected_scores(rows)
    assert (done.state, done.parts, done.written_rows, done.refused_rows) == ("finished", 8, 30, 0)
    assert not (folder / "store/nightly/r1/parts").exists()  # what a run needs no more


def test_declared_processing_is_done_before_and_behind_the_model(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows")
    linear_bundle(tmp_path / "bundle", is_declared=True)
    run(tmp_path, FILES, inputs={})
    best = [max(range(2), key=lambda at: one[at]) for one in expected_scores(rows)]
    assert [one["scores.label"] for one in answers(tmp_path)] == [("low", "high")[at] for at in best]


def test_the_manifest_names_every_file_and_its_hash(folder: Path) -> None:
    from hashlib import sha256

    run(folder, FILES)
    manifest = Manifest.model_validate_json((folder / "out/_shoal/r1.json").read_bytes())
    named = {file.path: file.sha256 for part in manifest.parts for file in part.files}
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / "out").glob("*.parquet")}
    assert named == found
    assert (manifest.rows, manifest.model.name, len(manifest.parts)) == (30, "linear", 8)


def test_a_bad_row_ends_a_strict_run_by_its_file_and_row_and_what_was_before_it_is_kept(folder: Path) -> None:
    path = folder / "rows/1.csv"
    path.write_text(path.read_text().replace("16,6.0", "16,"))
    linear_bundle(folder / "declared", is_declared=True)
    (folder / "bundle").rename(folder / "plain")
    (folder / "declared").rename(folder / "bundle")
    with pytest.raises(DataError, match=r"rows/1.csv, row 7: column 'a': the value is missing"):
        run(folder, FILES, inputs={})
    assert len(answers(folder)) == 16
    assert not (folder / "out/_shoal/r1.json").exists()
    assert read_runs(folder / "store")[0].state == "failed"
    done = run(folder, FILES, run_id="r2", inputs={}, is_strict=False)
    assert (done.written_rows, done.refused_rows) == (29, 1)
    [told] = [json.loads(one) for one in (folder / "store/nightly/r2/refused/000005.jsonl").read_text().splitlines()]
    assert told["row"].endswith("rows/1.csv, row 7")


def test_a_damaged_file_amid_the_source_is_told_before_anything_is_answered(folder: Path) -> None:
    (folder / "rows/1.csv").write_text("id,a,b,c,site\n1,2\n")
    with pytest.raises(DataError, match=r"rows/1.csv, row 1: 2 cells found"):
        run(folder, FILES)
    assert not (folder / "out").exists()


def test_folders_of_a_hive_lake_are_columns_of_the_source_and_of_the_sink(folder: Path) -> None:
    (folder / "rows").rename(folder / "flat")
    for at in range(3):
        lake = folder / f"rows/day=2026-01-0{at + 1}"
        lake.mkdir(parents=True)
        (folder / f"flat/{at}.csv").rename(lake / "part.csv")
    run(folder, "{path: out, partition_by: [day, site]}")
    found = pq.read_table(folder / "out")
    assert found.group_by("day").aggregate([("id", "count")])["id_count"].to_pylist() == [10, 10, 10]
    one = next((folder / "out").glob("day=2026-01-02/site=s1/*.parquet"))
    assert "day" not in pq.read_schema(one).names


def test_a_run_that_was_cancelled_goes_on_where_it_ended(folder: Path) -> None:
    told: list[int] = []
    with pytest.raises(CancelledError):
        run(folder, FILES, run_id=None, is_cancelled=lambda: len(told) > 6, progress=lambda *step: told.append(step[1]))
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.parquet")}
    assert 0 < len(before) < 8
    [cancelled] = read_runs(folder / "store")
    assert cancelled.state == "cancelled"
    done = run(folder, FILES, run_id=None)
    assert done.id == cancelled.id
    assert len(answers(folder)) == 30
    assert before == {path: path.stat().st_mtime_ns for path in before}  # not written again


def test_a_run_does_not_go_on_with_another_declaration_nor_with_rows_that_are_read_anew(folder: Path) -> None:
    told: list[int] = []
    with pytest.raises(CancelledError):
        run(folder, FILES, is_cancelled=lambda: len(told) > 6, progress=lambda *step: told.append(step[1]))
    declared = folder / "bundle/bundle.json"
    was = declared.read_text()
    declared.write_text(was.replace('"linear"', '"other"'))
    with pytest.raises(
        (InferenceError, DataError), match=r"the model is another than that which it was begun with|points"
    ):
        run(folder, FILES)
    declared.write_text(was)
    shutil.rmtree(folder / "store/nightly/r1/parts")
    with pytest.raises(InferenceError, match="its parts are gone from"):
        run(folder, FILES)


def test_a_run_does_not_go_on_with_another_file_or_model(folder: Path) -> None:
    with pytest.raises(SinkError, match="no column nothing"):
        run(folder, "{path: out, partition_by: [nothing]}")
    with pytest.raises(InferenceError, match="the file is another than that which it was begun with"):
        run(folder, FILES)
    assert run(folder, FILES, run_id="r2").state == "finished"
    assert run(folder, FILES, run_id="r2").written_rows == 30  # what had finished stays as it is


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (definition_text("{path: out, colour: red}"), "line 4: sink.colour"),
        (definition_text("{kind: fax}"), "line 4: sink: .*no sink is called 'fax'"),
        (definition_text(FILES, engine="spark"), "engine: .*no engine is called 'spark'"),
        (definition_text(FILES, schedule='{cron: "61 * * * *"}'), "schedule.cron: .*no cron expression"),
        (definition_text("{kind: sql, url: 'postgresql://u:secret@h/d', table: t}"), "a password stands in it"),
        (definition_text(FILES, model="linear"), "model"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(InferenceError, match=told):
        parse_inference(text)


def test_a_text_among_numbers_is_told_by_its_row_and_columns_that_do_not_fit_by_their_number(folder: Path) -> None:
    (folder / "rows/2.csv").write_text("id,a,b,c,site\n20,none,1,1,s0\n")
    (folder / "rows/0.csv").unlink()
    (folder / "rows/1.csv").unlink()
    with pytest.raises(DataError, match=r"rows/2.csv, row 1: column 'a': 'none' is no finite number"):
        run(folder, FILES)
    with pytest.raises(DataError, match="`inputs`: x takes 3 numbers, and 2 columns are named"):
        run(folder, FILES, run_id="r2", inputs={"x": ["b", "c"]})


def test_a_run_is_left_for_a_new_one_where_its_source_has_changed(folder: Path) -> None:
    told: list[int] = []
    with pytest.raises(CancelledError):
        run(folder, FILES, run_id=None, is_cancelled=lambda: len(told) > 6, progress=lambda *step: told.append(step[1]))
    path = folder / "rows/2.csv"
    path.write_text(path.read_text() + "30,1,1,1,s0\n")
    assert run(folder, FILES, run_id=None).written_rows == 31
    assert sorted(one.state for one in read_runs(folder / "store")) == ["cancelled", "finished"]
