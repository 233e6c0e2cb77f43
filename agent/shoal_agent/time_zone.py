"""The device's time zone: the system's, or the one that its owner has named."""

import os
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shoal_agent.errors import AgentError

_LOCALTIME: Final = Path("/etc/localtime")
_DATABASE: Final = "zoneinfo/"
_MAX_CHARS: Final = 64


@dataclass(frozen=True)
class TimeZone:
    """Where the device's local time comes from; None stands for the system's rule, whatever its name."""

    zone: tzinfo | None
    _name: str = ""

    def to_local(self, at: datetime) -> datetime:
        """Return an aware time in the device's zone."""
        return at.astimezone(self.zone)

    def name(self, at: datetime) -> str:
        """Return the IANA name, or where there is none the offset at that time as `+02:00`."""
        offset = f"{self.to_local(at):%z}"
        return self._name or f"{offset[:3]}:{offset[3:5]}"


def find_time_zone(name: str = "", localtime: Path = _LOCALTIME) -> TimeZone:
    """Return the zone of an IANA name, or the system's where none is given.

    Args:
        name: Such as `Europe/Paris`; empty asks `TZ`, then where `localtime` leads.
        localtime: The system's link into the time zone database.

    Raises:
        AgentError: There is no zone of that name on this device.
    """
    if name:
        try:
            return TimeZone(ZoneInfo(name), name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"choosing the time zone {name[:_MAX_CHARS]!r}: this device knows none of that name"
            remedy = "give an IANA name such as Europe/Paris; if it is one, install the package tzdata"
            raise AgentError(message, remedy) from error
    found = os.environ.get("TZ", "").lstrip(":") or _name_in(localtime)
    try:
        return TimeZone(ZoneInfo(found), found) if 0 < len(found) <= _MAX_CHARS else TimeZone(None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return TimeZone(None)  # a rule such as CET-1CEST in TZ: the system knows it, and has no name for it


def _name_in(localtime: Path) -> str:
    """Return what a link such as /usr/share/zoneinfo/Europe/Paris names; empty for a file that is none."""
    if not localtime.is_symlink():
        return ""
    return str(localtime.readlink()).partition(_DATABASE)[2]
