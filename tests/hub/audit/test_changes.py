"""What a transaction changed is seen by whatever way it writes; what could not be seen is refused. On both engines."""

import json
from collections.abc import Iterator

import pytest
from sqlmodel import select
from tests.hub.audit.trail import read
from tests.simulators.rows import NOON, add_device

from shoal_hub.audit.changes import UnauditableError
from shoal_hub.audit.requests import _request, note_outside, watch_request
from shoal_hub.database import Database
from shoal_hub.devices.tables import Device
from shoal_hub.operators.tables import OperatorToken


@pytest.fixture
def watched(database: Database) -> Iterator[Database]:
    """A database in the middle of a request."""
    database.on_begin = watch_request
    token = _request.set({"type": "http", "path": "/api/v1/x", "client": ("192.0.2.1", 1)})
    yield database
    _request.reset(token)


@pytest.mark.parametrize("sql", ["DELETE FROM devices", "  update devices set name = 'x'"])
def test_text_that_the_trail_cannot_follow_is_refused(watched: Database, sql: str) -> None:
    with pytest.raises(UnauditableError, match="recording a change"), watched.transaction() as session:
        session.connection().exec_driver_sql(sql)


def test_rows_that_are_inserted_past_the_session_are_refused(watched: Database) -> None:
    values = {"id": "op-x", "name": "x", "secret_sha256": "0", "created_at": NOON}
    with pytest.raises(UnauditableError), watched.transaction() as session:
        session.connection().execute(OperatorToken.__table__.insert(), [values])  # type: ignore[attr-defined]


def test_a_savepoint_that_was_taken_back_is_not_in_the_entry(watched: Database) -> None:
    with watched.transaction() as session:
        kept = add_device(session)
        nested = session.begin_nested()
        add_device(session, name="gone")
        nested.rollback()
    (entry,) = read(watched)
    assert list(json.loads(entry.after)) == [f"devices/{kept.id}"]
    with watched.session() as session:
        assert len(session.exec(select(Device)).all()) == 1


def test_a_change_outside_of_the_database_is_in_the_entry_beside_the_rows(watched: Database) -> None:
    with watched.transaction() as session:
        device = add_device(session)
        note_outside(session, "trust/ca", {"phase": "steady"}, {"phase": "announced"})
    (entry,) = read(watched)
    assert json.loads(entry.before) == {"trust/ca": {"phase": "steady"}}
    assert json.loads(entry.after).keys() == {f"devices/{device.id}", "trust/ca"}
