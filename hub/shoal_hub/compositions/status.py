"""What devices say of a composition that they are told to serve."""

from typing import Literal

from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_contract.reported import Problem
from shoal_hub.compositions.placing import owner_of, told_devices
from shoal_hub.database import is_among
from shoal_hub.devices.compose import COMPOSITIONS
from shoal_hub.devices.newest import newest_reported
from shoal_hub.devices.public import reported_state
from shoal_hub.devices.tables import DesiredRow, Device, Presence

CompositionState = Literal["waiting", "left_out", "applied", "working", "failed", "held"]


class CompositionDeviceStatus(BaseModel):
    """A device to which a composition is assigned, and what it says of it.

    `waiting`: it was told and has not reported yet. `applied`: it serves it. `held`: a member is not served there yet.
    `failed`: its members do not fit each other there. `left_out`: it was not told.
    """

    id: str
    name: str
    presence: Presence
    version: int
    """Of the composition, as the device was told."""
    state: CompositionState
    problem: Problem | None = None
    left_out: str = ""
    """Why it was not told of the composition."""


def statuses(session: Session, name: str, *, limit: int, offset: int) -> list[CompositionDeviceStatus]:
    """Return one page of the devices of a composition, by name.

    Args:
        session: An open session.
        name: The composition.
        limit: At most so many.
        offset: So many are left out at the beginning.
    """
    told = told_devices(session, [name])[name]
    wanted = select(Device).where(is_among(col(Device.id), told)).order_by(col(Device.name), col(Device.id))
    devices = session.exec(wanted.limit(limit).offset(offset)).all()
    left_out = _left_out(session, name, [one.id for one in devices])
    newest = newest_reported(session, devices)
    found = []
    for one in devices:
        status = CompositionDeviceStatus(
            id=one.id, name=one.name, presence=one.presence, version=told[one.id], state="waiting"
        )
        if one.id in left_out:
            status.state, status.left_out = "left_out", left_out[one.id]
        elif one.id in newest:
            reported = reported_state(one)
            said = None if reported is None else reported.sections.get(f"{COMPOSITIONS}{name}")
            if said is not None:
                status.state, status.problem = said.state, said.problem
        found.append(status)
    return found


def _left_out(session: Session, name: str, device_ids: list[str]) -> dict[str, str]:
    """Return for which of these devices another wish came before, or there was no room, and why."""
    rows = select(DesiredRow.device_id, DesiredRow.conflicts).where(col(DesiredRow.device_id).in_(device_ids))
    return {
        device_id: conflict["reason"]
        for device_id, conflicts in session.exec(rows)
        for conflict in conflicts
        if conflict["section"] == f"{COMPOSITIONS}{name}" and conflict["owner"] == owner_of(name)
    }
