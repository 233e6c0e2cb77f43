"""`shoal-agent captures`: the owner lists, takes out and deletes what was kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.agent.capture.test_store import NOON, ROOM, Clock, captured
from tests.agent.simulators.director import DEVICE
from tests.agent.simulators.https_hub import HttpsHub
from tests.agent.test_cli import call, refused

from shoal_agent.capture import CaptureStore
from shoal_agent.capture.archive import to_npz
from shoal_agent.encryption_key import load_or_make_encryption_key, new_encryption_key
from shoal_agent.enrol import enrol

X = np.arange(4, dtype=np.float32)


@pytest.fixture
def data(hub: HttpsHub, tmp_path: Path) -> Path:
    """An enrolled device with two samples, of which the second was kept under a key that is gone."""
    enrol(tmp_path / "data" / "identity", hub.url, hub.authority.token)
    key = load_or_make_encryption_key(tmp_path / "data" / "identity", DEVICE)
    store = CaptureStore(tmp_path / "data" / "capture", Clock())
    for owner in (key, new_encryption_key(DEVICE)):
        assert store.add(captured(to_npz({"x": X})), owner, ROOM)
    return tmp_path / "data"


def test_samples_are_listed_with_why_they_were_kept(data: Path) -> None:
    readable, gone = json.loads(call("captures", "list", "--data", data, "--json").output)
    assert (readable["model"], readable["version"], readable["reasons"]) == ("digits", 4, ["random"])
    assert "another encryption key" in gone["problem"]
    text = call("captures", "list", "--data", data).output
    assert "digits version 4: random" in text
    assert gone["name"] in text


def test_what_can_be_read_is_exported_for_this_user_alone(data: Path, tmp_path: Path) -> None:
    result = call("captures", "export", "--data", data, tmp_path / "out")
    assert (result.exit_code, "1 samples exported" in result.output) == (0, True)
    assert "left out" in result.stderr
    [npz] = (tmp_path / "out").glob("*.npz")
    np.testing.assert_array_equal(np.load(npz)["x"], X)
    about = json.loads(npz.with_suffix(".json").read_text())
    assert (about["request_id"], about["label"], about["at"]) == ("r-1", 3, NOON.isoformat().replace("+00:00", "Z"))
    assert (npz.stat().st_mode | (tmp_path / "out").stat().st_mode) & 0o077 == 0


def test_a_sample_that_is_named_and_can_not_be_read_is_an_error(data: Path, tmp_path: Path) -> None:
    _, gone = json.loads(call("captures", "list", "--data", data, "--json").output)
    assert "another encryption key" in refused("captures", "export", "--data", data, tmp_path / "out", gone["name"])
    assert "there is none" in refused("captures", "export", "--data", data, tmp_path / "out", "../../etc/passwd")


def test_samples_are_deleted_by_name_or_all_and_never_by_saying_neither(data: Path) -> None:
    first, _ = json.loads(call("captures", "list", "--data", data, "--json").output)
    assert "give one of the two" in refused("captures", "delete", "--data", data)
    assert "give one of the two" in refused("captures", "delete", "--data", data, "--all", first["name"])
    assert call("captures", "delete", "--data", data, first["name"]).output == "1 samples deleted\n"
    assert "there is none" in refused("captures", "delete", "--data", data, first["name"])
    assert call("captures", "delete", "--data", data, "--all").output == "1 samples deleted\n"
    assert "nothing is kept" in call("captures", "list", "--data", data).output


@pytest.mark.parametrize("priority", ["doorbell", "doorbell=", "Door=1", "doorbell=2000", "doorbell=1.5"])
def test_a_priority_that_is_none_is_refused(tmp_path: Path, priority: str) -> None:
    result = call("run", "--data", tmp_path, "--priority", priority)
    assert result.exit_code == 2
    assert "a model and a number from -1000 to 1000 such as doorbell=10 expected" in " ".join(result.stderr.split())
