"""Batch inferences at the hub: set, run in a job, cancelled, gone on with, and kept within what is allowed."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.hub.batch_inference.nightly import ROWS, TEXT, Nightly
from tests.hub.registry.bundles import WEIGHTS

from shoal_hub.batch_inference.runs import open_runs
from shoal_hub.batch_inference.work import trim_parts
from shoal_training.batch_inference.manifest import Manifest


def test_a_version_in_production_answers_rows_in_a_job(nightly: Nightly) -> None:
    nightly.set()
    begun = nightly.send("POST", "/nightly/runs", 201)
    assert (begun["state"], begun["version"], begun["reason"]) == ("queued", 1, "by ada")
    done = nightly.work(begun)
    assert done["state"] == "succeeded", done["error"]
    assert done["result"] == {"run": begun["id"], "rows": ROWS, "parts": 3, "written_rows": ROWS, "refused_rows": 0}
    rows = pq.read_table(nightly.files / "out" / begun["id"]).sort_by("id").to_pylist()
    best = [max(range(3), key=lambda at: row["probabilities"][at]) for row in rows]
    values = [[at % 3, (at + 1) % 3, (at + 2) % 3, 0] for at in range(ROWS)]
    assert best == [int((row @ WEIGHTS).argmax()) for row in values]
    manifest = Manifest.model_validate_json(
        (nightly.files / "out" / begun["id"] / "_shoal" / f"{begun['id']}.json").read_bytes()
    )
    assert (manifest.model.number, manifest.model.version) == (1, "colours@production")


def test_one_run_goes_on_at_a_time_and_what_was_cancelled_is_gone_on_with(nightly: Nightly) -> None:
    nightly.set()
    run = nightly.send("POST", "/nightly/runs", 201)
    told = nightly.send("POST", "/nightly/runs", 409)["error"]
    assert f"its run {run['id']} goes on" in told["message"]
    nightly.send("DELETE", "/nightly", 409)
    cancelled = nightly.send("POST", f"/nightly/runs/{run['id']}/cancel")
    assert cancelled["error"] == "cancelled by ada"
    nightly.send("POST", f"/nightly/runs/{run['id']}/cancel")  # again, it does nothing
    resumed = nightly.send("POST", f"/nightly/runs/{run['id']}/resume")
    assert resumed["id"] == run["id"]
    assert nightly.work(resumed)["state"] == "succeeded"
    nightly.send("POST", f"/nightly/runs/{run['id']}/resume", 409)
    assert [one["id"] for one in nightly.send("GET", "/nightly/runs")] == [run["id"]]
    nightly.send("DELETE", "/nightly")
    nightly.send("GET", "/nightly", 404)
    assert len(nightly.send("GET", "/nightly/runs")) == 1  # what it has done is known


def test_a_run_keeps_to_the_version_that_it_began_with(sqlite_nightly: Nightly) -> None:
    sqlite_nightly.set()
    run = sqlite_nightly.send("POST", "/nightly/runs", 201)
    sqlite_nightly.register(seed=1)
    assert sqlite_nightly.work(run)["version"] == 1
    assert sqlite_nightly.send("POST", "/nightly/runs", 201)["version"] == 2


def test_a_bad_row_is_the_jobs_error_by_file_and_row(sqlite_nightly: Nightly) -> None:
    (sqlite_nightly.files / "in.csv").write_text("id,a,b,c,d\n1,0,0,0,0\n2,0,0,x,0\n")
    sqlite_nightly.set()
    done = sqlite_nightly.work(sqlite_nightly.send("POST", "/nightly/runs", 201))
    assert done["state"] == "failed"
    assert "in.csv, row 2: column 'c': 'x' is no finite number" in done["error"]
    sqlite_nightly.write_rows()
    again = sqlite_nightly.send("POST", f"/nightly/runs/{done['id']}/resume")
    assert sqlite_nightly.work(again)["state"] == "failed"  # it keeps to the rows that it has read
    assert sqlite_nightly.work(sqlite_nightly.send("POST", "/nightly/runs", 201))["state"] == "succeeded"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("{path: in.csv}", "{path: /etc/passwd, format: csv}", "/etc/passwd is not among"),
        ("{path: in.csv}", "{path: ../../trust, format: csv}", "../../trust is not among"),
        ("{path: in.csv}", "{path: 's3://other/lake'}", "s3://other/lake is not among"),
        ("{path: in.csv}", "{path: 'file:///etc', format: csv}", "file:///etc is not among"),
        ("{path: in.csv}", "{kind: sql, url: 'sqlite:////etc/x.db', table: t}", "/etc/x.db is not among"),
        ("{path: 'out/{run}'}", "{path: ../runs}", "../runs is not among"),
        ("{path: 'out/{run}'}", "{kind: http, url: 'http://10.0.0.1/'}", "http://10.0.0.1/ is not among"),
        ("{path: 'out/{run}'}", "{kind: duckdb, database: /srv/x.duckdb, table: t}", "/srv/x.duckdb is not among"),
        ("keep: [id]", "engine: ray", "the engine ray is not among local"),
    ],
)
def test_what_the_settings_do_not_name_is_not_reached(
    sqlite_nightly: Nightly, before: str, after: str, told: str
) -> None:
    found = sqlite_nightly.set(TEXT.replace(before, after), expected=403)
    assert told in found["error"]["message"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{path: 'out/{run}'}", "{path: '{run}/../../../../srv/x'}"),
        ("{path: 'out/{run}'}", "{kind: duckdb, database: 'a[/../../../x.duckdb', table: t}"),
        ("{path: in.csv}", "{kind: sql, url: 'sqlite:///a[/../../../hub.sqlite', table: user}"),
        ("{path: in.csv}", "{path: '../../../etc-y::z/../in.csv'}"),
    ],
)
def test_no_way_leads_out_of_the_folder(sqlite_nightly: Nightly, before: str, after: str) -> None:
    found = sqlite_nightly.set(TEXT.replace(before, after), expected=403)
    assert "is not among what it may reach" in found["error"]["message"]


def test_a_link_out_of_what_is_allowed_is_found_by_the_job(sqlite_nightly: Nightly, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    (sqlite_nightly.files / "in.csv").rename(secret)
    (sqlite_nightly.files / "lake").mkdir()
    (sqlite_nightly.files / "lake/in.csv").symlink_to(secret)
    sqlite_nightly.set(TEXT.replace("{path: in.csv}", "{path: lake}"))
    done = sqlite_nightly.work(sqlite_nightly.send("POST", "/nightly/runs", 201))
    assert done["state"] == "failed"
    assert "is not among what it may reach" in done["error"]


def test_secrets_and_folders_of_another_hub_are_refused_by_name(sqlite_nightly: Nightly) -> None:
    text = TEXT.replace("{path: 'out/{run}'}", "{kind: sql, url: 'postgresql://u@db/d', password_env: HOME, table: t}")
    assert "postgresql://u@db/d is not among" in sqlite_nightly.set(text, expected=403)["error"]["message"]
    for text, told in (
        (TEXT.replace("colours@production", "{bundle: folder}"), "a model is the folder"),
        (TEXT.replace("colours@production", "colours@nine"), "no version nine of colours"),
        (TEXT + "schedule: {after: [morning]}\n", "no batch inference morning"),
        (TEXT.replace("part_rows: 4", "part_row: 4"), "line 7: part_row"),
    ):
        found = sqlite_nightly.set(text, expected=404 if told.startswith("no ") else 422)
        assert told in found["error"]["message"]
    assert "its file is called nightly" in sqlite_nightly.set(name="other", expected=422)["error"]["message"]


def test_rows_of_runs_that_failed_are_let_go_of_but_not_of_those_at_work(sqlite_nightly: Nightly) -> None:
    sqlite_nightly.set()
    begun = sqlite_nightly.send("POST", "/nightly/runs", 201)
    runs = sqlite_nightly.hub.settings.data / "batch-inference" / "runs"
    kept = {name: runs / "nightly" / name / "parts" for name in ("failed", begun["id"])}
    for folder in kept.values():
        folder.mkdir(parents=True)
        (folder / "000000.arrow").write_bytes(b"x" * 100)
        for path in (folder / "000000.arrow", folder):
            os.utime(path, (1.0, 1.0))
    with sqlite_nightly.hub.database.session() as session:
        at_work = open_runs(session)
    trim_parts(runs, 10**9, besides=at_work)
    assert all(one.exists() for one in kept.values())
    trim_parts(runs, 0, besides=at_work)
    assert [name for name, one in kept.items() if one.exists()] == [begun["id"]]
