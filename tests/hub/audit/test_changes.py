"""What a transaction changed is seen by whatever way it writes; what could not be seen is refused. On both engines."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Insert, Update, bindparam, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, delete, select, update
from tests.hub.audit.trail import read
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device

from shoal_hub.audit.changes import MAX_VALUE_BYTES, UnauditableError
from shoal_hub.audit.requests import _request, note_outside, watch_request
from shoal_hub.bulk import Addition, Bulk
from shoal_hub.database import Database
from shoal_hub.devices.desired_tables import StaleDesired
from shoal_hub.devices.tables import Device, EnrolmentTokenRow, Intent
from shoal_hub.operators.tables import OperatorToken
from shoal_hub.registry.tables import Alias, Model


@pytest.fixture
def watched(database: Database) -> Iterator[Database]:
    """A database in the middle of a request."""
    database.on_begin = watch_request
    token = _request.set({"type": "http", "path": "/api/v1/x", "client": ("192.0.2.1", 1)})
    yield database
    _request.reset(token)


TOKEN: dict[str, Any] = {"created_at": NOON, "expires_at": NOON, "uses_left": 1, "created_by": "ada"}
ROWS = [
    EnrolmentTokenRow(
        id=f"et-{size}", secret_sha256=str(size), label="é" * size, tags={"é": [size]}, **TOKEN
    ).model_dump()
    for size in (84, 200, 3)
]
ADD = insert(EnrolmentTokenRow).values({name: bindparam(name) for name in ROWS[0]})


@pytest.mark.parametrize("sql", ["DELETE FROM devices", "  update devices set name = 'x'"])
def test_text_that_the_trail_cannot_follow_is_refused(watched: Database, sql: str) -> None:
    with pytest.raises(UnauditableError, match="recording a change"), watched.transaction() as session:
        session.connection().exec_driver_sql(sql)


def test_rows_that_are_inserted_past_the_session_are_refused(watched: Database) -> None:
    values = {"id": "op-x", "name": "x", "secret_sha256": "0", "created_at": NOON}
    with pytest.raises(UnauditableError), watched.transaction() as session:
        session.connection().execute(OperatorToken.__table__.insert(), [values])  # type: ignore[attr-defined]


def test_rows_that_are_added_many_at_once_make_the_entry_that_objects_make(watched: Database) -> None:
    with watched.transaction() as session:
        session.add_all([EnrolmentTokenRow(**row) for row in ROWS])
    with watched.transaction() as session:
        for token in session.exec(select(EnrolmentTokenRow)):
            session.delete(token)
    with watched.transaction() as session:
        assert Bulk(ADD).execute(session, ROWS) == len(ROWS)
    by_objects, _, at_once = read(watched)
    assert (at_once.before, at_once.after) == (by_objects.before, by_objects.after)
    assert (at_once.action, at_once.subject) == (by_objects.action, by_objects.subject)
    shown = json.loads(at_once.after)
    assert shown.keys() == {f"enrolment_tokens/{row['id']}" for row in ROWS}
    assert {row["secret_sha256"] for row in shown.values()} == {"(secret)"}
    assert shown["enrolment_tokens/et-84"]["label"] == "é" * 84
    assert shown["enrolment_tokens/et-200"]["label"]["size_bytes"] == 2 + 6 * 200


def test_rows_that_are_added_and_changed_or_taken_away_after_are_shown_as_they_are_in_the_end(
    watched: Database,
) -> None:
    with watched.transaction() as session:
        Bulk(ADD).execute(session, ROWS)
        session.exec(update(EnrolmentTokenRow).where(col(EnrolmentTokenRow.id) == "et-3").values(label="eve"))
        session.delete(session.get_one(EnrolmentTokenRow, "et-84"))
    (entry,) = read(watched)
    after = json.loads(entry.after)
    assert json.loads(entry.before) == {}
    assert after.keys() == {"enrolment_tokens/et-3", "enrolment_tokens/et-200"}
    assert after["enrolment_tokens/et-3"]["label"] == "eve"


ALIASES = [{"model": "digits", "alias": alias} for alias in ("b", "a", "d", "c")]
ADD_ALIASES = Addition(Alias, ("model", "alias"), {"number": 1})


@pytest.fixture
def of_a_model(watched: Database) -> Database:
    """A database with a model, in the middle of a request."""
    with watched.transaction() as session:
        session.add(Model(name="digits", created_at=NOON))
    return watched


def test_rows_that_a_statement_says_in_full_make_the_same_entry_without_a_look_at_them(of_a_model: Database) -> None:
    with of_a_model.transaction() as session:
        session.add_all([Alias(**row, number=1) for row in ALIASES])
    with of_a_model.transaction() as session:
        session.exec(delete(Alias))
    with statements(of_a_model) as seen, of_a_model.transaction() as session:
        assert ADD_ALIASES.execute(session, ALIASES) == len(ALIASES)
    _, by_objects, _, at_once = read(of_a_model)
    assert (at_once.before, at_once.after) == (by_objects.before, by_objects.after)
    assert (at_once.action, at_once.subject) == (by_objects.action, by_objects.subject)
    trails_own = {"sqlite": 1, "postgresql": 2}[of_a_model.engine.dialect.name]
    assert seen.count("SELECT") == trails_own


def test_rows_that_a_statement_says_in_full_are_shown_as_they_are_in_the_end(of_a_model: Database) -> None:
    with of_a_model.transaction() as session:
        ADD_ALIASES.execute(session, ALIASES)
        session.exec(update(Alias).where(col(Alias.alias) == "a").values(number=7))
        session.get_one(Alias, ("digits", "b")).number = 8
        session.delete(session.get_one(Alias, ("digits", "c")))
    assert {name: row["number"] for name, row in json.loads(read(of_a_model)[-1].after).items()} == {
        "aliases/digits,a": 7,
        "aliases/digits,b": 8,
        "aliases/digits,d": 1,
    }


def test_rows_that_a_statement_said_in_full_and_that_were_taken_back_are_not_in_the_entry(of_a_model: Database) -> None:
    with of_a_model.transaction() as session:
        ADD_ALIASES.execute(session, ALIASES[:1])
        nested = session.begin_nested()
        ADD_ALIASES.execute(session, ALIASES[1:])
        nested.rollback()
        with pytest.raises(IntegrityError), session.begin_nested():
            ADD_ALIASES.execute(session, [*ALIASES[1:], ALIASES[0]])
    assert json.loads(read(of_a_model)[-1].after) == {"aliases/digits,b": ALIASES[0] | {"number": 1}}


def test_a_row_that_gives_what_is_not_written_is_refused_and_shown_to_nobody(of_a_model: Database) -> None:
    before = len(read(of_a_model))
    with pytest.raises(ValueError, match="alias, model expected"), of_a_model.transaction() as session:
        ADD_ALIASES.execute(session, [*ALIASES, ALIASES[0] | {"alias": "z", "number": 9}])
    assert len(read(of_a_model)) == before


def test_rows_whose_values_a_database_may_change_are_looked_at(watched: Database) -> None:
    values = ROWS[0] | {"created_at": NOON.astimezone(timezone(timedelta(hours=5))), "tags": {"é": (1,)}}
    with watched.transaction() as session:
        Addition(EnrolmentTokenRow, values, {}).execute(session, [values])
    ((_, shown),) = json.loads(read(watched)[-1].after).items()
    assert shown["created_at"] == NOON.isoformat()
    assert shown["tags"] == {"é": [1]}


INTENT = {"device_id": "d-1", "section": "config", "kind": "pin", "owner": "x", "body": {}, "created_at": NOON}


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (insert(Intent).values({name: bindparam(name) for name in INTENT}), INTENT),
        (update(Device).where(col(Device.id) == bindparam("of")).values(name=bindparam("new")), {"of": "", "new": ""}),
        (insert(EnrolmentTokenRow).from_select(["id"], select(Device.id).where(Device.id == bindparam("id"))), ROWS[0]),
    ],
    ids=["no key", "update", "select"],
)
def test_what_is_written_many_at_once_and_is_no_plain_addition_by_keys_is_refused(
    watched: Database, statement: Insert | Update, row: dict[str, Any]
) -> None:
    with pytest.raises(UnauditableError), watched.transaction() as session:
        Bulk(statement).execute(session, [row])
    assert read(watched) == []


def test_additions_that_pass_over_rows_that_are_there_are_refused(watched: Database) -> None:
    insert_here: Any = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[watched.engine.dialect.name]
    statement = insert_here(EnrolmentTokenRow).values(ADD.compile().params).on_conflict_do_nothing()
    with pytest.raises(UnauditableError), watched.transaction() as session:
        Bulk(statement).execute(session, [ROWS[0]])
    assert read(watched) == []


def test_rows_of_a_table_that_is_not_audited_may_be_written_many_at_once(watched: Database) -> None:
    with watched.transaction() as session:
        ids = [add_device(session).id for _ in range(2)]
        Bulk(insert(StaleDesired).values(device_id=bindparam("of"))).execute(session, [{"of": one} for one in ids])
    (entry,) = read(watched)
    assert json.loads(entry.after).keys() == {f"devices/{one}" for one in ids}


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
