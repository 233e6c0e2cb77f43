"""Anchors: when they are signed, that they leave the database, and that nobody can take one away unseen."""

import json
import stat
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlmodel import select
from tests.hub.audit.trail import overpower, read, run, write

from shoal_contract import topics
from shoal_hub.audit.anchor import AnchorFile, AuditSigner
from shoal_hub.audit.chain import examine, read_anchors
from shoal_hub.audit.export import entries_of
from shoal_hub.audit.key import AuditKey, read_public, to_pem
from shoal_hub.audit.webhook import Webhook
from shoal_hub.database import Database
from shoal_hub.errors import SettingsError
from shoal_hub.events.tables import EventRow
from shoal_hub.mqtt import NONE, MqttError
from shoal_hub.settings import Settings
from shoal_hub.trust.errors import TrustError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WAIT_S = 10.0


class Broker:
    """What is retained, and whether anybody answers."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.is_away = False

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, properties: Mapping[str, str] = NONE
    ) -> "Future[None]":
        assert (topic, qos, retain, properties) == (topics.HUB_AUDIT, 1, True, NONE)
        if self.is_away:
            raise MqttError("no connection", "wait")
        self.kept = payload
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def gathering(self) -> AbstractContextManager[None]:
        return nullcontext()


def open_signer(database: Database, folder: Path, sent: list[bytes] | None = None) -> AuditSigner:
    send = [].append if sent is None else sent.append
    return AuditSigner(database, folder / "trust", AnchorFile(folder), send, anchor_s=20, liveness_s=3600)


def counts(folder: Path) -> list[int]:
    anchors, forged = read_anchors(AnchorFile(folder).lines(), read_public(folder / "trust"))
    assert forged == []
    return [one.count for one in anchors]


def alarms(database: Database) -> list[str]:
    with database.session() as session:
        rows = session.exec(select(EventRow).where(EventRow.kind == "audit_broken")).all()
    assert all(row.severity == "error" for row in rows)
    return [row.message for row in rows]


def test_an_anchor_is_signed_at_once_when_asked_within_the_time_otherwise_and_hourly_in_silence(
    database: Database, tmp_path: Path
) -> None:
    signer = open_signer(database, tmp_path)
    assert signer.step(NOON), "the first anchor says that there is nothing"
    write(database, 2)
    assert not signer.step(NOON + timedelta(seconds=19))
    assert signer.step(NOON + timedelta(seconds=20))
    assert not signer.step(NOON + timedelta(seconds=21), is_urgent=True), "nothing is new"
    write(database)
    assert signer.step(NOON + timedelta(seconds=21), is_urgent=True)
    assert not signer.step(NOON + timedelta(minutes=59))
    assert signer.step(NOON + timedelta(minutes=61))
    assert counts(tmp_path) == [0, 2, 3, 3]
    assert alarms(database) == []


def test_a_clock_that_was_set_back_keeps_no_anchor_away(database: Database, tmp_path: Path) -> None:
    signer = open_signer(database, tmp_path)
    assert signer.step(NOON)
    assert signer.step(NOON - timedelta(days=1))


def test_the_file_is_private_and_only_grows(database: Database, tmp_path: Path) -> None:
    signer = open_signer(database, tmp_path)
    signer.step(NOON)
    path = AnchorFile(tmp_path).path
    first = path.read_bytes()
    write(database)
    signer.step(NOON, is_urgent=True)
    assert path.read_bytes().startswith(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "trust" / "audit-1.key").stat().st_mode) == 0o600


def test_a_signer_that_starts_again_goes_on_from_the_file(database: Database, tmp_path: Path) -> None:
    write(database)
    open_signer(database, tmp_path).step(NOON)
    again = open_signer(database, tmp_path)
    assert not again.step(NOON + timedelta(seconds=30))
    broker = Broker()
    again.publish(broker)
    assert broker.kept == AnchorFile(tmp_path).lines()[-1]


def test_every_anchor_goes_to_broker_and_webhook_and_is_published_again_after_an_outage(
    database: Database, tmp_path: Path
) -> None:
    sent: list[bytes] = []
    signer, broker = open_signer(database, tmp_path, sent), Broker()
    signer.step(NOON)
    broker.is_away = True
    with pytest.raises(MqttError):
        signer.publish(broker)
    broker.is_away = False
    signer.publish(broker)
    assert [broker.kept] == sent == AnchorFile(tmp_path).lines()
    broker.kept = None
    signer.publish(broker)
    assert broker.kept is None, "it is there already, as far as the hub knows"
    signer.compare(None)
    signer.publish(broker)
    assert broker.kept == sent[0]


def test_a_change_by_hand_is_told_of_when_the_next_anchor_is_signed_and_once(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signer = open_signer(database, tmp_path)
    write(database, 4)
    signer.step(NOON)
    write(database, 2)
    overpower(database)
    run(database, "UPDATE audit_entries SET actor_name = 'eve' WHERE sequence = 5")
    signer.step(NOON, is_urgent=True)
    (message,) = alarms(database)
    assert "entry 5 was edited" in message
    assert "shoal audit verify" in message
    assert message in caplog.text
    run(database, "DELETE FROM audit_entries WHERE sequence = 6")
    signer.step(NOON, is_urgent=True)
    assert "entry 6 is gone" in alarms(database)[1]
    signer.step(NOON + timedelta(hours=2))
    assert len(alarms(database)) == 2
    assert counts(tmp_path) == [4, 6, 5, 5], "what was signed before stays as evidence"


def test_cutting_the_file_and_the_table_alike_is_found_by_the_anchor_at_the_broker(
    database: Database, tmp_path: Path
) -> None:
    signer, broker = open_signer(database, tmp_path), Broker()
    write(database, 2)
    signer.step(NOON)
    write(database, 3)
    signer.step(NOON + timedelta(minutes=1))
    signer.publish(broker)
    overpower(database)
    run(database, "DELETE FROM audit_entries WHERE sequence > 2")
    file = AnchorFile(tmp_path)
    file.path.write_bytes(file.lines()[0] + b"\n")
    key = read_public(tmp_path / "trust")
    assert examine(entries_of(database), file.lines(), key, None).holds, "file and table agree"
    report = examine(entries_of(database), file.lines(), key, broker.kept)
    assert [one.kind for one in report.findings] == ["anchors_cut", "cut"]
    # A controller that starts now must not publish over the evidence: it comes back into the file.
    again = open_signer(database, tmp_path)
    again.compare(broker.kept)
    again.step(NOON + timedelta(hours=2))
    assert any("the file of anchors ends with 2 entries" in message for message in alarms(database))
    assert counts(tmp_path)[:2] == [2, 5]
    again.publish(broker)
    assert [one.kind for one in examine(entries_of(database), file.lines(), key, broker.kept).findings] == ["cut"]


def test_a_forged_anchor_at_the_broker_is_told_of_and_not_taken(database: Database, tmp_path: Path) -> None:
    signer = open_signer(database, tmp_path)
    signer.step(NOON)
    other = tmp_path / "other"
    forger = open_signer(database, other)
    forger.step(NOON + timedelta(hours=9))
    signer.compare(AnchorFile(other).lines()[0])
    signer.step(NOON + timedelta(minutes=1))
    assert any("no valid signature by a trusted key" in message for message in alarms(database))
    assert len(counts(tmp_path)) == 1


def test_a_key_that_is_open_to_others_is_refused_and_the_public_half_is_written_anew(tmp_path: Path) -> None:
    key = AuditKey.open(tmp_path)
    (tmp_path / "audit.pub").write_bytes(b"something else")
    assert (
        to_pem([AuditKey.open(tmp_path).public_key])
        == to_pem([key.public_key])
        == (tmp_path / "audit.pub").read_bytes()
    )
    (tmp_path / "audit-1.key").chmod(0o644)
    with pytest.raises(TrustError, match="open to others"):
        AuditKey.open(tmp_path)
    (tmp_path / "audit.pub").write_bytes(b"something else")
    with pytest.raises(TrustError, match="public key"):
        read_public(tmp_path)


def test_after_a_rotation_the_next_key_signs_and_what_the_former_has_signed_still_holds(
    database: Database, tmp_path: Path
) -> None:
    signer = open_signer(database, tmp_path)
    write(database, 3)
    signer.step(NOON, is_urgent=True)
    assert AuditKey.rotate(tmp_path / "trust").number == 2
    assert [path.name for path in (tmp_path / "trust").glob("audit-*.key")] == ["audit-2.key"], "the former is erased"
    write(database, 2)
    signer.step(NOON + timedelta(minutes=1), is_urgent=True)
    lines, keys = AnchorFile(tmp_path).lines(), read_public(tmp_path / "trust")
    assert [json.loads(line)["signatures"][0]["keyid"] for line in lines] == ["audit-1", "audit-2"]
    assert read_anchors(lines, keys)[1] == []
    assert examine(entries_of(database), lines, keys, lines[-1]).holds
    only_first = {name: key for name, key in keys.items() if name == "audit-1"}
    assert read_anchors(lines, only_first)[1][0].kind == "forged_anchor"


def test_public_halves_of_erased_keys_are_not_written_over_but_have_to_be_put_back(tmp_path: Path) -> None:
    AuditKey.open(tmp_path)
    AuditKey.rotate(tmp_path)
    path = tmp_path / "audit.pub"
    kept = path.read_bytes()
    path.write_bytes(b"damaged")
    with pytest.raises(TrustError, match="put back the copy of an auditor"):
        AuditKey.open(tmp_path)
    assert path.read_bytes() == b"damaged"
    path.write_bytes(kept)
    assert AuditKey.open(tmp_path).number == 2


class Receiver:
    """A webhook's other end: answers with these statuses, then with 204."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.got: list[bytes] = []
        self.has_taken = threading.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        status = self.answers.pop(0) if self.answers else 204
        if status is None:
            raise httpx.ConnectError("nobody there")
        self.got.append(request.content)
        if status < 300:
            self.has_taken.set()
        return httpx.Response(status)


def test_the_webhook_gets_the_newest_anchor_however_often_it_fails_and_its_secret_stays_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver(None, 500)
    url = "https://hooks.example/services/T0/very-secret"
    webhook = Webhook(url, httpx.MockTransport(receiver), first_delay_s=0.01)
    webhook.start()
    webhook.send(b"one")
    assert receiver.has_taken.wait(WAIT_S)
    webhook.stop()
    assert receiver.got == [b"one", b"one"]
    assert "was not reached" in caplog.text
    assert "answered 500" in caplog.text
    assert "very-secret" not in caplog.text


def test_a_webhook_that_does_not_answer_holds_nothing_up_and_gets_only_what_is_newest() -> None:
    is_asked, may_answer = threading.Event(), threading.Event()
    receiver = Receiver()

    def slow(request: httpx.Request) -> httpx.Response:
        is_asked.set()
        assert may_answer.wait(WAIT_S)
        return receiver(request)

    webhook = Webhook("https://hooks.example/", httpx.MockTransport(slow))
    webhook.start()
    webhook.send(b"1")
    assert is_asked.wait(WAIT_S)
    for number in range(2, 100):
        webhook.send(str(number).encode())
    may_answer.set()
    while receiver.got != [b"1", b"99"]:
        assert receiver.has_taken.wait(WAIT_S)
    webhook.stop()


@pytest.mark.parametrize("url", ["http://hooks.example/very-secret", "ftp://x", "https://user:pw@host/", "very-secret"])
def test_a_webhook_without_https_is_refused_and_its_address_not_printed(url: str) -> None:
    with pytest.raises(SettingsError, match="SHOAL_AUDIT_WEBHOOK_URL") as refused:
        Settings.read({"SHOAL_AUDIT_WEBHOOK_URL": url})
    assert url not in str(refused.value)
    assert Settings.read({"SHOAL_AUDIT_WEBHOOK_URL": "https://hooks.example/x"}).audit_webhook_url


def test_an_entry_waits_less_than_a_minute_for_its_anchor_whatever_is_set() -> None:
    longest = Settings.model_fields["audit_anchor_s"].metadata, Settings.model_fields["tick_s"].metadata
    assert sum(bound.le for bounds in longest for bound in bounds if hasattr(bound, "le")) <= 60


def test_an_anchor_holds_count_head_and_time_and_nothing_else(database: Database, tmp_path: Path) -> None:
    import base64

    write(database)
    open_signer(database, tmp_path).step(NOON)
    (line,) = AnchorFile(tmp_path).lines()
    payload = json.loads(base64.b64decode(json.loads(line)["payload"]))
    assert payload == {
        "schema_version": 1,
        "count": 1,
        "head_sha256": read(database)[0].sha256,
        "at": "2026-01-01T12:00:00Z",
    }
