"""The records of a version: provenance as specified and signed, a valid bill of materials, a model card."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.registry.bundles import post_bundle, write_bundle

from shoal_contract.envelope import verify
from shoal_contract.ids import sha256_hex
from shoal_hub.api import create_app
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.registry.artifacts import store_artifact
from shoal_hub.registry.inspection import inspect
from shoal_hub.registry.provenance import PAYLOAD_TYPE
from shoal_hub.registry.tables import VariantRow
from shoal_hub.registry.versions import find_version
from shoal_training.model_card import ModelCard

VERSION = "/api/v1/models/colours/versions/{}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = {
    "intended_use": "Sorting fish by colour.",
    "out_of_scope_use": "Anything with people in it.",
    "data": "200 drawn points <b>without</b> any fish.",
    "metrics_by_slice": [{"slice": "night | dusk", "metric": "accuracy", "value": 0.5, "samples": 12}],
    "limits": "It has never seen water.",
    "ethical_notes": "None known.",
    "licence": "Apache-2.0 OR LicenseRef-fish",
    "owner": "ada",
    "contact": "ada@example.org",
}


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.registry.routes.inspect_in_child", inspect)


def register(client: TestClient, folder: Path, card: object = CARD, request: str = "{}", **changes: Any) -> Any:
    extra = {} if card is None else {"model-card.json": json.dumps(card).encode()}
    response = post_bundle(client, write_bundle(folder, extra=extra, **changes), request=request)
    return response.json() if response.status_code == 201 else response


def add_variant(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        version = find_version(session, "colours", "1")
        stored = store_artifact(session, hub.artifacts, b"variant")
        session.add(
            VariantRow(
                version_id=version.id or 0,
                target="generic-onnx-int8",
                runtime="onnxruntime",
                format="onnx",
                precision="int8",
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                accuracy=0.75,
                latency_p50_ms=1.5,
                golden_outputs={},
                golden_tolerance=0.1,
                report={"technique": "int8-qdq-onnx", "tool_versions": {"onnxruntime": "1.28.0"}, "seed": 7},
                created_at=utc_now(),
            )
        )


def verified(hub: HubContext, record: dict[str, Any]) -> Any:
    """Check a record's envelope against the director's key and return the statement."""
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(hub.director.public_key_hex))
    payload = verify(json.dumps(record["envelope"]).encode(), PAYLOAD_TYPE, {hub.director.key_id: key}, 2**20).payload
    assert base64.b64decode(record["envelope"]["payload"]) == payload
    return json.loads(payload)


def test_a_version_is_stated_with_its_files_data_parent_and_commit(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    register(client, tmp_path / "1")
    request = json.dumps({"parent_version": 1, "recipe": {"note": "again"}})
    shown = register(client, tmp_path / "2", request=request, seed=1, code={"commit": COMMIT, "is_dirty": True})
    (record,) = client.get(f"{VERSION.format(2)}/provenance").json()
    statement = verified(hub, record)
    assert statement == record["statement"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    subject = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert subject == {f"colours/2/{name}": sha256 for name, sha256 in shown["files"].items()}
    definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    used = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert used["training data"]["digest"] == {"sha256": shown["provenance"]["data_sha256"]}
    assert used["code"] == {"name": "code", "digest": {"gitCommit": COMMIT}, "annotations": {"isDirty": True}}
    assert list(used["colours/1/bundle.json"]["digest"]) == ["sha256"]
    assert definition["externalParameters"]["recipe"]["note"] == "again"
    assert definition["buildType"] == "urn:shoal:build:registered:1"
    assert set(details["builder"]["version"]) >= {"shoal", "numpy"}
    assert details["metadata"]["finishedOn"].endswith("Z")
    assert shown["provenance_sha256"] == record["sha256"]
    assert hub.artifacts.read(record["sha256"]) == json.dumps(record["envelope"], separators=(",", ":")).encode()


def test_a_variant_is_stated_as_made_here_from_the_versions_files(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    shown = register(client, tmp_path / "1")
    add_variant(hub)
    own, variant = client.get(f"{VERSION.format(1)}/provenance").json()
    assert (own["target"], variant["target"]) == ("", "generic-onnx-int8")
    statement = verified(hub, variant)
    assert statement["subject"] == [
        {"name": "colours/1/generic-onnx-int8.onnx", "digest": {"sha256": sha256_hex(b"variant")}}
    ]
    definition = statement["predicate"]["buildDefinition"]
    used = {one["name"] for one in definition["resolvedDependencies"]}
    assert used >= {f"colours/1/{name}" for name in shown["files"]}
    assert definition["externalParameters"]["technique"] == "int8-qdq-onnx"
    assert definition["internalParameters"] == {"seed": 7}
    assert client.get(f"{VERSION.format(1)}/provenance").json() == [own, variant], "nothing is stated twice"


def test_who_reads_records_changes_nothing_but_what_was_not_stated_yet(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    register(client, tmp_path / "1")
    add_variant(hub)
    entries = []
    for _ in range(3):
        client.get(f"{VERSION.format(1)}/bom").raise_for_status()
        client.get(f"{VERSION.format(1)}/provenance").raise_for_status()
        entries.append(len(client.get("/api/v1/audit").json()))
    assert len(set(entries)) == 1, entries


def test_a_statement_that_was_altered_does_not_verify(client: TestClient, hub: HubContext, tmp_path: Path) -> None:
    register(client, tmp_path / "1")
    (record,) = client.get(f"{VERSION.format(1)}/provenance").json()
    statement = record["statement"] | {"subject": []}
    record["envelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(Exception, match="no valid signature"):
        verified(hub, record)


def test_the_bill_of_materials_holds_the_official_schema_and_names_everything(
    client: TestClient, hub: HubContext, tmp_path: Path
) -> None:
    register(client, tmp_path / "1")
    add_variant(hub)
    request = json.dumps({"parent_version": 1})
    register(client, tmp_path / "2", request=request, seed=1, code={"commit": COMMIT, "is_dirty": False})
    for number in (1, 2):
        response = client.get(f"{VERSION.format(number)}/bom")
        assert response.headers["content-type"] == "application/vnd.cyclonedx+json"
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(response.text) is None
    main = response.json()["metadata"]["component"]
    assert (main["type"], main["name"], main["version"]) == ("machine-learning-model", "colours", "2")
    assert main["licenses"] == [{"expression": "Apache-2.0 OR LicenseRef-fish"}]
    assert main["pedigree"]["ancestors"][0]["name"] == "colours-1"
    assert main["pedigree"]["commits"][0]["uid"] == COMMIT
    analysis = main["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "accuracy", "value": "0.5", "slice": "night | dusk"} in analysis
    assert main["modelCard"]["considerations"]["useCases"] == ["Sorting fish by colour."]
    first = client.get(f"{VERSION.format(1)}/bom").json()
    assert first == client.get(f"{VERSION.format(1)}/bom").json()
    with hub.database.transaction() as session:
        row = session.exec(select(VariantRow)).one()
        row.sha256 = store_artifact(session, hub.artifacts, b"compressed again").sha256
        session.add(row)
    assert client.get(f"{VERSION.format(1)}/bom").json()["serialNumber"] != first["serialNumber"]
    hashes = {one["name"]: one["hashes"][0]["content"] for one in first["components"]}
    assert hashes["generic-onnx-int8.onnx"] == sha256_hex(b"variant")
    assert {"model.onnx", "test.npz", "training-data"} <= hashes.keys()
    tools = {one["name"]: one["version"] for one in first["metadata"]["tools"]["components"]}
    assert tools.keys() >= {"onnxruntime", "numpy", "shoal"}


def test_the_card_has_what_was_said_and_what_was_measured(client: TestClient, hub: HubContext, tmp_path: Path) -> None:
    shown = register(client, tmp_path / "1")
    assert (shown["licence"], shown["warnings"]) == (CARD["licence"], [])
    add_variant(hub)
    card = client.get(f"{VERSION.format('latest')}/card").json()
    assert ModelCard.model_validate(card["card"]) == ModelCard.model_validate(CARD), "what it does not say is empty"
    assert card["metrics"] == {"accuracy": 1.0}
    assert card["original_bytes"] == (tmp_path / "1" / "model.onnx").stat().st_size
    assert card["variants"][0]["accuracy"] == 0.75


def test_what_a_pipeline_has_assessed_stands_in_the_page(sqlite_client: TestClient, tmp_path: Path) -> None:
    assessed = {
        "validation": "Validation by k_fold: folds 5",
        "metric_intervals": [{"metric": "accuracy", "low": 0.9, "high": 1.0}],
        "metrics_by_slice": [
            {"slice": "age<=30", "metric": "accuracy", "value": 0.8, "samples": 9, "low": 0.6, "is_small": True}
        ],
        "fairness": [
            {
                "slice": "sex|x",
                "measure": "demographic_parity_difference",
                "value": 0.2,
                "limit": 0.3,
                "is_within": True,
            }
        ],
        "explained": {"importances": [{"feature": "in*come", "permutation": 0.31}], "metric": "accuracy"},
        "champion": {
            "champion": "colours (1)",
            "metric": "accuracy",
            "champion_value": 0.9,
            "value": 1.0,
            "difference": 0.1,
            "verdict": "better",
        },
    }
    register(sqlite_client, tmp_path / "1", card=CARD | assessed)
    page = sqlite_client.get(f"{VERSION.format(1)}/card.md").text
    assert "| accuracy | 1 (0.9 to 1) | all |" in page
    assert "| accuracy | 0.8 | age\\<=30 | 9 (few) |" in page
    assert "| sex\\|x | demographic parity difference | 0.2 | 0.3, kept |" in page
    assert "| in\\*come | 0.31 |" in page
    assert "Beside colours (1) it is better in accuracy: 1 beside 0.9, better by 0.1." in page
    assert "Held out: Validation by k\\_fold: folds 5" in page


@pytest.mark.parametrize("asks", [("card", {"accept": "text/markdown"}), ("card.md", {})])
def test_the_card_is_a_page_in_which_words_stay_words(
    sqlite_client: TestClient, sqlite_hub: HubContext, tmp_path: Path, asks: tuple[str, dict[str, str]]
) -> None:
    register(sqlite_client, tmp_path / "1")
    add_variant(sqlite_hub)
    response = sqlite_client.get(f"{VERSION.format(1)}/{asks[0]}", headers=asks[1])
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    page = response.text
    assert page.startswith("# colours version 1\n")
    assert "<b>" not in page
    assert r"night \| dusk" in page
    assert "## Limits\n\nIt has never seen water." in page
    assert "| generic-onnx-int8 | int8 | int8-qdq-onnx | 7 | 0.75 | 1.5 |" in page


def test_nothing_that_people_wrote_adds_a_line_a_heading_or_a_cell_to_the_page(
    sqlite_client: TestClient, tmp_path: Path
) -> None:
    card = {
        "owner": "eve\n- Licence: MIT",
        "limits": "None.\n===\n---\n+ a\n- b\n1. c\n2) d\n    code\n&lt;b&gt;\n\x1b[31mred\u202e",
        "metrics_by_slice": [{"slice": "night\n| accuracy | 1 | all |", "metric": "accuracy", "value": 0.5}],
    }
    register(sqlite_client, tmp_path / "1", card=card, author="ada\n## Approved", algorithm="cnn\r\n> quote")
    page = sqlite_client.get(f"{VERSION.format(1)}/card.md").text
    assert "- Owner: eve - Licence: MIT\n" in page
    assert re.search(r"^- Registered: \d{4}-\d\d-\d\dT", page, re.MULTILINE), "what means nothing stays as it is"
    assert "- Author: ada \\#\\# Approved\n" in page
    limits = page.partition("## Limits\n\n")[2].partition("\n\n##")[0].split("\n")
    assert limits == [
        "None.",
        r"\===",
        r"\---",
        r"\+ a",
        r"\- b",
        r"1\. c",
        r"2\) d",
        "code",
        r"\&lt;b\&gt;",
        r"\[31mred ",
    ]
    titles = [line for line in page.split("\n") if line.startswith("## ")]
    assert len(titles) == 7
    metrics = page.partition("## Metrics\n\n")[2].partition("\n\n")[0].split("\n")
    assert len(metrics) == 4, "two head lines, the accuracy, the slice"
    assert "\x1b" not in page


def test_a_version_without_card_or_licence_is_registered_and_says_so(sqlite_client: TestClient, tmp_path: Path) -> None:
    assert len(register(sqlite_client, tmp_path / "1", card=None)["warnings"]) == 2
    assert register(sqlite_client, tmp_path / "2", card={"owner": "ada"})["warnings"] == [
        "it names no licence: add one to model-card.json"
    ]
    assert "> Warning: it names no licence" in sqlite_client.get(f"{VERSION.format(2)}/card.md").text
    assert sqlite_client.get(f"{VERSION.format(2)}/bom").status_code == 200


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ({"licence": "Do what you like"}, "no SPDX licence expression"),
        ({"licence": "MIT AND"}, "no SPDX licence expression"),
        ({"unknown": 1}, "unknown"),
        ({"limits": "x\x00"}, "NUL"),
        ({"metrics_by_slice": [{"slice": "a", "metric": "b", "value": "NaN"}]}, "finite"),
        ([], "model-card.json"),
    ],
)
def test_a_card_that_cannot_be_kept_is_refused(
    sqlite_client: TestClient, tmp_path: Path, card: object, reason: str
) -> None:
    response = register(sqlite_client, tmp_path / "1", card=card)
    assert response.status_code == 422
    assert reason in response.json()["error"]["message"]


def test_a_hub_can_ask_for_a_licence(sqlite_hub: HubContext, sqlite_client: TestClient, tmp_path: Path) -> None:
    strict = replace(sqlite_hub, settings=sqlite_hub.settings.model_copy(update={"require_licence": True}))
    with TestClient(create_app(strict), headers=sqlite_client.headers) as client:
        response = register(client, tmp_path / "1", card={"owner": "ada"})
        assert (response.status_code, "asks for one" in response.text) == (422, True)
        assert register(client, tmp_path / "2")["number"] == 1


@pytest.mark.parametrize("record", ["provenance", "bom", "card", "card.md"])
def test_records_of_what_is_not_there_are_not_found(sqlite_client: TestClient, record: str) -> None:
    response = sqlite_client.get(f"{VERSION.format(1)}/{record}")
    assert response.status_code == 404
    assert response.json()["error"]["remedy"]
