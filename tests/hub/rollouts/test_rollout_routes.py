"""Rollouts through the API, on both engines: what starts, what is refused and why, and what commands do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.simulators.reconcile import reconcile_rollouts
from tests.simulators.rows import NOON, add_device, add_version, apply_reported, make_report, section
from tuf.api.metadata import Metadata

from shoal_contract.ids import new_device_id
from shoal_contract.limits import MAX_METADATA_BYTES
from shoal_contract.manifest import VersionManifest
from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.wire import parse_message
from shoal_hub.context import HubContext
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.tables import Device, Intent
from shoal_hub.errors import ConflictError
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.tables import VariantRow
from shoal_hub.rollouts.start import start_rollout, starter_of
from shoal_hub.rollouts.tables import Deployment, Rollout
from shoal_hub.transfer.publishing import follow_leases
from shoal_hub.transfer.tables import Lease, Retained

OWN_KEY = X25519PrivateKey.generate().public_key().public_bytes_raw().hex()
TARGET = "generic-onnx-int8"
URL = "/api/v1/rollouts"


class Fleet:
    """Devices as rows: they report what a test has them report."""

    def __init__(self, hub: HubContext, count: int) -> None:
        self.hub = hub
        self.sequence = 0
        with hub.database.transaction() as session:
            self.ids = [add_device(session, name=f"device-{number}").id for number in range(count)]
            for number in (1, 2):
                add_version(session, hub.artifacts, number, {TARGET: bytes([number]) * 1000})
        for device_id in self.ids:
            self.report(device_id)

    def report(self, device_id: str, **changes: Any) -> None:
        self.sequence += 1
        with self.hub.database.transaction() as session:
            assert apply_reported(session, device_id, make_report(sequence=self.sequence, **changes), NOON)

    def obey(self, *device_ids: str, state: str = "applied") -> None:
        """Have devices report on what stands for them."""
        for device_id in device_ids or self.ids:
            with self.hub.database.session() as session:
                wanted = intents_of(session, device_id, "models/digits")
            if wanted:
                body = wanted[0].body
                slot = SlotReport(version=body["version"], target=TARGET, sha256="0" * 64, state="good")
                sections = {"models/digits": section(state, body["deployment"])}
                self.report(device_id, sections=sections, models={"digits": ModelReport(active=slot)})

    def settle(self, seconds: float = 0) -> None:
        for _ in range(20):
            if not reconcile_rollouts(self.hub.database, NOON + timedelta(seconds=seconds)):
                return

    def wanted(self, device_id: str) -> list[tuple[str, int]]:
        with self.hub.database.session() as session:
            return [(one.kind, one.body["version"]) for one in intents_of(session, device_id)]


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub, 3)


def _start(client: TestClient, **changes: Any) -> Any:
    answer = client.post(URL, json={"model": "digits", "version": "1", "waves": [1, 2]} | changes)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_rollout_begins_with_a_listed_manifest_leases_and_all_devices_planned(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    rollout = _start(client, devices=fleet.ids)
    assert (rollout["state"], rollout["waves"], rollout["counts"]) == ("running", [1, 2], {"pending": 3})
    assert [one["wave"] for one in rollout["deployments"]] == [0, 1, 1]
    with hub.database.session() as session:
        leased = set(session.exec(select(Lease.sha256).where(col(Lease.user).startswith("rollout/"))).all())
        variants = set(session.exec(select(VariantRow.sha256)).all())
    (manifest_sha256,) = leased - variants
    manifest = parse_message(VersionManifest, hub.artifacts.read(manifest_sha256), 10**6)
    assert manifest.variant_for(TARGET).sha256 in variants & leased
    with hub.database.session() as session:
        assert f"models/digits/1-{manifest_sha256}.json" in hub.trust.reading(session).targets("models/digits").targets


def test_a_rollout_runs_its_waves_and_its_artifacts_are_let_go(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    rollout = _start(client, devices=fleet.ids)
    fleet.settle()
    assert fleet.wanted(fleet.ids[0]) == [("rollout", 1)]
    assert fleet.wanted(fleet.ids[1]) == []
    fleet.obey()
    fleet.settle()
    fleet.obey()
    fleet.settle()
    shown = client.get(f"{URL}/{rollout['id']}").json()
    assert (shown["state"], shown["counts"]) == ("succeeded", {"succeeded": 3})
    with hub.database.session() as session:
        assert session.exec(select(Lease).where(col(Lease.user).startswith("rollout/"))).all() == []
        kinds = [
            row.kind for row in session.exec(select(EventRow).where(EventRow.subject == f"rollout/{rollout['id']}"))
        ]
    assert {"rollout_started", "wave_started", "rollout_succeeded", "deployment_succeeded"} <= set(kinds)


def test_a_second_rollout_leaves_one_intent_a_device_and_can_be_rolled_back(client: TestClient, fleet: Fleet) -> None:
    for version in ("1", "2"):
        rollout = _start(client, version=version, waves=[])
        fleet.settle()
        fleet.obey()
        fleet.settle()
    assert fleet.wanted(fleet.ids[0]) == [("rollout", 2)]
    rolled = client.post(f"{URL}/{rollout['id']}/rollback").json()
    assert rolled["state"] == "rolling_back"
    assert fleet.wanted(fleet.ids[0]) == [("rollback", 1)]
    fleet.obey()
    fleet.settle()
    assert client.get(f"{URL}/{rollout['id']}").json()["state"] == "rolled_back"
    again = _start(client, version="2", waves=[])
    fleet.settle()
    assert fleet.wanted(fleet.ids[0]) == [("rollout", 2)]
    assert client.post(f"{URL}/{again['id']}/abort").json()["state"] == "aborted"
    assert fleet.wanted(fleet.ids[0]) == [("rollback", 1)]


def test_a_rollout_that_another_has_taken_over_from_is_not_rolled_back(client: TestClient, fleet: Fleet) -> None:
    first = _start(client, waves=[])
    fleet.settle()
    fleet.obey()
    fleet.settle()
    _start(client, version="2", waves=[])
    fleet.settle()
    answer = client.post(f"{URL}/{first['id']}/rollback")
    assert answer.status_code == 409
    assert "later rollout" in answer.json()["error"]["message"]


def test_what_a_device_runs_by_its_own_word_is_what_it_goes_back_to(client: TestClient, fleet: Fleet) -> None:
    """A hub that knows of no intent, as after a restore, still does not take a running model away at an abort."""
    device_id = fleet.ids[0]
    rollout = _start(client, waves=[])
    fleet.settle()
    fleet.obey()
    fleet.settle()
    with fleet.hub.database.transaction() as session:
        for row in session.exec(select(Intent).where(Intent.device_id == device_id)).all():
            session.delete(row)
    second = _start(client, version="2", devices=[device_id], waves=[])
    fleet.settle()
    client.post(f"{URL}/{second['id']}/abort")
    assert fleet.wanted(device_id) == [("rollback", 1)]
    assert rollout["id"] != second["id"]


def test_pause_holds_the_next_wave_and_resume_lets_it_go(client: TestClient, fleet: Fleet) -> None:
    rollout = _start(client, devices=fleet.ids, timeout_s=5)
    fleet.settle()
    assert client.post(f"{URL}/{rollout['id']}/pause").json()["state"] == "paused"
    fleet.obey()
    fleet.settle(seconds=60)
    assert fleet.wanted(fleet.ids[1]) == []
    assert client.post(f"{URL}/{rollout['id']}/resume").json()["state"] == "running"
    fleet.settle()
    assert fleet.wanted(fleet.ids[1]) == [("rollout", 1)]


@pytest.mark.parametrize("command", ["pause", "resume", "abort", "rollback"])
def test_a_command_that_does_not_fit_the_state_is_refused_and_says_when_it_would(
    client: TestClient, fleet: Fleet, command: str
) -> None:
    rollout = _start(client, devices=fleet.ids)
    client.post(f"{URL}/{rollout['id']}/abort")
    answer = client.post(f"{URL}/{rollout['id']}/{command}")
    assert answer.status_code == 409
    assert "it is aborted" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"model": "faces"}, 404, "faces"),
        ({"version": "7"}, 404, "7"),
        ({"version": "champion"}, 404, "champion"),
        ({"devices": ["d-aaaaaaaaaaaaaaaa"]}, 404, "d-aaaaaaaaaaaaaaaa"),
        ({"devices": []}, 422, "no device"),
        ({"waves": [0]}, 422, "waves"),
        ({"devices": ["nonsense"]}, 422, "devices"),
        ({"timeout_s": 0}, 422, "timeout_s"),
    ],
)
def test_a_start_that_makes_no_sense_is_refused(
    client: TestClient, fleet: Fleet, changes: dict[str, Any], status: int, text: str
) -> None:
    answer = client.post(URL, json={"model": "digits", "version": "1", "devices": fleet.ids} | changes)
    assert answer.status_code == status
    assert text in answer.text
    assert client.get(URL).json() == []


def test_a_version_that_was_not_compressed_is_refused_with_the_command(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 3, {})
    answer = client.post(URL, json={"model": "digits", "version": "3", "devices": fleet.ids})
    assert (answer.status_code, "shoal models compress digits 3" in answer.text) == (409, True)


def test_two_rollouts_of_one_model_do_not_run_at_once(client: TestClient, fleet: Fleet) -> None:
    first = _start(client, devices=fleet.ids)
    answer = client.post(URL, json={"model": "digits", "version": "2"})
    assert answer.status_code == 409
    assert first["id"] in answer.json()["error"]["remedy"]


def test_a_rollout_of_more_than_the_broker_may_hold_starts_as_devices_have_the_rest_over_https(
    fleet: Fleet, hub: HubContext
) -> None:
    starter = replace(starter_of(hub), retained_budget_bytes=1500)
    with hub.database.transaction() as session:
        start_rollout(session, starter, model="digits", version="1", devices=fleet.ids, by="test")
    with hub.database.transaction() as session:
        follow_leases(session, NOON, 1500)
        sizes = session.exec(select(Retained.size_bytes)).all()
        leased = session.exec(select(Lease.sha256).distinct()).all()
    assert 0 < len(sizes) < len(leased)
    assert sum(sizes) <= 1500


def test_a_variant_beyond_what_travels_is_refused(fleet: Fleet, hub: HubContext) -> None:
    starter = replace(starter_of(hub), retained_budget_bytes=2**40)
    with hub.database.transaction() as session:
        for variant in session.exec(select(VariantRow)):
            variant.size_bytes = starter.max_artifact_bytes + 1
            session.add(variant)
    with hub.database.transaction() as session, pytest.raises(ConflictError, match="SHOAL_MAX_ARTIFACT_BYTES"):
        start_rollout(session, starter, model="digits", version="1", devices=fleet.ids, by="test")


def test_no_list_of_devices_means_all_and_those_online_come_first(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[2]).presence = "online"
        add_device(session, new_device_id(), revoked_at=NOON)
    rollout = _start(client)
    waves = {one["device_id"]: one["wave"] for one in rollout["deployments"]}
    assert waves == {fleet.ids[2]: 0, fleet.ids[0]: 1, fleet.ids[1]: 1}


def test_an_unknown_rollout_is_not_found(client: TestClient) -> None:
    assert client.get(f"{URL}/r-nothing").status_code == 404
    assert client.post(f"{URL}/r-nothing/abort").status_code == 404


def test_no_rollout_is_shown_or_started_without_a_token(stranger: TestClient) -> None:
    assert stranger.get(URL).status_code == 401
    assert stranger.post(URL, json={"model": "digits", "version": "1"}).status_code == 401


def test_the_problem_of_a_device_is_shown_where_a_person_looks(
    client: TestClient, fleet: Fleet, hub: HubContext
) -> None:
    fleet.report(fleet.ids[0], targets=("esp32",))
    rollout = _start(client, devices=fleet.ids[:1])
    fleet.settle()
    shown = client.get(f"{URL}/{rollout['id']}").json()
    assert shown["state"] == "aborted"
    assert "esp32" in shown["deployments"][0]["problem"]["message"]
    assert "compress" in shown["deployments"][0]["problem"]["remedy"]
    with hub.database.session() as session:
        assert session.exec(select(Deployment.state)).all() == ["failed"]


def test_only_the_ciphertext_of_an_encrypted_version_is_leased_and_a_device_without_a_key_says_why(
    client: TestClient, hub: HubContext, fleet: Fleet
) -> None:
    with hub.database.transaction() as session:
        session.get_one(Device, fleet.ids[0]).encryption_key = OWN_KEY
        add_version(session, hub.artifacts, 3, {TARGET: b"secret" * 1000}, is_encrypted=True)
    _start(client, version="3", waves=[], max_failures=2)
    fleet.settle()
    with hub.database.session() as session:
        variant = session.exec(select(VariantRow).where(col(VariantRow.encrypted_sha256).is_not(None))).one()
        leased = set(session.exec(select(Lease.sha256).where(col(Lease.user).startswith("rollout/"))).all())
        deployments = {one.device_id: one for one in session.exec(select(Deployment)).all()}
    assert variant.encrypted_sha256 in leased
    assert variant.sha256 not in leased
    assert len(leased) == 2  # and the manifest
    assert [deployments[device_id].state for device_id in fleet.ids] == ["assigned", "failed", "failed"]
    assert deployments[fleet.ids[1]].problem["code"] == "no_encryption_key"  # type: ignore[index]


def test_a_version_that_the_metadata_has_no_room_for_is_refused_with_what_to_do(
    client: TestClient, hub: HubContext
) -> None:
    Fleet(hub, 1)
    with hub.database.transaction() as session:
        repository = hub.trust.writing(session)
        repository.list_manifest("digits", 1, b"{}")
        with repository.edit_targets("models/digits") as targets:
            room_bytes = MAX_METADATA_BYTES - len(Metadata(targets).to_bytes())
            targets.unrecognized_fields["x-filler"] = "x" * (room_bytes - 100)
    answer = client.post(URL, json={"model": "digits", "version": "2"})
    assert answer.status_code == 409
    assert answer.json()["error"]["remedy"].startswith("register further versions as another model")
    with hub.database.session() as session:
        assert session.exec(select(Rollout)).all() == []
