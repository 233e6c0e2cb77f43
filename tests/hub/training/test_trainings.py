"""Trainings at the hub: sent, done in a job, recorded, registered; gone on with after a cancel."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.training.conftest import PIPELINE, Site

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.log import job_folder, read_tail
from shoal_hub.jobs.queue import cancel, finish
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.inspection import Inspection, inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.tracking.experiments import to_ms
from shoal_hub.tracking.files import files_below
from shoal_hub.tracking.tables import TrackedMetric
from shoal_hub.training import make
from shoal_hub.training.ends import TrainingEnds

TORCH = PIPELINE.replace(
    "trainer: {framework: sklearn, algorithm: logistic_regression, parameters: {max_iter: 200}}",
    "trainer: {framework: torch, epochs: 60, batch: 4, network: {kind: mlp, hidden: [64, 64]}}",
)


def files_of(hub: HubContext, run: dict[str, str]) -> list[str]:
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    with hub.database.session() as session:
        return [row.path.removeprefix(f"{root}/") for row in files_below(session, root)]


def test_a_pipeline_that_was_sent_is_trained_recorded_and_registered(site: Site) -> None:
    begun = site.begin(aliases=["champion"], priority=3)
    scheduled = site.get(f"/runs/{begun['run']}")
    assert (scheduled["status"], scheduled["experiment_name"]) == ("SCHEDULED", "cheap")
    assert site.get(f"/jobs/{begun['job']}")["priority"] == 3
    job = site.work(begun["job"])
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert (job.result["version"], job.result["cached_steps"]) == (1, 0)
    assert site.get("/models/cheap/versions/champion")["number"] == 1
    run = site.get(f"/runs/{begun['run']}")
    assert run["status"] == "FINISHED"
    assert run["metrics"]["accuracy"] == job.result["metrics"]["accuracy"] > 0.8
    assert run["params"]["parameters.max_iter"] == "200"
    tags = run["tags"]
    assert (tags["shoal.job"], tags["shoal.version"]) == (begun["job"], "cheap/1")
    assert {"shoal.data", "shoal.python", "shoal.packages"} <= set(tags)
    assert run["datasets"] == [f"cheap ({tags['shoal.data'][:36]})"]
    kept = files_of(site.hub, run)
    assert {"pipeline/pipeline.yaml", "pipeline/data/rows.parquet", "reports/evaluation.html", "run.json"} <= set(kept)


def test_the_same_pipeline_again_does_no_step_again_and_registers_nothing_unasked(site: Site) -> None:
    site.work(site.begin()["job"])
    again = site.work(site.begin()["job"])
    assert again.result is not None
    assert again.result["version"] is None
    assert again.result["cached_steps"] >= 4, "all but reading, whose files have come anew"
    assert site.client.get("/api/v1/models/cheap").status_code == 404


def test_a_training_that_can_not_be_done_says_why_in_job_and_run(site: Site) -> None:
    begun = site.begin(PIPELINE.replace("target: y", "target: z"), is_registered=True)
    job = site.work(begun["job"])
    assert (job.state, job.cause) == ("failed", "error")
    assert "no column z" in job.error
    run = site.get(f"/runs/{begun['run']}")
    assert (run["status"], run["tags"]["shoal.error"]) == ("FAILED", job.error)
    assert site.client.get("/api/v1/models/cheap").status_code == 404


def test_a_training_that_was_cancelled_before_its_end_registers_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = site.begin(is_registered=True)

    def cancelled_meanwhile(folder: Path, limits: BundleLimits) -> Inspection:
        with site.hub.database.transaction() as session:
            cancel(session, begun["job"], by="ada")
        return inspect_in_child(folder, limits)

    monkeypatch.setattr(make, "inspect_in_child", cancelled_meanwhile)
    assert site.work(begun["job"]).state == "cancelled"
    assert site.client.get("/api/v1/models/cheap").status_code == 404


def test_a_training_whose_process_is_killed_once_its_version_is_registered_has_succeeded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = site.begin(is_registered=True)

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr("shoal_hub.jobs.child.finish", killed)
    with pytest.raises(SystemExit):
        site.work(begun["job"])
    job = site.job(begun["job"])
    assert (job.state, job.result and job.result["version"]) == ("succeeded", 1), "it is not done a second time"
    monkeypatch.undo()
    assert run_job(begun["job"], site.hub.settings), "its process says so too"
    assert {path.name for path in job_folder(site.hub.settings, begun["job"]).iterdir()} == set()


def test_a_run_whose_job_ended_without_a_word_to_it_ends_as_the_job_has(hub: HubContext, client: TestClient) -> None:
    site = Site(hub, client)
    cancelled, killed, open_one = site.begin(), site.begin(), site.begin()
    with site.hub.database.transaction() as session:
        cancel(session, cancelled["job"], by="ada")
        session.get_one(Job, killed["job"]).state = "running"
        session.flush()
        finish(session, killed["job"], error="it was killed", cause="killed")
    ends = TrainingEnds(site.hub.database, iter((0.0, 0.0, 9.0, 11.0, 11.0)).__next__)
    assert [ends.step(utc_now()) for _ in range(3)] == [2, 0, 0]
    shown = [site.get(f"/runs/{one['run']}") for one in (cancelled, killed, open_one)]
    assert [one["status"] for one in shown] == ["KILLED", "FAILED", "SCHEDULED"]
    assert shown[1]["ended_ms"] == to_ms(site.job(killed["job"]).ended_at or utc_now())
    assert shown[1]["tags"]["shoal.error"] == "it was killed"


def test_what_another_training_is_at_is_not_let_go(tmp_path: Path) -> None:
    kept = [tmp_path / name / "steps" / "a" for name in ("held", "free")]
    for one in kept:
        one.mkdir(parents=True)
        (one / "rows").write_bytes(b"x" * 100)
        for path in (one / "rows", one):
            os.utime(path, (1.0, 1.0))
    with make._alone(tmp_path / "held"):
        make._trim(tmp_path, 0)
        assert [one.exists() for one in kept] == [True, False]
    make._trim(tmp_path, 0)
    assert not kept[0].exists()


@pytest.mark.slow
def test_a_cancelled_training_is_gone_on_with_from_its_checkpoint(site: Site) -> None:
    hub = replace(site.hub, settings=site.hub.settings.model_copy(update={"job_threads": 1}))
    runner = JobRunner(hub.database, hub.settings)
    begun = site.begin(TORCH, is_registered=True)

    def told() -> list[int]:
        with hub.database.session() as session:
            found = select(TrackedMetric.step).where(
                TrackedMetric.run == begun["run"], TrackedMetric.key == "train_loss"
            )
            return sorted(session.exec(found).all())

    def tick_until(wanted: str) -> None:
        deadline = time.monotonic() + 120
        while (site.job(begun["job"]).state if wanted != "measured" else len(told()) > 3 and "measured") != wanted:
            assert time.monotonic() < deadline, site.job(begun["job"])
            assert site.job(begun["job"]).state != "failed", site.job(begun["job"]).error
            runner.tick()
            time.sleep(0.05)  # the runner is level-triggered and tells nobody

    try:
        tick_until("measured")
        assert site.client.post(f"/api/v1/jobs/{begun['job']}/cancel").status_code == 200
        while runner.is_busy:
            runner.tick()
            time.sleep(0.05)
        before = told()
        assert max(before) < 60, "it was cancelled on the way"
        assert site.get(f"/runs/{begun['run']}")["status"] == "KILLED"
        assert site.client.get("/api/v1/models/cheap").status_code == 404
        assert site.client.post(f"/api/v1/jobs/{begun['job']}/retry").status_code == 200
        tick_until("succeeded")
    finally:
        runner.stop()
    after = told()
    assert max(after) == 60
    assert "step 60: train_loss" in read_tail(job_folder(hub.settings, begun["job"]), 100_000), "its log tells them too"
    assert after == list(range(1, 61)), "each epoch is told once"
    assert site.get(f"/runs/{begun['run']}")["status"] == "FINISHED"
