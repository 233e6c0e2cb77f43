"""Renewal over the API: who proves the present key gets a certificate for the next one, and nobody else gets any."""

import json
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.devices.requests_of import (
    ask,
    certificate_of,
    enrolled,
    fingerprint,
    make_csr,
    make_csr_for_the_key_of_another,
    new_key,
    problem,
    renew,
    renewal,
)

from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.certificates import DeviceCertificate, device_keys, find_certificate, retire_older
from shoal_hub.devices.renew import MAX_RENEWAL_BYTES
from shoal_hub.devices.tables import Device


def change(hub: HubContext, key: Any, **fields: Any) -> None:
    with hub.database.transaction() as session:
        row = find_certificate(session, fingerprint(key))
        assert row is not None
        for name, value in fields.items():
            setattr(row, name, value)
        session.add(row)


def use(hub: HubContext, device_id: str, key: Any) -> int:
    """Have the device seen with a key, as ingest sees it."""
    with hub.database.transaction() as session:
        return retire_older(session, device_id, fingerprint(key), utc_now())


def speaking(hub: HubContext, device_id: str) -> set[str]:
    with hub.database.session() as session:
        return set(device_keys(session, [device_id]).get(device_id, {}))


def rows(hub: HubContext) -> int:
    with hub.database.session() as session:
        return len(session.exec(select(DeviceCertificate)).all())


def test_a_device_gets_a_certificate_for_its_next_key_under_the_same_name(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    certificate = certificate_of(renew(client, renewal(device_id, present, make_csr(following))))
    assert certificate.subject.rfc4514_string() == f"CN={device_id}"
    assert certificate.public_key() == following.public_key()
    certificate.verify_directly_issued_by(hub.authority.issuer.certificate)


def test_the_present_key_speaks_until_the_next_one_is_used_and_not_after(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    renew(client, renewal(device_id, present, make_csr(following)))
    assert speaking(hub, device_id) == {fingerprint(present), fingerprint(following)}
    assert use(hub, device_id, present) == 0
    assert use(hub, device_id, following) == 1
    assert speaking(hub, device_id) == {fingerprint(following)}
    shown = client.get(f"/api/v1/devices/{device_id}").json()
    assert shown["public_key_sha256"] == fingerprint(following)
    assert [bool(one["retired_at"]) for one in shown["certificates"]] == [True, False]
    assert shown["certificate_serial"] == shown["certificates"][1]["serial"]
    assert use(hub, device_id, following) == 0
    assert use(hub, device_id, present) == 0, "a retired key retires nobody"


def test_no_device_retires_the_keys_of_another(client: TestClient, hub: HubContext) -> None:
    mine, other = new_key(), new_key()
    enrolled(client, mine)
    other_id = enrolled(client, other)
    assert use(hub, other_id, mine) == 0
    assert speaking(hub, other_id) == {fingerprint(other)}


def test_a_device_whose_answer_was_lost_gets_the_same_certificate_again(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    answers = {certificate_of(renew(client, renewal(device_id, present, make_csr(following)))) for _ in range(5)}
    assert len(answers) == 1
    assert rows(hub) == 2


def test_a_replayed_renewal_gives_nothing_but_the_devices_own_certificate(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    envelope = renewal(device_id, present, make_csr(following))
    first = certificate_of(renew(client, envelope))
    assert certificate_of(renew(client, envelope)) == first
    assert rows(hub) == 2
    use(hub, device_id, following)
    assert "newer key" in problem(renew(client, envelope), 403)


def test_a_device_that_was_off_for_400_days_comes_back_and_after_longer_it_does_not(
    client: TestClient, hub: HubContext
) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    off = timedelta(days=400 - 365)
    change(hub, present, expires_at=utc_now() - off)
    assert certificate_of(renew(client, renewal(device_id, present, make_csr(following)))).public_key()
    change(hub, present, expires_at=utc_now() - timedelta(days=366))
    refused = renew(client, renewal(device_id, present, make_csr(new_key())))
    assert "SHOAL_RENEW_GRACE_S" in problem(refused, 403)
    assert "enrol the device again" in refused.json()["error"]["remedy"]


def test_a_device_whose_clock_is_off_is_told_the_hubs_time_and_gets_its_certificate_with_that(
    client: TestClient,
) -> None:
    present, csr = new_key(), make_csr(new_key())
    device_id = enrolled(client, present)
    for at in (utc_now() - timedelta(days=20_000), utc_now() + timedelta(hours=1)):
        refused = renew(client, renewal(device_id, present, csr, at))
        assert refused.json()["error"]["code"] == "clock"
        assert "the hub's clock says" in problem(refused, 409)
    certificate_of(renew(client, renewal(device_id, present, csr, utc_now() - timedelta(seconds=60))))


def test_a_revoked_device_gets_no_certificate(client: TestClient, hub: HubContext) -> None:
    present = new_key()
    device_id = enrolled(client, present)
    with hub.database.transaction() as session:
        device = session.get_one(Device, device_id)
        device.revoked_at = utc_now()
        session.add(device)
    assert "was revoked" in problem(renew(client, renewal(device_id, present, make_csr(new_key()))), 403)
    assert rows(hub) == 1


def test_nobody_renews_for_another_device(client: TestClient, hub: HubContext) -> None:
    victim, attacker = new_key(), new_key()
    victim_id = enrolled(client, victim)
    attacker_id = enrolled(client, attacker)
    wrong = renewal(victim_id, attacker, make_csr(new_key()))
    assert "not one of device" in problem(renew(client, wrong), 403)
    forged = json.loads(renewal(victim_id, attacker, make_csr(new_key())))
    forged["signatures"][0]["keyid"] = fingerprint(victim)
    assert "no valid signature" in problem(renew(client, json.dumps(forged).encode()), 422)
    stranger = renewal(victim_id, new_key(), make_csr(new_key()))
    assert "knows no device" in problem(renew(client, stranger), 403)
    taken = make_csr_for_the_key_of_another(victim, attacker)
    assert "signature" in problem(renew(client, renewal(attacker_id, attacker, taken)), 422)
    assert rows(hub) == 2


def test_the_next_key_is_a_new_one(client: TestClient, hub: HubContext) -> None:
    first, second, third, other = new_key(), new_key(), new_key(), new_key()
    device_id = enrolled(client, first)
    enrolled(client, other)
    assert "the present key" in problem(renew(client, renewal(device_id, first, make_csr(first))), 422)
    assert "used before" in problem(renew(client, renewal(device_id, first, make_csr(other))), 403)
    renew(client, renewal(device_id, first, make_csr(second)))
    use(hub, device_id, second)
    assert "used before" in problem(renew(client, renewal(device_id, second, make_csr(first))), 403)
    certificate_of(renew(client, renewal(device_id, second, make_csr(third))))


@pytest.mark.parametrize("csr", [make_csr(subject="d-aaaaaaaaaaaaaaaa"), make_csr(is_broken=True), "hello"])
def test_a_renewal_that_asks_for_more_than_a_device_gets_is_refused(sqlite_client: TestClient, csr: str) -> None:
    present = new_key()
    device_id = enrolled(sqlite_client, present)
    problem(renew(sqlite_client, renewal(device_id, present, csr)), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 10_000,
        b'{"signatures": []}',
        b'{"signatures": [{"keyid": 1}]}',
        b'{"signatures": [{"keyid": "\\u0000"}]}',
        b'{"signatures": [{"keyid": "\\ud800"}]}',
        b"\xff\xfe",
        b" " * (MAX_RENEWAL_BYTES + 1),
    ],
)
def test_what_is_no_envelope_is_invalid_input_and_never_a_server_error(stranger: TestClient, body: bytes) -> None:
    problem(renew(stranger, body), 422)


def test_a_body_without_end_is_not_read(stranger: TestClient, sqlite_hub: HubContext) -> None:
    problem(renew(stranger, b"x" * (sqlite_hub.settings.max_body_bytes + 1)), 413)


def test_a_stolen_key_makes_few_rows_and_successors_that_were_never_used_speak_no_more(
    client: TestClient, hub: HubContext
) -> None:
    present = new_key()
    device_id = enrolled(client, present)
    bound = hub.settings.renewals_per_hour
    keys = [new_key() for _ in range(bound)]
    answers = [renew(client, renewal(device_id, present, make_csr(key))) for key in keys]
    assert [answer.status_code for answer in answers] == [200] * (bound - 1) + [429]
    assert "within an hour" in problem(answers[-1], 429)
    assert speaking(hub, device_id) == {fingerprint(present), fingerprint(keys[-2])}
    assert renew(client, renewal(device_id, present, make_csr(keys[-2]))).status_code == 200, "a repetition is free"


def test_certificates_that_have_ended_and_were_replaced_are_forgotten(client: TestClient, hub: HubContext) -> None:
    first, second = new_key(), new_key()
    device_id = enrolled(client, first)
    renew(client, renewal(device_id, first, make_csr(second)))
    use(hub, device_id, second)
    long_ago = utc_now() - timedelta(days=2)
    change(hub, first, issued_at=long_ago, expires_at=long_ago)
    certificate_of(renew(client, renewal(device_id, second, make_csr(new_key()))))
    with hub.database.session() as session:
        assert find_certificate(session, fingerprint(first)) is None
    assert ask(client, csr=make_csr(first)).status_code == 403, "and a forgotten key is a stranger's"


def test_a_next_key_whose_certificate_has_ended_unused_gets_another(client: TestClient, hub: HubContext) -> None:
    present, following = new_key(), new_key()
    device_id = enrolled(client, present)
    first = certificate_of(renew(client, renewal(device_id, present, make_csr(following))))
    change(hub, following, expires_at=utc_now())
    second = certificate_of(renew(client, renewal(device_id, present, make_csr(following))))
    assert second.serial_number != first.serial_number
    assert rows(hub) == 2
