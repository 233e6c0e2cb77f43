"""Compositions at the API and in desired states: what is kept, who is told what, and what devices say of it."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from tests.hub.compositions.fleet import Fleet
from tests.hub.statements import statements
from tests.simulators.compositions import CASCADE, ENSEMBLE
from tests.simulators.tiny_model import TinyVersion

from shoal_contract.compositions import MAX_COMPOSITIONS, DesiredComposition
from shoal_contract.reported import Problem, SectionReport
from shoal_hub.compositions.kept import assign, find_composition
from shoal_hub.compositions.placing import follow_compositions
from shoal_hub.database import utc_now
from shoal_hub.devices.intents import set_intent
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device


def test_a_composition_is_made_with_whom_it_is_for_listed_and_removed_everywhere(fleet: Fleet) -> None:
    one, two, three = fleet.ids
    fleet.send("POST", "/groups", name="shop", devices=[two])
    made = fleet.create(groups=["shop"], devices=[one])
    assert made.status_code == 201
    shown = made.json()
    assert (shown["version"], shown["models"], shown["device_count"]) == (1, ["small", "large"], 2)
    assert (shown["groups"], shown["devices"]) == (["shop"], [one])
    assert fleet.client.get("/api/v1/compositions").json() == [shown]
    assert fleet.client.get("/api/v1/compositions/faces").json() == shown
    assert fleet.told() == sorted([one, two])
    expected = {"faces": DesiredComposition.model_validate({"form": CASCADE})}
    assert [fleet.composed(device_id) for device_id in (one, two, three)] == [expected, expected, {}]

    removed = fleet.client.delete("/api/v1/compositions/faces")
    assert (removed.status_code, removed.json()) == (200, shown)
    assert fleet.told() == sorted([one, two])
    assert [fleet.composed(device_id) for device_id in (one, two)] == [{}, {}]
    assert fleet.client.get("/api/v1/compositions/faces").status_code == 404


def test_a_list_takes_as_many_statements_for_many_as_for_one(fleet: Fleet) -> None:
    one, two, three = fleet.ids
    fleet.send("POST", "/groups", name="shop", devices=[two, three])
    made = [fleet.create("faces", groups=["shop"], devices=[one]).json()]
    with statements(fleet.hub.database) as of_one:
        assert fleet.client.get("/api/v1/compositions").json() == made
    made += [fleet.create(f"hands-{number}", devices=[one, two][:number]).json() for number in range(3)]
    with statements(fleet.hub.database) as of_four:
        assert fleet.client.get("/api/v1/compositions").json() == made
    assert [composition["device_count"] for composition in made] == [3, 0, 1, 2]
    assert of_four == of_one


def test_many_targets_are_told_by_as_many_changes_as_one(fleet: Fleet) -> None:
    one, two, three = fleet.ids
    changes = []
    for number, devices in enumerate(([one], [one, two, three, one])):
        with statements(fleet.hub.database) as seen:
            assert fleet.create(f"faces-{number}", devices=devices).json()["devices"] == sorted(set(devices))
        changes.append(seen.count("DELETE"))
    assert changes[0] == changes[1] > 0
    assert fleet.told() == fleet.ids


def test_another_form_is_the_next_version_and_the_same_again_is_none(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.create(devices=[one])
    fleet.told()
    assert fleet.change(CASCADE).json()["version"] == 1
    assert fleet.told() == []
    assert fleet.change(ENSEMBLE).json()["version"] == 2
    assert fleet.told() == [one]
    assert fleet.composed(one)["faces"] == DesiredComposition.model_validate({"version": 2, "form": ENSEMBLE})
    assert fleet.change(ENSEMBLE, "none").status_code == 404


def test_what_is_assigned_twice_stays_until_both_are_gone(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.send("POST", "/groups", name="shop", devices=[one, two])
    fleet.create()
    assert fleet.put("groups/shop").json()["device_count"] == 2
    assert fleet.told() == [one, two]
    assert fleet.put(f"devices/{one}").json()["devices"] == [one]
    assert fleet.told() == []
    assert fleet.take("groups/shop").status_code == 200
    assert fleet.told() == [two]
    assert fleet.take("groups/shop").status_code == 404
    assert (list(fleet.composed(one)), list(fleet.composed(two))) == (["faces"], [])


def test_who_comes_into_a_group_or_leaves_it_is_told_at_the_next_look(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.send("POST", "/groups", name="shop", query="tags.site = paris")
    fleet.create(groups=["shop"])
    for tags, expected in (({"site": "paris"}, ["faces"]), ({}, [])):
        fleet.send("PATCH", f"/devices/{one}", tags=tags)
        follow_compositions(fleet.hub.database, utc_now())
        fleet.told()
        assert list(fleet.composed(one)) == expected
    follow_compositions(fleet.hub.database, utc_now())
    assert fleet.told() == [], "a look without news tells nobody anything"


def test_a_group_that_ends_takes_its_compositions_along(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.send("POST", "/groups", name="shop", devices=[one, two])
    fleet.create(groups=["shop"], devices=[two])
    fleet.told()
    assert fleet.client.delete("/api/v1/groups/shop").status_code == 200
    assert fleet.told() == [one]
    assert fleet.client.get("/api/v1/compositions/faces").json()["groups"] == []


def test_two_are_assigned_at_once(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.create()
    fleet.create("hands")
    begun = Event()

    def assign_too() -> None:
        begun.set()
        fleet.put(f"devices/{one}", "hands").raise_for_status()

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            find_composition(session, "faces", is_locked=True)
            assigning = pool.submit(assign_too)
            assert begun.wait(20)
            time.sleep(0.3)  # until it waits for this transaction, which nobody tells of
            assign(session, "faces", [("devices", one)], by="ada", now=utc_now())
        assigning.result(20)
    fleet.told()
    assert sorted(fleet.composed(one)) == ["faces", "hands"]


def test_a_target_that_is_none_is_refused_and_nothing_is_kept_of_it(fleet: Fleet) -> None:
    one = fleet.ids[0]
    assert fleet.create(groups=["nobody"]).status_code == 404
    assert fleet.client.get("/api/v1/compositions").json() == []
    fleet.create()
    assert fleet.put(f"devices/d-{'z' * 16}").status_code == 404
    assert fleet.put(f"devices/{one}", "none").status_code == 404
    with fleet.hub.database.transaction() as session:
        revoke(session, session.get_one(Device, one), by="ada", reason="stolen", now=utc_now())
    refused = fleet.put(f"devices/{one}")
    assert (refused.status_code, "revoked" in refused.json()["error"]["message"]) == (409, True)


def test_a_device_has_only_so_many(fleet: Fleet) -> None:
    one = fleet.ids[0]
    for number in range(MAX_COMPOSITIONS):
        assert fleet.create(f"faces-{number}", devices=[one]).status_code == 201
    refused = fleet.create("one-more", devices=[one])
    assert refused.status_code == 409
    assert f"has {MAX_COMPOSITIONS}, which is the most" in refused.json()["error"]["message"]
    assert fleet.create("elsewhere", devices=[fleet.ids[1]]).status_code == 201


def test_each_devices_word_is_shown_and_waits_for_the_newest(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.create(devices=[one, two])
    fleet.told()
    assert [(said["state"], said["version"]) for said in fleet.statuses()] == [("waiting", 1)] * 2
    problem = Problem(code="composition", message="its member 'large' is not served", remedy="roll it out")
    fleet.report(one, compositions__faces=SectionReport(state="applied"))
    fleet.report(two, compositions__faces=SectionReport(state="held", step="wait", problem=problem))
    said = {status["id"]: status for status in fleet.statuses()}
    assert (said[one]["state"], said[one]["problem"]) == ("applied", None)
    assert (said[two]["state"], said[two]["problem"]["message"]) == ("held", problem.message)
    fleet.change(ENSEMBLE)
    assert [(said["state"], said["version"]) for said in fleet.statuses()] == [("waiting", 2)] * 2


def test_a_device_that_was_not_told_is_shown_with_the_reason(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.create(devices=[one])
    with fleet.hub.database.transaction() as session:
        body = TinyVersion(1, model="faces").wanted("dp-1")
        set_intent(session, one, "models/faces", kind="pin", owner="pin/faces", body=body, now=utc_now())
    fleet.told()
    [said] = fleet.statuses()
    assert said["state"] == "left_out"
    assert "models/faces is wanted as well" in said["left_out"]
