"""The byte ledger as operators see it: each device's month by category, beside its budget; also as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Final

from pydantic import BaseModel
from sqlalchemy import exists
from sqlmodel import Session, col, select

from shoal_contract.ledger import CATEGORIES, Traffic, uplink_bytes
from shoal_hub.database import in_parts
from shoal_hub.devices.groups import find_group, is_home_or_listed
from shoal_hub.devices.matching import matching_ids
from shoal_hub.devices.query import Query, parse_query
from shoal_hub.devices.tables import Device
from shoal_hub.traffic.limits import limits_by_device
from shoal_hub.traffic.tables import MonthLedger
from shoal_hub.traffic.take import account_of

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula: a device's name is its owner's text."""


class DeviceMonth(BaseModel):
    """What one device has received and sent in one month, as it counts itself."""

    device_id: str
    name: str
    group: str
    month: str
    """`YYYY-MM`, UTC."""
    categories: dict[str, Traffic]
    """`artifacts_broker`, `artifacts_cache` (on the LAN), `artifacts_https`, `telemetry`, `federated`, `control`."""
    uplink_bytes: int
    """Both directions of all but what stays on the LAN: what a budget counts."""
    max_bytes_per_month: int | None
    told_at: datetime


def ledger_of(
    session: Session,
    month: str,
    now: datetime,
    *,
    device_id: str | None = None,
    group: str | None = None,
    limit: int,
    offset: int = 0,
) -> list[DeviceMonth]:
    """Return what devices have told of a month, by name and id.

    Args:
        session: An open session.
        month: `YYYY-MM`, UTC.
        now: The clock, for the ages in a dynamic group's query.
        device_id: Of this device alone.
        group: Of this group's devices alone; empty: of those that are at home in none.
        limit: At most so many.
        offset: How many to pass over.

    Raises:
        NotFoundError: There is no such group.
    """
    wanted = select(MonthLedger, Device).join(Device, col(Device.id) == col(MonthLedger.device_id))
    wanted = wanted.where(MonthLedger.month == month)
    if device_id is not None:
        wanted = wanted.where(Device.id == device_id)
    if group:
        found = find_group(session, group)
        if found.query is not None:
            return _of_query(session, month, parse_query(found.query), now, slice(offset, offset + limit))
        wanted = wanted.where(is_home_or_listed(group))
    elif group is not None:
        wanted = wanted.where(Device.group == "")
    rows = session.exec(wanted.order_by(col(Device.name), col(Device.id)).limit(limit).offset(offset)).all()
    return _shown(session, rows)


def _of_query(session: Session, month: str, query: Query, now: datetime, page: slice) -> list[DeviceMonth]:
    """Return one page of the months of the devices that match a query."""
    has_told = exists().where(col(MonthLedger.device_id) == col(Device.id), col(MonthLedger.month) == month)
    with closing(matching_ids(session, query, now, has_told)) as matching:
        ids = list(islice(matching, page.start, page.stop))
    rows: dict[str, tuple[MonthLedger, Device]] = {}
    wanted = select(MonthLedger, Device).join(Device, col(Device.id) == col(MonthLedger.device_id))
    for part in in_parts(ids):
        of_part = wanted.where(col(MonthLedger.device_id).in_(part), MonthLedger.month == month)
        rows |= {device.id: (row, device) for row, device in session.exec(of_part)}
    return _shown(session, [rows[one] for one in ids if one in rows])


def csv_lines(months: Sequence[DeviceMonth]) -> Iterator[str]:
    """Yield the ledger as CSV (RFC 4180), two columns a category; cells that a spreadsheet would run are quoted."""
    directions = ("received_bytes", "sent_bytes")
    titles = [f"{category}_{direction}" for category in CATEGORIES for direction in directions]
    yield _line(["device_id", "name", "group", "month", *titles, "uplink_bytes", "max_bytes_per_month", "told_at"])
    for one in months:
        traffic = [one.categories.get(category, Traffic()) for category in CATEGORIES]
        numbers = [number for item in traffic for number in (item.received_bytes, item.sent_bytes)]
        budget = "" if one.max_bytes_per_month is None else one.max_bytes_per_month
        yield _line(
            [
                one.device_id,
                _safe(one.name),
                _safe(one.group),
                one.month,
                *numbers,
                one.uplink_bytes,
                budget,
                one.told_at.isoformat(),
            ]
        )


def _shown(session: Session, rows: Sequence[tuple[MonthLedger, Device]]) -> list[DeviceMonth]:
    limits = limits_by_device(session, {device.id: device.group for _, device in rows})
    shown = []
    for row, device in rows:
        total = account_of(row).total
        shown.append(
            DeviceMonth(
                device_id=device.id,
                name=device.name,
                group=device.group,
                month=row.month,
                categories=total,
                uplink_bytes=uplink_bytes(total),
                max_bytes_per_month=limits[device.id].max_bytes_per_month,
                told_at=row.told_at,
            )
        )
    return shown


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()
