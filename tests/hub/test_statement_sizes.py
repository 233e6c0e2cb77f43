"""No statement names a device a parameter: databases bound them, at 65,535 (PostgreSQL) and 250,000 (SQLite)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlmodel import Session, select
from tests.simulators.feature_sets import features
from tests.simulators.rows import HARDWARE, NOON, add_version, make_report

from shoal_contract.features import DesiredFeatures
from shoal_contract.ids import new_device_id, sha256_hex
from shoal_contract.reported import ModelReport, SlotReport
from shoal_contract.telemetry import VersionCost
from shoal_hub.captures.asking import Asked, ask_for, cease_to_ask
from shoal_hub.context import HubContext
from shoal_hub.devices.desired import mark_due
from shoal_hub.devices.group_changes import GroupChange, create_group
from shoal_hub.devices.intents import intents_of
from shoal_hub.devices.revocation import note_heard
from shoal_hub.devices.tables import Device
from shoal_hub.features.assign import assign, unassign
from shoal_hub.features.sets import put_set
from shoal_hub.features.status import statuses
from shoal_hub.monitoring.settle import settle_signals
from shoal_hub.monitoring.tables import DriftSignal
from shoal_hub.registry.costs import take_costs
from shoal_hub.registry.tables import Version
from shoal_hub.traffic.forecast import Receiver, budgets_of, forecast_bytes
from shoal_hub.traffic.limits import Limits, set_limits

COUNT = 1_200
MOST = 1_000
TARGET = "generic-onnx-int8"


@contextmanager
def bounded(hub: HubContext) -> Iterator[list[int]]:
    """Note how many parameters each statement has; none may have more than `MOST`."""
    sizes = [0]

    def look(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, is_many: bool) -> None:
        sizes.append(0 if is_many else len(parameters))
        assert sizes[-1] <= MOST, statement[:300]

    event.listen(hub.database.engine, "before_cursor_execute", look)
    try:
        yield sizes
    finally:
        event.remove(hub.database.engine, "before_cursor_execute", look)


@pytest.fixture
def ids(hub: HubContext) -> list[str]:
    ids = sorted(new_device_id() for _ in range(COUNT))
    fields = {"certificate_serial": "1", "enrolled_at": NOON, "hardware": HARDWARE.model_dump(mode="json")}
    slot = SlotReport(version=1, target=TARGET, sha256=sha256_hex(b"one"), state="good")
    reported = make_report(models={"digits": ModelReport(active=slot)}).model_dump(mode="json")
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 1, {TARGET: b"one"})
        add_version(session, hub.artifacts, 2, {TARGET: b"two"})
        session.add_all(
            Device(id=one, name=one, public_key_sha256=sha256_hex(one.encode()), reported=reported, **fields)
            for one in ids
        )
    return ids


def _forecast(session: Session, ids: list[str]) -> None:
    set_limits(session, "fleet", "", Limits(max_bytes_per_month=1), by="ada", now=NOON)
    version = session.exec(select(Version).where(Version.number == 2)).one()
    found = forecast_bytes(session, version, [Receiver(one, TARGET, {}) for one in ids])
    assert {one.way for one in found} == {"broker"}
    assert len(budgets_of(session, dict.fromkeys(ids, ""), NOON)) == COUNT


def test_what_is_done_for_all_devices_at_once_names_them_in_parts(hub: HubContext, ids: list[str]) -> None:
    cost = VersionCost(sha256=sha256_hex(b"one"), latency_p50_ms=1, runs=1, memory_bytes=1)
    with bounded(hub) as sizes:
        with hub.database.transaction() as session:
            _forecast(session, ids)
            take_costs(session, [(one, cost) for one in ids], NOON)
            note_heard(session, ids, NOON)
            mark_due(session, ids, NOON)
            times = {"raised_at": NOON, "updated_at": NOON}
            session.add(DriftSignal(id="s-1", model="digits", version=1, devices=ids, samples=1, features=[], **times))
        settle_signals(hub.database, NOON)
    assert max(sizes) > 100


def test_a_trial_and_a_rollout_of_a_large_fleet_begin_and_end_with_statements_of_a_bounded_size(
    hub: HubContext, client: TestClient, ids: list[str]
) -> None:
    with bounded(hub) as sizes:
        body = {"model": "digits", "version": "2", "devices": ids}
        planned = client.post("/api/v1/rollouts/plan", json=body).json()
        assert (len(planned["devices"]), planned["misfits"]) == (COUNT, 0)
        for kind, end in (("trials", "stop"), ("rollouts", "abort")):
            started = client.post(f"/api/v1/{kind}", json=body)
            assert started.status_code == 201, started.text
            assert client.post(f"/api/v1/{kind}/{started.json()['id']}/{end}").status_code == 200
    assert max(sizes) > 100


def test_what_all_devices_are_asked_or_compute_takes_few_statements_of_a_bounded_size(
    hub: HubContext, ids: list[str]
) -> None:
    asked = Asked(None, (), 5, 700, 9.0)
    with bounded(hub) as sizes, hub.database.transaction() as session:
        ask_for(session, "digits", asked, by="ada", now=NOON)
        put_set(session, "pumps", DesiredFeatures.model_validate(features()), by="ada", now=NOON)
        create_group(session, "all", GroupChange(query="not tags.none = yes"), by="ada", now=NOON)
        assign(session, "pumps", "groups", "all", by="ada", now=NOON)
        assert len(intents_of(session, ids[0])) == 2
        assert len(statuses(session, "pumps", limit=1000, offset=200)) == 1000
        unassign(session, "pumps", "groups", "all", by="ada", now=NOON)
        cease_to_ask(session, "digits", by="ada", now=NOON)
        assert intents_of(session, ids[-1]) == []
    assert len(sizes) < 100
