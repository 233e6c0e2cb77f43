"""Attacks by a broker that somebody else has taken over: it can write on every topic, and still makes nothing true."""

import uuid
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, select
from tests.simulators.broker import WAIT_S, Listening, listening
from tests.simulators.device import SimulatedDevice, make_identity
from tests.simulators.hub_threads import Hub
from tests.simulators.rows import NOON, make_report, section

from shoal_contract import topics
from shoal_contract.device_signature import SignedChannel, device_key_id, sign_up
from shoal_contract.reported import ModelReport, Presence, SlotReport
from shoal_contract.telemetry import BlobOffer, DeploymentEvent, Event, EventBody, OutboxPosition, RoundResult
from shoal_contract.wire import WireMessage
from shoal_hub.devices.tables import Device
from shoal_hub.events.tables import EventRow
from shoal_hub.federation.tables import RoundAnswer
from shoal_hub.mqtt import Message
from shoal_hub.rollouts.start import deployments_of
from shoal_hub.transfer.tables import Upload

FORGER = ec.generate_private_key(ec.SECP256R1())
LATE = 2**50
"""A connection number above every true one: only the signature stands against it."""


@pytest.fixture
def broker(hub: Hub) -> Iterator[Listening]:
    """The attacker's hand on the broker: the hub's own listener lets it write everywhere."""
    with listening(hub.broker.endpoint("hub-test"), topics.up_filter("reported")) as attacker:
        yield attacker


def say(attacker: Listening, device: SimulatedDevice, channel: SignedChannel, envelope: bytes) -> None:
    attacker.connection.publish(topics.up(device.device_id, channel), envelope, retain=channel != "event").result(
        WAIT_S
    )


def forged(channel: SignedChannel, message: WireMessage, key: ec.EllipticCurvePrivateKey = FORGER) -> bytes:
    return sign_up(message.to_bytes(), channel, key, device_key_id(key.public_key()))


def event(body: EventBody, sequence: int = 1, stream: str = "f" * 16) -> Event:
    place = OutboxPosition(stream=stream, sequence=sequence, oldest=1)
    return Event(event_id=uuid.uuid4().hex, outbox=place, at=NOON, body=body)


def dropped(session: Session) -> bool:
    return session.exec(select(EventRow).where(EventRow.kind == "message_dropped")).first() is not None


def test_a_success_that_the_device_has_not_reported_does_not_advance_a_rollout(hub: Hub, broker: Listening) -> None:
    device = hub.add_device()
    device.stop()
    hub.add_version(1)
    rollout_id = hub.roll_out(1)
    hub.wait(lambda session: deployments_of(session, rollout_id)[0].state == "assigned")
    with hub.database.session() as session:
        deployment = deployments_of(session, rollout_id)[0].id
    slot = SlotReport(version=1, target="generic-onnx-int8", sha256="0" * 64, state="good")
    applied = {"models/digits": section("applied", deployment)}
    report = make_report(
        connection=LATE, generation=LATE, epoch=1, models={"digits": ModelReport(active=slot)}, sections=applied
    )
    for envelope in (report.to_bytes(), forged("reported", report)):
        say(broker, device, "reported", envelope)
    commit = DeploymentEvent(model="digits", version=1, deployment=deployment, step="commit")
    say(broker, device, "event", forged("event", event(commit)))
    hub.wait(dropped)
    device.start()  # the true device goes on, and is believed
    hub.wait_for_state(rollout_id, "succeeded")
    with hub.database.session() as session:
        kept = session.get_one(Device, device.device_id)
        assert kept.reported_connection < LATE
        assert session.exec(select(EventRow).where(EventRow.event_id == commit.deployment)).first() is None


def test_a_federated_update_can_be_neither_offered_nor_answered_in_a_device_s_name(hub: Hub, broker: Listening) -> None:
    device = hub.add_device()
    offer = BlobOffer(sha256="1" * 64, size_bytes=10, chunk_bytes=16_384)
    answer = RoundResult(run="f-abcdefgh", round=1, outcome="trained", update_sha256="1" * 64, examples=10**9)
    for sequence, body in enumerate((offer, answer), start=1):
        say(broker, device, "event", forged("event", event(body, sequence)))
    hub.wait(dropped)
    with hub.database.session() as session:
        assert session.exec(select(Upload)).all() == []
        assert session.exec(select(RoundAnswer)).all() == []


def test_a_true_report_is_worth_nothing_on_another_device_s_topic_or_a_second_time(hub: Hub, broker: Listening) -> None:
    first, second = hub.add_device(), hub.add_device()
    kept = next(message for message in iter(lambda: broker.wait_for(Message), None) if first.device_id in message.topic)
    hub.wait(lambda session: session.get_one(Device, first.device_id).reported_sequence >= 1)
    hub.wait(lambda session: session.get_one(Device, second.device_id).reported_generation >= 1)  # its last word
    with hub.database.session() as session:
        before = session.get_one(Device, second.device_id).model_dump(include={"reported", "reported_connection"})
    first.tell(DeploymentEvent(model="digits", version=1, deployment="dp-x", step="fetch"))
    say(broker, second, "reported", kept.payload)
    say(broker, first, "reported", kept.payload)
    hub.wait(dropped)
    with hub.database.session() as session:
        after = session.get_one(Device, second.device_id)
        assert after.model_dump(include={"reported", "reported_connection"}) == before


def test_an_outbox_that_was_held_back_whole_does_not_end_the_one_that_came_after_it(
    hub: Hub, broker: Listening
) -> None:
    device = hub.add_device()
    held_back = [
        forged(
            "event",
            event(DeploymentEvent(model="digits", version=9, deployment="dp-old", step="commit"), 1, stream),
            device._key,
        )
        for stream in ("0" * 16, "1" * 16)
    ]
    device.tell(DeploymentEvent(model="digits", version=1, deployment="dp-x", step="fetch"))
    hub.wait(lambda session: _told(session, device) == 1)
    for envelope in held_back:
        say(broker, device, "event", envelope)
    device.tell(DeploymentEvent(model="digits", version=1, deployment="dp-x", step="commit"))
    hub.wait(lambda session: _told(session, device) == 2)
    hub.wait(lambda _: not device.outbox)


def _told(session: Session, device: SimulatedDevice) -> int:
    wanted = select(EventRow).where(EventRow.device_id == device.device_id, EventRow.kind == "deployment")
    return len(session.exec(wanted).all())


def test_a_presence_that_another_key_has_signed_moves_nothing(hub: Hub, broker: Listening) -> None:
    device = hub.add_device()
    hub.wait(lambda session: session.get_one(Device, device.device_id).presence == "online")
    gone = Presence(state="offline", connection=LATE, sequence=1, since=NOON, instance="f" * 16)
    say(broker, device, "presence", forged("presence", gone))
    hub.wait(dropped)
    with hub.database.session() as session:
        assert session.get_one(Device, device.device_id).presence == "online"


def test_a_copied_identity_that_goes_online_beside_its_device_raises_an_alarm(hub: Hub) -> None:
    """The broker lets the newcomer in and puts the other out, again and again, as two copies of a disk do."""
    device = hub.add_device()
    copy = SimulatedDevice(
        device.device_id,
        device._identity,
        port=hub.broker.device_port,
        authority=hub.broker.devices.certificate_path,
        director=(hub.director.key_id, hub.director.public_key_hex),
    )
    hub.devices.append(copy)

    def is_told(session: Session) -> bool:
        return session.exec(select(EventRow).where(EventRow.kind == "device_cloned")).first() is not None

    copy._connection = 5
    copy.start()
    hub.wait(lambda session: len(session.get_one(Device, device.device_id).instances) == 2)
    device._connection = 10
    device.stop()
    device.start()
    hub.wait(is_told)


def test_a_certificate_of_the_right_name_that_the_hub_has_not_noted_speaks_for_nobody(
    hub: Hub, broker: Listening
) -> None:
    device = hub.add_device()
    identity = make_identity(hub.broker.devices, device.device_id, hub.folder / "stolen-ca")
    thief = SimulatedDevice(
        device.device_id,
        identity,
        port=hub.broker.device_port,
        authority=hub.broker.devices.certificate_path,
        director=(hub.director.key_id, hub.director.public_key_hex),
    )
    hub.devices.append(thief)
    thief._connection = LATE
    thief.start()
    hub.wait(dropped)
    with hub.database.session() as session:
        assert session.get_one(Device, device.device_id).reported_connection < LATE
    assert broker.connection.is_connected
