"""What a version costs: measured on devices of the same hardware, else where it was compressed, else not known."""

from typing import Any

import pytest
from sqlmodel import Session, select
from tests.simulators.rows import HARDWARE, NOON, add_device, add_version

from shoal_contract.ids import sha256_hex
from shoal_contract.telemetry import VersionCost
from shoal_hub import database
from shoal_hub.context import HubContext
from shoal_hub.devices.revocation import decommission, revoke
from shoal_hub.devices.tables import Device
from shoal_hub.registry import costs
from shoal_hub.registry.cost_tables import CostRow
from shoal_hub.registry.costs import Prediction, hardware_class, read_costs, take_costs
from shoal_hub.registry.tables import VariantRow

TARGET = "generic-onnx-int8"
FILE = b"weights"
BOARD = HARDWARE.model_dump(mode="json")
OTHER = BOARD | {"model": "another board"}


def cost(latency_ms: float, memory_bytes: int, file: bytes = FILE) -> VersionCost:
    return VersionCost(sha256=sha256_hex(file), latency_p50_ms=latency_ms, runs=21, memory_bytes=memory_bytes)


def board(session: Session, hardware: Any = BOARD) -> Device:
    return add_device(session, hardware=hardware)


def predict(session: Session, hardware: Any = BOARD, target: str = TARGET) -> Prediction:
    session.flush()
    rows = session.exec(select(VariantRow)).all()
    return read_costs(session, rows).predict(target, hardware_class(hardware))


@pytest.fixture
def hub(hub: HubContext) -> HubContext:
    with hub.database.transaction() as session:
        add_version(session, hub.artifacts, 1, {TARGET: FILE})
    return hub


def test_what_devices_of_the_same_hardware_measured_counts_as_their_median(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        figures = ((1.0, 100), (9.0, 900), (2.0, 300))
        take_costs(session, [(board(session).id, cost(*one)) for one in figures], NOON)
        assert predict(session) == Prediction(2.0, 300, "same_hardware", 3)
        assert predict(session, OTHER) == Prediction()
        assert predict(session, None) == Prediction()


def test_until_three_such_devices_have_it_goes_by_what_compression_measured(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        row = session.exec(select(VariantRow)).one()
        row.latency_p50_ms, row.report = 0.5, {"memory_bytes": 4096}
        for _ in range(2):
            take_costs(session, [(board(session).id, cost(2.0, 2**50))], NOON)
            assert predict(session) == Prediction(0.5, 4096, "compression", 0)
        take_costs(session, [(board(session).id, cost(2.0, 300))], NOON)
        assert predict(session) == Prediction(2.0, 2**50, "same_hardware", 3)
        assert predict(session, OTHER) == Prediction(0.5, 4096, "compression", 0)


def test_a_board_s_revision_makes_no_other_hardware() -> None:
    pi = {"model": "Raspberry Pi 4 Model B Rev 1.4", "architecture": "aarch64"}
    assert hardware_class(pi) == hardware_class(pi | {"model": "Raspberry Pi 4 Model B Rev 1.5"})
    assert hardware_class(pi) != hardware_class(pi | {"model": "Raspberry Pi 5 Model B Rev 1.0"})
    assert hardware_class(pi) != hardware_class(pi | {"architecture": "armv7l"})


def test_a_device_counts_once_with_what_it_measured_last(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        ids = [board(session).id for _ in range(3)]
        for latency_ms, memory_bytes in ((2.0, 2), (3.0, 2**62)):
            take_costs(session, [(one, cost(1.0, 1)) for one in ids], NOON)
            take_costs(session, [(one, cost(latency_ms, memory_bytes)) for one in ids], NOON)
            assert predict(session) == Prediction(latency_ms, memory_bytes, "same_hardware", 3)


def test_a_board_that_has_not_said_what_it_is_leaves_nothing(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        take_costs(session, [(board(session, None).id, cost(1.0, 1))], NOON)
        take_costs(session, [], NOON)
        assert session.exec(select(CostRow)).all() == []


def test_what_a_revoked_device_measured_does_not_count_and_goes_when_it_is_decommissioned(hub: HubContext) -> None:
    with hub.database.transaction() as session:
        device = board(session)
        others = [board(session).id for _ in range(3)]
        take_costs(session, [(device.id, cost(1.0, 1)), *((one, cost(5.0, 5)) for one in others)], NOON)
        assert predict(session).devices == 4
        revoke(session, device, by="ada", reason="", now=NOON)
        assert predict(session) == Prediction(5.0, 5, "same_hardware", 3)
        decommission(session, device, by="ada", reason="", now=NOON)
        assert {row.device_id for row in session.exec(select(CostRow))} == set(others)


def test_of_a_large_fleet_the_last_measured_count_and_all_are_counted(
    hub: HubContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_MOST", 3)
    monkeypatch.setattr(database, "_PART", 2)
    with hub.database.transaction() as session:
        early = [(board(session).id, cost(100.0, 100)) for _ in range(5)]
        take_costs(session, early, NOON)
        late = [(board(session).id, cost(1.0, 1)) for _ in range(3)]
        take_costs(session, late, NOON.replace(hour=13))
        assert predict(session) == Prediction(1.0, 1, "same_hardware", 8)
