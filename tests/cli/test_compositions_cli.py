"""`shoal compositions` against a real hub."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.served import ServedHub
from tests.simulators.compositions import CASCADE, add_member

GARDEN = DEVICES["garden"]
TOML = """
kind = "cascade"
[[stages]]
model = "small"
confidence = 0.9
[[stages]]
model = "large"
"""


@pytest.fixture(scope="module", autouse=True)
def registry(served: ServedHub) -> None:
    with served.hub.database.transaction() as session:
        for model in ("small", "large"):
            add_member(session, served.hub.artifacts, model)


def test_compositions_are_created_shown_changed_and_removed_by_commands(shoal: Shoal) -> None:
    assert "No compositions yet" in shoal("compositions", "list").out
    stages = ("--stage", "small:0.9", "--stage", "large")
    made = shoal("compositions", "create", "faces", *stages, "--device", "garden", "--json")
    assert made.status == 0, made.err
    assert json.loads(made.out)["form"]["stages"] == [
        {"model": "small", "confidence": 0.9, "inputs": {}, "outputs": {}},
        {"model": "large", "confidence": None, "inputs": {}, "outputs": {}},
    ]
    listed = shoal("compositions", "list").out
    assert all(word in listed for word in ("faces", "cascade", "small, large", GARDEN))
    shown = shoal("compositions", "show", "faces").out
    assert all(word in shown for word in ("cascade", "0.9", "garden", "waiting"))
    assert "waiting" in shoal("compositions", "status", "faces").out

    members = ("--member", "small:2", "--member", "large", "--combine", "vote", "--output", "probabilities")
    changed = json.loads(shoal("compositions", "change", "faces", *members, "--json").out)
    assert (changed["version"], changed["form"]["combine"], changed["form"]["output"]) == (2, "vote", "probabilities")
    assert [one["weight"] for one in changed["form"]["members"]] == [2.0, 1.0]

    assert shoal("groups", "create", "shop").status == 0
    assert "group shop" in shoal("compositions", "assign", "faces", "--group", "shop").out
    assert shoal("compositions", "unassign", "faces", "--group", "shop", "--device", "garden").status == 0
    assert "No device has it yet" in shoal("compositions", "status", "faces").out
    assert "no more" in shoal("compositions", "remove", "faces").out
    assert shoal("compositions", "show", "faces").status == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("form.toml", TOML), ("form.json", json.dumps(CASCADE)), ("section.json", json.dumps({"form": CASCADE}))],
)
def test_a_form_is_read_from_a_file(shoal: Shoal, tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    made = shoal("compositions", "create", "faces", str(file), "--json")
    assert made.status == 0, made.err
    assert json.loads(made.out)["models"] == ["small", "large"]
    shoal("compositions", "remove", "faces")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "in no way, or in several"),
        (("--member", "small", "--stage", "large"), "in no way, or in several"),
        (("--stage", "small:0.9", "--stage", "large", "--combine", "vote"), "--combine is for --member"),
        (("--stage", "small:sure", "--stage", "large"), "sure found, expected a number as its confidence"),
        (("--stage", "small:0.9", "--stage", "none"), "there is no model none"),
        (("--stage", "small:0.9", "--stage", "large", "--device", "nowhere"), "no device has the id or name nowhere"),
    ],
)
def test_what_can_not_be_composed_is_an_error_with_a_remedy(
    shoal: Shoal, arguments: tuple[str, ...], said: str
) -> None:
    ran = shoal("compositions", "create", "faces", *arguments)
    assert (ran.status, said in ran.err.replace("\n", " ")) == (1, True), ran.err
    assert "No compositions yet" in shoal("compositions", "list").out


def test_a_file_that_is_none_is_an_error(shoal: Shoal, tmp_path: Path) -> None:
    file = tmp_path / "form.toml"
    file.write_text("kind =")
    assert "give a file of TOML" in shoal("compositions", "create", "faces", str(file)).err
    file.write_bytes(b"kind = '\xff'")
    refused = shoal("compositions", "create", "faces", str(file))
    assert (refused.status, "give a file of TOML" in refused.err) == (1, True), refused.err
