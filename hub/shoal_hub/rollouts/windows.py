"""When a device may next activate: the first time in its maintenance windows, in its own time zone. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shoal_contract.update_policy import WEEKDAYS, MaintenanceWindow, UpdatePolicy

_OFFSET: Final = re.compile(r"^([+-])(\d{2}):(\d{2})$")
_DAYS: Final = 8
"""A window comes back within a week, counted from the day before."""


def find_zone(name: str) -> tzinfo | None:
    """Return the time zone that a device has told, as an IANA name or an offset; None where it is none."""
    offset = _OFFSET.match(name)
    if offset:
        sign = -1 if offset[1] == "-" else 1
        minutes = sign * (60 * int(offset[2]) + int(offset[3]))
        return timezone(timedelta(minutes=minutes)) if abs(minutes) < 24 * 60 else None
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):  # devices may say anything, also a folder's name
        return None


def next_opening(policy: UpdatePolicy, zone: tzinfo, now: datetime) -> datetime:
    """Return the first time from now on at which a policy lets a device activate.

    Args:
        policy: Its windows and `activate_at`.
        zone: The device's time zone.
        now: The clock.
    """
    earliest = max(now, policy.activate_at) if policy.activate_at is not None else now
    if policy.is_open(earliest.astimezone(zone)):
        return earliest
    return min(start for start in _starts(policy.windows, zone, earliest) if start >= earliest)


def _starts(windows: Sequence[MaintenanceWindow], zone: tzinfo, since: datetime) -> list[datetime]:
    local = since.astimezone(zone)
    starts = []
    for window in windows:
        hour, minute = map(int, window.start.split(":"))
        for later in range(_DAYS):
            day = local.date() + timedelta(days=later)
            if WEEKDAYS[day.weekday()] in window.days:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                starts.append(wall.astimezone(since.tzinfo))
    return starts
