"""What the devices of a set say of its pipelines."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel
from sqlmodel import Session, col, select

from shoal_contract.reported import Problem, ReportedState, SectionReport
from shoal_hub.database import is_among
from shoal_hub.devices.newest import newest_reported
from shoal_hub.devices.placing import told_of
from shoal_hub.devices.public import reported_state
from shoal_hub.devices.tables import Device, Presence
from shoal_hub.features.placing import OWNER, Sets, split

SECTION: Final = "features/"
PipelineState = Literal["waiting", "applied", "working", "failed", "held"]


class PipelineStatus(BaseModel):
    """What a device says of one pipeline; `waiting` is what it was told and has not reported yet."""

    name: str
    state: PipelineState
    step: str = ""
    """The part that the problem is with, while it runs."""
    problem: Problem | None = None


class FeatureDeviceStatus(BaseModel):
    """A device to which a set is assigned."""

    id: str
    name: str
    presence: Presence
    version: int
    """Of the set, as the device was told."""
    left_out: str
    """Why it was not told of the set; empty: it was."""
    pipelines: list[PipelineStatus]


def statuses(session: Session, name: str, *, limit: int, offset: int) -> list[FeatureDeviceStatus]:
    """Return one page of the devices of a set, by name.

    Args:
        session: An open session.
        name: The set.
        limit: At most so many.
        offset: So many are left out at the beginning.
    """
    having = {device_id: sets for device_id, sets in told_of(session, OWNER).items() if name in split(sets)}
    wanted = select(Device).where(is_among(col(Device.id), having)).order_by(col(Device.name), col(Device.id))
    devices = session.exec(wanted.limit(limit).offset(offset)).all()
    current = newest_reported(session, devices)
    sets_of = Sets(session)
    return [_status(one, name, having[one.id], sets_of, is_current=one.id in current) for one in devices]


def count_devices(session: Session, name: str) -> int:
    """Return how many devices a set is assigned to."""
    return sum(name in split(sets) for sets in told_of(session, OWNER).values())


def _status(device: Device, name: str, sets: str, sets_of: Sets, *, is_current: bool) -> FeatureDeviceStatus:
    left_out = sets_of.merged(sets).left_out.get(name, "")
    reported = reported_state(device) if is_current and not left_out else None
    pipelines = [] if left_out else sets_of.pipelines(name, split(sets)[name])
    return FeatureDeviceStatus(
        id=device.id,
        name=device.name,
        presence=device.presence,
        version=split(sets)[name],
        left_out=left_out,
        pipelines=[_pipeline(one, _sections(reported)) for one in pipelines],
    )


def _sections(reported: ReportedState | None) -> Mapping[str, SectionReport]:
    return {} if reported is None else reported.sections


def _pipeline(name: str, sections: Mapping[str, SectionReport]) -> PipelineStatus:
    said = sections.get(f"{SECTION}{name}")
    if said is None:
        return PipelineStatus(name=name, state="waiting")
    return PipelineStatus(name=name, state=said.state, step=said.step, problem=said.problem)
