"""Lists devices: all, those of a group, those that match a query."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Annotated, TypeAlias

from pydantic import Field
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import Session, col, select

from shoal_hub.devices.groups import find_group, is_home_or_listed
from shoal_hub.devices.matching import load_devices, matching_ids
from shoal_hub.devices.query import MAX_QUERY_CHARACTERS, all_of, parse_query
from shoal_hub.devices.tables import Device

QueryText: TypeAlias = Annotated[str, Field(max_length=MAX_QUERY_CHARACTERS)]
"""A query as a caller sends it; `parse_query` says what else is wrong with one."""


@dataclass(frozen=True)
class Selection:
    """Which devices: in a group (empty: at home in none) and matching a query, where these are given."""

    group: str | None = None
    query: str | None = None
    has_decommissioned: bool = False


def list_devices_of(session: Session, which: Selection, now: datetime, *, limit: int, offset: int) -> Sequence[Device]:
    """Return one page of devices, by name.

    Args:
        session: An open session.
        which: Revoked devices are among them, unless a query or a dynamic group decides.
        now: The clock, for the ages in a query.
        limit: At most so many.
        offset: So many are left out at the beginning.

    Raises:
        NotFoundError: There is no such group.
        QueryError: The query is none.
    """
    texts = [] if which.query is None else [which.query]
    where: list[ColumnElement[bool]] = []
    if which.group == "":
        where.append(col(Device.group) == "")
    elif which.group is not None:
        group = find_group(session, which.group)
        if group.query is None:
            where.append(is_home_or_listed(group.name))
        else:
            texts.append(group.query)
    if texts:
        query = all_of([parse_query(text) for text in texts])
        with closing(matching_ids(session, query, now, *where)) as found:
            page = list(islice(found, offset, offset + limit))
        return load_devices(session, page)
    if not which.has_decommissioned:
        where.append(col(Device.decommissioned_at).is_(None))
    wanted = select(Device).where(*where).order_by(col(Device.name), col(Device.id))
    return session.exec(wanted.limit(limit).offset(offset)).all()
