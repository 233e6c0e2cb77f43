"""Feature sets at the API and in desired states: what is kept, who is told what, and what is refused."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from tests.hub.features.fleet import Fleet
from tests.hub.statements import statements
from tests.simulators.feature_sets import VIBRATION, features

from shoal_contract.features import DesiredFeatures
from shoal_contract.reported import Problem, SectionReport
from shoal_hub.database import utc_now
from shoal_hub.devices.revocation import revoke
from shoal_hub.devices.tables import Device
from shoal_hub.features.assign import assign
from shoal_hub.features.placing import follow_features
from shoal_hub.features.sets import MAX_KEPT_VERSIONS, find_set


def test_a_set_has_a_version_for_each_time_that_it_was_set_to_something_else(fleet: Fleet) -> None:
    assert fleet.set().json()["version"] == 1
    assert fleet.set().json()["version"] == 1, "the same again is no new version"
    changed = features(max_waiting=50)
    shown = fleet.set(**changed).json()
    assert (shown["version"], [one["number"] for one in shown["versions"]]) == (2, [2, 1])
    assert shown["body"] == DesiredFeatures.model_validate(changed).model_dump(mode="json")
    former = fleet.client.get("/api/v1/features/pumps?version=1").json()
    assert former["body"] == DesiredFeatures.model_validate(features()).model_dump(mode="json")
    assert fleet.client.get("/api/v1/features/pumps?version=3").status_code == 404


def test_a_list_takes_as_many_statements_for_many_as_for_one(fleet: Fleet) -> None:
    seen = []
    for name in ("pumps", "valves", "wells"):
        fleet.set(name)
        fleet.assign(name, device_id=fleet.ids[0])
        with statements(fleet.hub.database) as of_this:
            listed = fleet.client.get("/api/v1/features").json()
        seen.append(of_this)
    assert [(one["name"], one["version"], one["devices"]) for one in listed] == [
        (name, 1, fleet.ids[:1]) for name in ("pumps", "valves", "wells")
    ]
    assert seen == [seen[0]] * 3


def test_only_so_many_versions_are_kept(sqlite_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal_hub.features.sets.MAX_KEPT_VERSIONS", 2)
    assert MAX_KEPT_VERSIONS > 2
    for waiting in (1, 2, 3):
        sqlite_fleet.set(**features(max_waiting=waiting))
    assert [one["number"] for one in sqlite_fleet.set(**features(max_waiting=3)).json()["versions"]] == [3, 2]


def test_a_device_is_told_of_what_is_assigned_of_each_change_and_of_the_end(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.set()
    assert fleet.assign("pumps", device_id=one).status_code == 200
    assert fleet.told() == [one]
    assert fleet.wanted(one) == DesiredFeatures.model_validate(features())
    assert fleet.wanted(two) is None

    fleet.set(**features(max_waiting=50))
    assert fleet.told() == [one]
    assert fleet.wanted(one) == DesiredFeatures.model_validate(features(max_waiting=50))

    assert fleet.unassign("pumps", device_id=one).status_code == 200
    assert fleet.told() == [one]
    assert fleet.wanted(one) is None


def test_the_controller_is_told_of_assignments_as_of_intents(sqlite_fleet: Fleet) -> None:
    heard: list[frozenset[str]] = []
    sqlite_fleet.set()
    sqlite_fleet.hub.database.on_commit = heard.append
    sqlite_fleet.assign("pumps", device_id=sqlite_fleet.ids[0])
    sqlite_fleet.set(**features(max_waiting=50))
    sqlite_fleet.unassign("pumps", device_id=sqlite_fleet.ids[0])
    assert [words & {"features", "intents"} for words in heard] == [{"features", "intents"}] * 3


def test_what_is_assigned_twice_is_told_once_and_stays_until_both_are_gone(fleet: Fleet) -> None:
    one, two, three = fleet.ids
    fleet.send("POST", "/groups", name="plant", devices=[one, two])
    fleet.set()
    fleet.assign("pumps", group="plant")
    assert fleet.told() == [one, two]
    shown = fleet.assign("pumps", device_id=one).json()
    assert (shown["groups"], shown["devices"], shown["device_count"]) == (["plant"], [one], 2)
    assert fleet.told() == []
    fleet.unassign("pumps", group="plant")
    assert fleet.told() == [two]
    assert (fleet.pipelines(one), fleet.pipelines(two), fleet.pipelines(three)) == (["pumps"], [], [])


def test_a_device_has_all_sets_that_are_assigned_to_it(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.set()
    fleet.set("motion", **features("doors"))
    fleet.assign("pumps", device_id=one)
    fleet.assign("motion", device_id=one)
    fleet.told()
    wanted = fleet.wanted(one)
    assert wanted is not None
    assert (sorted(wanted.pipelines), sorted(wanted.definitions)) == (["doors", "pumps"], ["vibration"])


def test_who_comes_into_a_group_or_leaves_it_is_told_at_the_next_look(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.send("POST", "/groups", name="plant", query="tags.site = paris")
    fleet.set()
    fleet.assign("pumps", group="plant")
    assert fleet.told() == []
    fleet.send("PATCH", f"/devices/{one}", tags={"site": "paris"})
    follow_features(fleet.hub.database, utc_now())
    fleet.told()
    assert (fleet.pipelines(one), fleet.pipelines(two)) == (["pumps"], [])
    fleet.send("PATCH", f"/devices/{one}", tags={})
    follow_features(fleet.hub.database, utc_now())
    fleet.told()
    assert fleet.pipelines(one) == []
    follow_features(fleet.hub.database, utc_now())
    assert fleet.told() == [], "a look without news tells nobody anything"


def test_two_sets_are_assigned_at_once(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.set()
    fleet.set("doors", **features("doors"))
    begun = Event()

    def assign_too() -> None:
        begun.set()
        fleet.assign("doors", device_id=one).raise_for_status()

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            find_set(session, "pumps", is_locked=True)
            assigning = pool.submit(assign_too)
            assert begun.wait(20)
            time.sleep(0.3)  # until it waits for this transaction, which nobody tells of
            assign(session, "pumps", "devices", one, by="ada", now=utc_now())
        assigning.result(20)
    fleet.told()
    assert fleet.pipelines(one) == ["doors", "pumps"]


def test_a_group_that_ends_takes_its_features_along(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.send("POST", "/groups", name="plant", devices=[one])
    fleet.set()
    fleet.assign("pumps", group="plant")
    fleet.told()
    assert fleet.send("DELETE", "/groups/plant").status_code == 200
    fleet.told()
    assert fleet.pipelines(one) == []
    fleet.send("POST", "/groups", name="plant", devices=[one])
    follow_features(fleet.hub.database, utc_now())
    fleet.told()
    assert fleet.pipelines(one) == [], "another group of the name has nothing of it"


def test_a_set_that_is_assigned_stays_and_one_that_is_not_goes(fleet: Fleet) -> None:
    one = fleet.ids[0]
    fleet.set()
    fleet.assign("pumps", device_id=one)
    refused = fleet.send("DELETE", "/features/pumps")
    assert refused.status_code == 409
    assert f"shoal features unassign pumps --device {one}" in refused.json()["error"]["remedy"]
    fleet.unassign("pumps", device_id=one)
    assert fleet.send("DELETE", "/features/pumps").json()["version"] == 1
    assert fleet.client.get("/api/v1/features").json() == []
    assert fleet.set().json()["version"] == 1


def test_a_revoked_device_is_told_nothing_and_gets_nothing(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.set()
    fleet.assign("pumps", device_id=one)
    with fleet.hub.database.transaction() as session:
        for device_id in (one, two):
            revoke(session, session.get_one(Device, device_id), by="ada", reason="", now=utc_now())
    follow_features(fleet.hub.database, utc_now() + timedelta(seconds=1))
    assert fleet.client.get("/api/v1/features/pumps/devices").json() == []
    assert fleet.assign("pumps", device_id=two).status_code == 409
    assert fleet.assign("pumps", device_id="d-" + "a" * 16).status_code == 404
    assert fleet.assign("pumps", group="nowhere").status_code == 404
    assert fleet.assign("nothing", device_id=fleet.ids[2]).status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"definitions": {"vibration": VIBRATION}}, "no pipeline"),
        (features(definitions=["other"]), "the definition 'other': the set has vibration"),
        (features(model={"name": "bearing", "features": ["vibration/hum"]}), "there is no feature vibration/hum"),
        (features(model={"name": "bearing", "features": ["other/level"]}), "there is no feature other/level"),
        (
            features(sinks=[{"kind": "file", "path": "x", "max_byte": 5000}]),
            "no field pipelines.pumps.sinks[0].max_byte",
        ),
        (features(max_waitng=5), "there is no field pipelines.pumps.max_waitng"),
        (features() | {"sources": {}}, "there is no field sources"),
        (features(source={"kind": "radio"}), "radio"),
        (features(form={"entity": "a\x00b"}), "NUL"),
    ],
)
def test_what_no_device_could_compute_is_refused_with_the_devices_reason(
    sqlite_fleet: Fleet, body: dict[str, Any], says: str
) -> None:
    refused = sqlite_fleet.send("PUT", "/features/pumps", **body)
    assert refused.status_code in {400, 422}
    assert says in refused.json()["error"]["message"]
    assert sqlite_fleet.client.get("/api/v1/features").json() == []


def test_a_definition_whose_windows_take_too_much_memory_is_refused_at_once(sqlite_fleet: Fleet) -> None:
    window = {"kind": "time", "size_ms": 3_600_000, "every_ms": 1000}
    body = features() | {"definitions": {"vibration": VIBRATION | {"window": window, "max_entities": 100_000}}}
    refused = sqlite_fleet.send("PUT", "/features/pumps", **body)
    assert "at most 67108864 allowed" in refused.json()["error"]["message"]


def test_a_set_without_room_in_a_state_is_refused_at_once(sqlite_fleet: Fleet) -> None:
    long = {f"feature-{n}-{'x' * 40}": {"aggregate": "mean", "field": "x" * 60} for n in range(60)}
    definitions = {f"definition-{n}": {"window": VIBRATION["window"], "features": long} for n in range(10)}
    refused = sqlite_fleet.send(
        "PUT", "/features/pumps", **(features(definitions=["definition-1"]) | {"definitions": definitions})
    )
    assert refused.status_code == 422
    assert "at most 65536 have room in a state" in refused.json()["error"]["message"]


def test_sets_that_do_not_fit_beside_each_other_are_refused_where_they_meet(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.set()
    fleet.set("other", **features(max_waiting=50))
    fleet.assign("pumps", device_id=one)
    assert fleet.assign("other", device_id=two).status_code == 200
    refused = fleet.assign("other", device_id=one)
    assert refused.status_code == 409
    assert "its pipeline pumps is another one than that of other" in refused.json()["error"]["message"]
    assert fleet.client.get("/api/v1/features/other").json()["devices"] == [two], "nothing of it is kept"

    fleet.set("doors", **features("doors"))
    fleet.assign("doors", device_id=one)
    assert fleet.set("doors", **features(max_waiting=3)).status_code == 409
    assert fleet.client.get("/api/v1/features/doors").json()["version"] == 1


def test_a_device_that_comes_to_two_sets_by_groups_has_the_first_and_says_why(fleet: Fleet) -> None:
    one = fleet.ids[0]
    for group, name, waiting in (("plant", "pumps", 10), ("yard", "a-pumps", 20)):
        fleet.send("POST", "/groups", name=group, query=f"tags.{group} = yes")
        fleet.set(name, **features(max_waiting=waiting))
        fleet.assign(name, group=group)
    fleet.send("PATCH", f"/devices/{one}", tags={"plant": "yes", "yard": "yes"})
    follow_features(fleet.hub.database, utc_now())
    fleet.told()
    assert fleet.wanted(one) == DesiredFeatures.model_validate(features(max_waiting=20))
    [shown] = fleet.client.get("/api/v1/features/pumps/devices").json()
    assert shown["left_out"] == "its pipeline pumps is another one than that of a-pumps"


def test_status_says_what_each_device_says_of_the_newest_version(fleet: Fleet) -> None:
    one, two, _ = fleet.ids
    fleet.set()
    for device_id in (one, two):
        fleet.assign("pumps", device_id=device_id)
    fleet.told()
    problem = Problem(code="features", message="no camera", remedy="plug one in")
    fleet.report(one, features__pumps=SectionReport(state="failed", step="source", problem=problem))
    shown = {each["id"]: each for each in fleet.client.get("/api/v1/features/pumps/devices").json()}
    [said] = shown[one]["pipelines"]
    assert (said["name"], said["state"], said["problem"]["message"]) == ("pumps", "failed", "no camera")
    assert shown[two]["pipelines"] == [{"name": "pumps", "state": "waiting", "step": "", "problem": None}]

    fleet.set(**features(max_waiting=50))
    [said] = next(each for each in fleet.client.get("/api/v1/features/pumps/devices").json() if each["id"] == one)[
        "pipelines"
    ]
    assert said["state"] == "waiting", "what was said of the former version is not of this one"


def test_a_devices_other_sections_are_shown_with_their_problem(sqlite_fleet: Fleet) -> None:
    one = sqlite_fleet.ids[0]
    problem = Problem(code="features", message="no camera", remedy="plug one in")
    sqlite_fleet.report(
        one,
        features__pumps=SectionReport(state="failed", problem=problem),
        models__digits=SectionReport(state="applied"),
    )
    shown = sqlite_fleet.client.get(f"/api/v1/devices/{one}").json()
    assert list(shown["sections"]) == ["features/pumps"]
    assert shown["sections"]["features/pumps"]["problem"]["remedy"] == "plug one in"
    assert list(shown["models"]) == ["digits"]
