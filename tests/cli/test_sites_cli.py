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


def test_devices_pass_requests_on_by_a_command_until_another_ends_it(shoal: Shoal) -> None:
    shoal("sites", "create", "lan", "--cache", KITCHEN, "--host", "192.168.7.20", "--member", "garden")
    options = ("--device", f"{KITCHEN}=192.168.7.20", "--device", "garden=[fe80::1]:9000")
    server = f"{'E' * 64}=10.0.0.5:8473"
    ran = shoal("sites", "handover", "lan", *options, "--server", server, "--patience-ms", "20", "--json")
    assert ran.status == 0, ran.err
    policy = json.loads(ran.out)["handover"]
    assert policy["patience_ms"] == 20
    assert [(one["host"], one["port"]) for one in policy["peers"]] == [
        ("192.168.7.20", 8472),
        ("fe80::1", 9000),
        ("10.0.0.5", 8473),
    ]
    assert "after 20 ms" in shoal("sites", "show", "lan").out
    wrong = shoal("sites", "handover", "lan", "--device", "kitchen")
    assert (wrong.status, "HOST:PORT was expected" in wrong.err) == (1, True)
    assert "after 20 ms" not in shoal("sites", "handover", "lan", "--off").out
    shoal("sites", "delete", "lan")
