"""True labels in a window: stored as two numbers, checked, and of no account for drift."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlmodel import col, select
from tests.hub.monitoring.test_drift import baseline, like_training, shifted, signals, sketch, take
from tests.simulators.rows import add_device

from shoal_contract.manifest import Baseline
from shoal_contract.telemetry import Window
from shoal_contract.wire import parse_message
from shoal_hub.context import HubContext
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring.tables import WindowRow

__all__ = ["baseline"]
NOBODY = np.zeros((0, 4), dtype=np.float32)


@pytest.fixture
def device(hub: HubContext) -> str:
    with hub.database.transaction() as session:
        return add_device(session).id


def stored(hub: HubContext) -> list[tuple[int, int, int]]:
    with hub.database.session() as session:
        rows = session.exec(select(WindowRow).order_by(col(WindowRow.id))).all()
        return [(row.samples, row.labelled, row.correct) for row in rows]


def test_a_window_s_labels_are_stored_and_shown(
    client: TestClient, hub: HubContext, baseline: Baseline, device: str
) -> None:
    take(hub, device, sketch(baseline, like_training(1), labelled=40, correct=37))
    take(hub, device, sketch(baseline, NOBODY, labelled=12, correct=12))
    assert stored(hub) == [(150, 40, 37), (0, 12, 12)], "labels may come when nothing is asked"
    shown = client.get("/api/v1/drift/windows", params={"model": "colours", "device": device}).json()
    assert sorted((one["labelled"], one["correct"]) for one in shown) == [(12, 12), (40, 37)]


def test_a_window_of_an_agent_that_knows_no_labels_has_none(hub: HubContext, baseline: Baseline, device: str) -> None:
    told = sketch(baseline, like_training(1), labelled=40, correct=37).model_dump(mode="json")
    old = {name: value for name, value in told.items() if name not in {"labelled", "correct"}}
    window = parse_message(Window, json.dumps(old).encode(), 10**6)
    assert (window.labelled, window.correct) == (0, 0)
    take(hub, device, window)
    assert stored(hub) == [(150, 0, 0)]


@pytest.mark.parametrize("labels", [{"labelled": 3, "correct": 4}, {"labelled": 2**31, "correct": 0}])
def test_labels_that_can_not_be_are_quarantined(
    hub: HubContext, baseline: Baseline, device: str, labels: dict[str, int]
) -> None:
    take(hub, device, sketch(baseline, like_training(1), **labels))
    assert stored(hub) == []
    with hub.database.session() as session:
        (event,) = session.exec(select(EventRow).where(EventRow.kind == "window_quarantined")).all()
    assert "correct" in event.message or "count of 2147483648" in event.message


def test_windows_that_hold_labels_alone_hide_no_drift(hub: HubContext, baseline: Baseline, device: str) -> None:
    take(hub, device, sketch(baseline, shifted(1)[:90]))
    for number in range(30):
        take(hub, device, sketch(baseline, NOBODY, labelled=number + 1, correct=0))
    take(hub, device, sketch(baseline, shifted(2)[:60]))
    with hub.database.session() as session:
        (signal,) = signals(session)
    assert signal.samples == 150
    assert len(stored(hub)) == 32, "none of them is taken for one that came before"
