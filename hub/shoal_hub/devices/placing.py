"""Tells devices of a section that follows from what is assigned to groups, as devices come and go.

What a device was told is kept by name and version, so that who looks for news reads and compares no bodies.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import String, bindparam, insert
from sqlmodel import Session, col, delete, select

from shoal_hub.bulk import Bulk, Query
from shoal_hub.database import is_among
from shoal_hub.devices.group_tables import DeviceGroup
from shoal_hub.devices.groups import member_ids
from shoal_hub.devices.intents import Body, drop_section_of, replace_intents
from shoal_hub.devices.placement_tables import Placement


def told_of(session: Session, owner: str) -> dict[str, str]:
    """Return what each device was last told of an owner's."""
    return dict(_TOLD.rows(session, owner=owner))


_TOLD: Final = Query(
    select(Placement.device_id, Placement.told).where(col(Placement.owner) == bindparam("owner", type_=String()))
)


def place(
    session: Session,
    owner: str,
    section: str,
    wanted: Mapping[str, str],
    body_of: Callable[[str], Body | None],
    now: datetime,
) -> None:
    """Make this all that devices are told of an owner's; those for which nothing is new are let be.

    Args:
        session: An open transaction; the desired states follow when it has been committed.
        owner: Whose intents they are.
        section: The section.
        wanted: What each device is to be told, by name and version.
        body_of: Returns the section's content of such a text; None: none.
        now: The clock.
    """
    told = told_of(session, owner)
    news = {one: text for one, text in wanted.items() if told.get(one) != text}
    gone = told.keys() - wanted.keys()
    said = {text: body_of(text) for text in set(news.values())}  # many devices are told the same
    bodies = {one: body for one, text in news.items() if (body := said[text]) is not None}
    replace_intents(session, section, kind="default", owner=owner, bodies=bodies, replaces=(), now=now)
    drop_section_of(session, gone | (news.keys() - bodies.keys()), owner, section)
    changed = is_among(col(Placement.device_id), [*news, *gone])
    session.connection().execute(delete(Placement).where(col(Placement.owner) == owner, changed))
    _TELL.execute(session, [{"owner": owner, "device_id": one, "told": text} for one, text in sorted(news.items())])


_TELL: Final = Bulk(insert(Placement).values({name: bindparam(name) for name in ("owner", "device_id", "told")}))


def members_of(session: Session, names: Iterable[str], now: datetime) -> dict[str, list[str]]:
    """Return who is in each of these groups now; nobody is in one that there is not."""
    members: dict[str, list[str]] = {}
    for name in set(names):
        group = session.get(DeviceGroup, name)
        members[name] = [] if group is None else member_ids(session, group, now)
    return members
