"""The classes of devices in the fleet: what compression chooses for, and on what it measures.

A target class is the first part of targets, as `pi4` of `pi4-litert-int8`: its devices serve the same files. On devices
of one hardware class, a board or a processor, a file costs the same.
"""

import re
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from shoal_hub.devices.tables import Device
from shoal_hub.registry.costs import hardware_class

_TARGET: Final = re.compile(r"^(?P<name>.+)-(?P<runtime>onnx|litert)-(?P<precision>[a-z0-9]+)$")
_PARTS: Final = re.compile(r"(.*) \(([^()]*)\)", re.DOTALL)
_READ: Final = 100
"""Devices that are read at a time."""
_COLUMNS: Final = select_columns(
    col(Device.id), col(Device.hardware), col(Device.reported), col(Device.presence), col(Device.presence_since)
).where(col(Device.revoked_at).is_(None))


@dataclass(frozen=True, order=True)
class BoardClass:
    """Devices of one hardware class that are of one target class: what one of them measures holds for all."""

    hardware: str
    target_class: str


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
    since: datetime | None
    """For how long it has been so."""

    @property
    def board_class(self) -> BoardClass:
        """Return what it measures for."""
        return BoardClass(self.hardware, self.target_class)

    def is_expected(self, now: datetime, patience: timedelta) -> bool:
        """Whether it is online, or was a short while ago: it may be rebooting."""
        return self.is_online or (self.since is not None and now - self.since <= patience)


def target_class(targets: Iterable[str]) -> str:
    """Return the class that a device is of, by its targets, best first: the first that is not for any board."""
    named = [match["name"] for one in targets if (match := _TARGET.match(one))]
    return next((one for one in named if one != "generic"), named[0] if named else "")


def class_devices(session: Session) -> list[ClassDevice]:
    """Return the devices that are not revoked and have said what they are, those that are online first, by id.

    It reads what each device of the fleet has reported.
    """
    rows = session.connection().execute(_COLUMNS.order_by(col(Device.id))).all()
    found = [_device(*row) for row in rows]
    return sorted((one for one in found if one is not None), key=lambda one: not one.is_online)


def devices_like(
    session: Session, wanted: BoardClass, without: Collection[str], *, is_online: bool
) -> Generator[ClassDevice]:
    """Yield devices of one board and class, by id, of which only those are read that are of the board.

    Args:
        session: An open transaction.
        wanted: The board, and the class.
        without: Ids of those that are not asked for.
        is_online: Whether they have to be online, or else have to be known to be away.
    """
    model, architecture = _PARTS.fullmatch(wanted.hardware).groups()  # type: ignore[union-attr]  # of `hardware_class`
    said = col(Device.hardware)
    rows = session.connection().execute(
        _COLUMNS.where(
            col(Device.presence) == ("online" if is_online else "offline"),
            said["model"].as_string().startswith(model, autoescape=True),
            said["architecture"].as_string() == architecture,
        )
        .order_by(col(Device.id))
        .execution_options(yield_per=_READ)
    )
    with closing(rows):
        for row in rows:
            found = _device(*row)
            if found is not None and found.board_class == wanted and found.id not in without:
                yield found


def _device(
    device_id: str,
    hardware: Any,  # noqa: ANN401 - JSON
    reported: Any,  # noqa: ANN401 - JSON
    presence: str,
    since: datetime | None,
) -> ClassDevice | None:
    targets = tuple(map(str, (reported or {}).get("targets", ())))
    name, board = target_class(targets), hardware_class(hardware or (reported or {}).get("hardware"))
    if not name or not board:
        return None
    runtimes = tuple(map(str, reported.get("runtimes", ())))
    return ClassDevice(device_id, name, board, targets, runtimes, presence == "online", since)
