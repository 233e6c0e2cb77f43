"""Devices as the API shows them: the row, what it reports, and what is wanted of it."""

import base64
import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from shoal_contract.desired import DesiredState
from shoal_contract.reported import FallbackReport, Hardware, Problem, ReportedState, SectionReport
from shoal_hub.devices.certificates import list_certificates
from shoal_hub.devices.compose import MODELS
from shoal_hub.devices.tables import DesiredRow, Device, Presence


class RunningModel(BaseModel):
    """What a device says of one model."""

    version: int | None
    target: str | None
    section: str | None
    """How far it is with its desired state: applied, working, failed, held."""
    problem: Problem | None
    fallback: FallbackReport | None = None
    """What the device has answer instead, as its own evidence says that the inputs have drifted."""


class DeviceSummary(BaseModel):
    """A device in a list."""

    id: str
    name: str
    group: str
    tags: dict[str, str]
    presence: Presence
    presence_since: datetime | None
    presence_reason: str
    last_seen_at: datetime | None
    clone_seen_at: datetime | None
    """When its identity was last seen in two places; None for never."""
    enrolled_at: datetime
    revoked_at: datetime | None
    decommissioned_at: datetime | None
    certificate_expires_at: datetime | None
    hardware: Hardware | None
    agent_version: str | None
    targets: list[str]
    models: dict[str, RunningModel]
    sections: dict[str, SectionReport]
    """What the device says of all else that is wanted of it, like `features/pumps`, `runtimes/litert`, `site`."""
    problem: Problem | None


class DesiredSummary(BaseModel):
    """The desired state that stands for a device."""

    epoch: int
    generation: int
    issued_at: datetime
    expires_at: datetime
    is_reported: bool
    """Whether the device has reported this generation."""
    models: dict[str, int]
    federated: dict[str, int]
    site: str | None
    """The site that the device is told of."""


class CertificatePublic(BaseModel):
    """A certificate that a device was given, and the key that it is for."""

    serial: str
    key_sha256: str
    authority: str
    """Fingerprint of the CA that signed it."""
    issued_at: datetime
    expires_at: datetime
    retired_at: datetime | None


class DeviceDetail(DeviceSummary):
    """One device with all that is known of it."""

    certificate_serial: str
    revoked_by: str
    revoke_reason: str
    cut_off_at: datetime | None
    """When the broker was seen to refuse a revoked device; until then it may still be connected."""
    cleared_at: datetime | None
    """When the broker was last seen to keep nothing of a decommissioned device."""
    certificates: list[CertificatePublic]
    """Oldest first; after a renewal two stand until the newer one is used."""
    public_key_sha256: str
    encryption_key: str | None
    """X25519, hexadecimal: what keys of encrypted versions are wrapped to."""
    reported_at: datetime | None
    reported: ReportedState | None
    desired: DesiredSummary | None
    conflicts: list[dict[str, Any]]
    """Intents that lost against a stronger one."""


def reported_state(device: Device) -> ReportedState | None:
    """Return what the device last reported."""
    return None if device.reported is None else ReportedState.model_validate(device.reported)


def summarise(device: Device) -> DeviceSummary:
    """Return the device as a list shows it."""
    return DeviceSummary.model_validate(_summary(device, reported_state(device)))


def detail(session: Session, device: Device) -> DeviceDetail:
    """Return the device with its reported and its desired state."""
    reported = reported_state(device)
    desired = session.get(DesiredRow, device.id)
    return DeviceDetail.model_validate(
        _summary(device, reported)
        | {
            "certificate_serial": device.certificate_serial,
            "revoked_by": device.revoked_by,
            "revoke_reason": device.revoke_reason,
            "cut_off_at": device.cut_off_at,
            "cleared_at": device.cleared_at,
            "certificates": [one.model_dump() for one in list_certificates(session, device.id)],
            "public_key_sha256": device.public_key_sha256,
            "encryption_key": device.encryption_key,
            "reported_at": device.reported_at,
            "reported": reported,
            "desired": None if desired is None else _desired(device, desired),
            "conflicts": [] if desired is None else desired.conflicts,
        }
    )


def _summary(device: Device, reported: ReportedState | None) -> dict[str, Any]:
    return {
        "id": device.id,
        "name": device.name,
        "group": device.group,
        "tags": device.tags,
        "presence": device.presence,
        "presence_since": device.presence_since,
        "presence_reason": device.presence_reason,
        "last_seen_at": device.last_seen_at,
        "clone_seen_at": device.clone_seen_at,
        "enrolled_at": device.enrolled_at,
        "revoked_at": device.revoked_at,
        "decommissioned_at": device.decommissioned_at,
        "certificate_expires_at": device.certificate_expires_at,
        "hardware": reported.hardware if reported else device.hardware,
        "agent_version": reported.agent_version if reported else None,
        "targets": reported.targets if reported else [],
        "models": {} if reported is None else _models(reported),
        "sections": {} if reported is None else _other_sections(reported),
        "problem": reported.problem if reported else None,
    }


def _models(reported: ReportedState) -> dict[str, RunningModel]:
    names = set(reported.models) | {key.removeprefix(MODELS) for key in reported.sections if key.startswith(MODELS)}
    return {name: _running(reported, name) for name in sorted(names)}


def _other_sections(reported: ReportedState) -> dict[str, SectionReport]:
    return {key: one for key, one in sorted(reported.sections.items()) if not key.startswith(MODELS)}


def _running(reported: ReportedState, name: str) -> RunningModel:
    slots, section = reported.models.get(name), reported.sections.get(f"{MODELS}{name}")
    active = slots.active if slots else None
    return RunningModel(
        version=active.version if active else None,
        target=active.target if active else None,
        section=section.state if section else None,
        problem=section.problem if section else None,
        fallback=slots.fallback if slots else None,
    )


def _desired(device: Device, row: DesiredRow) -> DesiredSummary:
    # The hub signed this envelope itself; here only its content is of interest.
    state = DesiredState.model_validate_json(base64.b64decode(json.loads(row.envelope)["payload"]))
    return DesiredSummary(
        epoch=row.epoch,
        generation=row.generation,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        is_reported=(device.reported_epoch, device.reported_generation) >= (row.epoch, row.generation),
        models={name: model.version for name, model in state.models.items()},
        federated={run: section.round for run, section in state.federated.items()},
        site=state.site.name if state.site else None,
    )
