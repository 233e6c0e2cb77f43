"""Which devices are asked for samples, and of what."""

from tests.hub.captures.conftest import Fleet

from shoal_contract.captures import DesiredCapture, DesiredCaptures
from shoal_hub.captures.asking import follow_captures
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device


def test_all_devices_are_asked_until_the_hub_ceases_to(fleet: Fleet) -> None:
    assert [fleet.asked(one) for one in fleet.ids] == [None, None]
    assert fleet.want(reasons=["low_confidence"], max_samples_per_day=5, max_bytes_per_day=700, after_s=9).json() == {
        "model": "digits",
        "group": None,
        "reasons": ["low_confidence"],
        "max_samples_per_day": 5,
        "max_bytes_per_day": 700,
        "after_s": 9.0,
        "set_by": "ada",
        "set_at": fleet.client.get("/api/v1/capture-requests").json()[0]["set_at"],
    }
    asked = DesiredCapture(reasons=("low_confidence",), max_samples_per_day=5, max_bytes_per_day=700, after_s=9)
    assert [fleet.asked(one) for one in fleet.ids] == [DesiredCaptures(models={"digits": asked})] * 2
    fleet.want(max_samples_per_day=6)
    changed = fleet.asked(fleet.ids[0])
    assert changed is not None
    assert (changed.models["digits"].max_samples_per_day, changed.models["digits"].reasons) == (6, ())
    assert fleet.client.delete("/api/v1/capture-requests/digits").status_code == 200
    assert [fleet.asked(one) for one in fleet.ids] == [None, None]
    assert fleet.client.delete("/api/v1/capture-requests/digits").status_code == 404


def test_the_controller_is_told_of_what_is_asked_as_of_intents(sqlite_fleet: Fleet) -> None:
    heard: list[frozenset[str]] = []
    sqlite_fleet.hub.database.on_commit = heard.append
    sqlite_fleet.want()
    sqlite_fleet.client.delete("/api/v1/capture-requests/digits").raise_for_status()
    assert [words & {"captures", "intents"} for words in heard] == [{"captures", "intents"}] * 2


def test_only_the_devices_of_a_group_are_asked_and_who_leaves_it_no_more(fleet: Fleet) -> None:
    one, two = fleet.ids
    fleet.client.post("/api/v1/groups", json={"name": "cameras", "query": "tags.camera = yes"}).raise_for_status()
    fleet.want(group="cameras").raise_for_status()
    assert (fleet.asked(one), fleet.asked(two)) == (None, None)
    fleet.client.patch(f"/api/v1/devices/{one}", json={"tags": {"camera": "yes"}}).raise_for_status()
    follow_captures(fleet.hub.database, utc_now())
    assert (fleet.asked(one) is None, fleet.asked(two)) == (False, None)
    fleet.client.delete("/api/v1/groups/cameras").raise_for_status()
    assert fleet.asked(one) is None
    assert fleet.client.get("/api/v1/capture-requests").json() == []


def test_a_device_that_was_revoked_is_asked_no_more(fleet: Fleet) -> None:
    fleet.want()
    with fleet.hub.database.transaction() as session:
        revoke(session, session.get_one(Device, fleet.ids[0]), by="ada", reason="", now=utc_now())
    follow_captures(fleet.hub.database, utc_now())
    assert fleet.asked(fleet.ids[0]) is None


def test_what_there_is_not_can_not_be_asked_for(sqlite_fleet: Fleet) -> None:
    assert sqlite_fleet.want("nothing").status_code == 404
    assert sqlite_fleet.want(group="nowhere").status_code == 404
    assert sqlite_fleet.want(reasons=["curiosity"]).status_code == 422
    assert sqlite_fleet.want(max_samples_per_day=0).status_code == 422
