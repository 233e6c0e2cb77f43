"""The database on both engines: migrations, transactions, times and announcements."""

import contextlib
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import col, select

from shoal_hub.database import Database, JsonText, add_unless_there, announce, is_among, once_committed
from shoal_hub.errors import DatabaseError
from shoal_hub.events.tables import EventRow
from shoal_hub.registry.tables import Alias, Artifact
from shoal_hub.schema import METADATA

NOON = datetime(2026, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def test_migrations_make_exactly_the_tables_that_the_code_declares(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_every_migration_can_be_taken_back_and_made_again(database: Database) -> None:
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "base")
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    database.upgrade()
    assert set(METADATA.tables) <= set(inspect(database.engine).get_table_names())


def test_of_rows_that_are_added_at_once_those_that_are_there_stand(database: Database) -> None:
    rows = [Artifact(sha256=name * 64, size_bytes=1, created_at=NOON) for name in "abc"]
    with database.transaction() as session:
        session.add(Artifact(sha256="b" * 64, size_bytes=2, created_at=NOON))
    with database.transaction() as session:
        add_unless_there(session, *rows)
    with database.session() as session:
        found = {row.sha256[0]: row.size_bytes for row in session.exec(select(Artifact))}
    assert found == {"a": 1, "b": 2, "c": 1}


def test_a_row_that_something_else_keeps_out_is_not_passed_over(database: Database) -> None:
    there = Artifact(sha256="a" * 64, size_bytes=1, created_at=NOON)
    with pytest.raises(IntegrityError), database.transaction() as session:
        add_unless_there(session, there, Alias(model="none", alias="a", number=1))


def test_two_processes_that_start_at_once_migrate_one_after_the_other(database: Database) -> None:
    with database._writer.begin() as connection:
        command.downgrade(database.alembic_config(connection), "base")
    failures: list[Exception] = []

    def upgrade() -> None:
        other = Database(database.engine.url.render_as_string(hide_password=False))
        try:
            other.upgrade()
        except DatabaseError as error:
            failures.append(error)
        finally:
            other.close()

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_transaction_that_raises_keeps_nothing(database: Database) -> None:
    row = Artifact(sha256="a" * 64, size_bytes=1, created_at=NOON)
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add_all([row, Alias(model="nobody", alias="champion", number=1)])
    with database.session() as session:
        assert session.get(Artifact, "a" * 64) is None


def test_an_error_of_the_database_shows_no_value(database: Database) -> None:
    with database.transaction() as session:
        session.add(Artifact(sha256="a" * 64, size_bytes=1, created_at=NOON))
    with pytest.raises(IntegrityError) as caught, database.transaction() as session:
        session.add(Artifact(sha256="a" * 64, size_bytes=1, created_at=NOON))
    assert "INSERT INTO artifacts" in str(caught.value)
    assert "2026" not in str(caught.value), "the parameters are hidden"


def test_times_come_back_aware_and_in_utc(database: Database) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    with database.transaction() as session:
        session.add(Artifact(sha256="a" * 64, size_bytes=2**40, created_at=elsewhere))
    with database.session() as session:
        row = session.get_one(Artifact, "a" * 64)
        assert row.created_at == NOON
        assert row.created_at.utcoffset() == timedelta(0)
        assert row.size_bytes == 2**40


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="no zone"), database.transaction() as session:
        session.add(Artifact(sha256="a" * 64, size_bytes=1, created_at=NOON.replace(tzinfo=None)))


def test_foreign_keys_hold_on_both_engines(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.add(Alias(model="nobody", alias="champion", number=1))


def test_what_a_transaction_announces_is_told_after_the_commit_only(database: Database) -> None:
    told: list[frozenset[str]] = []
    database.on_commit = told.append
    with contextlib.suppress(ZeroDivisionError), database.transaction() as session:
        announce(session, "jobs")
        raise ZeroDivisionError
    assert told == []
    with database.transaction() as session:
        announce(session, "devices")
        announce(session, "events")
        assert told == []
    assert told == [frozenset({"devices", "events"})]


def test_writers_that_read_first_wait_for_each_other(database: Database) -> None:
    """Eight threads read the highest number and write the next: SQLite must not lose one to a stale snapshot."""

    def add_one() -> None:
        for _ in range(5):
            with database.transaction() as session:
                session.get(Artifact, "a" * 64)
                session.add(EventRow(at=NOON, received_at=NOON, kind="test", message="x"))

    threads = [threading.Thread(target=add_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.session() as session:
        assert len(session.exec(select(EventRow)).all()) == 40


def test_rows_are_found_by_any_number_of_texts_whatever_is_in_them(database: Database) -> None:
    texts = ["plain", "it's", 'a "quoted" one', "back\\slash", "ä, [1]", ""]
    with database.transaction() as session:
        session.add_all([EventRow(at=NOON, received_at=NOON, kind=text, subject="", message="") for text in texts])
    with database.session() as session:
        every = select(EventRow.kind).where(is_among(col(EventRow.kind), [*texts, *map(str, range(100_000))]))
        assert sorted(session.exec(every).all()) == sorted(texts)
        some = select(EventRow.kind).where(is_among(col(EventRow.kind), ["it's", "lost"]))
        assert session.exec(some).all() == ["it's"]
        assert session.exec(select(EventRow.kind).where(is_among(col(EventRow.kind), []))).all() == []


def test_a_json_column_takes_what_is_json_already_as_it_is(database: Database) -> None:
    with database.transaction() as session:
        for body in ({"a": [1, "ä"]}, JsonText('{"a":[1,"ä"]}')):
            session.add(EventRow(at=NOON, received_at=NOON, kind="told", subject="", message="", body=body))
    with database.session() as session:
        first, second = session.exec(select(EventRow.body).where(EventRow.kind == "told")).all()
        assert first == second == {"a": [1, "ä"]}


def test_json_that_only_the_standard_library_reads_comes_back_as_it_was(database: Database) -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    body = {"half of a pair": "\ud800", "deep": deep, "large": 2**70, "none": None, "text": "ä\u0001"}
    with database.transaction() as session:
        session.add(EventRow(at=NOON, received_at=NOON, kind="k", message="m", body=body))
    with database.session() as session:
        assert session.exec(select(EventRow.body)).one() == body


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/shoal"])
def test_a_url_of_no_supported_database_names_the_two_that_are(url: str) -> None:
    with pytest.raises(DatabaseError, match="sqlite:////path"):
        Database(url)


def test_a_schema_newer_than_the_hub_is_refused_with_the_remedy(database: Database) -> None:
    with database._writer.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="start the hub version that last used it"):
        database.upgrade()


def test_what_is_to_be_called_once_committed_is_dropped_with_its_savepoint(database: Database) -> None:
    called: list[str] = []
    with database.transaction() as session:
        once_committed(session, lambda: called.append("before"))
        with contextlib.suppress(KeyError), session.begin_nested():
            once_committed(session, lambda: called.append("rolled back"))
            with session.begin_nested():
                once_committed(session, lambda: called.append("in one that is rolled back"))
            raise KeyError
        with session.begin_nested():
            once_committed(session, lambda: called.append("kept"))
        once_committed(session, lambda: called.append("after"))
    assert called == ["before", "kept", "after"]


@pytest.mark.parametrize(("query", "expected"), [("", "10"), ("?connect_timeout=3", "3")])
def test_a_server_that_does_not_answer_is_not_waited_for_without_end(query: str, expected: str) -> None:
    database = Database(f"postgresql://hub@192.0.2.1/shoal{query}")
    asked: list[str] = []

    @event.listens_for(database.engine, "do_connect")
    def see(_dialect: object, _record: object, _arguments: object, parameters: dict[str, object]) -> None:
        asked.append(str(parameters["connect_timeout"]))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        database.engine.connect()
    assert asked == [expected]
