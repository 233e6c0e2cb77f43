"""Groups at the API: what a static and a dynamic one hold, one idea of group and home, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.hub.devices.requests_of import ask, fingerprint, make_csr, new_key, new_token
from tests.simulators.rows import add_device

from shoal_contract.ids import new_device_id
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.group_changes import MAX_LISTED_DEVICES
from shoal_hub.devices.groups import count_members, find_group, member_ids
from shoal_hub.devices.matching import load_devices


class Fleet:
    """Four devices, two of them in Paris, and an operator who makes groups."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        with hub.database.transaction() as session:
            self.ids = [
                add_device(session, name=f"device-{n}", tags={"site": "paris" if n < 2 else "lyon"}).id
                for n in range(4)
            ]

    def send(self, method: str, path: str, **body: Any) -> Any:
        return self.client.request(method, f"/api/v1{path}", json=body)

    def create(self, name: str = "canaries", **body: Any) -> Any:
        return self.send("POST", "/groups", name=name, **body)

    def change(self, **body: Any) -> Any:
        return self.send("PATCH", "/groups/canaries", **body)

    def move(self, number: int, group: str) -> Any:
        return self.send("PATCH", f"/devices/{self.ids[number]}", group=group)

    def listed(self, **params: str) -> list[str]:
        answer = self.client.get("/api/v1/devices", params=params)
        assert answer.status_code == 200, answer.text
        return [one["name"] for one in answer.json()]

    def members(self, name: str = "canaries") -> list[str]:
        """Return who is in a group, after the API and the hub's own code agree on it."""
        with self.hub.database.session() as session:
            group = find_group(session, name)
            found = load_devices(session, member_ids(session, group, utc_now()))
            assert count_members(session, group, utc_now()) == len(found)
        assert self.send("GET", f"/groups/{name}").json()["members"] == len(found)
        return [one.name for one in found]


@pytest.fixture
def fleet(hub: HubContext, client: TestClient) -> Fleet:
    return Fleet(hub, client)


def message(answer: Any) -> str:
    return str(answer.json()["error"]["message"])


def test_a_static_group_holds_what_it_lists_and_whose_home_it_is(fleet: Fleet) -> None:
    made = fleet.create(devices=[fleet.ids[2]], description="first to get a version")
    assert made.status_code == 201
    shown = made.json()
    assert (shown["kind"], shown["query"], shown["members"], shown["devices"]) == ("static", None, 1, [fleet.ids[2]])
    assert (shown["created_by"], shown["description"]) == ("ada", "first to get a version")
    assert fleet.move(0, "canaries").status_code == 200
    assert fleet.members() == ["device-0", "device-2"] == fleet.listed(group="canaries")


def test_a_device_that_is_listed_and_at_home_counts_once(fleet: Fleet) -> None:
    fleet.create(devices=[fleet.ids[0]])
    fleet.move(0, "canaries")
    assert fleet.members() == ["device-0"]


def test_a_dynamic_group_holds_what_matches_at_the_moment(fleet: Fleet) -> None:
    made = fleet.create(query="tags.site = paris").json()
    assert (made["kind"], made["query"], made["members"], made["devices"]) == ("dynamic", "tags.site = paris", 2, [])
    assert fleet.members() == ["device-0", "device-1"] == fleet.listed(group="canaries")
    fleet.send("PATCH", f"/devices/{fleet.ids[3]}", tags={"site": "paris"})
    assert fleet.members() == ["device-0", "device-1", "device-3"]
    assert fleet.change(query="not tags.site = paris").json()["members"] == 1
    assert fleet.members() == ["device-2"]


def test_devices_are_listed_by_query_and_by_group_and_query(fleet: Fleet) -> None:
    assert fleet.listed(query="tags.site = lyon") == ["device-2", "device-3"]
    fleet.create(devices=[fleet.ids[0], fleet.ids[2]])
    assert fleet.listed(group="canaries", query="tags.site = lyon") == ["device-2"]
    fleet.create("paris", query="tags.site = paris")
    assert fleet.listed(group="paris", query="name ~ *-1") == ["device-1"]
    fleet.move(1, "canaries")
    assert fleet.listed(group="", query="tags.site = paris") == ["device-0"]
    assert fleet.listed(query="name ~ *", limit="2", offset="1") == ["device-1", "device-2"]


def test_a_group_is_changed_by_what_is_added_and_removed(fleet: Fleet) -> None:
    one, two, three, _ = fleet.ids
    fleet.create(devices=[one, two])
    changed = fleet.change(add=[three, two], remove=[one], description="new").json()
    assert (changed["devices"], changed["description"]) == (sorted([two, three]), "new")
    assert fleet.change(remove=[one]).json()["devices"] == sorted([two, three]), "who is not listed is out already"
    assert fleet.members() == ["device-1", "device-2"]


def test_what_enrols_into_a_group_is_in_it_and_the_group_is_there_from_the_token_on(fleet: Fleet) -> None:
    token = new_token(fleet.client, group="greenhouse")
    assert fleet.send("GET", "/groups/greenhouse").json()["kind"] == "static"
    device_id = ask(fleet.client, token).json()["device_id"]
    assert [one["id"] for one in fleet.client.get("/api/v1/devices?group=greenhouse").json()] == [device_id]
    assert fleet.send("GET", "/groups/greenhouse").json()["members"] == 1


def test_a_dynamic_group_is_nobodys_home(fleet: Fleet) -> None:
    fleet.create(query="tags.site = paris")
    key = "0" * 64
    for answer in (
        fleet.move(2, "canaries"),
        fleet.send("POST", "/tokens", group="canaries"),
        fleet.send("POST", "/authorised-keys", keys=[{"key_sha256": key, "group": "canaries"}]),
    ):
        assert answer.status_code == 409
        assert "it is dynamic" in message(answer)
    assert fleet.members() == ["device-0", "device-1"]
    assert fleet.send("GET", "/tokens").json() == []


def test_a_name_that_is_a_home_is_taken(fleet: Fleet) -> None:
    new_token(fleet.client, group="canaries")
    answer = fleet.create(query="tags.site = paris")
    assert answer.status_code == 409
    assert "there is a group canaries already" in message(answer)


def test_a_group_stays_of_its_kind(fleet: Fleet) -> None:
    fleet.create(devices=fleet.ids[:1])
    assert fleet.change(query="name = a").status_code == 409
    fleet.create("paris", query="tags.site = paris")
    for body in ({"add": fleet.ids[:1]}, {"remove": fleet.ids[:1]}):
        assert fleet.send("PATCH", "/groups/paris", **body).status_code == 409
    assert fleet.create("both", query="name = a", devices=fleet.ids[:1]).status_code == 422
    assert fleet.members() == ["device-0"]


def test_a_device_is_not_taken_off_the_list_of_its_home(fleet: Fleet) -> None:
    fleet.create()
    fleet.move(0, "canaries")
    answer = fleet.change(remove=[fleet.ids[0]])
    assert answer.status_code == 409
    assert f"shoal devices move {fleet.ids[0]} ''" in answer.json()["error"]["remedy"]
    fleet.move(0, "")
    assert fleet.members() == []


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_a_revoked_device_is_in_no_group(fleet: Fleet, word: str) -> None:
    fleet.create(devices=[fleet.ids[0], fleet.ids[2]])
    fleet.create("paris", query="tags.site = paris")
    fleet.move(1, "canaries")
    for number in (0, 1):
        fleet.send("POST", f"/devices/{fleet.ids[number]}/{word}")
    assert fleet.members() == ["device-2"]
    assert fleet.members("paris") == [] == fleet.listed(group="paris")
    assert fleet.send("GET", "/groups/canaries").json()["devices"] == [fleet.ids[2]]
    assert fleet.change(add=[fleet.ids[0]]).status_code == 409


def test_a_group_that_is_a_home_is_not_ended(fleet: Fleet) -> None:
    fleet.create(devices=[fleet.ids[3]])
    fleet.move(0, "canaries")
    answer = fleet.send("DELETE", "/groups/canaries")
    assert (answer.status_code, "1 devices have it as their home" in message(answer)) == (409, True)
    fleet.send("POST", f"/devices/{fleet.ids[0]}/revoke")
    assert fleet.send("DELETE", "/groups/canaries").json()["devices"] == [fleet.ids[3]]
    assert fleet.send("GET", "/groups/canaries").status_code == 404
    assert fleet.send("GET", f"/devices/{fleet.ids[0]}").json()["group"] == "", "a name of nothing stays nowhere"
    assert "device-3" in fleet.listed(group="")


def test_a_group_that_may_still_become_a_home_is_not_ended(fleet: Fleet) -> None:
    token = fleet.send("POST", "/tokens", group="canaries").json()["id"]
    assert "1 enrolment tokens" in message(fleet.send("DELETE", "/groups/canaries"))
    fleet.send("DELETE", f"/tokens/{token}")
    key = fingerprint(new_key())
    fleet.send("POST", "/authorised-keys", keys=[{"key_sha256": key, "group": "canaries"}])
    assert "1 authorised keys" in message(fleet.send("DELETE", "/groups/canaries"))
    fleet.client.delete(f"/api/v1/authorised-keys/{key}")
    assert fleet.send("DELETE", "/groups/canaries").status_code == 200


def test_a_used_up_token_and_a_used_key_hold_no_group(fleet: Fleet) -> None:
    key = new_key()
    keys = [{"key_sha256": fingerprint(key), "group": "canaries"}]
    fleet.send("POST", "/authorised-keys", keys=keys)
    ids = [ask(fleet.client, csr=make_csr(key)).json()["device_id"]]
    ids.append(ask(fleet.client, new_token(fleet.client, group="canaries")).json()["device_id"])
    assert len(fleet.members()) == 2
    for device_id in ids:
        fleet.send("PATCH", f"/devices/{device_id}", group="")
    assert fleet.send("DELETE", "/groups/canaries").status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": "tags.site ="}, 422),
        ({"query": "name = " + "a" * 2000}, 422),
        ({"query": "name = \x00"}, 422),
        ({"query": ""}, 422),
        ({"devices": [new_device_id()]}, 404),
        ({"devices": ["d-../../etc/passwd"]}, 422),
        ({"devices": [new_device_id()] * (MAX_LISTED_DEVICES + 1)}, 422),
        ({"name": "../x"}, 422),
    ],
)
def test_a_group_that_cannot_be_is_refused(fleet: Fleet, body: dict[str, Any], status: int) -> None:
    assert fleet.create(**({"name": "canaries"} | body)).status_code == status
    assert fleet.send("GET", "/groups").json() == []


def test_a_static_group_lists_no_more_than_its_limit(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.devices.group_changes.MAX_LISTED_DEVICES", 2)
    fleet.create(devices=fleet.ids[:2])
    answer = fleet.change(add=fleet.ids[2:3])
    assert (answer.status_code, "it would list 3, 2 is the most" in message(answer)) == (422, True)
    assert fleet.change(add=fleet.ids[2:3], remove=fleet.ids[:1]).status_code == 200


def test_a_query_that_cannot_be_read_tells_where(fleet: Fleet) -> None:
    for answer in (
        fleet.client.get("/api/v1/devices", params={"query": "tags.site == paris"}),
        fleet.create(query="tags.site == paris"),
    ):
        assert answer.status_code == 422
        assert "at character 12" in message(answer)


def test_a_group_that_is_not_there_is_told_and_not_taken_for_an_empty_one(fleet: Fleet) -> None:
    for answer in (
        fleet.client.get("/api/v1/devices?group=nowhere"),
        fleet.send("GET", "/groups/nowhere"),
        fleet.send("PATCH", "/groups/nowhere"),
        fleet.send("DELETE", "/groups/nowhere"),
    ):
        assert answer.status_code == 404


def test_what_was_done_to_a_group_is_among_the_events(fleet: Fleet) -> None:
    fleet.create()
    fleet.change(description="new")
    fleet.send("DELETE", "/groups/canaries")
    kinds = [one["kind"] for one in fleet.client.get("/api/v1/events?subject=group/canaries").json()]
    assert kinds == ["group_created", "group_changed", "group_deleted"]


def test_ages_in_a_groups_query_are_of_the_moment_at_which_its_members_are_asked_for(fleet: Fleet) -> None:
    now = utc_now()
    with fleet.hub.database.transaction() as session:
        add_device(session, name="seen", last_seen_at=now)
    fleet.create(query="last_seen < 10m")
    with fleet.hub.database.session() as session:
        group = find_group(session, "canaries")
        seen = load_devices(session, member_ids(session, group, now + timedelta(minutes=9)))
        assert [one.name for one in seen] == ["seen"]
        assert member_ids(session, group, now + timedelta(minutes=11)) == []
