"""The commands of enrolment, groups and the CA's rotation against a real hub."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub

from shoal_hub.database import utc_now
from shoal_hub.devices.admission_tables import PendingEnrolment


def test_a_token_for_a_group_is_listed_with_it_and_a_tag_of_another_form_is_explained(shoal: Shoal) -> None:
    made = json.loads(shoal("tokens", "create", "--group", "yard", "--tag", "site=north", "--json").out)
    assert (made["group"], made["tags"]) == ("yard", {"site": "north"})
    assert "yard" in shoal("tokens", "list").out
    wrong = shoal("tokens", "create", "--tag", "north")
    assert (wrong.status, "NAME=VALUE" in wrong.err) == (1, True)


def test_a_device_is_put_into_a_group_and_the_list_is_of_that_group(shoal: Shoal) -> None:
    assert "yard" in shoal("devices", "move", "garden", "yard").out
    listed = json.loads(shoal("devices", "list", "--group", "yard", "--json").out)
    assert [one["id"] for one in listed] == [DEVICES["garden"]]
    assert "yard" in shoal("devices", "show", "garden").out
    shoal("devices", "move", "garden", "")
    assert json.loads(shoal("devices", "list", "--group", "yard", "--json").out) == []


def test_keys_are_authorised_one_by_one_or_from_a_file_and_withdrawn(shoal: Shoal, tmp_path: Path) -> None:
    one, two, three = ("1" * 64, "2" * 64, "a" * 64)
    shoal("devices", "authorise", ":".join(one[at : at + 2] for at in range(0, 64, 2)), "--group", "yard")
    lines = f"fingerprint,name,tags\n{two},cam-2,site=north;lens=wide\n{three.upper()},,\n"
    (tmp_path / "keys.csv").write_text(lines)
    ran = shoal(
        "devices", "authorise", "--file", str(tmp_path / "keys.csv"), "--group", "shed", "--days", "1", "--json"
    )
    assert [(row["name"], row["group"], row["tags"]) for row in json.loads(ran.out)] == [
        ("cam-2", "shed", {"site": "north", "lens": "wide"}),
        ("", "shed", {}),
    ]
    assert two in shoal("devices", "authorised").out
    assert "may not enrol" in shoal("devices", "withdraw", two).out
    left = {row["key_sha256"] for row in json.loads(shoal("devices", "authorised", "--json").out)}
    assert left == {one, three}


@pytest.mark.parametrize("head", ["name,group", "fingerprint,colour", ""])
def test_a_file_of_keys_with_another_head_line_is_explained(shoal: Shoal, tmp_path: Path, head: str) -> None:
    (tmp_path / "keys.csv").write_text(f"{head}\n{'4' * 64},x\n")
    ran = shoal("devices", "authorise", "--file", str(tmp_path / "keys.csv"))
    assert (ran.status, "head line" in ran.err) == (1, True)


def test_a_device_that_waits_is_accepted_by_its_fingerprint_and_not_by_a_short_part_of_it(
    shoal: Shoal, served: ServedHub
) -> None:
    key, now = "abcdef0123456789" + "5" * 48, utc_now()
    hardware = {"kind": "generic", "model": "board", "architecture": "x86_64", "cores": 1, "memory_bytes": 1}
    row = PendingEnrolment(key_sha256=key, name="cam", hardware=hardware, first_asked_at=now, last_asked_at=now)
    with served.hub.database.transaction() as session:
        session.add(row)
    assert key in shoal("devices", "pending").out
    short = shoal("devices", "accept", key[:8])
    assert (short.status, "can be imitated" in short.err) == (1, True)
    assert "may enrol" in shoal("devices", "accept", key[:16], "--group", "yard").out
    assert json.loads(shoal("devices", "pending", "--json").out)[0]["state"] == "accepted"
    assert "rejected" in shoal("devices", "reject", key).out
    assert shoal("devices", "reject", "9" * 64).status == 1


def test_the_ca_changes_in_three_steps_that_each_say_what_is_next(shoal: Shoal) -> None:
    early = shoal("trust", "ca", "finish")
    assert (early.status, "shoal trust ca status" in early.err) == (1, True)
    assert "announce" in shoal("trust", "ca", "status").out
    assert "switch" in shoal("trust", "ca", "announce").out
    assert "finish" in shoal("trust", "ca", "switch").out
    assert json.loads(shoal("trust", "ca", "finish", "--force", "--json").out)["phase"] == "steady"
