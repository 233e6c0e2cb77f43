"""The page of performance: metrics beside their thresholds, a picture over time, and what the estimate can not see."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select
from tests.hub.performance.conftest import SLICES, Answers, Fleet
from tests.hub.registry.bundles import register_bundle, write_bundle

from shoal_contract.manifest import Baseline
from shoal_hub.console.trend import TREND_HEIGHT, TREND_WIDTH, trend_of
from shoal_hub.context import HubContext
from shoal_hub.registry.tables import Version

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
PART = "/console/performance"


@pytest.fixture
def fleet(hub: HubContext, visitor: TestClient, tmp_path: Path) -> Fleet:
    register_bundle(hub, write_bundle(tmp_path / "bundle", slices=SLICES))
    with hub.database.session() as session:
        baseline = Baseline.model_validate(session.exec(select(Version)).one().baseline)
    return Fleet(hub, visitor, baseline)


def test_metrics_stand_beside_their_thresholds_with_a_picture(fleet: Fleet) -> None:
    for hours, right in ((5, 0.9), (1, 0.3)):
        fleet.tell(0, Answers(hours, right=right), at=fleet.now - timedelta(hours=hours))
    page = fleet.client.get("/performance", params={"model": "colours"})
    assert 'hx-get="/console/performance?model=colours"' in page.text
    shown = fleet.client.get(PART, params={"model": "colours"}).text
    for text in ("threshold 0.85", "concept drift", "<strong>1</strong>", 'class="accuracy"', 'class="estimate"'):
        assert text in shown
    [points] = re.findall(r'<polyline class="accuracy" points="([^"]*)"', shown)
    assert len(points.split()) == 2
    assert "style=" not in shown, "the page's policy runs no styles of its own"


def test_without_a_model_or_a_window_the_page_says_what_to_do(visitor: TestClient) -> None:
    assert "shoal models register" in visitor.get(PART).text
    assert "there is no such model" in visitor.get(PART, params={"model": "<b>nothing</b>"}).text
    assert "<b>" not in visitor.get(PART, params={"model": "<b>nothing</b>"}).text


def test_a_model_without_windows_is_offered(fleet: Fleet) -> None:
    shown = fleet.client.get(PART).text
    assert "No window of colours" in shown
    assert 'aria-current="page">colours' in shown


def test_who_is_not_logged_in_is_led_to_the_login(browser: TestClient) -> None:
    assert browser.get("/performance").headers["location"] == "/login"
    assert browser.get(PART).status_code == 401


def test_a_time_without_a_value_breaks_the_line() -> None:
    points = [(NOON + timedelta(hours=hour), value) for hour, value in enumerate((0.0, 0.5, None, 1.0))]
    found = trend_of({"accuracy": points}, NOON, NOON + timedelta(hours=4), 0.25)
    assert found.lines == {"accuracy": [f"0.0,{TREND_HEIGHT:.1f} 160.0,60.0", "480.0,0.0"]}
    assert (found.threshold, TREND_WIDTH) == (90.0, 640)
