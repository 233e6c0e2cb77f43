"""`shoal sites` against a real hub."""

import json

from tests.cli.conftest import DEVICES, Shoal

KITCHEN, GARDEN, TWIN = DEVICES["kitchen"], DEVICES["garden"], DEVICES["twin"]


def test_a_site_is_made_changed_and_ended_by_commands(shoal: Shoal) -> None:
    assert "No site yet" in shoal("sites", "list").out
    made = shoal("sites", "create", "warehouse", "--cache", KITCHEN, "--host", "192.168.7.20", "--member", "garden")
    assert (made.status, "192.168.7.20:8471" in made.out, GARDEN in made.out) == (0, True, True)

    changed = json.loads(shoal("sites", "set", "warehouse", "--add", TWIN, "--remove", "garden", "--json").out)
    assert (changed["cache"], changed["host"], changed["members"]) == (KITCHEN, "192.168.7.20", [TWIN])

    moved = json.loads(shoal("sites", "set", "warehouse", "--cache", TWIN, "--add", KITCHEN, "--json").out)
    assert (moved["cache"], moved["members"]) == (TWIN, [KITCHEN]), "who serves is no member"
    assert TWIN in shoal("sites", "list").out
    assert json.loads(shoal("sites", "show", "warehouse", "--json").out) == moved

    assert shoal("devices", "revoke", TWIN).status == 0
    assert f"none: {TWIN} was revoked" in shoal("sites", "show", "warehouse").out
    assert "no more" in shoal("sites", "delete", "warehouse").out


def test_a_site_that_is_not_there_is_an_error_with_a_remedy(shoal: Shoal) -> None:
    ran = shoal("sites", "set", "nowhere", "--port", "9000")
    assert ran.status == 1
    assert "shoal sites list" in ran.err
