"""Finds the devices that match a query, in batches: the query decides on rows of only the columns that it needs.

What the database can decide just as well (a device's id, name, group or presence) it decides before; the query decides
again on whatever comes, so both engines find the same.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Final

from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, col, select

from shoal_hub.database import in_parts
from shoal_hub.devices.query import Query
from shoal_hub.devices.tables import Device

READ_BATCH_ROWS: Final = 2_000
"""Rows that are in memory at once while a query decides."""
_SAME_IN_SQL: Final = frozenset({"id", "name", "group", "presence"})


def matching_ids(
    session: Session, query: Query, now: datetime, *where: ColumnElement[bool]
) -> Generator[str, None, None]:
    """Yield the ids of the unrevoked devices that match, by name. Who stops before the end closes the generator.

    Args:
        session: An open session.
        query: What they have to match.
        now: The clock, for ages.
        where: Conditions of the database's that they have to meet besides.
    """
    names = sorted(query.columns | {"id", "name"})  # of one column alone there would be values, and not rows
    wanted = (
        select(*(col(getattr(Device, name)) for name in names))
        .where(col(Device.revoked_at).is_(None), *_narrowing(query), *where)
        .order_by(col(Device.name), col(Device.id))
        .execution_options(yield_per=READ_BATCH_ROWS)
    )
    # PostgreSQL keeps a cursor for what is read in batches, until it is closed.
    with closing(session.exec(wanted)) as rows:
        for row in rows:
            if query.matches(row, now):
                yield row.id


def load_devices(session: Session, device_ids: Sequence[str]) -> list[Device]:
    """Return these devices in this order; one that there is not is left out."""
    found: dict[str, Device] = {}
    for part in in_parts(device_ids):
        found |= {one.id: one for one in session.exec(select(Device).where(col(Device.id).in_(part)))}
    return [found[one] for one in device_ids if one in found]


def _narrowing(query: Query) -> list[ColumnElement[bool]]:
    return [
        col(getattr(Device, one.field.name)).in_(one.values)
        for one in query.required()
        if one.field.name in _SAME_IN_SQL and one.operator in {"=", "in"}
    ]
