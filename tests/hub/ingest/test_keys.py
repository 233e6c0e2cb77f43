"""A renewed device: its old key speaks until a message signed by the new one is committed, for nobody after that."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import select
from tests.simulators.rows import NOON, add_device, make_report

from shoal_contract import topics
from shoal_contract.device_signature import device_key_id, sign_up
from shoal_hub.database import Database
from shoal_hub.devices.certificates import DeviceCertificate, make_row, use_certificate
from shoal_hub.devices.revocation import read_revoked
from shoal_hub.devices.tables import Device
from shoal_hub.ingest.commit import Committer
from shoal_hub.ingest.handlers import Handlers
from shoal_hub.ingest.reading import Reader
from shoal_hub.mqtt import Message
from shoal_hub.trust import certificates

Key = ec.EllipticCurvePrivateKey


@dataclass
class Ingest:
    """Reads and commits, as the process does, what one device says with one of its keys."""

    database: Database
    device_id: str = ""
    sequence: int = 0
    keys: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = Reader(self.database, 500.0, lambda *_: None, threading.Event())
        self.committer = Committer(self.database, Handlers())

    def certify(self) -> Key:
        """Give the device a key with a certificate, the first by enrolment and the others by renewal."""
        key, authority = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        now = NOON + timedelta(minutes=len(self.keys))
        with self.database.transaction() as session:
            device = session.get(Device, self.device_id) or add_device(session)
            self.device_id = device.id
            issuer = certificates.make_authority("test", authority)
            row = make_row(device.id, certificates.make_client(device.id, key.public_key(), issuer, authority), now)
            session.add(row)
            if not self.keys:
                use_certificate(device, row)
                session.add(device)
        self.keys.append(key)
        return key

    def hears(self, key: Key) -> bool:
        """Whether a report that this key has signed is believed and kept."""
        self.sequence += 1
        report = make_report(sequence=self.sequence).to_bytes()
        envelope = sign_up(report, "reported", key, device_key_id(key.public_key()))
        message = Message(topics.up(self.device_id, "reported"), envelope, is_retained=False, acknowledge=lambda: None)
        received = self.reader.read([message]).received
        self.committer.commit(received, NOON)
        with self.database.session() as session:
            return session.get_one(Device, self.device_id).reported_sequence == self.sequence

    def retired(self) -> list[str]:
        with self.database.session() as session:
            return [row.key_sha256 for row in session.exec(select(DeviceCertificate)) if row.retired_at is not None]


@pytest.fixture
def ingest(database: Database) -> Ingest:
    return Ingest(database)


def test_the_old_key_is_retired_once_a_message_by_the_new_one_is_committed_and_then_speaks_for_nobody(
    ingest: Ingest, database: Database
) -> None:
    old, new = ingest.certify(), ingest.certify()
    assert ingest.hears(old)
    assert ingest.retired() == [], "the device may never have got its new certificate"
    assert ingest.hears(new)
    assert ingest.retired() == [device_key_id(old.public_key())]
    assert not ingest.hears(old)
    assert ingest.hears(new)
    with database.session() as session:
        device = session.get_one(Device, ingest.device_id)
        assert device.public_key_sha256 == device_key_id(new.public_key())
        assert len(read_revoked(session, NOON).serials) == 1, "and the broker is to refuse its certificate"


def test_what_was_signed_by_the_old_key_in_the_same_batch_does_not_retire_the_new_one(ingest: Ingest) -> None:
    old, new = ingest.certify(), ingest.certify()
    received = []
    for key in (old, new, old):
        ingest.sequence += 1
        report = make_report(sequence=ingest.sequence).to_bytes()
        envelope = sign_up(report, "reported", key, device_key_id(key.public_key()))
        received.append(
            Message(topics.up(ingest.device_id, "reported"), envelope, is_retained=False, acknowledge=lambda: None)
        )
    ingest.committer.commit(ingest.reader.read(received).received, NOON)
    assert ingest.retired() == [device_key_id(old.public_key())]


def test_a_batch_by_the_key_that_is_known_to_be_in_use_asks_for_no_certificates(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet says thousands of things for each renewal."""
    key = ingest.certify()

    def fail(*_: object) -> int:
        raise AssertionError("asked")

    monkeypatch.setattr("shoal_hub.ingest.commit.retire_older", fail)
    assert ingest.hears(key)


@pytest.mark.parametrize("is_one_drain", [True, False])
def test_a_device_pays_for_each_message_that_its_batches_hold(
    ingest: Ingest, database: Database, is_one_drain: bool
) -> None:
    key, warned = ingest.certify(), list[str]()
    reader = Reader(database, 1.2, lambda source, _why: warned.append(source), threading.Event())
    place, inside = b'{"stream":"%b","sequence":1,"oldest":1}' % (b"a" * 16), b",".join([b"1"] * 10)
    envelope = sign_up(
        b'{"outbox":%b,"messages":[%b]}' % (place, inside), "events", key, device_key_id(key.public_key())
    )
    message = Message(topics.up(ingest.device_id, "events"), envelope, is_retained=False, acknowledge=lambda: None)
    drains = [[message] * 3] if is_one_drain else [[message]] * 3
    reads = [reader.read(drain) for drain in drains]
    assert [len(one.received) for one in reads] == ([20] if is_one_drain else [10, 10, 0])
    assert [len(one.believed) for one in reads] == ([2] if is_one_drain else [1, 1, 0])
    assert warned == [f"device {ingest.device_id}"]


def test_an_unknown_device_that_floods_is_no_stranger_any_more_than_its_rate_allows(database: Database) -> None:
    """Each drain with strangers is written down."""
    reader = Reader(database, 0.11, lambda *_: None, threading.Event())
    topic = topics.up("d-abcdefgh234567ab", "event")
    message = Message(topic, b"x", is_retained=False, acknowledge=lambda: None)
    found = [reader.read([message] * 10).strangers for _ in range(3)]
    assert found == [{"d-abcdefgh234567ab"}, frozenset(), frozenset()]
