"""`shoal drift history` and `shoal drift explain` against a real hub whose devices drift."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from tests.cli.conftest import DEVICES, Shoal
from tests.hub.drift_history.scene import roll_up, send
from tests.hub.monitoring.test_drift import like_training, shifted
from tests.hub.registry.bundles import register_bundle, write_bundle
from tests.hub.served import ServedHub

from shoal_contract.manifest import Baseline
from shoal_hub.database import utc_now
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.registry.tables import Version

GARDEN, KITCHEN = DEVICES["garden"], DEVICES["kitchen"]


@pytest.fixture(scope="module")
def began(served: ServedHub, tmp_path_factory: pytest.TempPathFactory) -> datetime:
    """Two devices over four days; the garden's has drifted from the third on. Returns when."""
    register_bundle(served.hub, write_bundle(Path(tmp_path_factory.mktemp("bundle")) / "b"))
    with served.hub.database.session() as session:
        baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
    today = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)
    began = today - timedelta(days=1)
    for day in range(3, 0, -1):
        for place, device in enumerate((GARDEN, KITCHEN)):
            at = today - timedelta(days=day) + timedelta(hours=6)
            rows = shifted(day) if device == GARDEN and day < 2 else like_training(10 * day + place)
            send(served.hub, device, baseline, at, rows)
    roll_up(served.hub, utc_now())
    return began


def signal_of(served: ServedHub) -> str:
    with served.hub.database.session() as session:
        return session.exec(select(DriftSignal).where(DriftSignal.rule == "plain")).one().id


def test_a_history_shows_a_line_for_each_feature_with_the_resolution_beside_the_distance(
    shoal: Shoal, began: datetime
) -> None:
    ended = shoal("drift", "history", "colours", "1", "--device", "garden", "--days", "5")
    assert ended.status == 0, ended.err
    assert "colours 1 by day, device " + GARDEN in ended.out
    [line] = [line for line in ended.out.splitlines() if line.startswith("features[2]")]
    assert f"{began:%Y-%m-%d}" in line
    assert "+0." in line, "the resolution"
    assert line.rstrip()[-1] > line.rstrip()[-2], "the distance has gone up"
    assert "devices that drift" in ended.out
    found = json.loads(shoal("drift", "history", "colours", "--days", "5", "--limit", "2", "--json").out)
    assert [one["devices_drifted"] for one in found["periods"]] == [0, 0, 1]
    assert len(found["features"]) == 2


def test_drift_is_explained_with_what_was_before_and_after(shoal: Shoal, served: ServedHub, began: datetime) -> None:
    ended = shoal("drift", "explain", signal_of(served))
    assert ended.status == 0, ended.err
    assert "1 of 2 devices drift, since" in ended.out
    assert f"{began:%Y-%m-%d} 06:00" in ended.out
    assert GARDEN in ended.out
    before, after = (
        next(line for line in ended.out.splitlines() if line.strip().startswith(word)) for word in ("before", "after")
    )
    assert before.count("▁") < after.count("▁"), "after it, values lie in few bins"
    found = json.loads(shoal("drift", "explain", "colours", "1", "--histograms", "1", "--json").out)
    assert [one["id"] for one in found["devices"]] == [GARDEN]
    assert [one["histogram"] is not None for one in found["features"]] == [True, False, False, False]


def test_the_list_of_signals_has_the_resolution_beside_the_distance(
    shoal: Shoal, served: ServedHub, began: datetime
) -> None:
    line = next(one for one in shoal("drift", "list").out.splitlines() if signal_of(served) in one)
    assert began
    assert " +0." in line


def test_what_is_asked_wrongly_is_told(shoal: Shoal, began: datetime) -> None:
    assert began
    assert "give the signal alone" in shoal("drift", "explain", "ds-abcdefgh", "1").err
    assert "no model shapes" in shoal("drift", "history", "shapes").err
    assert "no feature x" in shoal("drift", "history", "colours", "--feature", "x").err
    assert "There are no windows" in shoal("drift", "history", "colours", "--until", "2020-01-01").out
