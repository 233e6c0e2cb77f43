"""Sites at the API and in desired states: who is told what, who hears of a change, and who may not be there."""

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.simulators.rows import add_device

from shoal_contract.desired import DesiredSite, DesiredState
from shoal_contract.ids import new_device_id
from shoal_contract.limits import MAX_ENVELOPE_BYTES, MAX_SITE_MEMBERS
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.devices.desired import refresh_desired, stale_devices
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.sites.membership import Layout, delete_site, replace_site
from shoal_hub.sites.sections import sections_of
from shoal_hub.sites.tables import Site

LIFE = timedelta(days=30)


class Fleet:
    """Four devices, and an operator who places them."""

    def __init__(self, hub: HubContext, client: TestClient) -> None:
        self.hub, self.client = hub, client
        with hub.database.transaction() as session:
            self.ids = [add_device(session, name=f"device-{n}").id for n in range(4)]
        self.compose(self.ids)

    def send(self, method: str, path: str, **body: Any) -> Any:
        return self.client.request(method, f"/api/v1{path}", json=body)

    def create(self, name: str = "warehouse", **changes: Any) -> Any:
        cache, member, *_ = self.ids
        lan = {"name": name, "cache": cache, "host": "192.168.7.20", "port": 9000, "members": [member]}
        return self.send("POST", "/sites", **(lan | changes))

    def replace(self, **changes: Any) -> Any:
        cache, member, *_ = self.ids
        return self.send(
            "PUT", "/sites/warehouse", **({"cache": cache, "host": "cache.lan", "members": [member]} | changes)
        )

    def compose(self, device_ids: list[str]) -> None:
        for device_id in device_ids:
            with self.hub.database.transaction() as session:
                refresh_desired(session, self.hub.director, self.hub.version_keys, device_id, utc_now(), LIFE)

    def told(self) -> list[str]:
        """Compose what is stale, as the controller does, and return for which devices that was."""
        with self.hub.database.session() as session:
            stale = sorted(stale_devices(session, 100))
        self.compose(stale)
        return stale

    def state(self, device_id: str) -> tuple[bytes, DesiredState]:
        """Return what the hub has signed for a device."""
        with self.hub.database.session() as session:
            envelope = session.get_one(DesiredRow, device_id).envelope
        payload = base64.b64decode(json.loads(envelope)["payload"])
        return payload, DesiredState.model_validate_json(payload)

    def site(self, device_id: str) -> DesiredSite | None:
        return self.state(device_id)[1].site

    def names_in_state(self, device_id: str) -> set[str]:
        payload, _ = self.state(device_id)
        return {one for one in self.ids if one.encode() in payload}


@pytest.fixture
def fleet(hub: HubContext, client: TestClient) -> Fleet:
    return Fleet(hub, client)


def test_a_device_of_no_site_hears_of_nobody(fleet: Fleet) -> None:
    assert fleet.create().status_code == 201
    fleet.told()
    for outsider in fleet.ids[2:]:
        assert fleet.site(outsider) is None
        assert fleet.names_in_state(outsider) == {outsider}


def test_the_cache_is_told_of_its_members_and_a_member_of_the_cache_alone(fleet: Fleet) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create(members=[one, two])
    assert fleet.told() == sorted([cache, one, two])
    assert fleet.site(cache) == DesiredSite(
        name="warehouse", cache=cache, host="192.168.7.20", port=9000, members=tuple(sorted([one, two]))
    )
    assert fleet.site(one) == DesiredSite(name="warehouse", cache=cache, host="192.168.7.20", port=9000)
    assert fleet.names_in_state(one) == {one, cache}
    assert fleet.names_in_state(two) == {two, cache}


def test_a_new_member_is_news_to_the_cache_and_to_itself_alone(fleet: Fleet) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create()
    fleet.told()
    fleet.replace(host="192.168.7.20", port=9000, members=[one, two])
    assert fleet.told() == sorted([cache, two])
    assert fleet.site(cache).members == tuple(sorted([one, two]))  # type: ignore[union-attr]


def test_sections_that_an_earlier_hub_wrote_without_new_fields_are_no_news(fleet: Fleet) -> None:
    _, one, two, _ = fleet.ids
    fleet.create(members=[one, two])
    fleet.told()
    with fleet.hub.database.transaction() as session:
        for row in session.exec(select(Intent)):
            row.body = {name: value for name, value in row.body.items() if name != "handover"}
    fleet.replace(host="192.168.7.20", port=9000, members=[one, two]).raise_for_status()
    assert fleet.told() == []


def test_a_member_that_is_taken_out_hears_of_the_cache_no_more(fleet: Fleet) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create(members=[one, two])
    fleet.told()
    fleet.replace(host="192.168.7.20", port=9000, members=[two])
    assert fleet.told() == sorted([cache, one])
    assert fleet.site(one) is None
    assert fleet.site(cache).members == (two,)  # type: ignore[union-attr]


def test_another_address_is_news_to_all_of_the_site(fleet: Fleet) -> None:
    fleet.create()
    fleet.told()
    assert fleet.replace().json()["port"] == 8471
    assert fleet.told() == sorted(fleet.ids[:2])
    assert (fleet.site(fleet.ids[1]).host, fleet.site(fleet.ids[1]).port) == ("cache.lan", 8471)  # type: ignore[union-attr]


def test_a_site_that_ends_is_taken_out_of_every_state(fleet: Fleet) -> None:
    fleet.create()
    fleet.told()
    assert fleet.send("DELETE", "/sites/warehouse").json()["members"] == [fleet.ids[1]]
    assert fleet.told() == sorted(fleet.ids[:2])
    assert [fleet.site(one) for one in fleet.ids] == [None] * 4
    assert fleet.send("GET", "/sites").json() == []
    assert fleet.send("GET", "/sites/warehouse").status_code == 404


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_a_revoked_member_is_out_of_the_caches_state_at_once(fleet: Fleet, word: str) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create(members=[one, two])
    fleet.told()
    fleet.send("POST", f"/devices/{one}/{word}")
    assert cache in fleet.told()
    assert fleet.site(cache).members == (two,)  # type: ignore[union-attr]
    assert fleet.send("GET", "/sites/warehouse").json()["members"] == [two]


@pytest.mark.parametrize("word", ["revoke", "decommission"])
def test_a_revoked_cache_is_out_of_its_members_states_at_once_until_another_takes_its_place(
    fleet: Fleet, word: str
) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create(members=[one, two])
    fleet.told()
    fleet.send("POST", f"/devices/{cache}/{word}")
    assert {one, two} <= set(fleet.told())
    assert (fleet.site(one), fleet.site(two)) == (None, None)
    shown = fleet.send("GET", "/sites/warehouse").json()
    assert (shown["has_cache"], shown["members"]) == (False, sorted([one, two]))

    assert fleet.replace(members=[two]).status_code == 409, "the revoked one can be told nothing"
    assert fleet.replace(cache=one, members=[two]).json()["has_cache"]
    fleet.told()
    assert fleet.site(two).cache == one  # type: ignore[union-attr]


def test_a_device_is_on_one_site_at_most(fleet: Fleet) -> None:
    _, one, two, three = fleet.ids
    fleet.create()
    for layout in ({"cache": two, "members": [one]}, {"cache": one, "members": [two]}):
        refused = fleet.create("office", **layout)
        assert refused.status_code == 409
        assert f"{one} is on site warehouse" in refused.json()["error"]["message"]
    assert fleet.create("office", cache=two, members=[three]).status_code == 201
    assert [site["name"] for site in fleet.send("GET", "/sites").json()] == ["office", "warehouse"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"members": [new_device_id()]}, 404),
        ({"members": ["d-../../etc/passwd"]}, 422),
        ({"members": [new_device_id()] * (MAX_SITE_MEMBERS + 1)}, 422),
        ({"host": "cache.lan/x?y"}, 422),
        ({"host": "user@cache"}, 422),
        ({"port": 0}, 422),
        ({"name": "../x"}, 422),
    ],
)
def test_a_site_that_cannot_be_is_refused(fleet: Fleet, changes: dict[str, Any], status: int) -> None:
    assert fleet.create(**changes).status_code == status
    assert fleet.told() == []


def test_a_device_that_is_revoked_while_it_is_placed_does_not_stay(fleet: Fleet) -> None:
    cache, one, two, _ = fleet.ids
    fleet.create(members=[one])
    fleet.told()
    begun = threading.Event()

    def revoke_too() -> None:
        with fleet.hub.database.transaction() as session:
            begun.set()
            revoke(session, session.get_one(Device, two), by="ada", reason="", now=utc_now())

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            layout = Layout(cache, "192.168.7.20", 9000, [one, two])
            replace_site(session, "warehouse", layout, by="ada", now=utc_now())
            revoking = pool.submit(revoke_too)
            if begun.wait(0.3):  # on SQLite it waits for this transaction even to begin
                time.sleep(0.3)  # until it waits for the device's row, which nobody tells of
        revoking.result(20)
    fleet.told()
    assert fleet.site(cache).members == (one,)  # type: ignore[union-attr]


def test_a_device_is_revoked_although_its_site_ends_at_that_moment(fleet: Fleet) -> None:
    _, member, *_ = fleet.ids
    fleet.create()
    begun = threading.Event()

    def revoke_too() -> None:
        with fleet.hub.database.transaction() as session:
            begun.set()
            revoke(session, session.get_one(Device, member), by="ada", reason="", now=utc_now())

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            delete_site(session, "warehouse", by="ada", now=utc_now())
            revoking = pool.submit(revoke_too)
            if begun.wait(0.3):  # on SQLite it waits for this transaction even to begin
                time.sleep(0.3)  # until it waits for the site's row, which nobody tells of
        revoking.result(20)
    with fleet.hub.database.session() as session:
        assert session.get_one(Device, member).revoked_at is not None


def test_a_name_is_taken_once(fleet: Fleet) -> None:
    fleet.create()
    assert fleet.create(cache=fleet.ids[2], members=[]).status_code == 409


def test_a_revoked_device_is_placed_nowhere(fleet: Fleet) -> None:
    fleet.send("POST", f"/devices/{fleet.ids[1]}/revoke")
    assert fleet.create().status_code == 409


def test_a_device_shows_which_site_it_is_told_of(fleet: Fleet) -> None:
    fleet.create()
    fleet.told()
    shown = [fleet.send("GET", f"/devices/{one}").json()["desired"]["site"] for one in fleet.ids]
    assert shown == ["warehouse", "warehouse", None, None]


def test_the_largest_site_fits_a_desired_state() -> None:
    site = Site(name="n" * 63, cache_id=new_device_id(), host="h" * 253, port=1, created_by="", created_at=utc_now())
    members = {new_device_id() for _ in range(MAX_SITE_MEMBERS)}
    sections = sections_of(site, {site.cache_id, *members})
    assert len(sections[site.cache_id].members) == MAX_SITE_MEMBERS
    assert len(sections[site.cache_id].model_dump_json()) < MAX_ENVELOPE_BYTES / 8
