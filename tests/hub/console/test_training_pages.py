"""Trainings in the console: runs, their curves and files, runs compared; jobs, their log, and their buttons."""

import re
from itertools import pairwise
from math import inf, nan

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from tests.hub.console.conftest import csrf_of

from shoal_hub.console.curves import CURVE_HEIGHT, CURVE_WIDTH, picture_of
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.jobs.log import log_path
from shoal_hub.jobs.queue import enqueue, finish
from shoal_hub.jobs.tables import Job
from shoal_hub.tracking.curves import MOST_POINTS, curves_of, thinned
from shoal_hub.tracking.experiments import experiment_for
from shoal_hub.tracking.files import keep_file
from shoal_hub.tracking.runs import create_run, find_run, update_run
from shoal_hub.tracking.values import Measured, log_metrics, log_params


def add_run(hub: HubContext, name: str, losses: list[float], depth: str = "3") -> str:
    with hub.database.transaction() as session:
        experiment = experiment_for(session, "cheap <b>", by="ada", now=utc_now())
        run = create_run(session, experiment, name=name, user_name="ada", started_ms=1, tags={}, by="ada")
        points = [Measured("train_loss", value, step, step) for step, value in enumerate(losses, 1)]
        log_metrics(session, run.id, [*points, Measured("accuracy", 0.9375, 1, 9)])
        log_params(session, run.id, [("depth", depth), ("same", "x")])
        root = run.artifact_uri.removeprefix("mlflow-artifacts:/")
        for file in ("reports/evaluation.html", "model.bin"):
            stored = hub.artifacts.put(b"<script>alert(1)</script>")
            keep_file(session, hub.artifacts, f"{root}/{file}", stored, by="ada", now=utc_now())
        return run.id


def add_job(hub: HubContext, kind: str = "training") -> str:
    with hub.database.transaction() as session:
        job = enqueue(session, kind, "runs/r-1", {}, by="ada")
        job.state = "running"
        return job.id


@pytest.mark.parametrize("page", ["/training", "/runs/x", "/runs/compare?run=x", "/jobs/j-x"])
def test_a_stranger_is_sent_to_the_form(browser: TestClient, page: str) -> None:
    assert browser.get(page).headers["location"] == "/login"
    for part in ("/console/runs", "/console/runs/x", "/console/runs/compare?run=x", "/console/jobs", "/console/jobs/x"):
        assert browser.get(part).status_code == 401
    assert browser.get("/console/jobs/x/log").status_code == 401
    assert browser.get("/console/runs/x/files/y").status_code == 401


def test_a_run_is_shown_with_its_curve_its_figures_and_its_files(visitor: TestClient, hub: HubContext) -> None:
    assert "shoal train pipeline.yaml --at-hub" in visitor.get("/console/runs").text
    run = add_run(hub, "<i>first</i>", [3.0, 2.0, 1.0])
    listed = visitor.get("/console/runs").text
    assert f'href="/runs/{run}"' in listed
    assert "&lt;i&gt;first" in listed
    assert visitor.get("/console/runs?experiment=none").status_code == 200
    shown = visitor.get(f"/console/runs/{run}").text
    [points] = re.findall(r'<polyline class="run-0" points="([^"]+)"', shown)
    assert len(points.split()) == 3
    assert "accuracy" in shown
    assert "0.9375" in shown
    assert "<i>" not in shown
    assert visitor.get("/console/runs/none").status_code == 404
    page = visitor.get(f"/runs/{run}")
    assert re.findall(r"\son\w+=|<script>|style=", page.text) == []


@pytest.mark.parametrize("told", [1_700_000_000 * 10**9, 2**63 - 1])
def test_a_run_whose_client_told_its_time_in_other_units_is_shown_without_it(
    visitor: TestClient, hub: HubContext, told: int
) -> None:
    run = add_run(hub, "hasty", [1.0])
    with hub.database.transaction() as session:
        find_run(session, run).started_ms = told
    assert "<time>-</time>" in visitor.get("/console/runs").text
    assert visitor.get(f"/console/runs/{run}").status_code == 200


def test_a_report_is_shown_as_a_page_of_no_site_and_other_files_are_saved(visitor: TestClient, hub: HubContext) -> None:
    run = add_run(hub, "first", [1.0])
    report = visitor.get(f"/console/runs/{run}/files/reports/evaluation.html")
    assert report.headers["content-type"].startswith("text/html")
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script" not in report.headers["content-security-policy"]
    other = visitor.get(f"/console/runs/{run}/files/model.bin")
    assert (other.headers["content-disposition"], other.content) == ("attachment", b"<script>alert(1)</script>")
    for path in ("none", "../../x", "reports"):
        assert visitor.get(f"/console/runs/{run}/files/{path}").status_code in {404, 422}, path


def test_runs_are_compared_in_one_picture_a_metric(visitor: TestClient, hub: HubContext) -> None:
    runs = [add_run(hub, "one", [3.0, 2.0]), add_run(hub, "two", [5.0, nan, 1.0, 0.5], depth="4")]
    shown = visitor.get("/console/runs/compare", params={"run": runs}).text
    assert shown.count("<svg") == 1
    assert len(re.findall(r'<polyline class="run-0"', shown)) == 1
    assert len(re.findall(r'<polyline class="run-1"', shown)) == 2, "a value that is none breaks the line"
    assert "depth" in shown
    assert "same" not in shown.replace("the same in all", "")
    assert visitor.get("/runs/compare", params={"run": runs}).status_code == 200
    assert visitor.get("/console/runs/compare", params={"run": [*runs, "none"]}).status_code == 404
    assert visitor.get("/console/runs/compare", params={"run": ["x"] * 9}).status_code == 422


def test_a_jobs_log_comes_as_text_while_it_is_written_and_goes_on_where_it_was(
    visitor: TestClient, hub: HubContext
) -> None:
    job = add_job(hub)
    path = log_path(hub.settings, job)
    path.parent.mkdir(parents=True)
    path.write_text("first\n<b>second</b>\n")
    with hub.database.transaction() as session:
        finish(session, job, error="no")
    told = visitor.get(f"/console/jobs/{job}/log").text
    assert "event: log\nid: 20\ndata: first\ndata: &lt;b&gt;second&lt;/b&gt;\ndata: \n\n" in told
    assert told.endswith("event: end\nid: 20\ndata: failed\n\n")
    again = visitor.get(f"/console/jobs/{job}/log", headers={"last-event-id": "6"}).text
    assert "first" not in again
    assert "second" in again
    assert visitor.get("/console/jobs/none/log").status_code == 404


def test_a_job_is_cancelled_and_done_again_by_its_buttons(visitor: TestClient, hub: HubContext) -> None:
    job = add_job(hub)
    assert f'href="/jobs/{job}"' in visitor.get("/console/jobs").text
    assert f'hx-post="/jobs/{job}/cancel"' in visitor.get(f"/console/jobs/{job}").text
    assert visitor.post(f"/jobs/{job}/cancel").status_code == 403, "without the form's token"
    form = {"csrf": csrf_of(visitor)}
    assert "cancelled by ada" in visitor.post(f"/jobs/{job}/cancel", data=form).text
    assert f'hx-post="/jobs/{job}/retry"' in visitor.get(f"/console/jobs/{job}").text
    assert "queued" in visitor.post(f"/jobs/{job}/retry", data=form).text
    with hub.database.session() as session:
        assert session.get_one(Job, job).state == "queued"
    assert "only what has failed" in visitor.post(f"/jobs/{job}/retry", data=form).text
    assert visitor.get("/console/jobs/none").status_code == 404


def test_a_picture_has_room_for_every_value_and_one_scale_for_all_lines() -> None:
    picture = picture_of("loss", [("a", 0, [(1, 1.0), (2, 3.0)]), ("b", 1, [(1, nan), (5, 2.0)]), ("c", 2, [(1, inf)])])
    assert picture is not None
    assert (picture.low, picture.high, picture.first, picture.last) == (1.0, 3.0, 1, 5)
    assert [line.label for line in picture.lines] == ["a", "b"], "nothing of c can be drawn"
    for line in picture.lines:
        for stretch in line.stretches:
            for point in stretch.split():
                across, down = map(float, point.split(","))
                assert 0 <= across <= CURVE_WIDTH
                assert 0 < down < CURVE_HEIGHT
    assert picture_of("loss", [("a", 0, [(1, nan)])]) is None
    flat = picture_of("zero", [("a", 0, [(1, 0.0), (2, 0.0)])])
    assert flat is not None
    assert flat.lines[0].stretches == (f"0.0,{CURVE_HEIGHT / 2:.1f} {CURVE_WIDTH:.1f},{CURVE_HEIGHT / 2:.1f}",)


def test_a_long_curve_keeps_its_extremes(hub: HubContext) -> None:
    values = [0.0] * 5000
    values[1234], values[4321] = 9.0, -9.0
    kept = thinned(list(enumerate(values)))
    assert len(kept) <= MOST_POINTS
    assert {(1234, 9.0), (4321, -9.0)} <= set(kept)
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    run = add_run(hub, "again", [3.0, 2.0])
    with hub.database.transaction() as session:
        log_metrics(session, run, [Measured("train_loss", 2.5, 2, 1000)])
    with hub.database.session() as session:
        assert curves_of(session, [run]) == {"train_loss": {run: [(1, 3.0), (2, 2.5)]}}, "of a step that was done twice"


def test_of_a_metric_with_very_many_values_the_whole_way_is_shown(hub: HubContext) -> None:
    values = [float(at) for at in range(4_500)]
    run = add_run(hub, "long", values)
    loaded: list[object] = []
    with hub.database.session() as session:
        event.listen(session, "loaded_as_persistent", lambda _, row: loaded.append(row))
        [curve] = curves_of(session, [run])["train_loss"].values()
    assert loaded == [], "columns are read, not objects"
    assert curve[-1] == (4_500, 4_499.0), "the newest is among them"
    assert curve[0][0] <= 3
    gaps = [after - before for (before, _), (after, _) in pairwise(curve)]
    assert max(gaps) < 50, "they are evenly spread"


def test_a_page_looks_again_for_as_long_as_a_run_goes_on(visitor: TestClient, hub: HubContext) -> None:
    runs = [add_run(hub, name, [1.0]) for name in ("one", "two")]
    parts = [f"/console/runs/{runs[0]}", f"/console/runs/compare?run={runs[0]}&run={runs[1]}"]
    assert all('hx-trigger="every 30s"' in visitor.get(part).text for part in parts)
    with hub.database.transaction() as session:
        for run in runs:
            update_run(session, find_run(session, run), status="FINISHED", ended_ms=9, name=None)
    assert not any("every" in visitor.get(part).text for part in parts)
