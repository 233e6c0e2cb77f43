"""Property-based calls of every route, made from the OpenAPI description itself (schemathesis).

Whatever a caller sends, the hub answers with a documented status in the documented form, and never with a 5xx. Half of
the calls name things that exist, so that what lies behind a route is reached and not its 404 alone.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.hub.captures.samples import add_capture
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.simulators.compositions import CASCADE, add_member
from tests.simulators.feature_sets import features
from tests.simulators.rows import HARDWARE, add_device, add_version, make_report

from shoal_hub.alerts.tables import AlertRow
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.admission_tables import PendingEnrolment

APIOperation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]
Case: TypeAlias = schemathesis.Case[Any]
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_CALLS = 60
"""Of each route."""
_ENDLESS = "stream$"
"""Streams that never end have tests of their own."""
_API = "/api/v1"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_call_of_any_route_gets_a_server_error_or_an_undocumented_answer(
    sqlite_client: TestClient, sqlite_hub: HubContext, subtests: pytest.Subtests, tmp_path: Path
) -> None:
    known = _things_that_exist(sqlite_client, sqlite_hub, tmp_path)
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", sqlite_client.app)
    headers = {"authorization": sqlite_client.headers["authorization"]}
    called = 0
    for found in schema.exclude(path_regex=_ENDLESS).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]  # raises, with the reason, where the description is broken
        with subtests.test(operation.label):
            _call_often(operation, headers, known)
        called += 1
    assert called > 0


def _things_that_exist(client: TestClient, hub: HubContext, folder: Path) -> dict[str, list[str]]:
    """Make one of each thing; return what routes call them by, by the name of the path's parameter."""
    hub.settings.data.mkdir(exist_ok=True)
    with hub.database.transaction() as session:
        device = add_device(session, reported=make_report(datasets={"colours": 40}).model_dump(mode="json")).id
        cache = add_device(session).id
        for number in (1, 2):
            add_version(session, hub.artifacts, number, {"generic-onnx-int8": bytes([number]) * 1000})
        for model in ("small", "large"):
            add_member(session, hub.artifacts, model)
    register_bundle(hub, write_bundle(folder / "colours"))
    rollout = client.post(f"{_API}/rollouts", json={"model": "digits", "version": "1"}).raise_for_status().json()
    token = client.post(f"{_API}/tokens", json={}).raise_for_status().json()
    other = client.post(f"{_API}/operator-tokens", json={"user": "ada", "role": "viewer"}).raise_for_status().json()
    keys = {"keys": [{"key_sha256": "1" * 64}]}
    client.post(f"{_API}/authorised-keys", json=keys).raise_for_status()
    client.put(f"{_API}/models/colours/approval-policy", json={"production": 1}).raise_for_status()
    site = {"name": "warehouse", "cache": cache, "host": "cache.lan", "members": [device]}
    client.post(f"{_API}/sites", json=site).raise_for_status()
    client.put(f"{_API}/features/pumps", json=features()).raise_for_status()
    client.put(f"{_API}/features/pumps/devices/{device}").raise_for_status()
    client.put(f"{_API}/capture-requests/digits", json={}).raise_for_status()
    composed = {"name": "faces", "form": CASCADE, "devices": [device]}
    client.post(f"{_API}/compositions", json=composed).raise_for_status()
    client.put(f"{_API}/alerts/channels/ops", json={"target": {"kind": "mqtt"}}).raise_for_status()
    client.put(f"{_API}/alerts/rules/stuck", json={"when": {"kind": "rollout"}}).raise_for_status()
    delivery = client.post(f"{_API}/alerts/channels/ops/test").raise_for_status().json()
    with hub.database.transaction() as session:
        fields = {"rule": "stuck", "key": "{}", "state": "firing", "severity": "info", "labels": {}, "message": ""}
        session.add(AlertRow(id="al-abcdefgh", pending_at=utc_now(), **fields))
    with hub.database.transaction() as session:
        capture = add_capture(session, hub.artifacts, device).id
    batch = {"model": "digits", "input": "*.csv", "deadline_at": (utc_now() + timedelta(days=1)).isoformat()}
    client.post(f"{_API}/batches", json={"name": "march", "body": batch, "devices": [device]}).raise_for_status()
    move = {"stage": "production"}
    asked = client.post(f"{_API}/models/colours/versions/1/stage", json=move).raise_for_status().json()
    artifact = client.get(f"{_API}/models/digits/versions/1").raise_for_status().json()["variants"][0]["sha256"]
    with hub.database.transaction() as session:
        hub.trust.writing(session)
        session.add(
            PendingEnrolment(
                key_sha256="2" * 64,
                hardware=HARDWARE.model_dump(mode="json"),
                first_asked_at=utc_now(),
                last_asked_at=utc_now(),
            )
        )
    job = client.post(f"{_API}/models/colours/versions/1/compress", json={}).raise_for_status().json()
    return {
        "device_id": [device],
        "name": ["digits", "colours", "ada", "warehouse", "pumps", "march", "faces", "ops", "stuck"],
        "ref": ["1", "2", "latest"],
        "number": ["1", "2"],
        "rollout_id": [rollout["id"]],
        "token_id": [token["id"], other["id"]],
        "key_sha256": ["1" * 64, "2" * 64],
        "approval_id": [asked["id"]],
        "sha256": [artifact],
        "file": ["timestamp.json", "1.root.json"],
        "job_id": [job["id"]],
        "sequence": ["1", "2"],
        "alias": ["champion"],
        "capture_id": [capture],
        "alert_id": ["al-abcdefgh"],
        "delivery_id": [delivery["id"]],
        "model": ["digits"],
    }


def _call_often(operation: APIOperation, headers: dict[str, str], known: dict[str, list[str]]) -> None:
    @given(case=operation.as_strategy(), data=st.data())
    @settings(max_examples=_CALLS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def call(case: Case, data: st.DataObject) -> None:
        if case.path_parameters and data.draw(st.booleans()):
            for name in case.path_parameters.keys() & known.keys():
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        case.call_and_validate(headers=headers, checks=_CHECKS)

    call()
