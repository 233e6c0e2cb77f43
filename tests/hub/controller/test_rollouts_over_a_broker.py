"""Rollouts from start to end over a real broker, with devices that do what desired state says, and with faults."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlmodel import Session, select
from tests.simulators.broker import WAIT_S, listening
from tests.simulators.device import Behaviour
from tests.simulators.hub_threads import Hub
from tests.simulators.rows import NOON

from shoal_contract import topics
from shoal_contract.encryption import KeyUse, decrypt_file, unwrap_key
from shoal_contract.errors import EncryptionError
from shoal_contract.telemetry import DeploymentEvent
from shoal_hub.controller.loop import Controller
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.mqtt import Message
from shoal_hub.registry.tables import VariantRow
from shoal_hub.rollouts import commands
from shoal_hub.rollouts.start import deployments_of, find_rollout
from shoal_hub.rollouts.tables import Deployment
from shoal_hub.transfer.leases import lease_users
from shoal_hub.transfer.tables import Retained
from shoal_hub.trust.hub_trust import CA_BUNDLE_LEASE


def _states(hub: Hub, rollout_id: str) -> list[str]:
    with hub.database.session() as session:
        return [one.state for one in deployments_of(session, rollout_id)]


def _has_no_leases(session: Session) -> bool:
    """Whether nobody needs anything at the broker, but for the CA bundle, which stands always."""
    return all(user.startswith(CA_BUNDLE_LEASE) for user in lease_users(session))


def test_a_version_goes_out_in_two_waves_and_leaves_nothing_at_the_broker(hub: Hub) -> None:
    for _ in range(3):
        hub.add_device()
    hub.add_version(1)
    rollout_id = hub.roll_out(1, waves=(1, 2))
    rollout = hub.wait_for_state(rollout_id, "succeeded")
    assert _states(hub, rollout_id) == ["succeeded"] * 3
    assert [device.serves() for device in hub.devices] == [1, 1, 1]
    assert rollout.ended_at is not None
    with hub.database.session() as session:
        waves = {one.wave: one for one in session.exec(select(Deployment)).all()}
        first, second = waves[0], waves[1]
        assert first.ended_at is not None
        assert second.assigned_at is not None
        assert second.assigned_at >= first.ended_at
    hub.wait(lambda session: _has_no_leases(session) and len(_retained(session)) == len(lease_users(session)))
    with hub.database.session() as session:
        (bundle,) = _retained(session)
    with listening(hub.broker.endpoint("hub-test"), topics.ARTIFACT_FILTER) as listener:
        stands = {listener.wait_for(Message).topic for _ in range(2)}
        assert stands == {topics.artifact_manifest(bundle), topics.artifact_chunk(bundle, 0)}
        assert listener.events.empty()


def test_the_broker_never_holds_a_plain_byte_of_an_encrypted_version_and_only_its_devices_read_it(hub: Hub) -> None:
    key, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    entitled = hub.add_device(encryption_key=key.public_key().public_bytes_raw().hex())
    hub.add_version(1, is_encrypted=True)
    with listening(hub.broker.endpoint("hub-test"), topics.ARTIFACT_FILTER) as listener:
        hub.wait_for_state(hub.roll_out(1), "succeeded")
        seen = []
        while not listener.events.empty():
            event = listener.events.get()
            seen += [event.payload] if isinstance(event, Message) else []
    plain = bytes([1]) * 300_000
    assert sum(map(len, seen)) > len(plain)
    assert not any(plain[:32] in payload for payload in seen)
    with hub.database.session() as session:
        variant = session.exec(select(VariantRow)).one()
    assert not any(variant.sha256.encode() in payload and b'"chunks"' in payload for payload in seen)

    wrapped = entitled.desired[-1].models["digits"].key
    assert wrapped is not None
    version_key = unwrap_key(wrapped, key, KeyUse(entitled.device_id, "digits", 1))
    sealed = entitled.fetched[variant.encrypted_sha256 or ""]
    assert decrypt_file(sealed, version_key, variant.sha256, variant.size_bytes) == plain
    with pytest.raises(EncryptionError):
        unwrap_key(wrapped, other, KeyUse(entitled.device_id, "digits", 1))


def test_a_failure_takes_every_device_back_to_what_it_had(hub: Hub) -> None:
    good, bad = hub.add_device(), hub.add_device(Behaviour(fails={2}))
    hub.add_version(1)
    hub.add_version(2)
    hub.wait_for_state(hub.roll_out(1), "succeeded")
    second = hub.roll_out(2)
    rollout = hub.wait_for_state(second, "aborted")
    assert "the golden input gives another answer" in rollout.reason
    hub.wait(lambda session: all(one.state == "rolled_back" for one in deployments_of(session, second)))
    assert (good.serves(), bad.serves()) == (1, 1)
    assert [state.models["digits"].version for state in bad.desired if state.models] == [1, 2, 1]
    deployments = [state.models["digits"].deployment for state in good.desired if state.models]
    assert len(set(deployments)) == 3
    hub.wait(_has_no_leases)


def test_the_first_version_that_fails_is_taken_away(hub: Hub) -> None:
    device = hub.add_device(Behaviour(fails={1}))
    hub.add_version(1)
    hub.wait_for_state(hub.roll_out(1), "aborted")
    hub.wait(lambda session: "models/digits" not in _sections(session, device.device_id))
    assert not device.desired[-1].models


def test_an_operator_rolls_back_with_one_command_and_a_device_that_was_off_follows(hub: Hub) -> None:
    devices = [hub.add_device(), hub.add_device()]
    hub.add_version(1)
    hub.add_version(2)
    hub.wait_for_state(hub.roll_out(1), "succeeded")
    second = hub.roll_out(2)
    hub.wait_for_state(second, "succeeded")
    devices[1].stop()
    with hub.database.transaction() as session:
        commands.roll_back(session, find_rollout(session, second, is_locked=True), by="admin", now=NOON)
    hub.wait(lambda session: _count(session, second, "rolled_back") == 1)
    assert (devices[0].serves(), devices[1].serves()) == (1, 2)
    devices[1].start()
    hub.wait_for_state(second, "rolled_back")
    assert devices[1].serves() == 1


def test_a_broker_that_lost_everything_is_told_everything_again(hub: Hub) -> None:
    device, late = hub.add_device(), hub.add_device()
    late.stop()
    hub.add_version(1)
    rollout_id = hub.roll_out(1)
    hub.wait(lambda session: _count(session, rollout_id, "succeeded") == 1)
    device.stop()
    hub.broker.restart(keeps_what_is_retained=False)
    late.start()
    hub.wait_for_state(rollout_id, "succeeded")
    assert late.serves() == 1


def test_a_broker_that_kept_everything_is_not_told_again(hub: Hub) -> None:
    device = hub.add_device()
    hub.wait(lambda session: session.get_one(Device, device.device_id).reported_generation > 0)
    hub.controller.stop()
    with listening(hub.broker.endpoint("hub-test"), topics.down_desired(device.device_id)) as listener:
        assert listener.wait_for(Message).is_retained
        hub.start_controller()
        assert listener.events.empty()


def test_a_controller_that_ends_in_the_middle_is_gone_on_with_by_the_next(hub: Hub) -> None:
    for _ in range(3):
        hub.add_device()
    hub.add_version(1)
    hub.controller.stop()
    rollout_id = hub.roll_out(1, waves=(1, 2))
    hub.start_controller()
    hub.wait(lambda session: _count(session, rollout_id, "pending") < 3)
    hub.controller.stop()
    hub.start_controller()
    hub.wait_for_state(rollout_id, "succeeded")
    assert [device.serves() for device in hub.devices] == [1, 1, 1]


def test_lost_acknowledgements_and_a_restart_of_ingest_lose_nothing_and_double_nothing(hub: Hub) -> None:
    device = hub.add_device(Behaviour(lost_acks=3, resend_s=0.1))
    hub.ingest.stop()
    for number in range(1, 31):
        device.tell(DeploymentEvent(model="digits", version=number, deployment="dp-x", step="fetch"))
    hub.start_ingest()
    hub.wait(lambda session: session.get_one(Device, device.device_id).outbox_sequence == 30)
    hub.wait(lambda _: not device.outbox)
    with hub.database.session() as session:
        rows = session.exec(select(EventRow).where(EventRow.kind == "deployment").order_by(EventRow.id)).all()
    assert [row.body["version"] for row in rows] == list(range(1, 31))


def test_an_artifact_that_vanished_from_the_broker_is_published_again_when_a_device_asks(hub: Hub) -> None:
    device = hub.add_device(Behaviour(silence_s=0.3))
    device.stop()
    hub.add_version(1)
    rollout_id = hub.roll_out(1)
    hub.wait(lambda session: _retained_states(session) == {"standing"})
    with hub.database.session() as session:
        artifacts = _retained(session)
    with listening(hub.broker.endpoint("hub-test")) as listener:
        for sha256 in artifacts:
            listener.connection.publish(topics.artifact_manifest(sha256), b"", retain=True).result(WAIT_S)
    device.start()
    hub.wait_for_state(rollout_id, "succeeded")
    assert device.serves() == 1


def test_a_device_that_was_wiped_after_the_rollout_gets_its_artifacts_for_itself(hub: Hub) -> None:
    device = hub.add_device(Behaviour(silence_s=0.3))
    hub.add_version(1)
    hub.wait_for_state(hub.roll_out(1), "succeeded")
    hub.wait(lambda session: _has_no_leases(session) and len(_retained(session)) == len(lease_users(session)))
    device.stop()
    device.fetched.clear()
    device._models.clear()
    device._sections.clear()
    device._order = (0, 0)
    device.start()
    hub.wait(lambda _: device.serves() == 1)
    hub.wait(_has_no_leases)


def test_presence_follows_the_connection_and_its_will(hub: Hub) -> None:
    device = hub.add_device()
    hub.wait(lambda session: session.get_one(Device, device.device_id).presence == "online")
    device.stop()
    hub.wait(lambda session: session.get_one(Device, device.device_id).presence == "offline")
    device.start()
    hub.wait(lambda session: session.get_one(Device, device.device_id).presence == "online")


def _retained(session: Session) -> set[str]:
    return set(session.exec(select(Retained.sha256)).all())


def _retained_states(session: Session) -> set[str]:
    return set(session.exec(select(Retained.state)).all())


def _count(session: Session, rollout_id: str, state: str) -> int:
    return sum(one.state == state for one in deployments_of(session, rollout_id))


def _sections(session: Session, device_id: str) -> dict[str, dict[str, str]]:
    reported = session.get_one(Device, device_id).reported or {}
    sections: dict[str, dict[str, str]] = reported.get("sections", {})
    return sections


def test_jobs_that_cannot_be_started_hold_up_no_rollout(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    assert isinstance(hub.controller.worker, Controller)
    monkeypatch.setattr(hub.controller.worker._runner, "tick", full)
    hub.add_device()
    hub.add_version(1)
    hub.wait_for_state(hub.roll_out(1), "succeeded")
