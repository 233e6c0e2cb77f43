"""Devices without a token: an authorised key enrols once, another waits until an operator has decided."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.conftest import _operator_at
from tests.hub.devices.requests_of import ask, certificate_of, fingerprint, make_csr, new_key, problem

from shoal_contract.enrolment import EnrolmentPending
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.admission_tables import AuthorisedKey, PendingEnrolment

KEYS, WAITING = "/api/v1/authorised-keys", "/api/v1/enrolments"


def by_hand(hub: HubContext, **settings: Any) -> HubContext:
    return replace(hub, settings=hub.settings.model_copy(update={"enrol_by_hand": True, **settings}))


def authorise(client: TestClient, *keys: dict[str, Any]) -> None:
    response = client.post(KEYS, json={"keys": keys})
    assert response.status_code == 201, response.text


def waiting(client: TestClient) -> list[tuple[str, str]]:
    return [(one["key_sha256"], one["state"]) for one in client.get(WAITING).json()]


def test_a_device_with_an_authorised_key_gets_its_name_group_and_tags_without_a_token(client: TestClient) -> None:
    key = new_key()
    authorise(client, {"key_sha256": fingerprint(key), "name": "cam-7", "group": "yard", "tags": {"site": "north"}})
    answer = ask(client, csr=make_csr(key)).json()
    device = client.get(f"/api/v1/devices/{answer['device_id']}").json()
    assert (device["name"], device["group"], device["tags"]) == ("cam-7", "yard", {"site": "north"})
    assert client.get(KEYS).json()[0]["device_id"] == answer["device_id"]


def test_an_authorised_key_makes_one_device_however_often_it_asks(client: TestClient) -> None:
    key = new_key()
    authorise(client, {"key_sha256": fingerprint(key)})
    first, second = ask(client, csr=make_csr(key)), ask(client, csr=make_csr(key))
    assert certificate_of(first) == certificate_of(second)
    assert len(client.get("/api/v1/devices").json()) == 1
    assert "has enrolled with it" in problem(client.post(KEYS, json={"keys": [{"key_sha256": fingerprint(key)}]}), 409)


def test_a_key_that_nobody_authorised_is_refused_and_told_the_ways_in(client: TestClient) -> None:
    response = ask(client, csr=make_csr(new_key()))
    assert "nobody has authorised" in problem(response, 403)
    assert "shoal devices authorise" in response.json()["error"]["remedy"]


def test_an_authorisation_ends_and_can_be_withdrawn(client: TestClient, hub: HubContext) -> None:
    ended, withdrawn = new_key(), new_key()
    authorise(client, {"key_sha256": fingerprint(ended), "expires_in_s": 60}, {"key_sha256": fingerprint(withdrawn)})
    with hub.database.transaction() as session:
        row = session.get_one(AuthorisedKey, fingerprint(ended))
        row.expires_at = utc_now() - timedelta(seconds=1)
        session.add(row)
    assert "authorised until" in problem(ask(client, csr=make_csr(ended)), 403)
    assert client.delete(f"{KEYS}/{fingerprint(withdrawn)}").status_code == 204
    assert "nobody has authorised" in problem(ask(client, csr=make_csr(withdrawn)), 403)
    assert "no authorised key" in problem(client.delete(f"{KEYS}/{fingerprint(withdrawn)}"), 404)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"key_sha256": "a" * 63}],
        [{"key_sha256": "A" * 64}],
        [{"key_sha256": "a" * 64}, {"key_sha256": "a" * 64}],
        [{"key_sha256": "a" * 64, "group": "../etc"}],
        [{"key_sha256": "a" * 64, "tags": {"a b": "c"}}],
        [{"key_sha256": "a" * 64, "expires_in_s": 10**12}],
    ],
)
def test_keys_without_sense_are_not_authorised(sqlite_client: TestClient, keys: list[dict[str, Any]]) -> None:
    problem(sqlite_client.post(KEYS, json={"keys": keys}), 422)
    assert sqlite_client.get(KEYS).json() == []


def test_a_device_waits_until_it_is_accepted_and_gets_what_the_operator_gives(hub: HubContext) -> None:
    key = new_key()
    for client in _operator_at(by_hand(hub)):
        for _ in range(2):
            response = ask(client, csr=make_csr(key))
            assert response.status_code == 202
            pending = EnrolmentPending.model_validate_json(response.content)
            assert pending.key_sha256 == fingerprint(key)
        assert waiting(client) == [(fingerprint(key), "waiting")]
        accepted = client.post(f"{WAITING}/{fingerprint(key)}/accept", json={"group": "shed", "tags": {"a": "b"}})
        assert accepted.json()["state"] == "accepted"
        answer = ask(client, csr=make_csr(key)).json()
        device = client.get(f"/api/v1/devices/{answer['device_id']}").json()
        assert (device["name"], device["group"], device["tags"]) == ("kitchen", "shed", {"a": "b"})
        assert waiting(client) == []


def test_who_was_accepted_gets_in_with_that_key_alone(hub: HubContext) -> None:
    key = new_key()
    for client in _operator_at(by_hand(hub)):
        ask(client, csr=make_csr(key))
        client.post(f"{WAITING}/{fingerprint(key)}/accept", json={})
        assert ask(client, csr=make_csr(new_key())).status_code == 202
        assert ask(client, csr=make_csr(key)).status_code == 200


def test_a_rejected_key_is_refused_and_can_be_accepted_after_all(hub: HubContext) -> None:
    key = new_key()
    for client in _operator_at(by_hand(hub)):
        ask(client, csr=make_csr(key))
        client.post(f"{WAITING}/{fingerprint(key)}/reject")
        assert "ada has rejected" in problem(ask(client, csr=make_csr(key)), 403)
        client.post(f"{WAITING}/{fingerprint(key)}/accept", json={})
        assert ask(client, csr=make_csr(key)).status_code == 200


def test_no_more_than_the_bound_may_wait_and_who_asks_no_more_makes_room(hub: HubContext) -> None:
    keys = [new_key() for _ in range(3)]
    for client in _operator_at(by_hand(hub, pending_max=2, pending_life_s=60.0)):
        assert [ask(client, csr=make_csr(key)).status_code for key in keys] == [202, 202, 429]
        assert ask(client, csr=make_csr(keys[0])).status_code == 202, "who waits already goes on waiting"
        with hub.database.transaction() as session:
            row = session.get_one(PendingEnrolment, fingerprint(keys[0]))
            row.last_asked_at = utc_now() - timedelta(seconds=61)
            session.add(row)
        assert ask(client, csr=make_csr(keys[2])).status_code == 202
        assert {key for key, _ in waiting(client)} == {fingerprint(key) for key in keys[1:]}


def test_rejections_are_bounded_as_well_and_leave_room_for_others(hub: HubContext) -> None:
    for client in _operator_at(by_hand(hub, pending_max=2)):
        for _ in range(5):
            key = new_key()
            assert ask(client, csr=make_csr(key)).status_code == 202
            client.post(f"{WAITING}/{fingerprint(key)}/reject")
        with hub.database.session() as session:
            assert len(session.exec(select(PendingEnrolment)).all()) <= 3


def test_a_waiting_device_that_nobody_knows_can_be_neither_accepted_nor_rejected(sqlite_client: TestClient) -> None:
    assert "no device waits" in problem(sqlite_client.post(f"{WAITING}/{'a' * 64}/accept", json={}), 404)
    assert "no device waits" in problem(sqlite_client.post(f"{WAITING}/{'a' * 64}/reject"), 404)
    problem(sqlite_client.post(f"{WAITING}/..%2F/accept", json={}), 404)
