"""Drift in the console: signals, and a version's page with histograms before and after as pictures."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.drift_history.scene import add_fleet, roll_up, send
from tests.hub.monitoring.test_drift import like_training, shifted
from tests.hub.registry.bundles import register_bundle, write_bundle

from shoal_contract.manifest import Baseline
from shoal_hub.console.drift_pictures import HEIGHT, PICTURE_WIDTH, curve_of, outlines_of
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.drift_history.public import CauseHistogram
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.registry.tables import Version


@pytest.fixture
def signal(hub: HubContext, tmp_path: Path) -> str:
    """A device whose inputs have just drifted."""
    register_bundle(hub, write_bundle(tmp_path / "bundle"))
    with hub.database.session() as session:
        baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
    [device] = add_fleet(hub, 1, name="<b>kitchen</b>", tags={"site": "paris"})
    now = utc_now()
    send(hub, device, baseline, now, like_training(1))
    send(hub, device, baseline, now, shifted(2))
    roll_up(hub, now)
    with hub.database.session() as session:
        return session.exec(select(DriftSignal)).one().id


def test_signals_are_listed_with_the_distance_and_its_resolution(visitor: TestClient, signal: str) -> None:
    shown = visitor.get("/console/drift").text
    assert f"/drift/colours/1?signal={signal}" in shown
    assert "KS 0." in shown
    assert " +0." in shown
    assert "/console/drift" in visitor.get("/").text


def test_a_versions_page_shows_what_is_behind_drift_with_pictures(visitor: TestClient, signal: str) -> None:
    page = visitor.get(f"/drift/colours/1?signal={signal}").text
    assert f"/console/drift/colours/1?signal={signal}" in page
    for path in (f"/console/drift/colours/1?signal={signal}", "/console/drift/colours/1"):
        shown = visitor.get(path).text
        assert shown.count('class="after"') >= 3
        assert "style=" not in shown
        assert "&lt;b&gt;kitchen" in shown
        assert "1 of 1 devices show drift" in shown
        assert "Jensen" in shown
        assert 'class="over-time" d="M' in shown


def test_a_version_that_there_is_not_is_told(visitor: TestClient, signal: str) -> None:
    assert signal
    answer = visitor.get("/console/drift/colours/9")
    assert answer.status_code == 404
    assert "no version 9" in answer.text


def test_before_anything_is_known_the_page_says_so(visitor: TestClient, hub: HubContext, tmp_path: Path) -> None:
    register_bundle(hub, write_bundle(tmp_path / "bundle"))
    assert "No drift has been noticed" in visitor.get("/console/drift").text
    assert "No windows of the last 30 days" in visitor.get("/console/drift/colours/1").text


def test_outlines_have_one_scale_and_nothing_is_no_line() -> None:
    found = outlines_of(CauseHistogram(edges=[0.0], reference=[1, 1], before=[0, 0], after=[3, 1]))
    assert found.before == ""
    assert found.most == 0.75
    assert found.after.startswith(f"M0 {HEIGHT}V")
    assert found.after.endswith(f"H{PICTURE_WIDTH}.0V{HEIGHT}Z")
    assert found.reference.count("H") == 2


def test_a_curve_breaks_where_nothing_is_known() -> None:
    assert curve_of([0.0, None, 1.0]) == f"M0.0 {HEIGHT}.0h0.1M{PICTURE_WIDTH}.0 0.0h0.1"
    assert curve_of([None]) == ""
