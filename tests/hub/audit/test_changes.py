"""What a transaction changed is seen by whatever way it writes; what could not be seen is refused. On both engines."""

import hashlib
import json
from collections.abc import Iterator

import pytest
from sqlalchemy import bindparam
from sqlmodel import col, select, update
from tests.hub.audit.trail import read
from tests.simulators.rows import NOON, add_device

from shoal_hub.audit.changes import MAX_VALUE_BYTES, UnauditableError
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


def test_many_updates_in_one_call_are_refused(watched: Database) -> None:
    """SQLAlchemy hands them to the driver as one, and what each of them changes is not to be seen."""
    rename = update(Device).where(col(Device.id) == bindparam("one")).values(name=bindparam("new"))
    with pytest.raises(UnauditableError), watched.transaction() as session:
        session.connection().execute(rename, [{"one": "d-1", "new": "a"}, {"one": "d-2", "new": "b"}])


def test_a_long_value_is_shown_as_its_hash_and_size(watched: Database) -> None:
    with watched.transaction() as session:
        device = add_device(session, tags={"x": "y" * MAX_VALUE_BYTES}, group="z" * (MAX_VALUE_BYTES - 2))
    made = json.loads(read(watched)[-1].after)[f"devices/{device.id}"]
    content = b'{"x":"' + b"y" * MAX_VALUE_BYTES + b'"}'
    assert made["tags"] == {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    assert made["group"] == "z" * (MAX_VALUE_BYTES - 2), "with its quotes it is just as long as allowed"


def test_a_savepoint_that_was_kept_makes_no_entry_of_its_own(watched: Database) -> None:
    with watched.transaction() as session:
        devices = [add_device(session)]
        with session.begin_nested():
            devices.append(add_device(session))
        devices.append(add_device(session))
    (entry,) = read(watched)
    assert json.loads(entry.after).keys() == {f"devices/{one.id}" for one in devices}


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
