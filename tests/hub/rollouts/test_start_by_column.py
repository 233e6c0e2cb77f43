"""A rollout's start makes no object a device: rows are written and read by column, and are what objects would be."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import col, select
from tests.hub.audit.trail import read
from tests.hub.rollouts.test_rollout_routes import URL, Fleet

from shoal_hub.context import HubContext
from shoal_hub.controller.compose_desired import DesiredComposer
from shoal_hub.database import utc_now
from shoal_hub.devices.tables import DesiredRow, Device, Intent
from shoal_hub.rollouts.reconcile import pass_rollouts
from shoal_hub.rollouts.tables import Deployment

TABLES = (Deployment, Device, Intent, DesiredRow)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Note each object that is made or loaded of a table with a row a device."""
    seen: list[str] = []

    def look(one: object, *_: object, **__: object) -> None:
        seen.append(type(one).__name__)

    for table in TABLES:
        event.listen(table, "init", look)
        event.listen(table, "load", look)
    try:
        yield seen
    finally:
        for table in TABLES:
            event.remove(table, "init", look)
            event.remove(table, "load", look)


def start(client: TestClient, version: int) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "digits", "version": str(version), "seed": 1, "holdback_percent": 30})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_start_the_pass_after_it_and_the_states_that_follow_make_and_load_no_object_a_device(
    hub: HubContext, client: TestClient
) -> None:
    fleet = Fleet(hub, 5)
    composer = DesiredComposer(hub.database, hub.director, hub.version_keys, timedelta(days=30))
    with counted() as seen:
        for version in (1, 2):  # the second one finds something that stands
            started, now = start(client, version), utc_now()
            pass_rollouts(hub.database, now)
            told = [one for new in composer.step(now) for one in new]
            assert len(told) == started["counts"]["pending"] >= 3
            client.post(f"{URL}/{started['id']}/pause")
            with hub.database.transaction() as session:
                session.connection().exec_driver_sql("UPDATE rollouts SET state = 'succeeded'")
    assert seen == []
    assert set(told) < set(fleet.ids)


def test_a_deployment_that_is_added_is_in_every_column_what_an_object_would_be(
    hub: HubContext, client: TestClient
) -> None:
    Fleet(hub, 5)
    started = start(client, 1)
    with hub.database.session() as session:
        rows = session.exec(select(Deployment).order_by(col(Deployment.wave))).all()
        without = col(Deployment.from_body).is_(None), col(Deployment.problem).is_(None)
        assert len(session.exec(select(Deployment.id).where(*without)).all()) == 5, "NULL, not the JSON of nothing"
    assert [(row.wave, row.state) for row in rows] == [(0, "pending")] * 3 + [(1, "held_back")] * 2
    for row in rows:
        fields = {"id": row.id, "device_id": row.device_id, "forecast_bytes": row.forecast_bytes}
        expected = Deployment(rollout_id=started["id"], wave=row.wave, state=row.state, **fields)
        assert row.model_dump() == expected.model_dump()
    assert len({row.id for row in rows}) == 5
    told = json.loads(read(hub.database)[-1].after)
    unaudited = {"seen_connection", "seen_sequence"}
    for row in rows:
        assert told[f"deployments/{row.id}"] == row.model_dump(exclude_none=True, exclude=unaudited)
    assert all(row.id.startswith("dp-") for row in rows)
    assert [row.forecast_bytes is None for row in rows] == [False] * 3 + [True] * 2
