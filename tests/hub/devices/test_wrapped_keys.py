"""Keys of encrypted versions in desired state, on both engines: for the device alone, and the same each time."""

import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlmodel import Session, col, delete, select
from tests.simulators.rows import NOON, add_device, add_version

from shoal_contract.artifact_ref import ArtifactRef
from shoal_contract.desired import DesiredModel, DesiredState, DesiredTrial
from shoal_contract.encryption import KeyUse, WrappedKey, key_sha256, unwrap_key
from shoal_contract.errors import EncryptionError
from shoal_contract.telemetry import EncryptionKeyReplaced
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.context import HubContext
from shoal_hub.devices.desired import refresh_desired, stale_devices
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.public import detail
from shoal_hub.devices.tables import DesiredRow, Device
from shoal_hub.devices.wrapped_keys import WrappedKeyRow, take_encryption_key
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.encrypt import VersionRef, encrypt_variants, open_version_key

LIFE = timedelta(days=30)
REF = ArtifactRef(sha256="0" * 64, size_bytes=1)
FIRST, SECOND = X25519PrivateKey.generate(), X25519PrivateKey.generate()


def hex_of(key: X25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


class Fleet:
    """An encrypted version 1, a plain version 2, and devices that are to serve them."""

    def __init__(self, hub: HubContext) -> None:
        self.hub = hub
        with hub.database.transaction() as session:
            version = add_version(session, hub.artifacts, 1, {"t": b"secret"}, is_encrypted=True)
            encrypt_variants(session, hub.artifacts, hub.version_keys, version, NOON)
            add_version(session, hub.artifacts, 2, {"t": b"plain"})
            self.version_key = open_version_key(session, hub.version_keys, VersionRef.of(version))

    def device(self, key: str | None, version: int = 1) -> str:
        with self.hub.database.transaction() as session:
            device_id = add_device(session, encryption_key=key).id
            self.want(session, device_id, version)
        return device_id

    def want(self, session: Session, device_id: str, version: int) -> None:
        body = DesiredModel(version=version, target="t", manifest=REF, deployment=f"dp-{version}")
        set_intent(session, device_id, "models/digits", kind="rollout", owner="rollout/r-1", body=body, now=NOON)

    def refresh(self, device_id: str, later: timedelta = timedelta()) -> bool:
        hub = self.hub
        with hub.database.transaction() as session:
            return refresh_desired(session, hub.director, hub.version_keys, device_id, NOON + later, LIFE)

    def state(self, device_id: str) -> DesiredState:
        with self.hub.database.session() as session:
            envelope = session.get_one(DesiredRow, device_id).envelope
        return DesiredState.model_validate_json(base64.b64decode(json.loads(envelope)["payload"]))

    def key(self, device_id: str) -> WrappedKey | None:
        return self.state(device_id).models["digits"].key

    def tell(self, device_id: str, key: str) -> None:
        with self.hub.database.transaction() as session:
            take_encryption_key(session, device_id, EncryptionKeyReplaced(encryption_key=key), NOON)


@pytest.fixture
def fleet(hub: HubContext) -> Fleet:
    return Fleet(hub)


def test_a_device_gets_the_versions_key_wrapped_for_itself_alone(fleet: Fleet) -> None:
    one, other = fleet.device(hex_of(FIRST)), fleet.device(hex_of(SECOND))
    for device_id in (one, other):
        assert fleet.refresh(device_id)
    wrapped = fleet.key(one)
    assert wrapped is not None
    assert unwrap_key(wrapped, FIRST, KeyUse(one, "digits", 1)) == fleet.version_key
    with pytest.raises(EncryptionError):
        unwrap_key(wrapped, SECOND, KeyUse(one, "digits", 1))
    with pytest.raises(EncryptionError):
        unwrap_key(wrapped, FIRST, KeyUse(other, "digits", 1))


def test_a_state_that_is_composed_again_is_the_same_although_wrapping_is_random(fleet: Fleet) -> None:
    device_id = fleet.device(hex_of(FIRST))
    fleet.refresh(device_id)
    before = fleet.state(device_id)
    assert not fleet.refresh(device_id)
    assert fleet.refresh(device_id, LIFE)  # signed again, past half of its life
    after = fleet.state(device_id)
    assert (after.generation, after.models) == (before.generation, before.models)
    assert after.issued_at > before.issued_at


def test_a_version_that_is_not_encrypted_comes_without_a_key(fleet: Fleet) -> None:
    device_id = fleet.device(hex_of(FIRST), version=2)
    fleet.refresh(device_id)
    assert fleet.key(device_id) is None


def test_a_revoked_device_and_one_without_an_encryption_key_get_none(fleet: Fleet, hub: HubContext) -> None:
    without, revoked = fleet.device(None), fleet.device(hex_of(FIRST))
    fleet.refresh(revoked)
    with hub.database.transaction() as session:
        session.get_one(Device, revoked).revoked_at = NOON
        session.exec(delete(WrappedKeyRow))
    assert fleet.refresh(without)
    assert fleet.key(without) is None
    assert not fleet.refresh(revoked), "it is told nothing at all"
    with hub.database.session() as session:
        assert session.exec(select(WrappedKeyRow)).all() == []


def test_after_its_key_was_replaced_a_device_gets_keys_for_the_new_one(fleet: Fleet, hub: HubContext) -> None:
    device_id = fleet.device(hex_of(FIRST))
    fleet.refresh(device_id)
    before = fleet.state(device_id)
    fleet.tell(device_id, hex_of(SECOND))
    with hub.database.session() as session:
        assert stale_devices(session, 10) == [device_id]
    assert fleet.refresh(device_id)
    wrapped = fleet.key(device_id)
    assert wrapped is not None
    assert unwrap_key(wrapped, SECOND, KeyUse(device_id, "digits", 1)) == fleet.version_key
    assert fleet.state(device_id).generation > before.generation
    with hub.database.session() as session:
        assert [row.data for row in session.exec(select(WrappedKeyRow))] == [wrapped.data], "the former one is gone"


def test_after_a_keys_replacement_a_trials_candidate_comes_with_a_key_for_the_new_one(
    fleet: Fleet, hub: HubContext
) -> None:
    device_id = fleet.device(hex_of(FIRST), version=2)
    with hub.database.transaction() as session:
        candidate = DesiredModel(version=1, target="t", manifest=REF, deployment="t-1")
        ends_at = NOON + timedelta(days=1)
        body = DesiredTrial(
            id="t-1", mode="shadow", candidate=candidate, against=2, share=0.1, salt="0" * 16, ends_at=ends_at
        )
        set_intent(session, device_id, "trials/digits", kind="ab", owner="trial/t-1", body=body, now=NOON)
    for key in (FIRST, SECOND):
        fleet.tell(device_id, hex_of(key))
        assert fleet.refresh(device_id)
        wrapped = fleet.state(device_id).trials["digits"].candidate.key
        assert wrapped is not None
        assert unwrap_key(wrapped, key, KeyUse(device_id, "digits", 1)) == fleet.version_key


def test_a_replaced_key_is_audited_with_the_old_and_the_new_one(fleet: Fleet, hub: HubContext) -> None:
    device_id, without = fleet.device(hex_of(FIRST)), fleet.device(None)
    fleet.tell(device_id, hex_of(SECOND))
    fleet.tell(without, hex_of(FIRST))
    first, second = ({"encryption_key_sha256": key_sha256(key.public_key())} for key in (FIRST, SECOND))
    with hub.database.session() as session:
        entries = session.exec(select(AuditEntry).order_by(col(AuditEntry.sequence))).all()
    assert {(one.actor_role, one.action) for one in entries} == {("device", "devices.replace_encryption_key")}
    found = [(one.actor_id, one.subject, json.loads(one.before), json.loads(one.after)) for one in entries]
    assert found == [
        (device_id, f"devices/{device_id}", first, second),
        (without, f"devices/{without}", {}, first),
    ]


def test_a_key_that_is_told_again_changes_nothing(fleet: Fleet, hub: HubContext) -> None:
    device_id = fleet.device(hex_of(FIRST))
    fleet.refresh(device_id)
    fleet.tell(device_id, hex_of(FIRST))
    assert not fleet.refresh(device_id)
    with hub.database.session() as session:
        assert session.exec(select(AuditEntry)).all() == []


@pytest.mark.parametrize("key", ["00" * 32, "01" + "00" * 31])
def test_a_key_that_would_make_the_secret_known_is_refused(fleet: Fleet, hub: HubContext, key: str) -> None:
    device_id = fleet.device(hex_of(FIRST))
    fleet.refresh(device_id)
    fleet.tell(device_id, key)
    assert not fleet.refresh(device_id)
    with hub.database.session() as session:
        assert session.get_one(Device, device_id).encryption_key == hex_of(FIRST)
        told = session.exec(select(EventRow).where(EventRow.kind == "encryption_key_refused")).one()
    assert told.severity == "error"


def test_a_revoked_device_can_not_name_another_key(fleet: Fleet, hub: HubContext) -> None:
    device_id = fleet.device(hex_of(FIRST))
    with hub.database.transaction() as session:
        session.get_one(Device, device_id).revoked_at = NOON
    fleet.tell(device_id, hex_of(SECOND))
    with hub.database.session() as session:
        assert session.get_one(Device, device_id).encryption_key == hex_of(FIRST)


def test_the_api_still_shows_the_desired_state_of_such_a_device(fleet: Fleet, hub: HubContext) -> None:
    device_id = fleet.device(hex_of(FIRST))
    fleet.refresh(device_id)
    with hub.database.session() as session:
        shown = detail(session, session.get_one(Device, device_id))
    assert shown.desired is not None
    assert shown.desired.models == {"digits": 1}
    assert fleet.key(device_id).data not in shown.model_dump_json()  # type: ignore[union-attr]
