"""What the owner says in updates on the command line: hold, release, probes, storage."""

import json
from pathlib import Path

import anyio
import pytest
from tests.agent.simulators.device import Device, version
from tests.agent.simulators.director import ref_of
from tests.agent.test_cli import call, refused


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    path = tmp_path / "probes.toml"
    path.write_text(
        '[camera-ok]\nexec = ["/bin/true"]\n[lens]\nexec = ["/bin/false"]\n[up]\nhttp = "http://127.0.0.1:9/"\n'
    )
    path.chmod(0o600)
    return path


def test_what_serves_is_held_with_a_reason_and_an_end_and_released(tmp_path: Path) -> None:
    assert (
        "held: stocktaking (until 2"
        in call("hold", "--data", tmp_path, "--reason", "stocktaking", "--for", "2h").output
    )
    held = json.loads(call("hold", "--data", tmp_path, "--json").output)
    assert held == {"is_held": True, "reason": "", "until": None}, "a new hold takes the place of the one before"
    assert (tmp_path / "hold").exists()
    assert json.loads(call("release", "--data", tmp_path, "--json").output)["is_held"] is False
    assert call("release", "--data", tmp_path).output == "released\n"
    assert not (tmp_path / "hold").exists()


@pytest.mark.parametrize("time", ["2", "0h", "h", "-1h", "2 h", "1y"])
def test_a_time_of_another_form_is_refused(tmp_path: Path, time: str) -> None:
    result = call("hold", "--data", tmp_path, "--for", time)
    assert result.exit_code == 2
    assert "90s, 30m, 2h or 7d" in result.stderr
    assert not (tmp_path / "hold").exists()


def test_a_hold_for_longer_than_it_may_last_is_refused(tmp_path: Path) -> None:
    assert "at most 31622400 s expected" in refused("hold", "--data", tmp_path, "--for", "9999999d")
    assert not (tmp_path / "hold").exists()


def test_a_hold_on_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert "no such folder" in refused("hold", "--data", tmp_path / "nowhere")


def test_probes_are_listed_and_run(probes: Path) -> None:
    text = call("probes", "list", "--probes", probes).output
    assert text == "camera-ok: /bin/true\nlens: /bin/false\nup: GET http://127.0.0.1:9/\n"
    assert json.loads(call("probes", "list", "--probes", probes, "--json").output)["lens"] == {"exec": ["/bin/false"]}
    assert call("probes", "run", "camera-ok", "--probes", probes).output.startswith("camera-ok passes")
    failed = call("probes", "run", "lens", "--probes", probes, "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.output) == {"name": "lens", "has_passed": False, "attempts": 1, "detail": "exit status 1"}


def test_probes_that_are_not_there_say_how_to_define_them(probes: Path, tmp_path: Path) -> None:
    assert "this device has camera-ok, lens, up" in refused("probes", "run", "sound", "--probes", probes)
    assert "update-policy.md" in call("probes", "list", "--probes", tmp_path / "none.toml").output


def test_storage_shows_what_is_kept_and_what_would_go_and_changes_nothing(tmp_path: Path) -> None:
    async def deploy() -> Device:
        device = Device(tmp_path)
        await device.converge(device.publish(version(1), "dp-1"))
        await device.server.aclose()
        return device

    device = anyio.run(deploy)
    device.blobs.put(ref_of(b"left"), [b"left"])
    answer = json.loads(call("storage", "--data", tmp_path, "--json").output)
    assert set(answer["evictable"]) == {ref_of(b"left").sha256}
    assert list(answer["models"]["tiny"]) == ["1"]
    assert answer["kept_bytes"] > 0
    reserved = json.loads(call("storage", "--data", tmp_path, "--reserve-mb", "0", "--json").output)
    assert reserved["free_bytes"] >= answer["free_bytes"] + 63_000_000
    text = call("storage", "--data", tmp_path).output
    assert "tiny: version 1" in text
    assert "in 1 files that no version needs" in text
    assert device.blobs.has(ref_of(b"left").sha256)
