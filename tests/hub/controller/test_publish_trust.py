"""What stands under `trust/` at a real broker: in the order that a device needs, and brought back by level."""

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, delete, select
from tests.hub.statements import statements
from tests.simulators.broker import Broker, Listening, listening
from tests.simulators.hub_threads import Hub
from tests.simulators.retained_topics import RetainedTopics
from tests.simulators.tuf_client import Files, TufDevice

from shoal_client.tuf import Rotation
from shoal_contract import topics
from shoal_contract.ids import sha256_hex
from shoal_contract.trust import CA_BUNDLE_TARGET, TrustIndex, manifest_target
from shoal_hub.controller.publish_trust import TrustPublisher
from shoal_hub.database import utc_now
from shoal_hub.mqtt import Message
from shoal_hub.trust.renewal import sign_all_again
from shoal_hub.trust.staging import Staging
from shoal_hub.trust.tables import TrustMetadata

MANIFEST = b'{"version": 1}'
PATH = manifest_target("digits", 1, sha256_hex(MANIFEST))
PREFIX = topics.TRUST_FILTER.removesuffix("#")


@pytest.fixture
def ears(hub: Hub) -> Iterator[Listening]:
    with listening(hub.broker.endpoint("hub-test"), topics.TRUST_FILTER) as listener:
        yield listener


def _until_index(ears: Listening, holds: int = 1) -> list[Message]:
    """Return messages up to the next index that lists at least `holds` names."""
    heard: list[Message] = []
    while True:
        heard.append(ears.wait_for(Message))
        heard[-1].acknowledge()
        if heard[-1].topic == topics.TRUST_INDEX:
            index = TrustIndex.model_validate_json(heard[-1].payload)
            if len(index.names) >= holds:
                return heard


def _retained(broker: Broker) -> dict[str, bytes]:
    held: dict[str, bytes] = {}
    with listening(broker.endpoint("hub-look"), topics.TRUST_FILTER) as listener:
        while topics.TRUST_INDEX not in held or len(held) < _expected(held):
            message = listener.wait_for(Message)
            held[message.topic] = message.payload
    return held


def _expected(held: dict[str, bytes]) -> int:
    return len(TrustIndex.model_validate_json(held[topics.TRUST_INDEX]).names) + 2


def _files(held: dict[str, bytes]) -> Files:
    return {f"{topic.removeprefix(PREFIX)}.json": payload for topic, payload in held.items()}


def _publish(hub: Hub, version: int, data: bytes) -> None:
    with hub.database.transaction() as session:
        hub.trust.writing(session).list_manifest("digits", version, data)


def test_a_device_converges_on_what_is_retained_and_each_change_comes_in_order(hub: Hub, ears: Listening) -> None:
    _until_index(ears)
    with hub.database.session() as session:
        device = TufDevice(hub.folder / "tuf", hub.trust.root_text(session).encode())
    _publish(hub, 1, MANIFEST)
    order = [_kind(message.topic) for message in _until_index(ears, 6)]
    assert order == ["models", "models%2Fdigits", "snapshot", "timestamp", "index"]
    held = _retained(hub.broker)
    assert device.lists(_files(held), PATH) is not None
    index = TrustIndex.model_validate_json(held[topics.TRUST_INDEX])
    assert {f"{PREFIX}{name}" for name in index.names} == set(held) - {topics.TRUST_INDEX, topics.TRUST_TIMESTAMP}


def test_only_the_last_two_versions_stand_but_every_root(hub: Hub, ears: Listening) -> None:
    for number in range(4):
        _publish(hub, 1, f"{number}".encode())
    with hub.database.transaction() as session:
        hub.trust.rotate(session, Rotation(role="timestamp"))
    hub.wait(lambda session: session.get(TrustMetadata, ("root", 2)) is not None)
    _wait_for(hub, ears, "2.root")
    hub.wait(lambda _: len(_kinds(hub, "snapshot")) == 2)
    kinds = sorted(_kind(topic) for topic in _retained(hub.broker))
    assert kinds.count("snapshot") == 2
    assert kinds.count("models%2Fdigits") == 2
    assert kinds.count("root") == 2


@pytest.mark.slow
def test_a_broker_that_has_lost_everything_or_was_tampered_with_is_made_whole(hub: Hub, ears: Listening) -> None:
    _publish(hub, 1, MANIFEST)
    _until_index(ears, 6)
    ears.connection.publish(topics.TRUST_TIMESTAMP, b"{}", retain=True).result(5)
    ears.connection.publish(f"{PREFIX}1.root", b"", retain=True).result(5)
    ears.connection.publish(f"{PREFIX}9.junk", b"junk", retain=True).result(5)
    hub.wait(lambda _: _is_whole(hub))
    hub.broker.restart(keeps_what_is_retained=False)
    hub.wait(lambda _: _is_whole(hub))


@pytest.mark.slow
def test_each_start_of_the_controller_signs_everything_again(hub: Hub, ears: Listening) -> None:
    _until_index(ears)
    roles = ("models", "snapshot", "timestamp")
    before = {role: _version(hub, role) for role in roles}
    hub.controller.stop()
    hub.start_controller()
    hub.wait(lambda _: all(_version(hub, role) > before[role] for role in roles))


def test_a_broker_that_is_ahead_of_a_restored_database_has_everything_signed_again(hub: Hub) -> None:
    hub.controller.stop()
    publisher = TrustPublisher(hub.database, hub.trust)
    outbox = RetainedTopics()
    publisher.step(outbox, utc_now())
    version = _version(hub, "timestamp")
    publisher.forget()
    for topic, payload in outbox.retained.items():
        publisher.hear(topic, payload)
    outbox.order.clear()
    publisher.step(outbox, utc_now())
    assert (outbox.order, _version(hub, "timestamp")) == ([], version)
    # The same hub, restored from before its last renewal.
    with hub.database.transaction() as session:
        backup = [row.model_dump() for row in session.exec(select(TrustMetadata)).all()]
    publisher.renew(utc_now() + timedelta(days=4))
    publisher.step(outbox, utc_now())
    ahead = _version(hub, "timestamp")
    with hub.database.transaction() as session:
        session.exec(delete(TrustMetadata))
        for row in backup:
            session.add(TrustMetadata(**row))
    publisher.forget()
    for topic, payload in outbox.retained.items():
        publisher.hear(topic, payload)
    publisher.step(outbox, utc_now())
    assert _version(hub, "timestamp") > ahead
    hub.start_controller()


def test_a_look_finds_whatever_was_written_and_where_nothing_was_it_reads_no_metadata(hub: Hub) -> None:
    hub.controller.stop()
    publisher, outbox = TrustPublisher(hub.database, hub.trust), RetainedTopics()
    publisher.step(outbox, utc_now())
    _publish(hub, 1, MANIFEST)

    def write_meanwhile(topic: str, payload: bytes, **options: Any) -> "Future[None]":
        if topic == topics.TRUST_INDEX:
            _publish(hub, 2, MANIFEST)
        return RetainedTopics.publish(outbox, topic, payload, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "publish", write_meanwhile)
        publisher.look()
        publisher.step(outbox, utc_now())
    told = _version(hub, "models/digits")
    assert f"{PREFIX}{told}.models%2Fdigits" not in outbox.retained
    publisher.look()
    publisher.step(outbox, utc_now())
    assert f"{PREFIX}{told}.models%2Fdigits" in outbox.retained
    with statements(hub.database) as seen:
        publisher.look()
        publisher.step(outbox, utc_now())
    assert seen == ["SELECT"]
    hub.start_controller()


def test_names_at_the_broker_that_no_hub_wrote_are_cleared_and_stop_nothing(hub: Hub) -> None:
    hub.controller.stop()
    publisher, outbox = TrustPublisher(hub.database, hub.trust), RetainedTopics()
    for name in ("\u00b2.root", f"{'9' * 5000}.targets", "01.code", "x.root", "root", "-1.targets", "1."):
        outbox.retained[f"{PREFIX}{name}"] = b"junk"
    for topic, payload in outbox.retained.items():
        publisher.hear(topic, payload)
    publisher.step(outbox, utc_now())  # takes up what is later than the database's, as at each start
    publisher.forget()
    publisher.hear(f"{PREFIX}\u00b2.root", b"junk")
    publisher.step(outbox, utc_now())  # only looks whether the broker is ahead
    assert {_kind(topic) for topic in outbox.retained} >= {"root", "targets", "index"}
    assert b"junk" not in outbox.retained.values()
    hub.start_controller()


def test_a_later_root_under_the_next_ones_name_is_not_taken_up(hub: Hub) -> None:
    """Devices go through each root: were one passed over, none that has not seen it would ever come on."""
    hub.controller.stop()
    for _ in range(2):
        with hub.database.transaction() as session:
            hub.trust.rotate(session, Rotation(role="timestamp"))
    with hub.database.transaction() as session:
        roots = {row.version: row.content for row in session.exec(select(TrustMetadata)) if row.role == "root"}
        session.exec(delete(TrustMetadata).where(col(TrustMetadata.role) == "root", col(TrustMetadata.version) > 1))
        with Staging(hub.trust.writing(session)).edit_root():
            pass  # a change that waits, of the root that is about to be passed
    sign_all_again(hub.database, hub.trust, utc_now(), {"2.root": roots[3]})
    assert _version(hub, "root") == 1
    sign_all_again(hub.database, hub.trust, utc_now(), {"2.root": roots[2], "3.root": roots[3]})
    assert _version(hub, "root") == 3
    with hub.database.session() as session:
        assert not Staging(hub.trust.reading(session)).staged(), "its version is given by now"
    hub.start_controller()


def test_a_ca_that_was_announced_by_an_api_that_died_then_is_told_to_devices_all_the_same(hub: Hub) -> None:
    authority = hub.broker.devices
    hub.wait(lambda _: _version(hub, "targets") > 0)
    authority.announce()  # its files are written; the transaction that would have listed it was never committed
    hub.wait(lambda session: _listed_bundle(hub, session) == sha256_hex(authority.certificate_pem.encode()))
    hub.controller.stop()
    version = _version(hub, "targets")
    authority.switch()
    hub.trust.mend_ca_bundle(hub.database)
    assert _version(hub, "targets") == version, "the order alone is no news for devices"
    with hub.database.transaction() as session, Staging(hub.trust.writing(session)).edit_targets() as targets:
        del targets.targets[CA_BUNDLE_TARGET]
    hub.trust.mend_ca_bundle(hub.database)
    with hub.database.session() as session:
        assert _listed_bundle(hub, session) == sha256_hex(authority.certificate_pem.encode())
    hub.start_controller()


def _listed_bundle(hub: Hub, session: Session) -> str | None:
    info = hub.trust.reading(session).targets().targets.get(CA_BUNDLE_TARGET)
    return info.hashes["sha256"] if info is not None else None


def _wait_for(hub: Hub, ears: Listening, name: str) -> None:
    while ears.wait_for(Message).topic != f"{PREFIX}{name}":
        pass
    hub.wait(lambda _: _is_whole(hub))


def _is_whole(hub: Hub) -> bool:
    publisher = TrustPublisher(hub.database, hub.trust)
    publisher._has_begun = publisher._was_compared = True
    for topic, payload in _all(hub.broker).items():
        publisher.hear(topic, payload)
    outbox = RetainedTopics()
    publisher.step(outbox, utc_now())
    return outbox.order == []


def _all(broker: Broker) -> dict[str, bytes]:
    """Return everything that stands; a word to ourselves comes after it."""
    held: dict[str, bytes] = {}
    with listening(broker.endpoint("hub-all"), topics.TRUST_FILTER, "shoal/1/hub/look") as listener:
        listener.connection.publish("shoal/1/hub/look", b"end").result(5)
        while (message := listener.wait_for(Message)).topic != "shoal/1/hub/look":
            held[message.topic] = message.payload
    return held


def _kinds(hub: Hub, kind: str) -> list[str]:
    return [topic for topic in _all(hub.broker) if _kind(topic) == kind]


def _kind(topic: str) -> str:
    name = topic.removeprefix(PREFIX)
    return name.partition(".")[2] or name


def _version(hub: Hub, role: str) -> int:
    with hub.database.session() as session:
        row = hub.trust.reading(session).newest(role)
    return row.version if row else 0
