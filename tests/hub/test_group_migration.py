"""The names of groups that were only words before there were groups become static groups, on both engines."""

import sqlalchemy as sa
from alembic import command
from sqlmodel import select
from tests.simulators.rows import NOON, add_device

from shoal_hub.database import Database
from shoal_hub.devices.admission_tables import AuthorisedKey
from shoal_hub.devices.group_tables import DeviceGroup
from shoal_hub.devices.groups import find_group, member_ids
from shoal_hub.devices.matching import load_devices
from shoal_hub.devices.tables import EnrolmentTokenRow


def test_every_name_in_use_becomes_a_static_group_with_the_devices_that_name_it(database: Database) -> None:
    with database.transaction() as session:
        add_device(session, name="one", group="greenhouse")
        add_device(session, name="two", group="greenhouse")
        add_device(session, name="three")
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "0017")
    assert "device_groups" not in sa.inspect(database.engine).get_table_names()
    with database.session() as session:
        session.add(AuthorisedKey(key_sha256="0" * 64, group="yard", created_at=NOON, created_by="ada"))
        token = {"id": "et-1", "secret_sha256": "x", "group": "shed", "uses_left": 1, "created_by": "ada"}
        session.add(EnrolmentTokenRow(**token, created_at=NOON, expires_at=NOON))
        session.commit()
    database.upgrade()
    with database.session() as session:
        groups = session.exec(select(DeviceGroup).order_by(DeviceGroup.name)).all()
        assert [(one.name, one.kind, one.created_by) for one in groups] == [
            (name, "static", "hub") for name in ("greenhouse", "shed", "yard")
        ]
        found = load_devices(session, member_ids(session, find_group(session, "greenhouse"), NOON))
        assert [one.name for one in found] == ["one", "two"]
