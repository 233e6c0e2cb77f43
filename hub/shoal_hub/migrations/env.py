"""Runs migrations on the connection that `Database.upgrade` has opened (Alembic loads this file by path)."""

from typing import Literal

from alembic import context
from sqlalchemy.types import TypeEngine
from sqlmodel import AutoString

from shoal_hub.database import UtcDateTime
from shoal_hub.schema import METADATA


def render_item(kind: str, item: TypeEngine[object], _context: object) -> str | Literal[False]:
    """Write column types of ours and of SQLModel into a new migration as what they store."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a table by copying it
    render_item=render_item,
    compare_type=True,
)
context.run_migrations()
