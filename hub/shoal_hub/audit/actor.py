"""Who made a change: a person, a device with an enrolment token, or a part of the hub itself."""

from dataclasses import dataclass
from typing import Final

from typing_extensions import Self

ENROLMENT_ROLE: Final = "enrolment-token"
"""A device that enrols: its entries are many, and are anchored within the minute instead of at once."""
DEVICE_ROLE: Final = "device"
"""A device by its own key: it enrols without a token, enrols again, or renews; anchored like enrolments."""
SYSTEM_ROLE: Final = "system"


@dataclass(frozen=True)
class Actor:
    """Whom an entry names; `address` is where the request came from, empty for the hub itself."""

    id: str
    name: str
    role: str
    address: str = ""

    @classmethod
    def system(cls, name: str) -> Self:
        """Return the actor for what a part of the hub does by itself, like `controller`."""
        return cls(id=SYSTEM_ROLE, name=name, role=SYSTEM_ROLE)


CONTROLLER: Final = Actor.system("controller")
"""The one that reconciles: rollouts, metadata, what has ended."""
JOBS: Final = Actor.system("jobs")
SUPERVISOR: Final = Actor.system("supervisor")
"""The start of a hub."""
COMMAND_LINE: Final = Actor.system("command line")
"""Somebody with the rights of the hub's account, on its machine: the hub knows no name of theirs."""
