"""Which devices are asked for samples, and of what."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlmodel import Session
from tests.hub.captures.conftest import Fleet
from tests.simulators.rows import add_device, add_version

from shoal_contract.captures import DesiredCapture, DesiredCaptures
from shoal_hub.captures.asking import Asked, ask_for, follow_captures, place
from shoal_hub.database import AdvisoryLock, hold, utc_now
from shoal_hub.devices.desired import stale_devices, take_marks
from shoal_hub.devices.group_changes import delete_group
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


def test_asked_for_as_they_are_nobody_is_told_anything(fleet: Fleet) -> None:
    first = fleet.want(reasons=["low_confidence"]).json()
    with fleet.hub.database.transaction() as session:
        assert sorted(take_marks(session, fleet.ids)) == sorted(fleet.ids)
    assert fleet.want(reasons=["low_confidence"]).json() == first
    with fleet.hub.database.session() as session:
        assert stale_devices(session, 10) == []


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


EARLIER = [(), ("digits",)]
Asking = Callable[[Session], object]


def at_once(fleet: Fleet, first: Asking, also: Callable[[], object], then: Asking) -> None:
    """Do something else between two things that one transaction does."""
    begun = Event()

    def begin() -> None:
        begun.set()
        also()

    with ThreadPoolExecutor(1) as pool:
        with fleet.hub.database.transaction() as session:
            first(session)
            doing = pool.submit(begin)
            assert begun.wait(20)
            time.sleep(0.3)  # until it waits for this transaction, which nobody tells of
            then(session)
        doing.result(20)


def asking(model: str, group: str | None = None) -> Asking:
    return lambda session: ask_for(session, model, Asked(group, (), 5, 700, 9.0), by="ada", now=utc_now())


def models_asked(fleet: Fleet) -> list[str]:
    asked = fleet.asked(fleet.ids[0])
    return [] if asked is None else sorted(asked.models)


@pytest.mark.parametrize("earlier", EARLIER)
def test_devices_are_told_of_what_is_asked_at_that_moment(fleet: Fleet, earlier: tuple[str, ...]) -> None:
    with fleet.hub.database.transaction() as session:
        add_version(session, fleet.hub.artifacts, 1, {}, "parts")
    for model in earlier:
        fleet.want(model).raise_for_status()

    def tell() -> None:
        with fleet.hub.database.transaction() as session:
            fleet.ids.insert(0, add_device(session, name="new").id)
            place(session, utc_now())

    at_once(fleet, asking("parts"), tell, Session.flush)
    assert models_asked(fleet) == [*earlier, "parts"]


@pytest.mark.parametrize("earlier", EARLIER)
def test_samples_of_two_models_are_asked_for_at_once(fleet: Fleet, earlier: tuple[str, ...]) -> None:
    with fleet.hub.database.transaction() as session:
        for model in ("parts", "pumps"):
            add_version(session, fleet.hub.artifacts, 1, {}, model)
    for model in earlier:
        fleet.want(model).raise_for_status()
    at_once(fleet, asking("parts"), lambda: fleet.want("pumps").raise_for_status(), Session.flush)
    assert models_asked(fleet) == [*earlier, "parts", "pumps"]


def test_a_group_ends_while_its_devices_are_asked(fleet: Fleet) -> None:
    fleet.client.post("/api/v1/groups", json={"name": "plant", "devices": fleet.ids}).raise_for_status()

    def end() -> None:
        with fleet.hub.database.transaction() as session:
            delete_group(session, "plant", by="ada", now=utc_now())

    def begin(session: Session) -> None:
        session.connection()  # on SQLite this is the lock
        hold(session, AdvisoryLock.CAPTURES)

    at_once(fleet, begin, end, asking("digits", "plant"))
    assert models_asked(fleet) == []
