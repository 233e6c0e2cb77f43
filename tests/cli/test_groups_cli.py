"""`shoal groups` and `shoal devices list --query` against a real hub."""

import json

from tests.cli.conftest import DEVICES, Shoal

KITCHEN, GARDEN, TWIN = DEVICES["kitchen"], DEVICES["garden"], DEVICES["twin"]


def ids(text: str) -> list[str]:
    return [one["id"] for one in json.loads(text)]


def test_a_static_group_is_made_changed_and_ended_by_commands(shoal: Shoal) -> None:
    assert "No group yet" in shoal("groups", "list").out
    made = shoal("groups", "create", "canaries", "--device", "garden", "--description", "first")
    assert (made.status, GARDEN in made.out, "static" in made.out) == (0, True, True)
    changed = json.loads(shoal("groups", "set", "canaries", "--add", TWIN, "--remove", "garden", "--json").out)
    assert (changed["devices"], changed["members"], changed["description"]) == ([TWIN], 1, "first")
    assert json.loads(shoal("groups", "show", "canaries", "--json").out) == changed
    assert ids(shoal("devices", "list", "--group", "canaries", "--json").out) == [TWIN]
    assert "canaries" in shoal("groups", "list").out
    assert "no more" in shoal("groups", "delete", "canaries").out
    assert json.loads(shoal("groups", "list", "--json").out) == []


def test_a_dynamic_group_holds_the_devices_that_its_query_finds(shoal: Shoal) -> None:
    shoal("devices", "tag", GARDEN, "site=paris")
    query = "tags.site = paris and presence = never"
    assert ids(shoal("devices", "list", "--query", query, "--json").out) == [GARDEN]
    assert "No device is in it" in shoal("devices", "list", "--query", "tags.site = rome").out
    made = json.loads(shoal("groups", "create", "paris", "--query", query, "--json").out)
    assert (made["kind"], made["query"], made["members"]) == ("dynamic", query, 1)
    changed = json.loads(shoal("groups", "set", "paris", "--query", "name = kitchen", "--json").out)
    assert changed["members"] == 2
    assert set(ids(shoal("devices", "list", "--group", "paris", "--json").out)) == {KITCHEN, TWIN}
    assert shoal("groups", "delete", "paris").status == 0


def test_moving_a_device_makes_the_group_that_it_names(shoal: Shoal) -> None:
    shoal("devices", "move", GARDEN, "shed")
    assert json.loads(shoal("groups", "show", "shed", "--json").out)["members"] == 1
    refused = shoal("groups", "delete", "shed")
    assert (refused.status, "shoal devices move" in refused.err) == (1, True)
    shoal("devices", "move", GARDEN, "")
    assert shoal("groups", "delete", "shed").status == 0


def test_a_query_that_cannot_be_read_is_an_error_with_its_place_and_a_remedy(shoal: Shoal) -> None:
    for arguments in (("devices", "list"), ("groups", "create", "x")):
        ran = shoal(*arguments, "--query", "colour = red")
        assert ran.status == 1
        assert "at character 1 ('colour')" in ran.err
        assert "tags.NAME" in ran.err
