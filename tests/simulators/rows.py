"""Rows that many of the hub's tests need."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from shoal_contract.ids import new_device_id
from shoal_contract.reported import Hardware, ReportedState, SectionReport
from shoal_hub.devices.tables import Device

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HARDWARE = Hardware(kind="generic", model="test board", architecture="x86_64", cores=2, memory_bytes=2**30)


def add_device(session: Session, device_id: str = "", **changes: Any) -> Device:
    """Add a device as enrolment would."""
    device_id = device_id or new_device_id()
    fields: dict[str, Any] = {
        "id": device_id,
        "name": device_id,
        "public_key_sha256": hashlib.sha256(device_id.encode()).hexdigest(),
        "certificate_serial": "1",
        "enrolled_at": NOON,
    }
    device = Device(**(fields | changes))
    session.add(device)
    session.flush()
    return device


def make_report(**changes: Any) -> ReportedState:
    """Return a reported state of a device that can run both targets."""
    fields: dict[str, Any] = {
        "connection": 1,
        "sequence": 1,
        "at": NOON,
        "epoch": 0,
        "generation": 0,
        "agent_version": "0.1.0",
        "hardware": HARDWARE,
        "runtimes": ("onnxruntime",),
        "targets": ("generic-onnx-int8",),
    }
    return ReportedState(**(fields | changes))


def section(state: str, deployment: str, **changes: Any) -> SectionReport:
    """Return a section's report."""
    return SectionReport.model_validate({"state": state, "deployment": deployment} | changes)
