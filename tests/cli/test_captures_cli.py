"""`shoal captures` against a real hub."""

import json
from pathlib import Path

import numpy as np
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.captures.samples import X, add_capture
from tests.hub.served import ServedHub
from tests.simulators.rows import add_version

GARDEN = DEVICES["garden"]


def test_samples_are_asked_for_fetched_and_deleted_by_commands(shoal: Shoal, served: ServedHub, tmp_path: Path) -> None:
    assert "No samples are asked for" in shoal("captures", "wanted").out
    assert "No sample has come" in shoal("captures", "list").out
    with served.hub.database.transaction() as session:
        add_version(session, served.hub.artifacts, 1, {})
        ids = [
            add_capture(session, served.hub.artifacts, GARDEN, name=f"177236640000{n}-0a1b2c3d", true_label=4).id
            for n in range(3)
        ]
    asked = json.loads(shoal("captures", "want", "digits", "--reason", "class", "--mb-per-day", "2", "--json").out)
    assert (asked["reasons"], asked["max_bytes_per_day"]) == (["class"], 2_000_000)
    assert "all devices" in shoal("captures", "wanted").out
    shown = shoal("captures", "list", "--model", "digits", "--device", "garden").out
    assert all(one in shown for one in (*ids, GARDEN, "random"))

    assert "3 samples written" in shoal("captures", "fetch", "--model", "digits", "--folder", str(tmp_path / "s")).out
    assert np.load(tmp_path / "s" / f"{ids[0]}.npz")["x"] == X
    assert json.loads((tmp_path / "s" / f"{ids[0]}.json").read_text())["true_label"] == 4

    assert "1 samples deleted" in shoal("captures", "delete", ids[0]).out
    assert "2 samples deleted" in shoal("captures", "delete", "--model", "digits").out
    assert "0 samples deleted" in shoal("captures", "delete", "--model", "digits").out
    assert "no more" in shoal("captures", "unwant", "digits").out


def test_what_names_nothing_or_too_much_is_an_error_with_a_remedy(shoal: Shoal) -> None:
    for arguments in ((), ("cp-x", "--model", "digits")):
        assert "--model MODEL" in shoal("captures", "delete", *arguments).err
    assert "shoal captures list" in shoal("captures", "fetch", "cp-x").err
