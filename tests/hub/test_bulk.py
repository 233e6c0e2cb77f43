"""Statements at the speed of the driver: on both engines they do what SQLAlchemy's own way does."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import String, bindparam, case, insert
from sqlalchemy import select as select_columns
from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import col, select, update
from tests.hub.statements import statements
from tests.simulators.rows import NOON, add_device

from shoal_hub.bulk import Addition, Bulk, Query
from shoal_hub.database import Database, JsonText, as_texts, is_among, is_one_of
from shoal_hub.devices.tables import Device
from shoal_hub.drift_history import plan
from shoal_hub.events.tables import EventRow
from shoal_hub.monitoring import new_window
from shoal_hub.rollouts import selection
from shoal_hub.rollouts.tables import Deployment

COLUMNS = ("event_id", "at", "received_at", "device_id", "kind", "subject", "severity", "message", "body")
ADD = insert(EventRow).values({name: bindparam(name) for name in COLUMNS})
NAME = (
    update(Device)
    .where(col(Device.id) == bindparam("of_device"), col(Device.revoked_at).is_(None))
    .values(
        name=case((col(Device.group) == "old", "kept"), else_=bindparam("new_name")),
        last_seen_at=bindparam("at"),
        reported=bindparam("new_reported"),
        reported_generation=bindparam("generation"),
    )
    .execution_options(synchronize_session=False)
)


ADDITION = Addition(EventRow, [name for name in COLUMNS if name != "severity"], {"severity": "info"})


def event_values(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"{number:032x}", "at": NOON + timedelta(seconds=number), "received_at": NOON, "device_id": None,
        "kind": "test", "subject": "é '%s' \"?\" :x", "severity": "info", "message": "%(message)s",
        "body": JsonText('{"a":[1,"ü"]}'), **changes,
    }  # fmt: skip


def stored(database: Database) -> list[dict[str, Any]]:
    with database.session() as session:
        rows = session.exec(select(EventRow).where(EventRow.kind == "test").order_by(col(EventRow.event_id)))
        return [row.model_dump(exclude={"id"}) for row in rows]


def test_rows_that_are_added_are_those_that_sqlalchemy_adds(database: Database) -> None:
    values = [event_values(number, body={"number": number}) for number in range(3)]
    with database.transaction() as session:
        session.connection().execute(ADD, values)
    expected = stored(database)
    with database.transaction() as session:
        for row in session.exec(select(EventRow).where(EventRow.kind == "test")):
            session.delete(row)
    with database.transaction() as session:
        assert Bulk(ADD).execute(session, values) == 3
    assert stored(database) == expected
    assert expected[1]["body"] == {"number": 1}


def test_a_time_is_kept_as_the_moment_that_it_is_whatever_its_zone(database: Database) -> None:
    east = timezone(timedelta(hours=5))
    with database.transaction() as session:
        times = {"at": datetime(2026, 1, 1, 17, tzinfo=east), "received_at": datetime(2026, 1, 1, 12, 0, 0, 7, UTC)}
        Bulk(ADD).execute(session, [event_values(1, **times)])
    (row,) = stored(database)
    assert (row["at"], row["received_at"]) == (NOON, NOON + timedelta(microseconds=7))


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with database.transaction() as session, pytest.raises(ValueError, match="zone"):
        Bulk(ADD).execute(session, [event_values(1, at=datetime(2026, 1, 1))])  # noqa: DTZ001 - refused


def test_each_row_changes_its_own_and_the_count_says_how_many_did(database: Database) -> None:
    bulk = Bulk(NAME)
    with database.transaction() as session:
        ids = [add_device(session, group=group).id for group in ("", "old")]
        ids += [add_device(session, revoked_at=NOON).id, "d-aaaaaaaaaaaaaaaa"]
    values = [
        {
            "of_device": one,
            "new_name": f"n{index}",
            "at": NOON,
            "new_reported": JsonText('{"x":1}'),
            "generation": 2**62,
        }
        for index, one in enumerate(ids)
    ]
    with database.transaction() as session:
        assert bulk.execute(session, values) == 2
        assert bulk.execute(session, values[:1]) == 1
        assert bulk.execute(session, []) == 0
    with database.session() as session:
        devices = [session.get_one(Device, one) for one in ids[:3]]
    assert [one.name for one in devices] == ["n0", "kept", ids[2]]
    assert (devices[0].reported, devices[0].last_seen_at, devices[0].reported_generation) == ({"x": 1}, NOON, 2**62)


def test_what_the_database_refuses_is_raised_and_nothing_is_kept(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        Bulk(ADD).execute(session, [event_values(1), event_values(2), event_values(1)])
    assert stored(database) == []


def test_a_row_without_one_of_the_values_is_refused(database: Database) -> None:
    values = event_values(1)
    del values["message"]
    with database.transaction() as session, pytest.raises(KeyError, match="message"):
        Bulk(ADD).execute(session, [values])


def test_a_query_reads_what_sqlalchemy_reads_for_any_number_of_texts(database: Database) -> None:
    with database.transaction() as session:
        ids = sorted(
            add_device(session, last_seen_at=NOON + timedelta(seconds=n), name=f"'{n}%").id for n in range(600)
        )
    columns = select_columns(col(Device.id), col(Device.name), col(Device.last_seen_at), col(Device.reported_epoch))
    wanted = columns.order_by(col(Device.id)).with_for_update(key_share=True)
    query = Query(wanted.where(is_among(col(Device.id), bindparam("ids", type_=String()))))
    with database.transaction() as session:
        for some in (ids, ids[:1], [], ["d-aaaaaaaaaaaaaaaa"]):
            expected = session.connection().execute(wanted.where(is_among(col(Device.id), some)))
            assert query.rows(session, ids=as_texts(some)) == list(map(tuple, expected))


def test_a_query_takes_words_that_are_always_the_same(database: Database) -> None:
    with database.transaction() as session:
        online, away, _ = (
            add_device(session, presence=state, group="here", enrolled_at=NOON).id
            for state in ("online", "offline", "never")
        )
    known = is_one_of(col(Device.presence), {"online", "offline"})
    columns = select_columns(col(Device.id), col(Device.enrolled_at)).where(known, col(Device.group) == bindparam("at"))
    with database.session() as session:
        assert sorted(Query(columns).rows(session, at="here")) == sorted([(online, NOON), (away, NOON)])
        assert Query(columns).rows(session, at="elsewhere") == []


def test_a_query_without_one_of_its_values_is_refused(database: Database) -> None:
    query = Query(select_columns(col(Device.id)).where(col(Device.name) == bindparam("name")))
    with database.session() as session, pytest.raises(KeyError, match="name"):
        query.rows(session)


def added_values(number: int, **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in event_values(number, **changes).items() if name != "severity"}


def test_rows_of_an_addition_are_those_that_a_statement_for_each_adds(database: Database) -> None:
    awkward = ("", "\t\\N\n\\.\n", "é '%s' \"?\" :x", "\u2028\U0001f40b")
    bodies = [{}, {"x": None, "y": "ü\\"}, JsonText('{"a":[1,"ü"]}'), JsonText("{}")]
    given = zip(awkward, bodies, strict=True)
    rows = [added_values(number, message=message, body=body) for number, (message, body) in enumerate(given)]
    with database.transaction() as session:
        assert [Bulk(ADD).execute(session, [row | {"severity": "info"}]) for row in rows] == [1] * len(rows)
    expected = stored(database)
    with database.transaction() as session:
        for row in session.exec(select(EventRow).where(EventRow.kind == "test")):
            session.delete(row)
    with database.transaction() as session:
        assert ADDITION.execute(session, rows) == len(rows)
    assert stored(database) == expected


def test_several_rows_of_an_addition_are_copied_on_postgresql_and_one_is_inserted(database: Database) -> None:
    with statements(database) as words, database.transaction() as session:
        ADDITION.execute(session, [added_values(1), added_values(2)])
        ADDITION.execute(session, [added_values(3)])
    expected = ["COPY", "INSERT"] if database.engine.dialect.name == "postgresql" else ["INSERT", "INSERT"]
    assert words == expected


@pytest.mark.parametrize("addition", [new_window._ADD, plan._ADD_BLOCK, plan._ADD_PERIOD, selection._ADD])
def test_every_addition_of_the_hub_is_of_columns_that_can_be_copied(addition: Addition) -> None:
    form = addition._form(Database("postgresql://hub@host/never-opened").engine.dialect, 2)
    assert form.sql.startswith("COPY ")
    assert len(form.types or ()) == len(form.parts)


def test_of_an_addition_that_the_database_refuses_nothing_is_kept(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        ADDITION.execute(session, [added_values(1), added_values(2), added_values(1)])
    assert stored(database) == []


@pytest.mark.parametrize("database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
@pytest.mark.parametrize(("column", "number"), [("wave", 2**31), ("wave", -(2**31) - 1), ("forecast_bytes", 2**63)])
def test_a_number_that_its_column_cannot_hold_is_refused_and_never_cut_off(
    database: Database, column: str, number: int
) -> None:
    rows = [{"id": f"{at}", "wave": 0, "forecast_bytes": None} for at in range(2)]
    rows[1][column] = number
    with pytest.raises(DataError, match="out of range"), database.transaction() as session:
        Addition(Deployment, list(rows[0]), {"rollout_id": "r"}).execute(session, rows)
