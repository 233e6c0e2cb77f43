"""Limits of groups that hold for nobody, as they could be set before, are gone after the migration, on both engines."""

from alembic import command
from sqlmodel import col, select
from tests.simulators.rows import NOON

from shoal_hub.database import Database
from shoal_hub.devices.group_tables import DeviceGroup
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
