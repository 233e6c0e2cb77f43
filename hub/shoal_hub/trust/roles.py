"""TUF's roles at the hub: who delegates whom, which are signed offline, and how long their metadata lives. Pure."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from shoal_contract.limits import MAX_INTEGER
from shoal_contract.trust import CODE_ROLE, MODELS_ROLE

ROOT: Final = "root"
TARGETS: Final = "targets"
SNAPSHOT: Final = "snapshot"
TIMESTAMP: Final = "timestamp"
OFFLINE: Final = (ROOT, TARGETS, CODE_ROLE)
"""In the order in which they are published: each is verified by the one before."""
TOP_LEVEL: Final = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
KEPT_VERSIONS: Final = 2
"""Of every role but root, which is kept whole: a device that was off for long goes through each of its versions."""
_STORED_NAME: Final = re.compile(r"([1-9][0-9]{0,18})\.([^\x00]+)")


@dataclass(frozen=True)
class Lives:
    """How long metadata is valid; it is renewed at half of that."""

    offline: timedelta = timedelta(days=365)
    online: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=7)

    def of(self, role: str) -> timedelta:
        """Return the life of a role's metadata."""
        if role in OFFLINE:
            return self.offline
        return self.timestamp if role == TIMESTAMP else self.online


def delegator_of(role: str) -> str:
    """Return the role whose metadata names the keys of `role`."""
    if role in TOP_LEVEL:
        return ROOT
    return MODELS_ROLE if role.startswith(f"{MODELS_ROLE}/") else TARGETS


def file_name(role: str) -> str:
    """Return the name under which snapshot and timestamp list a role's metadata."""
    return f"{role}.json"


def stored_name(version: int, role: str) -> str:
    """Return the name `<version>.<role>` of retained topics and of the index."""
    return f"{version}.{quote(role, safe='')}"


def parse_stored_name(name: str) -> tuple[int, str] | None:
    """Return version and role, as it is written, of `<version>.<role>`; None for a name that no hub has given."""
    match = _STORED_NAME.fullmatch(name)
    if match is None or int(match[1]) > MAX_INTEGER:
        return None
    return int(match[1]), match[2]
