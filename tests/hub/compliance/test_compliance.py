"""Compliance reports: sections as the frameworks have them, filled by what is known, and what is not named as empty."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.registry.bundles import post_bundle, write_bundle

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.registry.inspection import inspect

VERSION = "/api/v1/models/colours/versions/1"
CARD = {
    "intended_use": "Sorting fish\n## by colour.",
    "owner": "ada",
    "limits": "It has never seen water.",
    "validation": "Validation by holdout",
    "metric_intervals": [{"metric": "accuracy", "low": 0.95, "high": 1.0}],
    "fairness": [{"slice": "pond", "measure": "demographic_parity_ratio", "value": 0.9, "limit": 0.8}],
}
FUNCTIONS = ["GOVERN", "MAP", "MEASURE", "MANAGE"]
POINTS = [str(number) for number in range(1, 10)]


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def register(client: TestClient, folder: Path, card: object = CARD) -> None:
    extra = {} if card is None else {"model-card.json": json.dumps(card).encode()}
    assert post_bundle(client, write_bundle(folder, extra=extra)).status_code == 201


def report(client: TestClient, framework: str) -> Any:
    answer = client.get(f"{VERSION}/compliance", params={"framework": framework})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fields(found: Any) -> dict[str, Any]:
    return {one["name"]: one for section in found["sections"] for one in section["fields"]}


@pytest.mark.parametrize(("framework", "sections"), [("nist-ai-rmf", FUNCTIONS), ("eu-ai-act", POINTS)])
def test_a_report_has_the_framework_s_sections_and_tells_what_is_empty(
    client: TestClient, tmp_path: Path, framework: str, sections: list[str]
) -> None:
    register(client, tmp_path / "1")
    found = report(client, framework)
    assert [one["id"] for one in found["sections"]] == sections
    for section in found["sections"]:
        assert section["fields"]
        for one in section["fields"]:
            assert one["is_empty"] == (not one["value"])
            assert one["is_empty"] == (f"{section['id']}: {one['name']}" in found["empty"])
            assert bool(one["remedy"]) == one["is_empty"], "an empty field says how it is filled"
    assert "for people to judge" in found["note"]


def test_fields_are_filled_from_card_provenance_and_trail(client: TestClient, tmp_path: Path) -> None:
    register(client, tmp_path / "1")
    client.post(f"{VERSION}/stage", json={"stage": "staging", "comment": "tried"}).raise_for_status()
    found = fields(report(client, "nist-ai-rmf"))
    assert found["Metrics with 95 % intervals"]["value"] == "accuracy: 1 (0.95 to 1)"
    assert found["Fairness by protected group"]["value"].endswith("0.9, limit 0.8, kept")
    assert "statement on the version: SHA-256" in found["Signed provenance"]["value"]
    assert "none to staging by" in found["Moves through the stages"]["value"]
    assert "registry.move_stage" in found["Changes in the audit trail"]["value"]
    assert found["People who answer for it"]["source"] == "model card"
    assert found["Rollouts"]["is_empty"]
    assert found["In operation"]["is_empty"]


def test_a_card_that_says_nothing_leaves_its_fields_empty(sqlite_client: TestClient, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1", card=None)
    found = report(sqlite_client, "eu-ai-act")
    assert "1: 1(a) Intended purpose" in found["empty"]
    assert "1: People who answer for it" in found["empty"]
    assert "2: Fairness by protected group" in found["empty"]
    assert "4: Metrics with 95 % intervals" not in found["empty"], "the bundle has an accuracy"


def test_monitoring_tells_of_drift(sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1")
    now = utc_now()
    with sqlite_hub.database.transaction() as session:
        session.add(
            DriftSignal(
                id="s-1",
                model="colours",
                version=1,
                rule="plain",
                raised_at=now,
                updated_at=now,
                devices=["d-a", "d-b"],
                samples=70,
                features=[],
            )
        )
    found = fields(report(sqlite_client, "eu-ai-act"))
    assert found["Drift signals"]["value"].endswith("UTC: active, 2 devices, 70 samples")


def test_a_page_shows_words_as_words_and_lists_what_is_empty(sqlite_client: TestClient, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1")
    answer = sqlite_client.get(f"{VERSION}/compliance.md", params={"framework": "eu-ai-act"})
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    page = answer.text
    assert page.startswith("# colours version 1\n")
    assert "\n## by colour" not in page
    assert "## 9. Post-market monitoring (Article 72)" in page
    assert "**Empty.** To fill it:" in page
    assert page.count("**Empty.**") == page.partition("## Empty fields")[2].count("\n- ")


def test_who_asks_for_what_is_not_there_is_told(sqlite_client: TestClient, tmp_path: Path) -> None:
    assert sqlite_client.get(f"{VERSION}/compliance", params={"framework": "eu-ai-act"}).status_code == 404
    register(sqlite_client, tmp_path / "1")
    assert sqlite_client.get(f"{VERSION}/compliance", params={"framework": "iso-42001"}).status_code == 422
    assert sqlite_client.get(f"{VERSION}/compliance").status_code == 422


def test_a_report_changes_nothing(sqlite_client: TestClient, tmp_path: Path) -> None:
    register(sqlite_client, tmp_path / "1")
    before = len(sqlite_client.get("/api/v1/audit").json())
    report(sqlite_client, "nist-ai-rmf")
    assert len(sqlite_client.get("/api/v1/audit").json()) == before
