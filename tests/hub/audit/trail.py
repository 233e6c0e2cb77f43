"""A trail for tests: entries made by hand, and what a person with rights on the database can do to them."""

from datetime import datetime

from sqlalchemy import text
from sqlmodel import col, select

from shoal_hub.audit.actor import Actor
from shoal_hub.audit.entry import Entry
from shoal_hub.audit.record import record
from shoal_hub.audit.tables import AuditEntry
from shoal_hub.database import Database

ADA = Actor("op-ada", "ada", "admin", "192.0.2.7")


def write(database: Database, count: int = 1, actor: Actor = ADA) -> None:
    """Make entries, one a transaction."""
    for number in range(count):
        with database.transaction() as session:
            record(session, actor, "devices.update_device", f"devices/d-{number}", {"name": "a"}, {"name": "b"})


def read(database: Database) -> list[Entry]:
    """Return the whole trail."""
    with database.session() as session:
        rows = session.exec(select(AuditEntry).order_by(col(AuditEntry.sequence)))
        return [row.to_entry() for row in rows]


def overpower(database: Database) -> None:
    """Drop the triggers, as a person may who owns the database."""
    is_postgres = database.engine.dialect.name == "postgresql"
    names = ("no_change", "no_truncate") if is_postgres else ("no_update", "no_delete", "in_order")
    for name in names:
        run(database, f"DROP TRIGGER audit_entries_{name}" + (" ON audit_entries" if is_postgres else ""))


def run(database: Database, statement: str, **values: str | int | datetime) -> None:
    """Run a statement by hand."""
    with database._writer.begin() as connection:
        connection.execute(text(statement), values)


def replace_all(database: Database, entries: list[Entry]) -> None:
    """Put other entries into the table's place; the triggers must be gone."""
    run(database, "DELETE FROM audit_entries")
    with database.transaction() as session:
        session.add_all([AuditEntry(**vars(entry)) for entry in entries])
