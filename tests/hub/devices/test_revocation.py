"""Revoking and decommissioning: what the hub keeps, refuses and has the broker refuse."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import col, delete, select
from tests.hub.devices.requests_of import (
    ask,
    enrolled,
    fingerprint,
    make_csr,
    new_key,
    new_token,
    problem,
    renew,
    renewal,
)
from tests.simulators.rows import apply_reported, make_report

from shoal_contract.desired import DesiredConfig
from shoal_contract.reported import Presence
from shoal_hub.broker.access import Revoked
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.certificates import DeviceCertificate, device_keys
from shoal_hub.devices.desired import due_devices, new_devices, out_of_step, refresh_desired
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.intents import mark_stale, set_intent
from shoal_hub.devices.presence import apply_presence
from shoal_hub.devices.revocation import (
    note_cleared,
    note_cut_off,
    note_heard,
    read_pending,
    read_revoked,
    revoked_among,
)
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.devices.wrapped_keys import WrappedKeyRow
from shoal_hub.events.tables import EventRow

LIFE = timedelta(days=30)


def enrol(client: TestClient, key: Any = None) -> str:
    answer = ask(client, new_token(client), make_csr(key))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["device_id"])


def say(client: TestClient, device_id: str, word: str, reason: str = "stolen") -> dict[str, Any]:
    answer = client.post(f"/api/v1/devices/{device_id}/{word}", json={"reason": reason})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def revoked_now(hub: HubContext, later: timedelta = timedelta(0)) -> Revoked:
    with hub.database.session() as session:
        return read_revoked(session, utc_now() + later)


def device_of(hub: HubContext, device_id: str) -> Device:
    with hub.database.session() as session:
        return session.get_one(Device, device_id)


def test_a_revoked_device_stays_in_the_list_and_says_by_whom_when_and_why(client: TestClient) -> None:
    device_id = enrol(client)
    shown = say(client, device_id, "revoke")
    assert (shown["revoked_by"], shown["revoke_reason"], shown["cut_off_at"]) == ("ada", "stolen", None)
    [listed] = client.get("/api/v1/devices").json()
    assert listed["revoked_at"] == shown["revoked_at"]


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_a_second_word_changes_nothing_and_is_no_second_event(client: TestClient, hub: HubContext, word: str) -> None:
    device_id = enrol(client)
    first = say(client, device_id, word)
    assert say(client, device_id, word, "another reason") == first
    with hub.database.session() as session:
        kinds = [row.kind for row in session.exec(select(EventRow).where(EventRow.device_id == device_id))]
    assert kinds.count("device_revoked") == 1
    assert kinds.count("device_decommissioned") == (word == "decommission")


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_an_unknown_device_can_not_be_revoked_nor_a_caller_without_a_token_do_it(
    client: TestClient, stranger: TestClient, word: str
) -> None:
    path = f"/api/v1/devices/d-{'a' * 16}/{word}"
    assert "no device" in problem(client.post(path, json={}), 404)
    assert stranger.post(path, json={}).status_code == 401


def test_a_revoked_device_is_offline_whatever_of_it_arrives_later(client: TestClient, hub: HubContext) -> None:
    device_id = enrol(client)
    presence = Presence(state="online", connection=1, sequence=0, since=utc_now(), instance="a" * 16)
    with hub.database.transaction() as session:
        assert apply_presence(session, device_id, presence, utc_now())
    say(client, device_id, "revoke")
    with hub.database.transaction() as session:
        assert not apply_presence(session, device_id, presence.model_copy(update={"connection": 2}), utc_now())
        assert not apply_reported(session, device_id, make_report(), utc_now())
    row = device_of(hub, device_id)
    assert (row.presence, row.presence_reason, row.reported) == ("offline", "revoked", None)


def test_its_keys_speak_for_it_no_longer_and_the_broker_is_to_refuse_every_certificate_of_it(
    client: TestClient, hub: HubContext
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    device_id = enrol(client, key)
    assert renew(client, renewal(device_id, key, make_csr())).status_code == 200
    assert revoked_now(hub) == Revoked()
    say(client, device_id, "revoke")
    with hub.database.session() as session:
        assert device_keys(session, [device_id]) == {}
        known = session.exec(select(DeviceCertificate.serial)).all()
    assert set(revoked_now(hub).serials) == {int(serial, 16) for serial in known}
    assert len(known) == 2
    assert revoked_now(hub).devices == {device_id}


def test_a_certificate_that_was_issued_while_its_device_was_being_revoked_is_refused_for_all_of_its_life(
    client: TestClient, hub: HubContext
) -> None:
    """PostgreSQL works on a renewal and a revocation at once: the one is not seen by the other."""
    key = ec.generate_private_key(ec.SECP256R1())
    device_id = enrol(client, key)
    assert renew(client, renewal(device_id, key, make_csr())).status_code == 200
    say(client, device_id, "revoke")
    with hub.database.transaction() as session:
        _, late = session.exec(select(DeviceCertificate).order_by(col(DeviceCertificate.issued_at))).all()
        late.retired_at, late.expires_at = None, late.expires_at + timedelta(days=30)
        session.add(late)
        note_cut_off(session, [device_id], utc_now())
    for later in (timedelta(0), timedelta(days=380)):
        refused = revoked_now(hub, later)
        assert int(late.serial, 16) in refused.serials
        assert refused.devices == {device_id}


def test_a_certificate_that_a_later_one_replaced_is_refused_and_its_device_is_not(
    client: TestClient, hub: HubContext
) -> None:
    device_id = enrol(client)
    with hub.database.transaction() as session:
        row = session.exec(select(DeviceCertificate).where(DeviceCertificate.device_id == device_id)).one()
        row.retired_at = utc_now()
    revoked = revoked_now(hub)
    assert (revoked.devices, set(revoked.serials)) == (set(), {int(row.serial, 16)})


def test_what_has_expired_is_named_no_longer_once_the_device_is_cut_off(client: TestClient, hub: HubContext) -> None:
    device_id, later = enrol(client), timedelta(days=370)
    say(client, device_id, "revoke")
    assert revoked_now(hub, later) == Revoked({device_id}, {})
    with hub.database.transaction() as session:
        note_cut_off(session, [device_id], utc_now())
    assert revoked_now(hub, later) == Revoked(set(), {})
    assert revoked_now(hub).devices == {device_id}


def test_a_revoked_device_whose_certificates_nobody_noted_is_refused_for_ever(
    client: TestClient, hub: HubContext
) -> None:
    device_id = enrol(client)
    say(client, device_id, "revoke")
    with hub.database.transaction() as session:
        for row in session.exec(select(DeviceCertificate)):
            session.delete(row)
        note_cut_off(session, [device_id], utc_now())
    assert revoked_now(hub, timedelta(days=3650)).devices == {device_id}


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_the_key_of_a_revoked_device_enrols_no_more_with_any_token(client: TestClient, word: str) -> None:
    key, token = ec.generate_private_key(ec.SECP256R1()), new_token(client, uses=5)
    device_id = ask(client, token, make_csr(key)).json()["device_id"]
    say(client, device_id, word)
    for again in (token, new_token(client)):
        refusal = ask(client, again, make_csr(key))
        assert device_id in problem(refusal, 403)
        assert "enrol with a new token" in refusal.json()["error"]["remedy"]
    assert ask(client, token, make_csr()).json()["device_id"] != device_id


def test_a_revoked_device_can_be_told_nothing_and_gets_no_desired_state(client: TestClient, hub: HubContext) -> None:
    device_id = enrol(client)
    with hub.database.transaction() as session:
        assert refresh_desired(session, hub.director, hub.version_keys, device_id, utc_now(), LIFE)
    say(client, device_id, "revoke")
    assert "revoked" in problem(client.put(f"/api/v1/devices/{device_id}/config", json={"heartbeat_s": 60}), 409)
    with hub.database.transaction() as session:
        mark_stale(session, device_id)
    with hub.database.transaction() as session:
        assert not refresh_desired(session, hub.director, hub.version_keys, device_id, utc_now() + LIFE, LIFE)
        assert session.get(StaleDesired, device_id) is None
        assert due_devices(session, utc_now() + LIFE, LIFE) == set()


def test_of_a_decommissioned_device_a_row_stays_and_nothing_of_what_it_said_or_was_told(
    client: TestClient, hub: HubContext
) -> None:
    device_id = enrol(client)
    with hub.database.transaction() as session:
        apply_reported(session, device_id, make_report(), utc_now())
        set_intent(session, device_id, "config", kind="default", owner="operator", body=DesiredConfig(), now=utc_now())
        refresh_desired(session, hub.director, hub.version_keys, device_id, utc_now(), LIFE)
        mark_stale(session, device_id)
    shown = say(client, device_id, "decommission", "replaced")
    assert (shown["id"], shown["name"], shown["revoked_by"]) == (device_id, "kitchen", "ada")
    assert (shown["reported"], shown["hardware"], shown["desired"], shown["tags"]) == (None, None, None, {})
    assert (shown["group"], shown["encryption_key"]) == ("", None)
    with hub.database.session() as session:
        for table in (Intent, DesiredRow, StaleDesired, WrappedKeyRow):
            assert session.exec(select(table).where(col(table.device_id) == device_id)).all() == []
        assert new_devices(session) == set()
        assert out_of_step(session) == (set(), [])
    assert client.get("/api/v1/devices").json() == []
    assert [one["id"] for one in client.get("/api/v1/devices?decommissioned=true").json()] == [device_id]
    assert client.get(f"/api/v1/devices/{device_id}").status_code == 200


def test_a_revoked_device_can_be_decommissioned_later_and_keeps_the_first_reason(
    client: TestClient, hub: HubContext
) -> None:
    device_id = enrol(client)
    say(client, device_id, "revoke", "stolen")
    with hub.database.transaction() as session:
        note_cut_off(session, [device_id], utc_now())
    shown = say(client, device_id, "decommission", "given up")
    assert (shown["revoke_reason"], shown["cut_off_at"]) == ("stolen", None)


def test_the_broker_is_behind_until_it_was_seen_to_refuse_and_to_keep_nothing(
    client: TestClient, hub: HubContext
) -> None:
    revoked, gone = enrol(client), enrol(client)
    say(client, revoked, "revoke")
    say(client, gone, "decommission")
    now = utc_now()
    with hub.database.transaction() as session:
        assert read_pending(session, now).to_cut_off == {revoked: False, gone: True}
        note_cut_off(session, [revoked, gone], now)
    with hub.database.transaction() as session:
        assert read_pending(session, now) == read_pending(session, now + timedelta(seconds=9))
        assert read_pending(session, now).to_clear == []
        assert read_pending(session, now + timedelta(seconds=11)).to_clear == [gone]
        note_cleared(session, [gone], now)
    with hub.database.session() as session:
        assert read_pending(session, now + timedelta(days=1)).to_clear == []
        assert revoked_among(session, [revoked, "d-somebody"]) == {revoked}


def test_what_is_revoked_or_retired_is_found_without_going_through_the_fleet(sqlite_hub: HubContext) -> None:
    read: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        if statement.startswith("SELECT"):
            read.append((statement, values))

    event.listen(sqlite_hub.database.engine, "before_cursor_execute", note)
    with sqlite_hub.database.session() as session:
        read_pending(session, utc_now())
        read_revoked(session, utc_now())
        event.remove(sqlite_hub.database.engine, "before_cursor_execute", note)
        plans = [
            str(session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            for statement, values in read
        ]
    assert len(plans) == 4
    assert [plan for plan in plans if "_revoked" not in plan and "_retired" not in plan] == []


def test_only_what_comes_long_after_the_end_has_a_device_cut_off_again(client: TestClient, hub: HubContext) -> None:
    device_id, good = enrol(client), enrol(client)
    say(client, device_id, "revoke")
    now = utc_now()
    with hub.database.transaction() as session:
        note_cut_off(session, [device_id], now)
    for after, expected in ((timedelta(seconds=1), {}), (timedelta(seconds=11), {device_id: False})):
        with hub.database.transaction() as session:
            note_heard(session, [device_id, good, "d-unknown"], now + after)
        with hub.database.session() as session:
            assert read_pending(session, now).to_cut_off == expected


def test_a_stand_in_is_good_for_minutes_and_in_the_devices_own_name(hub: HubContext, tmp_path: Any) -> None:
    identity = hub.authority.stand_in("d-" + "a" * 16, tmp_path)
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=d-" + "a" * 16
    assert certificate.not_valid_after_utc - utc_now() <= timedelta(minutes=10)
    assert identity.key.stat().st_mode & 0o077 == 0


def test_no_device_renews_with_the_key_of_one_that_was_revoked(client: TestClient, hub: HubContext) -> None:
    """Not even where the certificate of that key has ended and is forgotten."""
    present, lost = new_key(), new_key()
    device_id = enrolled(client, present)
    say(client, enrolled(client, lost), "revoke")
    with hub.database.transaction() as session:
        session.exec(delete(DeviceCertificate).where(col(DeviceCertificate.key_sha256) == fingerprint(lost)))
    answer = renew(client, renewal(device_id, present, make_csr(lost)))
    assert "renewing: this key is the one of device" in problem(answer, 403)
