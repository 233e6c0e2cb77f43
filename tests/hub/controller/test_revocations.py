"""Revoked devices over a real broker: off within seconds, out for good, and nothing of a decommissioned one is left."""

import queue
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlmodel import Session, select
from tests.hub.broker.test_access import Client, is_refused
from tests.simulators.broker import WAIT_S, listening
from tests.simulators.device import make_identity
from tests.simulators.hub_threads import Hub

from shoal_contract import topics
from shoal_contract.ids import new_device_id
from shoal_contract.telemetry import Event, MissingArtifact, OutboxPosition
from shoal_hub.broker.access import Revoked
from shoal_hub.broker.cut_off import STILL_TAKEN
from shoal_hub.broker.errors import BrokerError
from shoal_hub.controller.revocations import Revocations
from shoal_hub.database import Database, utc_now
from shoal_hub.devices.certificates import make_row
from shoal_hub.devices.revocation import decommission, revoke
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.events.tables import EventRow
from shoal_hub.mqtt import Message
from shoal_hub.processes.controller import build_revocations
from shoal_hub.rollouts.start import deployments_of, find_rollout

LIMIT_S = 5.0
EVENT = Event(
    event_id="1" * 32,
    outbox=OutboxPosition(stream="a" * 16, sequence=1, oldest=1),
    at=utc_now(),
    body=MissingArtifact(sha256="0" * 64, detail="silent"),
).to_bytes()
QUIET_S = 0.3


class Board:
    """A board with an enrolled device's key: the agent's, or a thief's."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.id = new_device_id()
        self.identity = make_identity(hub.broker.devices, self.id, hub.folder / "boards")
        certificate = x509.load_pem_x509_certificate(self.identity.certificate.read_bytes())
        with hub.database.transaction() as session:
            session.add(
                Device(
                    id=self.id, name=self.id, public_key_sha256="0" * 64, certificate_serial="", enrolled_at=utc_now()
                )
            )
            session.flush()
            session.add(make_row(self.id, certificate, utc_now()))

    def connect(self) -> Client:
        client = Client(self.hub.broker.device_port, self.hub.broker.devices.certificate_path, self.identity)
        assert not client.connects.get(timeout=WAIT_S).is_failure
        return client

    @property
    def is_refused(self) -> bool:
        return is_refused(self.hub.broker.device_port, self.hub.broker.devices.certificate_path, self.identity)


@contextmanager
def online(*boards: Board) -> Iterator[list[Client]]:
    clients = [board.connect() for board in boards]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def say_goodbye(hub: Hub, device_id: str, *, for_good: bool = False) -> None:
    """What the API does at an operator's word."""
    act = decommission if for_good else revoke
    with hub.database.transaction() as session:
        act(session, session.get_one(Device, device_id), by="ada", reason="stolen", now=utc_now())


def cut_off(device_id: str) -> Callable[[Session], bool]:
    return lambda session: session.get_one(Device, device_id).cut_off_at is not None


def retained_of(hub: Hub, device_id: str) -> list[str]:
    """What the broker keeps of a device."""
    mark = topics.artifact_manifest("f" * 64)
    with listening(hub.broker.endpoint("hub-test"), topics.device_filter(device_id), mark) as hears:
        hears.connection.publish(mark, b"last").result(WAIT_S)
        found = []
        while (message := hears.wait_for(Message)).topic != mark:
            found.append(message.topic)
    return found


def test_a_revoked_device_is_off_within_five_seconds_and_all_others_stay(hub: Hub) -> None:
    stolen, other = Board(hub), Board(hub)
    with online(stolen, other) as [thief, witness]:
        began_s = time.monotonic()
        say_goodbye(hub, stolen.id)
        thief.disconnects.get(timeout=LIMIT_S)
        assert time.monotonic() - began_s < LIMIT_S
        hub.wait(cut_off(stolen.id), LIMIT_S)
        assert stolen.is_refused
        assert not witness.publish(topics.up(other.id, "event")).is_failure
        assert witness.disconnects.empty()


def test_it_stays_out_when_the_broker_starts_again_and_when_the_hub_does(hub: Hub) -> None:
    stolen, other = Board(hub), Board(hub)
    say_goodbye(hub, stolen.id)
    hub.wait(cut_off(stolen.id))
    hub.broker.restart(keeps_what_is_retained=False)
    assert stolen.is_refused
    hub.controller.stop()
    hub.start_controller()
    assert stolen.is_refused
    with online(other):
        pass


def test_a_connection_that_comes_back_between_two_looks_is_ended_too(hub: Hub) -> None:
    """A thief that connects again and again, as fast as it can, while it is revoked."""
    stolen = Board(hub)
    thief = stolen.connect()
    thief.paho._reconnect_on_failure = True
    thief.paho.reconnect_delay_set(0, 0)
    try:
        say_goodbye(hub, stolen.id)
        hub.wait(cut_off(stolen.id), LIMIT_S)
        while not thief.connects.empty():
            thief.connects.get()
        time.sleep(QUIET_S)
        assert thief.connects.empty()
        assert not thief.paho.is_connected()
    finally:
        thief.close()


def test_the_presence_of_a_revoked_device_does_not_stay_online(hub: Hub) -> None:
    device = hub.add_device()
    hub.wait(lambda _: bool(device.desired))
    assert topics.up(device.device_id, "presence") in retained_of(hub, device.device_id)
    say_goodbye(hub, device.device_id)
    hub.wait(cut_off(device.device_id), LIMIT_S)
    assert retained_of(hub, device.device_id) == [topics.down_desired(device.device_id)]
    with hub.database.session() as session:
        row = session.get_one(Device, device.device_id)
        assert (row.presence, row.presence_reason) == ("offline", "revoked")
    device.stop()


def test_decommissioning_leaves_nothing_at_the_broker_and_a_row_that_says_who_and_when(hub: Hub) -> None:
    device = hub.add_device()
    device_id = device.device_id
    hub.wait(lambda _: bool(device.desired))
    assert len(set(retained_of(hub, device_id))) == 3
    say_goodbye(hub, device_id, for_good=True)
    hub.wait(cut_off(device_id), LIMIT_S)
    assert retained_of(hub, device_id) == []
    with hub.database.session() as session:
        row = session.get_one(Device, device_id)
        assert (row.revoked_by, row.revoke_reason, row.reported) == ("ada", "stolen", None)
        assert row.decommissioned_at is not None
        assert session.get(DesiredRow, device_id) is None
        assert session.exec(select(Intent).where(Intent.device_id == device_id)).all() == []
    device.stop()


def test_what_came_late_is_cleared_once_more(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(hub)
    say_goodbye(hub, board.id, for_good=True)
    hub.wait(cut_off(board.id), LIMIT_S)
    with listening(hub.broker.endpoint("hub-test")) as late:
        late.connection.publish(topics.down_desired(board.id), b"late", retain=True).result(WAIT_S)
    monkeypatch.setattr("shoal_hub.devices.revocation._ON_ITS_WAY", timedelta(0))
    hub.wait(lambda session: session.get_one(Device, board.id).cleared_at is not None)
    assert retained_of(hub, board.id) == []


def test_a_rollout_waits_for_no_revoked_device_and_counts_it_as_no_failure(hub: Hub) -> None:
    hub.add_version(1)
    good = hub.add_device()
    gone = hub.add_device()
    gone.stop()
    rollout = hub.roll_out(1, waves=(1, 1))
    hub.wait(lambda session: find_rollout(session, rollout).current_wave == 1)
    say_goodbye(hub, gone.device_id)
    hub.wait_for_state(rollout, "succeeded")
    with hub.database.session() as session:
        states = {one.device_id: one.state for one in deployments_of(session, rollout)}
    assert states == {good.device_id: "succeeded", gone.device_id: "cancelled"}


def test_a_device_that_is_heard_although_it_was_cut_off_is_cut_off_again(hub: Hub) -> None:
    """As with a broker elsewhere that its operator has set back to older files."""
    stolen = Board(hub)
    say_goodbye(hub, stolen.id)
    hub.wait(cut_off(stolen.id))
    hub.database.on_commit = None
    hub.controller.stop()
    hub.broker.access.write(Revoked(), utc_now())
    hub.broker.access.reload()
    time.sleep(QUIET_S)
    with hub.database.transaction() as session:
        session.get_one(Device, stolen.id).cut_off_at = utc_now() - timedelta(minutes=1)
    with online(stolen) as [thief]:
        assert not thief.publish(topics.up(stolen.id, "event"), EVENT).is_failure
        hub.wait(lambda session: session.get_one(Device, stolen.id).cut_off_at is None)
        hub.start_controller()
        thief.disconnects.get(timeout=LIMIT_S)
    hub.wait(cut_off(stolen.id))
    assert stolen.is_refused


class Kill(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["write", "reload", "cut_off", "clear"])
def test_a_kill_at_any_point_of_a_revocation_is_made_up_for_by_the_next_start(
    where: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.controller.stop()
    stolen = Board(hub)
    with hub.database.transaction() as session:
        hub.database.on_commit = None
        decommission(session, session.get_one(Device, stolen.id), by="ada", reason="", now=utc_now())
    database = Database(hub.settings.database)

    def kill(*_arguments: Any) -> None:
        raise Kill

    dying = build_revocations(hub.settings, database, hub.addresses)
    if where in {"write", "reload"}:
        monkeypatch.setattr(dying._access, where, kill)
    else:
        monkeypatch.setattr(dying, f"_{where}", kill)
    with online(stolen) as [thief]:
        with pytest.raises(Kill):
            dying.step()
        monkeypatch.undo()
        build_revocations(hub.settings, database, hub.addresses).step()
        thief.disconnects.get(timeout=LIMIT_S)
    hub.wait(cut_off(stolen.id), 0)
    assert stolen.is_refused
    database.close()
    hub.start_controller()


def test_a_broker_that_could_not_be_told_to_read_its_rules_is_told_by_the_next_step(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.controller.stop()
    database = Database(hub.settings.database)
    follower = build_revocations(hub.settings, database, hub.addresses)
    told: list[str] = []

    def fail_once() -> bool:
        told.append("reload")
        if len(told) == 1:
            raise BrokerError("it is still starting", "wait")
        return True

    monkeypatch.setattr(follower._access, "reload", fail_once)
    with pytest.raises(BrokerError):
        follower.step()
    follower.step()
    follower.step()
    assert len(told) == 2
    database.close()
    hub.start_controller()


def test_an_unreachable_listener_is_told_once_with_the_files_to_copy(hub: Hub) -> None:
    stolen = Board(hub)
    with hub.database.transaction() as session:
        hub.database.on_commit = None
        hub.controller.stop()
        revoke(session, session.get_one(Device, stolen.id), by="ada", reason="", now=utc_now())
    database = Database(hub.settings.database)
    cleared: list[Any] = []
    lame = Revocations(
        database, hub.broker.access, lambda _: "it does not answer", cleared.append, tick_s=1.0, clock=utc_now
    )
    lame.step()
    lame.step()
    with database.session() as session:
        [event] = session.exec(select(EventRow).where(EventRow.kind == "device_not_cut_off")).all()
        assert "devices.crl" in event.message
        assert session.get_one(Device, stolen.id).cut_off_at is None
    database.close()
    hub.start_controller()


def test_a_device_that_could_not_be_cut_off_is_tried_again_within_seconds_whatever_the_tick(hub: Hub) -> None:
    stolen = Board(hub)
    hub.database.on_commit = None
    hub.controller.stop()
    say_goodbye(hub, stolen.id)
    database = Database(hub.settings.database)
    answers, tries = iter(["it does not answer", "still not", ""]), queue.SimpleQueue[str]()

    def cut_off(device_id: str) -> str:
        tries.put(device_id)
        return next(answers)

    patient = Revocations(database, hub.broker.access, cut_off, lambda _: None, tick_s=3600.0)
    patient.start()
    try:
        assert [tries.get(timeout=2 * LIMIT_S) for _ in range(3)] == [stolen.id] * 3
    finally:
        patient.stop()
        database.close()
        hub.start_controller()


def test_with_a_broker_elsewhere_the_device_is_pushed_off_and_the_operator_told_what_to_copy(
    hub: Hub, tmp_path: Path
) -> None:
    """Until the files are there the device comes back; then the next look finds it shut out."""
    stolen = Board(hub)
    hub.database.on_commit = None
    hub.controller.stop()
    say_goodbye(hub, stolen.id)
    url = f"mqtts://127.0.0.1:{hub.broker.config.hub.port}"
    elsewhere = hub.settings.model_copy(
        update={"data_dir": tmp_path / "elsewhere", "broker_url": url, "public_host": "127.0.0.1"}
    )
    shutil.copytree(hub.settings.data / "trust", elsewhere.data / "trust")
    database = Database(hub.settings.database)
    with online(stolen) as [thief]:
        build_revocations(elsewhere, database, hub.addresses).step()
        thief.disconnects.get(timeout=LIMIT_S)
    with database.session() as session:
        [event] = session.exec(select(EventRow).where(EventRow.kind == "device_not_cut_off")).all()
    assert STILL_TAKEN in event.message
    with online(stolen):
        pass

    for name in ("devices.acl", "devices.crl"):
        assert str(elsewhere.data / "broker" / name) in event.message
        shutil.copy(elsewhere.data / "broker" / name, hub.broker.config.folder / name)
    hub.broker.access.reload()
    build_revocations(elsewhere, database, hub.addresses).step()
    hub.wait(cut_off(stolen.id), 0)
    assert stolen.is_refused
    database.close()
    hub.start_controller()
