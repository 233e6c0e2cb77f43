"""Before production: what a card says of fairness is held to the limits that its makers set, or is asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.registry.bundles import post_bundle, write_bundle

from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.registry.inspection import inspect

STAGE = "/api/v1/models/colours/versions/1/stage"
FIGURE = {"slice": "sex", "measure": "demographic_parity_difference", "value": 0.3, "limit": 0.1, "is_within": False}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def move(client: TestClient, stage: str) -> Any:
    return client.post(STAGE, json={"stage": stage})


def register(client: TestClient, folder: Path, *figures: dict[str, Any]) -> None:
    card = json.dumps({"owner": "ada", "fairness": figures}).encode()
    assert post_bundle(client, write_bundle(folder, extra={"model-card.json": card})).status_code == 201


def test_a_version_that_is_unfair_beyond_its_limit_does_not_become_production(
    client: TestClient, tmp_path: Path
) -> None:
    register(client, tmp_path / "1", FIGURE)
    answer = move(client, "production")
    assert answer.status_code == 409
    assert "demographic_parity_difference by sex is 0.3, its limit 0.1" in answer.json()["error"]["message"]
    assert move(client, "staging").status_code == 200, "it may be tried"
    assert client.get("/api/v1/models/colours").json()["production"] is None


def test_a_version_that_keeps_its_limits_or_says_nothing_does(sqlite_client: TestClient, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1", FIGURE | {"value": 0.05, "is_within": True})
    assert move(sqlite_client, "production").status_code == 200


def test_a_hub_can_ask_for_fairness(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1")
    strict = replace(sqlite_hub, settings=sqlite_hub.settings.model_copy(update={"require_fairness": True}))
    with TestClient(create_app(strict), headers=sqlite_client.headers) as client:
        answer = move(client, "production")
        assert (answer.status_code, "says nothing of fairness" in answer.text) == (409, True)
        asked = {"name": "colours", "version": "1", "stage": "Production"}
        answer = client.post("/api/2.0/mlflow/model-versions/transition-stage", json=asked)
        assert (answer.status_code, "says nothing of fairness" in answer.text) == (409, True), "nor by MLflow's client"
    assert move(sqlite_client, "production").status_code == 200, "without the setting it may"
