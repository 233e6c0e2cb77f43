"""Benchmarks of before boards could be of several target classes go on after the migration."""

from alembic import command
from sqlalchemy import text
from tests.simulators.rows import NOON, add_device

from shoal_hub.benchmarks.device_classes import BoardClass
from shoal_hub.benchmarks.offer import board_classes, devices_of
from shoal_hub.benchmarks.tables import Benchmark
from shoal_hub.database import Database

_BENCHMARK = """
INSERT INTO benchmarks (id, subject, body, samples, classes, devices_per_class, patience_s, state,
    created_by, created_at)
VALUES ('b-1', 'compression/c-1', '{}', 1, '{"Pi": "pi4", "PC": "generic"}', 1, 60.0, 'running', 'ada', :now)
"""
_DEVICE = """
INSERT INTO benchmark_devices (benchmark, device_id, hardware, outcome, offered_at, deadline_at)
VALUES ('b-1', :id, 'Pi', 'open', :now, :now)
"""


def test_each_device_is_of_the_class_of_its_board(database: Database) -> None:
    with database.transaction() as session:
        device = add_device(session).id
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "0047")
        connection.execute(text(_BENCHMARK), {"now": NOON.replace(tzinfo=None)})
        connection.execute(text(_DEVICE), {"now": NOON.replace(tzinfo=None), "id": device})
    database.upgrade()
    with database.session() as session:
        row = session.get_one(Benchmark, "b-1")
        assert board_classes(row) == [BoardClass("PC", "generic"), BoardClass("Pi", "pi4")]
        [asked] = devices_of(session, "b-1")
        assert (asked.hardware, asked.target_class) == ("Pi", "pi4")
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "0047")
        told = connection.execute(text("SELECT classes FROM benchmarks")).scalar_one()
        assert '"Pi": "pi4"' in str(told).replace("'", '"')
