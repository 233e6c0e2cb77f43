"""The classes of devices in the fleet: what compression chooses for, and on what it measures.

A target class is the first part of targets, as `pi4` of `pi4-litert-int8`: its devices serve the same files. On devices
of one hardware class, a board or a processor, a file costs the same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session, col, select

from shoal_hub.devices.tables import Device
from shoal_hub.registry.costs import hardware_class

_TARGET: Final = re.compile(r"^(?P<name>.+)-(?P<runtime>onnx|litert)-(?P<precision>[a-z0-9]+)$")


@dataclass(frozen=True)
class ClassDevice:
    """A device that says what it is and what it can run."""

    id: str
    target_class: str
    hardware: str
    targets: tuple[str, ...]
    """Best first."""
    runtimes: tuple[str, ...]
    is_online: bool


def target_class(targets: Iterable[str]) -> str:
    """Return the class that a device is of, by its targets, best first: the first that is not for any board."""
    named = [match["name"] for one in targets if (match := _TARGET.match(one))]
    return next((one for one in named if one != "generic"), named[0] if named else "")


def class_devices(session: Session) -> list[ClassDevice]:
    """Return the devices that are not revoked and have said what they are, those that are online first, by id."""
    columns = select(Device.id, Device.hardware, Device.reported, Device.presence)
    rows = session.exec(columns.where(col(Device.revoked_at).is_(None)).order_by(col(Device.id))).all()
    found = [_device(*row) for row in rows]
    return sorted((one for one in found if one is not None), key=lambda one: not one.is_online)


def _device(device_id: str, hardware: Any, reported: Any, presence: str) -> ClassDevice | None:  # noqa: ANN401 - JSON
    targets = tuple(map(str, (reported or {}).get("targets", ())))
    name, board = target_class(targets), hardware_class(hardware or (reported or {}).get("hardware"))
    if not name or not board:
        return None
    runtimes = tuple(map(str, reported.get("runtimes", ())))
    return ClassDevice(device_id, name, board, targets, runtimes, presence == "online")
