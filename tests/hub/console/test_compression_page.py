"""Compression in the console: how to begin, the runs, and a run with its choices, picture and reports."""

from pathlib import Path

from fastapi.testclient import TestClient
from tests.hub.compression.test_runs import Hub

from shoal_hub.compression.tables import CompressionRun
from shoal_hub.context import HubContext


def test_runs_and_what_was_chosen_are_shown(
    sqlite_hub: HubContext, sqlite_client: TestClient, visitor: TestClient, tmp_path: Path
) -> None:
    assert "shoal compress run MODEL --recipe float16" in visitor.get("/console/compression").text
    site = Hub(sqlite_hub, sqlite_client, tmp_path)
    run_id = site.start().json()["id"]
    site.work()
    shown = visitor.get(f"/console/compression/runs/{run_id}").text
    assert "0 of 1 devices have measured" in shown
    site.tell({"source": 2.0, "float16": 1.0})
    site.move()
    assert f'href="/compression/runs/{run_id}"' in visitor.get("/console/compression").text
    shown = visitor.get(f"/console/compression/runs/{run_id}").text
    assert "<strong>chosen</strong>" in shown
    assert "generic-onnx-float32" in shown
    assert run_id in visitor.get(f"/compression/runs/{run_id}").text
    picture = visitor.get(f"/console/compression/runs/{run_id}/picture")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/svg+xml")
    assert visitor.get(f"/console/compression/runs/{run_id}/results/float16").status_code == 200
    assert visitor.get("/console/compression/runs/c-unknown").status_code == 404


def test_a_predicted_latency_is_shown_with_its_bounds_and_the_error(
    sqlite_hub: HubContext, sqlite_client: TestClient, visitor: TestClient, tmp_path: Path
) -> None:
    site = Hub(sqlite_hub, sqlite_client, tmp_path)
    run_id = site.start(devices_per_class=0).json()["id"]
    site.work()
    with sqlite_hub.database.transaction() as session:
        row = session.get_one(CompressionRun, run_id)
        told = {"latency_ms": 2.0, "low_ms": 1.6, "high_ms": 2.5, "board": "Pi 4", "unknown": ["Magic float"]}
        errors = {"Pi 4": {"median": 0.06, "worst": 0.25, "files": 9, "ratios": [0.8, 1.25]}}
        changes = {"basis": "predicted", "predicted": {"float16": told}, "errors": errors}
        row.choices = [one | changes for one in row.choices]
        session.add(row)
    shown = " ".join(visitor.get(f"/console/compression/runs/{run_id}").text.split())
    assert "latency predicted for Pi 4 by 9 files with a median error of 6 %, at worst 25 %" in shown
    assert "1.6 to 2.5; little known of Magic float" in shown
    picture = sqlite_client.get(f"/api/v1/compression/runs/{run_id}/picture").text
    assert "generic, predicted for Pi 4, at worst 25% off" in picture
