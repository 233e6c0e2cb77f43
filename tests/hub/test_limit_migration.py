"""Limits of groups that hold for nobody are gone after the migration, with a word; listed devices are told theirs."""

from alembic import command
from sqlmodel import col, delete, select
from tests.simulators.rows import NOON, add_device

from shoal_hub.database import Database
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.group_tables import DeviceGroup, GroupDevice
from shoal_hub.events.tables import EventRow
from shoal_hub.traffic.tables import TransferLimit


def test_limits_of_no_group_and_of_dynamic_ones_go_and_all_others_stay(database: Database) -> None:
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "0022")
    kept = [("devices", "d-1"), ("fleet", ""), ("groups", "yard")]
    with database.session() as session:
        for name, query in (("yard", None), ("online", "presence = online")):
            session.add(DeviceGroup(name=name, query=query, created_at=NOON, created_by="ada"))
        for scope, name in [*kept, ("groups", "online"), ("groups", "misspelt")]:
            session.add(TransferLimit(scope=scope, name=name, max_bytes_per_month=1, set_by="ada", set_at=NOON))
        session.commit()
    database.upgrade()
    with database.session() as session:
        found = session.exec(select(TransferLimit).order_by(col(TransferLimit.scope))).all()
        assert [(one.scope, one.name) for one in found] == kept
        event = session.exec(select(EventRow).where(EventRow.kind == "limits_deleted")).one()
        assert (event.severity, event.body) == ("warning", {"groups": ["misspelt", "online"]})
        assert "misspelt, online" in event.message


def test_devices_that_a_limited_group_lists_are_told_of_its_limits(database: Database) -> None:
    with database.transaction() as session:
        listed, known, other = (add_device(session).id for _ in range(3))
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "0022")
    with database.session() as session:
        for name in ("yard", "shed", "free"):
            session.add(DeviceGroup(name=name, created_at=NOON, created_by="ada"))
        session.flush()
        lists = (("yard", listed), ("shed", listed), ("yard", known), ("free", other))
        session.add_all(GroupDevice(group=name, device_id=device_id) for name, device_id in lists)
        session.exec(delete(StaleDesired))
        session.add(StaleDesired(device_id=known))
        for name in ("yard", "shed"):
            session.add(TransferLimit(scope="groups", name=name, max_bytes_per_month=1, set_by="ada", set_at=NOON))
        session.commit()
    database.upgrade()
    with database.session() as session:
        assert set(session.exec(select(StaleDesired.device_id))) == {listed, known}
        assert session.exec(select(EventRow).where(EventRow.kind == "limits_deleted")).all() == []
