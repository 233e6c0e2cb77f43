"""A compression run from the request to the registered variants, with jobs run here and devices played by the test."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.registry.bundles import record, register_bundle, wide_onnx, write_bundle
from tests.simulators.rows import HARDWARE, add_device, apply_reported, make_report

from shoal_contract.benchmarks import (
    BenchmarkOutcome,
    BenchmarkResult,
    CandidateMeasured,
    DesiredBenchmark,
    LatencySpread,
)
from shoal_contract.reported import Problem
from shoal_hub.benchmarks.chore import BenchmarkOffers
from shoal_hub.benchmarks.collect import take_benchmark_result
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.compression.follow import CompressionRuns
from shoal_hub.compression.request import CompressionRequest
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.compose import compose
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device, Presence
from shoal_hub.events.tables import EventRow
from shoal_hub.jobs.child import run_job
from shoal_hub.jobs.runner import JobRunner
from shoal_hub.jobs.tables import Job
from shoal_hub.registry.tables import VariantRow

BAD = {"name": "bad", "steps": ["float16"], "tolerance": {"min_sqnr_db": 190.0}}
SECOND = {"name": "second", "steps": ["float16"], "description": "again"}
BOARD = f"{HARDWARE.model} ({HARDWARE.architecture})"
TARGETS = ("generic-onnx-int8", "generic-onnx-float32")


class Hub:
    """A hub with a registered float version and a device of one class."""

    def __init__(self, hub: HubContext, client: TestClient, folder: Path) -> None:
        self.hub, self.client, self.folder = hub, client, folder
        register_bundle(hub, write_bundle(folder / "bundle", model_onnx=wide_onnx(0, 300)))
        with hub.database.transaction() as session:
            self.device = add_device(session, presence="online", presence_since=utc_now()).id
            apply_reported(session, self.device, make_report(targets=TARGETS), utc_now())

    def start(self, **changes: Any) -> Any:
        body = {"model": "colours", "recipes": ["float16"]} | changes
        return self.client.post("/api/v1/compression/runs", json=body)

    def work(self) -> None:
        """Do all jobs that are queued, as the runner would."""
        with self.hub.database.session() as session:
            queued = session.exec(select(Job).where(Job.state == "queued").order_by(col(Job.created_at))).all()
        for job in queued:
            with self.hub.database.transaction() as session:
                row = session.get_one(Job, job.id)
                row.state, row.started_at = "running", utc_now()
                session.add(row)
            run_job(job.id, self.hub.settings)

    def move(self) -> None:
        BenchmarkOffers(self.hub.database).step(utc_now())
        CompressionRuns(self.hub.database).step(utc_now())
        self.work()

    def show(self, run_id: str) -> Any:
        return self.client.get(f"/api/v1/compression/runs/{run_id}").json()

    def wanted(self) -> dict[str, DesiredBenchmark]:
        with self.hub.database.session() as session:
            return compose(intents_of(session, self.device), utc_now()).benchmarks

    def be(self, presence: Presence) -> None:
        with self.hub.database.transaction() as session:
            device = session.get_one(Device, self.device)
            device.presence, device.presence_since = presence, utc_now()
            session.add(device)

    def tell(
        self,
        ms: dict[str, float],
        right: dict[str, int] | None = None,
        broken: str = "",
        outcome: BenchmarkOutcome = "done",
    ) -> None:
        [(name, body)] = self.wanted().items()
        problem = Problem(code="benchmark", message="it crashed", remedy="leave it out")
        measured = []
        for one in body.candidates:
            if one.name not in ms:
                continue
            p50 = ms[one.name]
            figures: dict[str, Any] = {"problem": problem}
            if one.name != broken:
                spread = LatencySpread(p25=p50, p50=p50, p75=p50, p95=2 * p50, runs=50)
                found = (right or {}).get(one.name, 50)
                figures = {"latency_ms": spread, "memory_bytes": 1000, "samples": 50, "agreed": found, "right": found}
            measured.append(CandidateMeasured(name=one.name, sha256=one.sha256, **figures))
        told = problem if outcome == "failed" else None
        result = BenchmarkResult(benchmark=name, outcome=outcome, measured=tuple(measured), problem=told)
        with self.hub.database.transaction() as session:
            take_benchmark_result(session, self.device, result, utc_now())

    def variants(self) -> list[VariantRow]:
        with self.hub.database.session() as session:
            return list(session.exec(select(VariantRow).order_by(VariantRow.target)).all())


@pytest.fixture
def site(hub: HubContext, client: TestClient, tmp_path: Path) -> Hub:
    return Hub(hub, client, tmp_path)


@pytest.fixture
def sqlite_site(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> Hub:
    return Hub(sqlite_hub, sqlite_client, tmp_path)


def test_a_run_is_measured_on_a_device_and_the_best_is_registered_with_its_lineage(site: Hub) -> None:
    begun = site.start(recipes=["float16", json.dumps(BAD)], max_load=None)
    assert (begun.status_code, begun.json()["state"]) == (201, "making"), begun.text
    run_id = begun.json()["id"]
    site.work()
    run = site.show(run_id)
    assert (run["state"], [one["name"] for one in run["results"]]) == ("measuring", ["float16"])
    assert "an SQNR of" in run["refused"]["bad"]
    assert site.variants() == [], "nothing is registered before it is measured"
    [wanted] = site.wanted().values()
    assert [one.name for one in wanted.candidates] == ["source", "float16"]
    assert (wanted.max_load, wanted.samples_bytes > 0) == (None, True)
    site.tell({"source": 2.0, "float16": 1.0})
    site.move()
    run = site.show(run_id)
    assert (run["state"], run["chosen"]) == ("succeeded", {"generic-onnx-float32": "float16"})
    [choice] = run["choices"]
    assert (choice["basis"], choice["devices"]) == ("devices", {f"{HARDWARE.model} ({HARDWARE.architecture})": 1})
    [variant] = site.variants()
    assert (variant.target, variant.latency_p50_ms, variant.accuracy) == ("generic-onnx-float32", 1.0, 1.0)
    lineage = variant.report["lineage"]
    assert lineage["recipe_sha256"] == run["results"][0]["recipe_sha256"]
    assert {"data_fingerprint", "source_sha256", "tool_versions", "seed"} <= lineage.keys()
    assert variant.report["measured_on"]["basis"] == "devices"
    report = site.client.get(f"/api/v1/compression/runs/{run_id}/results/float16").json()
    assert report["verdict"]["outcome"] == "within"
    page = site.client.get(f"/api/v1/compression/runs/{run_id}/results/float16/page").text
    assert re.findall(r'src="([^"]{20})', page) == ["data:image/svg+xml;b"], "the picture is a part of the page"
    picture = site.client.get(f"/api/v1/compression/runs/{run_id}/picture")
    assert (picture.headers["content-type"], ">float16</text>" in picture.text) == ("image/svg+xml", True)


def test_the_same_recipe_on_the_same_inputs_is_found_and_not_run_again(sqlite_site: Hub) -> None:
    for found in (False, True):
        run_id = sqlite_site.start(devices_per_class=0).json()["id"]
        sqlite_site.work()
        run = sqlite_site.show(run_id)
        assert (run["state"], run["results"][0]["was_found"]) == ("succeeded", found)
        assert run["choices"][0]["basis"] == "here"


def test_what_loses_too_much_on_the_device_is_not_chosen(sqlite_site: Hub) -> None:
    """It was within its tolerance where it was made: on this processor it saturates."""
    run_id = sqlite_site.start(max_drop=1.0).json()["id"]
    sqlite_site.work()
    sqlite_site.tell({"source": 2.0, "float16": 1.0}, {"float16": 40})
    sqlite_site.move()
    [choice] = sqlite_site.show(run_id)["choices"]
    assert choice["chosen"] == "source"
    drops = {one["name"]: one["drop_points"] for one in choice["candidates"]}
    assert drops == {"source": 0.0, "float16": pytest.approx(20.0)}


def test_a_file_that_crashes_on_a_device_is_left_out_and_says_why(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start().json()["id"]
    sqlite_site.work()
    sqlite_site.tell({"source": 2.0, "float16": 1.0}, broken="float16")
    sqlite_site.move()
    [choice] = sqlite_site.show(run_id)["choices"]
    assert (choice["chosen"], choice["left_out"]) == ("source", {"float16": "it crashed"})


def test_constraints_that_nothing_keeps_end_the_run_with_the_nearest_and_register_nothing(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(max_latency_ms=0.001).json()["id"]
    sqlite_site.work()
    sqlite_site.tell({"source": 2.0, "float16": 1.0})
    sqlite_site.move()
    run = sqlite_site.show(run_id)
    assert run["state"] == "failed"
    assert "Nearest: float16 for generic with 1 ms" in run["reason"]
    assert sqlite_site.variants() == []


def test_a_run_whose_recipes_are_all_refused_fails_and_registers_nothing(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(recipes=[BAD]).json()["id"]
    sqlite_site.work()
    sqlite_site.move()
    run = sqlite_site.show(run_id)
    assert (run["state"], "nothing came of it: bad" in run["reason"]) == ("failed", True)
    assert (sqlite_site.variants(), sqlite_site.wanted()) == ([], {})


def test_a_cancelled_run_wants_nothing_of_devices_and_registers_nothing(site: Hub) -> None:
    run_id = site.start().json()["id"]
    site.work()
    assert len(site.wanted()) == 1
    cancelled = site.client.post(f"/api/v1/compression/runs/{run_id}/cancel").json()
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled by ada")
    assert site.client.post(f"/api/v1/compression/runs/{run_id}/cancel").json() == cancelled
    site.move()
    assert (site.wanted(), site.variants(), site.show(run_id)["state"]) == ({}, [], "cancelled")


def test_a_run_whose_job_is_cancelled_is_cancelled_with_it(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start().json()["id"]
    [job] = [one for one in sqlite_site.client.get("/api/v1/jobs").json() if one["kind"] == "compression"]
    assert sqlite_site.client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 200
    sqlite_site.move()
    run = sqlite_site.show(run_id)
    assert (run["state"], run["reason"]) == ("cancelled", "cancelled by ada")
    again = sqlite_site.client.post(f"/api/v1/jobs/{job['id']}/retry")
    assert (again.status_code, "start that again" in again.text) == (409, True)


def test_what_no_device_has_measured_is_not_registered_unless_the_hub_s_figures_are_asked_for(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(targets=["pi4"]).json()["id"]
    sqlite_site.work()
    run = sqlite_site.show(run_id)
    assert (run["state"], run["devices"], run["choices"][0]["chosen"]) == ("failed", [], None)
    assert "not measured on pi4: none of its devices is online. Start the run again" in run["reason"]
    assert "--devices 0" in run["reason"]
    assert sqlite_site.variants() == []
    asked = sqlite_site.start(targets=["pi4"], devices_per_class=0).json()["id"]
    sqlite_site.work()
    assert (sqlite_site.show(asked)["state"], sqlite_site.show(asked)["choices"][0]["basis"]) == ("succeeded", "here")
    assert [one.target for one in sqlite_site.variants()] == ["pi4-onnx-float32"]


def test_a_class_whose_only_device_fails_gets_nothing_by_the_hub_s_figures(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start().json()["id"]
    sqlite_site.work()
    sqlite_site.tell({}, outcome="failed")
    sqlite_site.move()
    run = sqlite_site.show(run_id)
    assert run["state"] == "failed"
    assert f"not measured on generic: {sqlite_site.device} ({BOARD}) failed: it crashed" in run["reason"]
    assert sqlite_site.variants() == []


def test_a_device_that_is_rebooting_is_waited_for(sqlite_site: Hub) -> None:
    sqlite_site.be("offline")
    run_id = sqlite_site.start().json()["id"]
    sqlite_site.work()
    sqlite_site.move()
    assert (sqlite_site.show(run_id)["state"], sqlite_site.wanted()) == ("measuring", {})
    sqlite_site.be("online")
    sqlite_site.move()
    sqlite_site.tell({"source": 2.0, "float16": 1.0})
    sqlite_site.move()
    assert sqlite_site.show(run_id)["state"] == "succeeded"


def test_what_was_measured_before_a_deadline_is_chosen_among(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(recipes=["float16", SECOND]).json()["id"]
    sqlite_site.work()
    sqlite_site.tell({"source": 2.0, "float16": 1.0}, outcome="expired")
    sqlite_site.move()
    run = sqlite_site.show(run_id)
    [choice] = run["choices"]
    assert (run["state"], choice["chosen"], choice["basis"]) == ("succeeded", "float16", "devices")
    assert choice["left_out"] == {"second": f"not measured on {BOARD}"}


def test_numbers_lose_points_by_their_size_at_the_hub_too(sqlite_site: Hub) -> None:
    """What they agree on, as if they were classes, says nothing."""
    folder = write_bundle(sqlite_site.folder / "numbers", model_onnx=wide_onnx(1, 300))
    with np.load(folder / "test.npz") as test:
        np.savez(folder / "test.npz", x=test["x"], y=test["x"].sum(axis=1))
    described = json.loads((folder / "bundle.json").read_text())
    described["files"]["test.npz"] = record(folder / "test.npz")
    (folder / "bundle.json").write_text(json.dumps(described))
    register_bundle(sqlite_site.hub, folder)
    run_id = sqlite_site.start(devices_per_class=0).json()["id"]
    sqlite_site.work()
    run = sqlite_site.show(run_id)
    verdict = sqlite_site.client.get(f"/api/v1/compression/runs/{run_id}/results/float16").json()["verdict"]
    found = {one["name"]: one["drop_points"] for one in run["choices"][0]["candidates"]}
    assert verdict["agreement"] == 1.0
    assert found == {"source": 0.0, "float16": pytest.approx(100 * 10 ** (-verdict["sqnr_db"] / 20))}
    assert found["float16"] > 0.0


def test_a_recipe_for_other_classes_is_left_out_and_says_so(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(recipes=["float16", SECOND | {"targets": ["pi4", "jetson-onnx-int8"]}]).json()["id"]
    sqlite_site.work()
    sqlite_site.tell({"source": 2.0, "float16": 1.0, "second": 0.1})
    sqlite_site.move()
    [choice] = sqlite_site.show(run_id)["choices"]
    assert choice["chosen"] == "float16"
    assert choice["left_out"] == {"second": "its recipe is for pi4, jetson-onnx-int8"}


@pytest.mark.parametrize(
    ("changes", "minutes", "said"),
    [({}, 60.0, False), ({"patience_s": 600.0}, 10.0, True), ({"patience_s": 1200.0}, 20.0, False)],
)
def test_a_device_has_an_hour_or_as_long_as_all_candidates_may_take(
    sqlite_site: Hub, changes: dict[str, Any], minutes: float, *, said: bool
) -> None:
    sqlite_site.start(**changes)
    sqlite_site.work()
    with sqlite_site.hub.database.session() as session:
        [benchmark] = session.exec(select(Benchmark)).all()
        events = [one.message for one in session.exec(select(EventRow)).all()]
    assert benchmark.patience_s == 60 * minutes
    assert any("2 candidates may take a device 12 minutes, and it has 10" in one for one in events) == said
    assert CompressionRequest(model="x").patience_for_s(16, 300.0) == 16 * 300.0 * 1.25


def test_a_job_that_is_killed_ends_the_run(sqlite_site: Hub) -> None:
    run_id = sqlite_site.start(version="1").json()["id"]
    with sqlite_site.hub.database.transaction() as session:
        [job] = session.exec(select(Job)).all()
        job.state, job.error = "failed", "its process vanished 3 times"
        session.add(job)
    CompressionRuns(sqlite_site.hub.database).step(utc_now() + timedelta(seconds=1))
    assert sqlite_site.show(run_id)["reason"] == "its process vanished 3 times"
    JobRunner(sqlite_site.hub.database, sqlite_site.hub.settings).stop()


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"model": "other"}, 404, "other"),
        ({"version": "9"}, 404, "9"),
        ({"recipes": []}, 422, "no recipe was given"),
        ({"recipes": ["magic"]}, 422, "no built-in recipe 'magic'"),
        ({"recipes": [{"name": "x", "steps": ["magic"]}]}, 422, "no technique is called 'magic'"),
        ({"recipes": ["name: x\nsteps: [float16]\nseed: 1\nseed: 2\n"]}, 422, "line 4: seed stands there twice"),
        ({"recipes": ["float16", "float16"]}, 422, "a name of its own"),
        ({"recipes": [BAD | {"name": "source"}]}, 422, "other than source"),
        ({"devices_per_class": 99}, 422, "devices_per_class"),
        ({"prefer": "energy"}, 422, "devices do not measure it"),
    ],
)
def test_what_can_not_be_run_is_refused(sqlite_site: Hub, changes: dict[str, Any], status: int, says: str) -> None:
    refused = sqlite_site.start(**changes)
    assert (refused.status_code, says in refused.json()["error"]["message"]) == (status, True), refused.text


def test_recipes_runs_and_reports_that_are_not_there_say_so(sqlite_site: Hub) -> None:
    assert "float16" in [one["name"] for one in sqlite_site.client.get("/api/v1/compression/recipes").json()]
    run_id = sqlite_site.start().json()["id"]
    assert [one["id"] for one in sqlite_site.client.get("/api/v1/compression/runs").json()] == [run_id]
    for path in ("runs/c-none", f"runs/{run_id}/results/none", f"runs/{run_id}/results/none/page"):
        assert sqlite_site.client.get(f"/api/v1/compression/{path}").status_code == 404
    assert "Nothing has been chosen yet" in sqlite_site.client.get(f"/api/v1/compression/runs/{run_id}/picture").text
