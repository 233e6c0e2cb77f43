"""A session of MLflow's own client, unchanged, in a process of its own, against a hub over HTTPS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import col, select
from tests.hub.registry.bundles import make_onnx, write_bundle
from tests.hub.served import ServedHub, served_hub

from shoal_client import ShoalClient
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.registry.tables import StageChange, Version
from shoal_hub.tracking.tables import PartedUpload, UploadedPart

CODE = Path(__file__).with_name("user_session.py")
WEIGHTS = np.eye(4, 3, dtype=np.float32)
TIMEOUT_S = 250
pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)  # the first test waits for the whole session of the client


@dataclass(frozen=True)
class Session:
    """What the client's process has seen, and the hub afterwards."""

    served: ServedHub
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("mlflow")
    write_bundle(folder / "user" / "bundle")
    (folder / "user" / "onnx").mkdir()
    (folder / "user" / "onnx" / "model.onnx").write_bytes(make_onnx(WEIGHTS))
    samples = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(folder / "user" / "onnx" / "samples.npz", features=samples)
    (folder / "hub").mkdir()
    with served_hub(folder / "hub") as served:
        environ = os.environ | {
            "MLFLOW_TRACKING_URI": served.url,
            "MLFLOW_TRACKING_TOKEN": served.token,
            "MLFLOW_TRACKING_SERVER_CERT_PATH": str(served.ca_path),
            "REQUESTS_CA_BUNDLE": str(served.ca_path),
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 * 2**20),
            "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(2**20),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, str(CODE), str(folder / "user")]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stderr[-3000:]
        yield Session(served, json.loads(done.stdout.splitlines()[-1]))


def test_what_a_run_logs_is_what_the_client_reads_back(session: Session) -> None:
    seen = session.seen["trained"]
    assert seen["metrics"] == {"acc": "0.9", "inf": "inf", "nan": "nan"}
    assert seen["params"] == {"depth": "3", "rate": "0.1"}
    assert (seen["status"], seen["data"], seen["text"]) == ("FINISHED", "zeros", "hello")
    assert seen["history"] == [[0, 0.5], [1, 0.6], [2, 0.7], [3, 0.8], [4, 0.9]]
    assert seen["files"] == ["bundle", "notes", "onnx", "python"]
    assert seen["in_folder"] == [["notes/hello.txt", 5]]


def test_a_search_finds_the_run_and_errors_have_the_codes_that_the_client_knows(session: Session) -> None:
    seen = session.seen["trained"]
    assert (seen["found"], seen["not_found"]) == ([seen["run"]], 0)
    assert (seen["twice"], seen["bad_filter"]) == ("INVALID_PARAMETER_VALUE", "INVALID_PARAMETER_VALUE")
    assert (seen["no_run"], seen["no_call"]) == ("RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND")


def test_a_bundle_and_onnx_with_samples_become_versions_of_the_fleet_and_python_says_why_not(session: Session) -> None:
    served = ("READY", "devices can serve it")
    first, second, third = session.seen["registered"]["versions"]
    assert (first[0], *first[1:]) == ("1", *served)
    assert (second[0], *second[1:]) == ("2", *served)
    assert (third[0], third[1]) == ("3", "READY")
    assert third[2].startswith("tracked only: no device can serve it: it has no ONNX file and is no bundle")
    with session.served.hub.database.session() as opened:
        rows = opened.exec(select(Version).where(Version.model == "colours").order_by(col(Version.number))).all()
    assert [row.number for row in rows] == [1, 2]
    assert {"model.onnx", "calibration.npz", "bundle.json"} <= set(rows[1].files)
    assert rows[1].baseline["features"], "it was looked into like any other"
    assert rows[1].provenance_sha256 is not None


def test_aliases_tags_and_stages_are_those_of_the_registry_and_promotion_keeps_its_history(session: Session) -> None:
    seen = session.seen["registered"]
    assert (seen["tagged"], seen["champion"]) == (["2"], ["2", {"reviewed": "yes"}, ["champion"]])
    assert seen["stages"] == {"1": "None", "2": "Archived", "3": "Production"}
    with ShoalClient(session.served.url, session.served.token, session.served.ca_path) as client:
        assert client.models.show("colours").aliases == {"champion": 2}
    with session.served.hub.database.session() as opened:
        moves = opened.exec(
            select(StageChange).where(StageChange.model == "colours").order_by(col(StageChange.id))
        ).all()
    told = [(move.number, move.from_stage, move.to_stage, move.by) for move in moves]
    assert told == [
        (2, "none", "production", "ada"),
        (2, "production", "archived", "ada"),
        (3, "none", "production", "ada"),
    ]


def test_a_model_is_fetched_by_its_alias(session: Session) -> None:
    seen = session.seen["registered"]
    assert {"model.onnx", "samples.npz"} <= set(seen["fetched"])
    assert seen["is_same"]
    assert seen["models"] == ["colours"]


def test_a_flavour_s_input_example_is_samples_enough_and_a_name_may_be_any(session: Session) -> None:
    seen = session.seen["logged"]
    assert seen["message"] == "devices can serve it"
    assert (seen["is_of_the_run"], seen["logged"], seen["outputs"]) == (True, ["net"], [True])
    assert (seen["deleted"], seen["renamed"]) == ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_DOES_NOT_EXIST")
    with session.served.hub.database.session() as opened:
        kept = opened.exec(select(Version).where(Version.model == "my-colours")).one()
    assert kept.stage == "archived", "what devices may run is kept"


def test_a_file_sent_in_parts_is_the_same_and_leaves_no_parts(session: Session) -> None:
    assert session.seen["parts"] == {"is_same": True, "after": "deleted"}
    with session.served.hub.database.session() as opened:
        assert opened.exec(select(PartedUpload)).all() == []
        assert opened.exec(select(UploadedPart)).all() == []
        actions = opened.exec(select(AuditEntry.action).where(col(AuditEntry.action).contains("multipart"))).all()
    assert sorted(actions) == ["mlflow.complete_multipart_upload", "mlflow.create_multipart_upload"]


def test_the_hub_s_own_client_lists_the_same_runs(session: Session) -> None:
    with ShoalClient(session.served.url, session.served.token, session.served.ca_path) as client:
        (run,) = client.runs.list(experiment="colours by hand", where="metrics.acc > 0.8")
        assert (run.name, run.metrics["acc"], run.metrics["nan"]) == ("first", 0.9, None)
        detail = client.runs.show(run.id)
        assert (detail.tags["team"], detail.datasets[0].partition(" ")[0]) == ("vision", "zeros")
        assert [point.step for point in client.runs.metric(run.id, "acc")] == [0, 1, 2, 3, 4]
